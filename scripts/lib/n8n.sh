# shellcheck shell=bash
# A private n8n: sqlite, no telemetry, no community nodes; its user folder in the state directory.

n8n_version=2.41.1

n8n_is_installed() { npm_is_installed n8n; }

# 2.4 GB, three to five minutes. sqlite's binding is compiled here: no registry has it.
n8n_install() { npm_install n8n n8n_build_sqlite; }

n8n_build_sqlite() {
  local node
  node=$(node_at_least 24)
  PATH=$(dirname "$node"):$PATH npm_config_nodedir=$(n8n_headers "$node") npm rebuild sqlite3 --foreground-scripts
}

# node's headers lie beside it: nothing has to be fetched to compile against them.
n8n_headers() { dirname "$(dirname "$(readlink -f "$1")")"; }

n8n_pid() {
  local pid
  pid=$(pid_of "$1/n8n.pid" node_modules/n8n/bin/n8n) || return 1
  # Its command line does not tell one n8n from another, its environment does.
  grep -qaF -- "N8N_USER_FOLDER=$1/n8n" "/proc/$pid/environ" && echo "$pid"
}

# Traces of every run, that of the webhook's caller being their parent.
n8n_otlp() {
  [ ! -s "$1/n8n.otlp" ] || printf '%s\n' N8N_OTEL_ENABLED=true N8N_OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf \
    "N8N_OTEL_EXPORTER_OTLP_ENDPOINT=$(cat "$1/n8n.otlp")" N8N_OTEL_EXPORTER_SERVICE_NAME=n8n
}

# n8n_command STATE ARGUMENT...: sets `command`; n8n's own command line on this state
n8n_command() {
  local state=$1 node url otlp
  shift
  node=$(node_at_least 24)
  mapfile -t otlp < <(n8n_otlp "$state")
  url=http://127.0.0.1:$(value_of "$state/n8n.ports" n8n)
  command=(env -i "PATH=$(dirname "$node"):/usr/bin:/bin" "HOME=$state/n8n" "LANG=${LANG:-C.UTF-8}"
    "N8N_USER_FOLDER=$state/n8n" "N8N_ENCRYPTION_KEY=$(cat "$state/n8n/encryption.key")"
    DB_TYPE=sqlite N8N_HOST=127.0.0.1 N8N_LISTEN_ADDRESS=127.0.0.1 N8N_PROTOCOL=http
    "N8N_PORT=$(value_of "$state/n8n.ports" n8n)" "N8N_RUNNERS_BROKER_PORT=$(value_of "$state/n8n.ports" runners)"
    "N8N_WEBHOOK_URL=$url/" N8N_SECURE_COOKIE=false N8N_METRICS=true
    N8N_COMMUNITY_PACKAGES_ENABLED=false N8N_DIAGNOSTICS_ENABLED=false N8N_VERSION_NOTIFICATIONS_ENABLED=false
    N8N_TEMPLATES_ENABLED=false N8N_PERSONALIZATION_ENABLED=false
    N8N_DISABLED_MODULES=mcp-registry N8N_LOG_LEVEL=info "${otlp[@]}"
    "$node" "$(npm_home n8n)/node_modules/n8n/bin/n8n" "$@")
}

n8n_cli() { # STATE ARGUMENT...
  local command
  n8n_command "$@"
  "${command[@]}" </dev/null
}

n8n_start() {
  local state=$1 import=${option[import]} pid port otlp
  otlp=$(cat "$state/n8n.otlp" 2>/dev/null || true)
  if pid=$(n8n_pid "$state"); then
    if [ "${option[fresh]}" = no ] && [ -z "$import" ] && [ "${option[otlp]:-$otlp}" = "$otlp" ]; then say "n8n already runs (pid $pid)"; return 0; fi
    # What is imported is in force from the next start on.
    n8n_stop "$state" >/dev/null
  fi
  [ "${option[fresh]}" = no ] || n8n_wipe "$state"
  n8n_install
  mkdir -p "$state/n8n"
  [ -z "${option[otlp]}" ] || echo "${option[otlp]}" >"$state/n8n.otlp"
  [ -s "$state/n8n/encryption.key" ] || (umask 077 && random_hex 24 >"$state/n8n/encryption.key")
  for port in n8n runners; do remembered_port "$state/n8n.ports" "$port" >/dev/null; done
  echo "N8N_URL=http://127.0.0.1:$(value_of "$state/n8n.ports" n8n)" >"$state/n8n.env"
  [ -z "$import" ] || n8n_import "$state" "$(realpath -m "$import")"
  n8n_launch "$state" || n8n_failed "$state"
  say "n8n is up on $(value_of "$state/n8n.env" N8N_URL) (pid $(cat "$state/n8n.pid"))"
}

# n8n_import STATE DIRECTORY: its credentials/*.json (data in the clear: n8n encrypts it) and workflows/*.json, these active
n8n_import() {
  local state=$1 from=$2 log=$1/n8n-import.log file id
  [ -d "$from/workflows" ] || die "there is no $from/workflows to import" "It may have credentials/*.json and workflows/*.json, as n8n exports them"
  : >"$log"
  if [ -d "$from/credentials" ]; then n8n_imports "$state" import:credentials --separate "--input=$from/credentials"; fi
  n8n_imports "$state" import:workflow --separate "--input=$from/workflows"
  for file in "$from"/workflows/*.json; do
    id=$("$(node_at_least 24)" -p 'JSON.parse(require("fs").readFileSync(process.argv[1], "utf8")).id ?? ""' "$file")
    [ -n "$id" ] || die "$file has no id" "Give it one, so that it can be made active"
    n8n_imports "$state" publish:workflow "--id=$id"
  done
}

n8n_imports() {
  local log=$1/n8n-import.log
  # n8n's commands answer 0 also when they failed: what they said counts.
  if ! n8n_cli "$@" >>"$log" 2>&1 || ! log_says "$log" 'Successfully imported [1-9]|^Publishing workflow' 5 || log_says "$log" '[Ee]rror' 5; then
    show_log "$log"
    die "n8n could not $2" "All it said: $log"
  fi
}

n8n_launch() {
  local state=$1 command
  n8n_command "$state" start
  # One start, one log: that it is ready is read there.
  : >"$state/n8n.log"
  start_detached "$state/n8n.pid" "$state/n8n.log" "${command[@]}"
  wait_until 180 n8n_settled "$state" && ! pid_gone "$(cat "$state/n8n.pid")"
}

# Its readiness route says 200 some time before the webhooks answer, and so does its log.
n8n_ready() {
  local waiting
  grep -q '^Editor is now accessible' "$1/n8n.log" &&
    curl -sf -m 2 -o /dev/null "$(value_of "$1/n8n.env" N8N_URL)/healthz/readiness" &&
    waiting=$(n8n_database "$1" unregistered) && [ -z "$waiting" ]
}

n8n_database() {
  "$(node_at_least 24)" --disable-warning=ExperimentalWarning "$repo/scripts/n8n/database.mjs" "$2" "$1/n8n/.n8n/database.sqlite"
}

n8n_settled() { pid_gone "$(cat "$1/n8n.pid")" || n8n_ready "$1"; }

n8n_failed() {
  if n8n_pid "$1" >/dev/null; then
    printf 'error: n8n did not become ready within 180 s\n' >&2
  else
    printf 'error: n8n ended while it was starting\n' >&2
  fi
  show_log "$1/n8n.log" 25
  die "n8n is not up" "Short of memory? It needs about 700 MB (free -m)." \
    "Its data may be of another try: ./scripts/parts start n8n --state $1 --fresh"
}

# One line of JSON for each execution that n8n has recorded, oldest first.
n8n_executions() {
  [ -f "$1/n8n/.n8n/database.sqlite" ] || die "there is no n8n in $1" "Start it first: ./scripts/parts start n8n --state $1"
  n8n_database "$1" executions
}

n8n_stop() {
  local pid
  pid=$(n8n_pid "$1") || { say "n8n does not run"; return 0; }
  stop_pid "$pid" TERM 60 || die "n8n (pid $pid) does not stop" "See $1/n8n.log, or: ./scripts/parts kill n8n --state $1"
  rm -f "$1/n8n.pid"
  say "n8n stopped"
}

n8n_kill() {
  local pid child children
  pid=$(n8n_pid "$1") || { say "n8n does not run"; return 0; }
  # Its task runner is a process of its own.
  read -ra children <<<"$(children_of "$pid")"
  kill -KILL "$pid" "${children[@]}" 2>/dev/null || true
  for child in "$pid" "${children[@]}"; do
    wait_until 30 pid_gone "$child" || die "process $child of n8n survives SIGKILL"
  done
  rm -f "$1/n8n.pid"
  say "n8n killed"
}

n8n_wipe() {
  rm -rf -- "$1/n8n"
  rm -f "$1"/n8n.{env,pid,log} "$1/n8n-import.log"
}

n8n_status() {
  local pid
  if pid=$(n8n_pid "$1"); then
    say "n8n       running  pid $pid  $(value_of "$1/n8n.env" N8N_URL)$(n8n_ready "$1" || echo '  NOT READY')"
  else
    say "n8n       stopped"
    return 3
  fi
}
