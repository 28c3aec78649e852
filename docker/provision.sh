#!/usr/bin/env bash
# Sets up a new bridge from within its compose: `provision schema` before the publisher starts, `provision tenant` behind
# it. Each may run as often as you like.
set -euo pipefail
umask 027

credentials=${CREDENTIALS_DIR:-/credentials}
import=${N8N_IMPORT_DIR:-/n8n-import}
share=${SHARE_DIR:-/usr/share/bridge/n8n}
tenant=${PULSAR_TENANT:-dealscale}

fail() {
  printf 'error: %s\n       %s\n' "$1" "$2" >&2
  exit 1
}

# The schema, the key that signs access tokens, the first administrator.
schema() {
  local again=()
  bridgectl migrate
  # Its file was lost, or the run that made it was interrupted: another one.
  [ -s "$credentials/admin.token" ] || again=(--force)
  rm -f "$credentials/admin.token.new"
  bridgectl admin bootstrap "${again[@]}" --out "$credentials/admin.token.new"
  if [ -s "$credentials/admin.token.new" ]; then mv "$credentials/admin.token.new" "$credentials/admin.token"; fi
}

# The first tenant with its topics, the account for n8n, an API key for people.
first_tenant() {
  export BRIDGE_TOKEN_FILE=$credentials/admin.token
  [ -s "$BRIDGE_TOKEN_FILE" ] || fail "there is no administrator's token in $BRIDGE_TOKEN_FILE" "Run the step before: provision schema"
  bridgectl --json tenant create "$tenant" --out "$credentials/n8n.json" >"$credentials/tenant.json.new"
  if grep -q whsec_ "$credentials/tenant.json.new"; then
    # With the secret that signs what webhooks receive; it is shown this once.
    mv "$credentials/tenant.json.new" "$credentials/tenant.json"
  else
    rm -f "$credentials/tenant.json.new"
  fi
  [ -s "$credentials/n8n.json" ] || renew_account
  if [ ! -s "$credentials/token" ]; then
    bridgectl client create compose --tenant "$tenant" --kind api-key \
      --scopes publish,read,payload,result,replay,routes --out "$credentials/token"
  fi
  # Its executions show that every lane delivers (canary.enabled).
  bridgectl tenant create bridge-canary --no-client >/dev/null
  prepare_import
  echo "tenant $tenant is there"
}

# A run that was interrupted made the account and did not keep its secret.
renew_account() {
  local id
  id=$(bridgectl client list --tenant "$tenant" | awk '$3 == "n8n" && !/revoked/ { print $1; exit }')
  [ -n "$id" ] || fail "tenant $tenant has no account for n8n" "Make one: bridgectl client create n8n --tenant $tenant"
  bridgectl client rotate "$id" --overlap 0 --out "$credentials/n8n.json"
}

# What n8n imports: the account as its credential, a workflow that publishes and one that is fired.
prepare_import() {
  local id secret text
  id=$(grep -oE 'svc_[a-z0-9]{12}' "$credentials/n8n.json" | head -n1)
  secret=$(grep -oE 'nps_[A-Za-z0-9_-]{43}' "$credentials/n8n.json" | head -n1)
  mkdir -p "$import/credentials" "$import/workflows"
  text=$(cat "$share/credentials/bridge-oauth2.json")
  text=${text//__BRIDGE_URL__/"$BRIDGE_URL"}
  text=${text//__CLIENT_ID__/"$id"}
  printf '%s\n' "${text//__CLIENT_SECRET__/"$secret"}" >"$import/credentials/bridge-oauth2.json"
  text=$(cat "$share/workflows/caller.json")
  printf '%s\n' "${text//__BRIDGE_URL__/"$BRIDGE_URL"}" >"$import/workflows/caller.json"
  cp "$share/workflows/receiver.json" "$import/workflows/receiver.json"
}

case ${1:-} in
  schema) schema ;;
  tenant) first_tenant ;;
  *) echo "usage: provision schema|tenant" >&2; exit 64 ;;
esac
