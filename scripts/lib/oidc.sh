# shellcheck shell=bash
# An OAuth 2 issuer of its own: an outside party whose tokens the bridge takes, and at which the daemons can log in
# for the broker. What it can do is said at the head of scripts/oidc/server.mjs.

oidc_audience=https://bridge.test
oidc_pulsar_audience=urn:pulsar

oidc_pid() { pid_of "$1/oidc.pid" "$1/oidc/server.json"; }
oidc_url() { value_of "$1/oidc.env" OIDC_ISSUER; }
# Its configuration is written at each start, and is always the same.
oidc_is_current() { true; }

oidc_start() {
  local state=$1 node home
  if part_runs oidc "$state"; then return 0; fi
  [ "${option[fresh]}" = no ] || part_wipe oidc "$state"
  npm_install oidc
  node=$(node_at_least 20) home=$(npm_home oidc)
  oidc_configure "$state"
  # Modules are looked for beside the file that names them.
  ln -sfn "$home/node_modules" "$state/oidc/node_modules"
  cp "$repo/scripts/oidc/server.mjs" "$state/oidc/"
  part_launch oidc "$state" 30 "$node" "$state/oidc/server.mjs" "$state/oidc/server.json" || part_failed oidc "$state"
  part_is_up oidc "$state"
}

# Clients of each kind that a test needs; their secrets are made once.
oidc_configure() {
  local state=$1 port secret
  mkdir -p "$state/oidc"
  port=$(remembered_port "$state/oidc.ports" oidc)
  secret=$(value_of "$state/oidc.env" OIDC_CLIENT_SECRET 2>/dev/null) || true
  [ -n "$secret" ] || secret=$(random_hex 16)
  (
    umask 077
    oidc_env "$state" "$port" "$secret" >"$state/oidc.env"
    printf '%s' "$secret" >"$state/oidc/client-secret"
    oidc_config "$port" "$secret" >"$state/oidc/server.json"
  )
}

oidc_config() {
  cat <<JSON
{
  "port": $1,
  "audience": "$oidc_audience",
  "clients": [
    { "id": "outside-client", "secret": "$2", "scope": "publish read payload result replay routes admin", "tenant": "outside" },
    { "id": "other-client", "secret": "$2", "scope": "publish read", "tenant": "other" },
    { "id": "many-client", "secret": "$2", "scope": "publish read", "tenant": ["outside", "other"] },
    { "id": "no-tenant-client", "secret": "$2", "scope": "publish read" },
    { "id": "bridge-publisher", "secret": "$2", "scope": "pulsar" },
    { "id": "bridge-consumer", "secret": "$2", "scope": "pulsar" },
    { "id": "short-publisher", "secret": "$2", "scope": "pulsar", "ttl": 4, "subject": "bridge-publisher" },
    { "id": "short-consumer", "secret": "$2", "scope": "pulsar", "ttl": 4, "subject": "bridge-consumer" }
  ]
}
JSON
}

oidc_env() {
  cat <<ENV
OIDC_ISSUER=http://127.0.0.1:$2
OIDC_TOKEN_URL=http://127.0.0.1:$2/token
OIDC_AUDIENCE=$oidc_audience
OIDC_TENANT=outside
OIDC_CLIENT_ID=outside-client
OIDC_CLIENT_SECRET=$3
OIDC_CLIENT_SECRET_FILE=$1/oidc/client-secret
OIDC_OTHER_TENANT=other
OIDC_OTHER_CLIENT_ID=other-client
OIDC_MANY_CLIENT_ID=many-client
OIDC_NO_TENANT_CLIENT_ID=no-tenant-client
OIDC_PULSAR_AUDIENCE=$oidc_pulsar_audience
OIDC_PULSAR_PUBLISHER_CLIENT_ID=bridge-publisher
OIDC_PULSAR_CONSUMER_CLIENT_ID=bridge-consumer
OIDC_PULSAR_SHORT_PUBLISHER_CLIENT_ID=short-publisher
OIDC_PULSAR_SHORT_CONSUMER_CLIENT_ID=short-consumer
ENV
}

oidc_answers() { curl -sf -m 2 -o /dev/null "$(oidc_url "$1")/.well-known/openid-configuration"; }

oidc_stop() { part_stop oidc "$1"; }
oidc_kill() { part_kill oidc "$1"; }
oidc_status() { part_status oidc "$1"; }
