# shellcheck shell=bash
# The bridge itself under .bridge/: keys, configuration, daemons.

state=$repo/.bridge
logs=$state/logs
parts=$state/parts
config=$state/bridge.toml
daemons=(publisher endpoint consumer)
admin_token=$state/admin.token
first_tenant=dealscale

target_dir() {
  cargo metadata --no-deps --offline --format-version 1 --manifest-path "$repo/Cargo.toml" 2>/dev/null |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

build_bridge() {
  cd "$repo"
  # Never against a database that happens to be named in the environment.
  SQLX_OFFLINE=true CARGO_TERM_COLOR=never cargo build --profile quick --locked \
    -p bridge-publisher -p bridge-consumer -p bridgectl -p bridge-bench
}

# The daemons read DATABASE_URL, PULSAR_* and BRIDGE_* from the environment: what the caller's
# shell happens to hold must not send them to another database or broker.
clean() { env -i PATH="$PATH" HOME="$HOME" LANG="${LANG:-C.UTF-8}" "$@"; }

# --- keys and configuration ---------------------------------------------------

secret_file() { # FILE COMMAND...: made once, readable by its owner only
  local file=$1
  shift
  [ -s "$file" ] || (umask 077 && "$@" >"$file")
}

new_keyring() {
  local kid
  kid=$(date -u +%Y-%m)
  printf 'signing = "%s"\n\n[[keys]]\nkid = "%s"\ncreated = %s\nalg = "HS256"\nsecret = "%s"\n' \
    "$kid" "$kid" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(openssl rand -base64 32)"
}

new_master_keys() { printf '%s:%s\n' "$(date -u +%Y-%m)" "$(openssl rand -base64 32)"; }

make_secrets() {
  mkdir -p -m 700 "$state/secrets"
  secret_file "$state/secrets/keyring.toml" new_keyring
  secret_file "$state/secrets/master.keys" new_master_keys
}

daemon_port() { # NAME: a running daemon keeps its port, any other gets a free one
  if daemon_pid "$1" >/dev/null; then
    sed -n "s/^$1=//p" "$state/ports"
  else
    remembered_port "$state/ports" "$1"
  fi
}

bridge_config() {
  local publisher=$1 consumer=$2 endpoint=$3 n8n=$4
  cat <<TOML
# Written by scripts/up; every key: crates/service/config.default.toml
[database]
url = "$(value_of "$parts/postgres.env" DATABASE_URL)"

[pulsar]
service_url = "$(value_of "$parts/pulsar.env" PULSAR_SERVICE_URL)"
http_url = "$(value_of "$parts/pulsar.env" PULSAR_HTTP_URL)"

[signing]
keyring_file = "$state/secrets/keyring.toml"

[encryption]
master_keys_file = "$state/secrets/master.keys"

[publisher]
bind = "127.0.0.1:$publisher"
public_url = "http://127.0.0.1:$publisher"

[consumer]
bind = "127.0.0.1:$consumer"

[webhook]
default_url = "http://127.0.0.1:$endpoint/webhook/{workflow_id}"
n8n_base_url = "$n8n"
TOML
  observe_config
}

# Two workflows that fail, with retries short enough to watch, and those of the n8n of --n8n, one for each lane.
demo_routes() {
  local lane
  cat <<YAML
# Written by scripts/up; applied with: bridgectl route apply -f .bridge/routes.yml
workflows:
  flaky:
    retry: { max_attempts: 3, base_ms: 200, factor: 2.0, max_ms: 2000 }
  broken:
    retry: { max_attempts: 2, base_ms: 100, factor: 2.0, max_ms: 1000 }
YAML
  [ -n "$1" ] || return 0
  for lane in "${lanes[@]}"; do
    printf '  n8n-%s:\n    webhook_url: %s/webhook/n8n-%s\n    lane: %s\n' "$lane" "$1" "$lane" "$lane"
  done
}

apply_routes() {
  demo_routes "$(n8n_url)" >"$state/routes.yml"
  bridgectl route apply -f "$state/routes.yml"
}

bridge_env() {
  cat <<ENV
# source this: what curl, bridgectl and the setup scripts need to reach the bridge of scripts/up
export BRIDGE_URL=$(daemon_url publisher)
export BRIDGE_TOKEN=$(cat "$state/secrets/token" 2>/dev/null)
export BRIDGE_TOKEN_ADMIN_FILE=$admin_token
export BRIDGE_CONFIG=$config
export BRIDGE_PULSAR__ADMIN_TOKEN_FILE=$(value_of "$parts/pulsar.env" PULSAR_ADMIN_TOKEN_FILE)
export PULSAR_SECRET_KEY_FILE=$(value_of "$parts/pulsar.env" PULSAR_SECRET_KEY_FILE)
export PULSAR_TOKENS_DIR=$state/pulsar-tokens
CONSUMER_URL=$(daemon_url consumer)
ENDPOINT_URL=$(daemon_url endpoint)
N8N_URL=$(n8n_url)
$(observe_env)
RECEIVED=$state/received.jsonl
export PATH=$bin:\$PATH
ENV
}

# Sets config_changed: a daemon that runs with another configuration has to be started again.
write_config() {
  local publisher consumer endpoint fresh
  publisher=$(daemon_port publisher) consumer=$(daemon_port consumer) endpoint=$(daemon_port endpoint)
  fresh=$(bridge_config "$publisher" "$consumer" "$endpoint" "$(n8n_url)")
  config_changed=no
  if [ "$fresh" != "$(cat "$config" 2>/dev/null)" ]; then
    config_changed=yes
    (umask 077 && printf '%s\n' "$fresh" >"$config")
  fi
  write_env
}

write_env() { (umask 077 && bridge_env >"$state/env"); }

# --- daemons --------------------------------------------------------------------

daemon_needle() { case $1 in endpoint) echo "$state/received.jsonl" ;; *) echo "bridge-$1" ;; esac; }

daemon_pid() {
  local pid
  pid=$(pid_of "$state/$1.pid" "$(daemon_needle "$1")") || return 1
  # Another checkout's daemon has the same name: ours has our configuration in its command line.
  grep -qaF -- "$state/" "/proc/$pid/cmdline" && echo "$pid"
}

daemon_url() { echo "http://127.0.0.1:$(value_of "$state/ports" "$1")"; }

daemon_is_outdated() { # its binary was built again since it started
  [[ $(readlink "/proc/$1/exe") == *'(deleted)' ]]
}

daemon_start() {
  local name=$1 pid
  if pid=$(daemon_pid "$name"); then
    if [ "$config_changed" = no ] && ! daemon_is_outdated "$pid"; then say "$name already runs (pid $pid)"; return 0; fi
    daemon_stop "$name"
  fi
  case $name in
    endpoint)
      # As `clean` would, but `env` would have the secret on its command line.
      (
        while read -r exported; do
          case $exported in PATH | HOME) ;; *) export -n "${exported?}" ;; esac
        done < <(compgen -e)
        BRIDGE_ENDPOINT_SECRET=$(cat "$state/secrets/webhook-secret")
        export BRIDGE_ENDPOINT_SECRET
        start_detached "$state/endpoint.pid" "$logs/endpoint.log" \
          "$bin/bridge-bench" endpoint --bind "127.0.0.1:$(value_of "$state/ports" endpoint)" --record "$state/received.jsonl"
      )
      ;;
    *)
      start_detached "$state/$name.pid" "$logs/$name.log" env -i PATH="$PATH" HOME="$HOME" LANG="${LANG:-C.UTF-8}" \
        PULSAR_AUTH_TOKEN_FILE="$(value_of "$parts/pulsar.env" "PULSAR_${name^^}_TOKEN_FILE")" \
        "$bin/bridge-$name" --config "$config"
      ;;
  esac
  wait_until 60 daemon_settled "$name" && daemon_ready "$name" || daemon_failed "$name"
  say "$name is up on $(daemon_url "$name") (pid $(cat "$state/$name.pid"))"
}

daemon_ready() {
  case $1 in
    endpoint) ! port_is_free "$(value_of "$state/ports" endpoint)" ;;
    *) curl -sf -m 2 -o /dev/null "$(daemon_url "$1")/health/ready" ;;
  esac
}

daemon_settled() { pid_gone "$(cat "$state/$1.pid")" || daemon_ready "$1"; }

daemon_failed() {
  local pid
  if pid=$(daemon_pid "$1"); then
    printf 'error: %s (pid %s) runs, but is not ready after 60 s; its own words:\n' "$1" "$pid" >&2
    curl -s -m 5 "$(daemon_url "$1")/health/ready" >&2 || true
    printf '\n' >&2
  else
    printf 'error: %s ended while it was starting\n' "$1" >&2
  fi
  show_log "$logs/$1.log" 20
  die "$1 is not up" "Its configuration: $config" "Start over with: ./scripts/down --purge && ./scripts/up"
}

daemon_stop() {
  local pid
  pid=$(daemon_pid "$1") || { rm -f "$state/$1.pid"; say "$1 does not run"; return 0; }
  # The consumer may take 90 s for webhooks that hang.
  stop_pid "$pid" TERM 100 || { warn "$1 (pid $pid) does not stop after 100 s: SIGKILL"; stop_pid "$pid" KILL 10; }
  rm -f "$state/$1.pid"
  say "$1 stopped"
}

# The publisher runs by then: the tenant was made through it.
start_daemons() { daemon_start endpoint && daemon_start consumer; }

bridgectl() {
  clean BRIDGE_URL="$(daemon_url publisher)" BRIDGE_TOKEN_FILE="$state/secrets/token" "$bin/bridgectl" "$@"
}

# The administrator's, who also knows the database and the broker.
bridgectl_admin() {
  clean BRIDGE_URL="$(daemon_url publisher)" BRIDGE_TOKEN_FILE="$admin_token" \
    BRIDGE_PULSAR__ADMIN_TOKEN_FILE="$(value_of "$parts/pulsar.env" PULSAR_ADMIN_TOKEN_FILE)" \
    "$bin/bridgectl" --config "$config" "$@"
}

migrate() { bridgectl_admin migrate; }
