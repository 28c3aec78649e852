# shellcheck shell=bash
# Who may use the bridge of scripts/up: its first administrator and its first tenant.

# By its prefix, wherever an answer has it.
webhook_secret_in() { grep -oE 'whsec_[A-Za-z0-9+/=_-]+' "$1" | head -n1; }

# keep FILE COMMAND...: its output, for the owner's eyes only, and only when it succeeded
keep() {
  local file=$1
  shift
  (umask 077 && "$@" >"$file.new") || { rm -f "$file.new"; return 1; }
  mv "$file.new" "$file"
}

# as_caller TOKEN_FILE CURL_ARGUMENT...: without the token on a command line
as_caller() {
  local token=$1
  shift
  curl -sS -m 20 -K - "$@" <<<"header = \"Authorization: Bearer $(cat "$token")\""
}

lets_in() { # TOKEN_FILE PATH
  [ -s "$1" ] && as_caller "$1" -f -o /dev/null "$(daemon_url publisher)$2" 2>/dev/null
}

# Before the publisher: without any credential it refuses to start.
bootstrap() {
  local again=()
  # The key was lost, or the run that made it was interrupted: another one.
  [ -s "$admin_token" ] || again=(--force)
  rm -f "$admin_token.new"
  bridgectl_admin admin bootstrap "${again[@]}" --out "$admin_token.new"
  if [ -s "$admin_token.new" ]; then mv "$admin_token.new" "$admin_token"; fi
}

# Leaves in $state/secrets: webhook-secret, token (an API key), n8n-credential.json
make_tenant() {
  local secrets=$state/secrets
  lets_in "$admin_token" '/pulsar/tenants?limit=1' ||
    die "the bridge does not take the administrator's token in $admin_token" \
      "Start over with: ./scripts/down --purge && ./scripts/up"
  keep "$secrets/tenant.json" bridgectl_admin --json tenant create "$first_tenant" --out "$secrets/n8n-credential.json" || return 1
  if keep "$secrets/webhook-secret.made" webhook_secret_in "$secrets/tenant.json"; then
    mv "$secrets/webhook-secret.made" "$secrets/webhook-secret"
  elif [ ! -s "$secrets/webhook-secret" ]; then
    # It was made by a run that was interrupted, and is not shown again.
    keep "$secrets/tenant.json" as_caller "$admin_token" -f "$(daemon_url publisher)/pulsar/keys/rotate" \
      -H 'Content-Type: application/json' -d "{\"key\": \"webhook\", \"tenant_id\": \"$first_tenant\", \"overlap_seconds\": 0}"
    keep "$secrets/webhook-secret" webhook_secret_in "$secrets/tenant.json"
  fi
  rm -f "$secrets/tenant.json"
  [ -s "$secrets/n8n-credential.json" ] || renew_n8n_credential
  lets_in "$secrets/token" '/pulsar/executions?limit=1' || make_api_key
  say "tenant $first_tenant is there"
}

# A run that was interrupted made the account and did not keep its secret.
renew_n8n_credential() {
  local id
  id=$(bridgectl_admin client list --tenant "$first_tenant" | awk '$3 == "n8n" && !/revoked/ { print $1; exit }')
  [ -n "$id" ] || die "tenant $first_tenant has no account for n8n" "Start over with: ./scripts/down --purge && ./scripts/up"
  bridgectl_admin client rotate "$id" --overlap 0 --out "$state/secrets/n8n-credential.json"
}

make_api_key() {
  rm -f "$state/secrets/token"
  bridgectl_admin client create scripts/up --tenant "$first_tenant" --kind api-key \
    --scopes publish,read,payload,result,replay,routes --out "$state/secrets/token"
  wait_until 20 lets_in "$state/secrets/token" '/pulsar/executions?limit=1' ||
    die "the new API key is not taken" "See ./scripts/logs publisher"
}
