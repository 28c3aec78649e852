# shellcheck shell=bash
# The bridge itself under .bridge/: keys, configuration, daemons, three executions to look at.

state=$repo/.bridge
logs=$state/logs
parts=$state/parts
config=$state/bridge.toml
daemons=(endpoint publisher consumer)

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
  printf 'signing = "%s"\n\n[[keys]]\nkid = "%s"\nalg = "HS256"\nsecret = "%s"\n' "$kid" "$kid" "$(openssl rand -base64 32)"
}

new_webhook_secret() { printf 'whsec_%s\n' "$(openssl rand -base64 32)"; }

make_secrets() {
  mkdir -p "$state/secrets"
  secret_file "$state/secrets/keyring.toml" new_keyring
  secret_file "$state/secrets/token" openssl rand -hex 24
  secret_file "$state/secrets/webhook-secret" new_webhook_secret
}

daemon_port() { # NAME: a running daemon keeps its port, any other gets a free one
  if daemon_pid "$1" >/dev/null; then
    sed -n "s/^$1=//p" "$state/ports"
  else
    remembered_port "$state/ports" "$1"
  fi
}

value_of() { sed -n "s/^$2=//p" "$1"; }

bridge_config() {
  local publisher=$1 consumer=$2 endpoint=$3
  cat <<TOML
# Written by scripts/up; every key: crates/service/config.default.toml
[database]
url = "$(value_of "$parts/postgres.env" DATABASE_URL)"

[pulsar]
service_url = "$(value_of "$parts/pulsar.env" PULSAR_SERVICE_URL)"
http_url = "$(value_of "$parts/pulsar.env" PULSAR_HTTP_URL)"

[signing]
keyring_file = "$state/secrets/keyring.toml"

[publisher]
bind = "127.0.0.1:$publisher"
public_url = "http://127.0.0.1:$publisher"

[consumer]
bind = "127.0.0.1:$consumer"

[webhook]
default_url = "http://127.0.0.1:$endpoint/webhook/{workflow_id}"

[[tenants]]
id = "dealscale"
api_token_file = "$state/secrets/token"
webhook_secrets = ["$(cat "$state/secrets/webhook-secret")"]

# Two workflows that fail, with retries short enough to watch.
[[routes]]
tenant = "dealscale"
workflow = "flaky"
retry = { max_attempts = 3, base_ms = 200, factor = 2.0, max_ms = 2000 }

[[routes]]
tenant = "dealscale"
workflow = "broken"
retry = { max_attempts = 2, base_ms = 100, factor = 2.0, max_ms = 1000 }
TOML
}

bridge_env() {
  cat <<ENV
# source this: what curl and bridgectl need to reach the bridge of scripts/up
export BRIDGE_URL=http://127.0.0.1:$1
export BRIDGE_TOKEN=$(cat "$state/secrets/token")
export BRIDGE_CONFIG=$config
CONSUMER_URL=http://127.0.0.1:$2
ENDPOINT_URL=http://127.0.0.1:$3
RECEIVED=$state/received.jsonl
export PATH=$bin:\$PATH
ENV
}

# Sets config_changed: a daemon that runs with another configuration has to be started again.
write_config() {
  local publisher consumer endpoint fresh
  publisher=$(daemon_port publisher) consumer=$(daemon_port consumer) endpoint=$(daemon_port endpoint)
  fresh=$(bridge_config "$publisher" "$consumer" "$endpoint")
  config_changed=no
  if [ "$fresh" != "$(cat "$config" 2>/dev/null)" ]; then
    config_changed=yes
    (umask 077 && printf '%s\n' "$fresh" >"$config")
  fi
  (umask 077 && bridge_env "$publisher" "$consumer" "$endpoint" >"$state/env")
}

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
      start_detached "$state/endpoint.pid" "$logs/endpoint.log" env -i PATH="$PATH" HOME="$HOME" \
        BRIDGE_ENDPOINT_SECRET="$(cat "$state/secrets/webhook-secret")" \
        "$bin/bridge-bench" endpoint --bind "127.0.0.1:$(value_of "$state/ports" endpoint)" --record "$state/received.jsonl"
      ;;
    *)
      start_detached "$state/$name.pid" "$logs/$name.log" env -i PATH="$PATH" HOME="$HOME" LANG="${LANG:-C.UTF-8}" \
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

start_daemons() { local name; for name in "${daemons[@]}"; do daemon_start "$name"; done; }

bridgectl() {
  clean BRIDGE_URL="$(daemon_url publisher)" BRIDGE_TOKEN="$(cat "$state/secrets/token")" "$bin/bridgectl" "$@"
}

migrate() { clean "$bin/bridgectl" --config "$config" migrate; }

provision() { clean BRIDGE_CONFIG="$config" BRIDGECTL="$bin/bridgectl" "$repo/scripts/setup-pulsar-topics.sh"; }

# --- three executions -------------------------------------------------------------

json_text() { sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p" | head -n1; }

publish_one() { # WORKFLOW: prints the execution's id
  local answer
  answer=$(bridgectl --json publish --workflow "$1" --payload "{\"lead\": 42, \"asked_for\": \"$1\"}") || return 1
  grep -o '"execution_id" *: *"[^"]*"' <<<"$answer" | head -n1 | json_text execution_id
}

state_of() {
  local answer
  answer=$(bridgectl --json execution show "$1" 2>/dev/null) || return 1
  grep -oE '"(state|status)" *: *"[a-z_]*"' <<<"$answer" | head -n1 | sed 's/.*"\([a-z_]*\)"$/\1/'
}

is_in_state() { [ "$(state_of "$1")" = "$2" ]; }

expect_state() {
  wait_until 30 is_in_state "$1" "$2" && return 0
  printf 'error: execution %s is "%s" after 30 s; it should be "%s"\n' "$1" "$(state_of "$1")" "$2" >&2
  bridgectl execution show "$1" >&2 || true
  show_log "$logs/consumer.log" 15
  die "the demonstration failed" "See ./scripts/status and ./scripts/logs"
}

demo_run() { # leaves the ids in $state/demo
  local ok flaky broken again
  curl -sf -m 5 -o /dev/null -X POST "$(daemon_url endpoint)/break"
  ok=$(publish_one ok) flaky=$(publish_one flaky) broken=$(publish_one broken)
  expect_state "$ok" succeeded
  expect_state "$flaky" succeeded
  expect_state "$broken" dead_lettered
  curl -sf -m 5 -o /dev/null -X POST "$(daemon_url endpoint)/mend"
  again=$(bridgectl --json dlq replay "$broken" | grep -o '"execution_id" *: *"[^"]*"' | head -n1 | json_text execution_id)
  expect_state "$again" succeeded
  printf 'ok=%s\nflaky=%s\nbroken=%s\nagain=%s\n' "$ok" "$flaky" "$broken" "$again" >"$state/demo"
}

demo_one() {
  printf '\n%s\n' "$1"
  bridgectl execution show "$(value_of "$state/demo" "$2")" | sed 's/^/    /'
}

demo_show() {
  demo_one "1. An execution that succeeds at once" ok
  demo_one "2. Its webhook answers 503 first: it is retried and succeeds" flaky
  demo_one "3. Its webhook answers 500 each time: it is dead-lettered ..." broken
  demo_one "   ... and, the webhook being mended, replayed as a new execution" again
}
