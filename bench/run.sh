#!/usr/bin/env bash
# Measures the bridge against what the same Postgres does in the same run, and accounts for every id.
# Prints one table; the run's files stay in .bridge/bench/run. Takes about eight minutes after the build.
#
#   BRIDGE_BENCH_PROFILE   cargo profile (release)
#   BRIDGE_BENCH_SECONDS   length of each closed-loop phase (10)
#   BRIDGE_BENCH_TENANTS   tenants of phase D, which compares many to one (1000)
#   BRIDGE_BENCH_HISTORY   executions of phase E, which compares look-ups among them to those among 10,000 (10000000;
#                          they take about a kilobyte each)
#   BRIDGE_BENCH_PHASES    which phases to run (ABCDF); on top come E, which takes minutes and gigabytes, and G, which needs
#                          Jaeger (built at its first use)
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib/common.sh"
# shellcheck source=scripts/lib/postgres.sh
. "$repo/scripts/lib/postgres.sh"

profile=${BRIDGE_BENCH_PROFILE:-release}
seconds=${BRIDGE_BENCH_SECONDS:-10}
tenants=${BRIDGE_BENCH_TENANTS:-1000}
history=${BRIDGE_BENCH_HISTORY:-10000000}
phases=${BRIDGE_BENCH_PHASES:-ABCDF}
state=$repo/.bridge/bench
out=$state/run
bin=${CARGO_TARGET_DIR:-$repo/target}/${profile/#dev/debug}
# A bound in number too: a fast machine must not fill the disk.
most=400000

step() { printf '[%3ds] %s\n' "$SECONDS" "$*"; }

build() {
  step "building ($profile)"
  (cd "$repo" && cargo build --locked --quiet --profile "$profile" \
    -p bridge-publisher -p bridge-consumer -p bridgectl -p bridge-bench) || die "the build failed"
  SECONDS=0
}

start_parts() {
  step "starting Postgres and Pulsar (data synced to disk in both)"
  "$repo/scripts/parts" start postgres --state "$state" --fresh >"$out/parts.log" 2>&1 ||
    die "Postgres did not start" "$(tail -n 20 "$out/parts.log")"
  PULSAR_FAST_JIT=1 "$repo/scripts/parts" start pulsar --state "$state" --fresh --heap 1g >>"$out/parts.log" 2>&1 ||
    die "Pulsar did not start" "$(tail -n 20 "$out/parts.log")"
  # shellcheck disable=SC1091 # written by scripts/parts
  . "$state/postgres.env" && . "$state/pulsar.env"
}

configure() {
  publisher=$(remembered_port "$state/bench.ports" publisher)
  consumer=$(remembered_port "$state/bench.ports" consumer)
  endpoint=$(remembered_port "$state/bench.ports" endpoint)
  url=http://127.0.0.1:$publisher
  (
    umask 077
    printf 'signing = "bench"\n\n[[keys]]\nkid = "bench"\nalg = "HS256"\nsecret = "%s"\n' \
      "$(head -c 32 /dev/urandom | base64 -w0)" >"$out/keyring.toml"
    printf 'bench:%s\n' "$(head -c 32 /dev/urandom | base64 -w0)" >"$out/master.keys"
    cat >"$out/bridge.toml" <<TOML
[database]
url = "$DATABASE_URL"

[pulsar]
service_url = "$PULSAR_SERVICE_URL"
http_url = "$PULSAR_HTTP_URL"

[signing]
keyring_file = "$out/keyring.toml"

[publisher]
bind = "127.0.0.1:$publisher"

[consumer]
bind = "127.0.0.1:$consumer"

[webhook]
default_url = "http://127.0.0.1:$endpoint/webhook/{workflow_id}"

[encryption]
master_keys_file = "$out/master.keys"
TOML
  )
  # A clean environment: names that the caller's shell has set must not change what is measured.
  plain=(env -i "PATH=$PATH" "HOME=$HOME")
  bridgectl migrate
  bridgectl admin bootstrap --out "$out/admin.token"
}

bridgectl() {
  "${plain[@]}" BRIDGE_URL="$url" BRIDGE_TOKEN_FILE="$out/admin.token" \
    BRIDGE_PULSAR__ADMIN_TOKEN_FILE="$PULSAR_ADMIN_TOKEN_FILE" \
    "$bin/bridgectl" --config "$out/bridge.toml" "$@" >>"$out/setup.log" 2>&1 ||
    die "bridgectl $* failed" "$(tail -n 20 "$out/setup.log")"
}

# start NAME COMMAND...: remembers the pid in a variable of that name
start() {
  local name=$1
  shift
  start_detached "$state/$name.pid" "$out/$name.log" "${plain[@]}" "$@"
}

pid() { head -n1 "$state/$1.pid"; }

answers() { curl -sf -m 2 -o "$out/health" "$1"; }

start_consumer() {
  start consumer env PULSAR_AUTH_TOKEN_FILE="$PULSAR_CONSUMER_TOKEN_FILE" "$bin/bridge-consumer" --config "$out/bridge.toml"
  wait_until 30 answers "http://127.0.0.1:$consumer/health/ready" || {
    show_log "$out/consumer.log"
    die "the consumer is not ready" "$(curl -s -m 2 "http://127.0.0.1:$consumer/health/ready" || true)"
  }
}

# start_publisher NAME=VALUE...: with these in its environment
start_publisher() {
  start publisher env PULSAR_AUTH_TOKEN_FILE="$PULSAR_PUBLISHER_TOKEN_FILE" "$@" "$bin/bridge-publisher" --config "$out/bridge.toml"
  wait_until 30 answers "$url/health/ready" || {
    show_log "$out/publisher.log"
    die "the publisher is not ready" "$(curl -s -m 2 "$url/health/ready" || true)"
  }
}

start_bridge() {
  step "starting endpoint, publisher and consumer"
  start endpoint "$bin/bridge-bench" endpoint --bind "127.0.0.1:$endpoint" --ids "$out/seen.ids"
  start_publisher
  bridgectl tenant create dealscale --no-client
  bridgectl client create bench --tenant dealscale --kind api-key --scopes publish,read,result --out "$out/token"
  token=$(cat "$out/token")
  start_consumer
  sample idle publisher consumer
}

# probe NAME URL: asks beside the load that comes next; the process is $probing
probe() {
  "$bin/bridge-bench" probe --url "$2" --duration "$seconds" --json "$out/probe-$1.json" >"$out/probe-$1.txt" 2>&1 &
  probing=$!
}

sample() {
  local name=$1 part processes=()
  shift
  for part in "$@"; do processes+=(--process "$part=$(pid "$part")"); done
  "$bin/bridge-bench" sample "${processes[@]}" --out "$out/$name.json"
}

sample_all() { sample "$1" publisher consumer postgres pulsar endpoint; }

commits() {
  local pg
  pg=$(postgres_bin) || die "pgbench is not installed"
  step "Postgres alone: single-row 1 KB INSERTs, 64 clients for $seconds s, then 1 client for 5 s"
  "$pg/psql" -qX "$DATABASE_URL" -c \
    'create table baseline (id uuid primary key default gen_random_uuid(), body text not null)'
  echo "insert into baseline (body) values (repeat(md5(random()::text), 32));" >"$out/insert.sql"
  "$pg/pgbench" -n -M prepared -f "$out/insert.sql" -c 64 -j 2 -T "$seconds" "$DATABASE_URL" >"$out/pgbench-64.txt" 2>&1
  "$pg/pgbench" -n -M prepared -f "$out/insert.sql" -c 1 -T 5 "$DATABASE_URL" >"$out/pgbench-1.txt" 2>&1
  "$pg/psql" -qX "$DATABASE_URL" -c 'drop table baseline'
}

load() {
  local name=$1
  shift
  BRIDGE_TOKEN=$token "$bin/bridge-bench" load --url "$url" --count "${count:-$most}" --ids "$out/$name.ids" \
    --json "$out/$name.json" "$@" | sed "s/^/       /"
}

# verify NAME ACCEPTED...: the report at the end says what is missing
verify() {
  local name=$1 file files=()
  shift
  for file in "$@"; do files+=(--accepted "$out/$file.ids"); done
  BRIDGE_TOKEN=$token "$bin/bridge-bench" verify "${files[@]}" --seen "$out/seen.ids" --url "$url" --wait 60 \
    --json "$out/$name-verify.json" >"$out/$name-verify.txt" || warn "not every id of $name is accounted for"
  head -n1 "$out/$name-verify.txt" | sed "s/^/       /"
}

measure_accepting() {
  step "A: publish only, the consumer stopped: 64, then 256 connections, $seconds s each"
  stop_pid "$(pid consumer)" TERM 100 || die "the consumer does not stop"
  load accept-64 --connections 64 --duration "$seconds"
  probe accept "$url"
  load accept-256 --connections 256 --duration "$seconds"
  wait "$probing" || die "the publisher's metrics or health did not answer" "$(cat "$out/probe-accept.txt")"
  step "the consumer drains what was accepted"
  start_consumer
  verify accept accept-64 accept-256
}

measure_chain() {
  step "B: publish and fire, 64 connections, $seconds s and until all are fired"
  sample_all before-chain
  probe chain "$url"
  local publishers=$probing
  probe chain-consumer "http://127.0.0.1:$consumer"
  load chain --connections 64 --duration "$seconds"
  local asked
  for asked in "$publishers" "$probing"; do
    wait "$asked" || die "metrics or health did not answer" "$(cat "$out"/probe-chain*.txt)"
  done
  verify chain chain
  sample_all after-chain
}

measure_open_loop() {
  step "C: 200 a second for 20 s, each due at its own time"
  sample_all before-open
  load open --connections 32 --rate 200 --duration 20
  verify open open
  sample_all after-open
}

# The same load by one tenant and spread over many, in turn, so that what else the machine does hits both: first
# published only, then published and fired.
measure_tenants() {
  local since=$SECONDS n
  step "D: making $tenants tenants"
  {
    printf 'defaults:\n  clients:\n    - { name: bench, kind: api_key, scopes: [publish, read] }\ntenants:\n'
    for ((n = 1; n <= tenants; n++)); do echo "  - id: bench-$n"; done
  } >"$out/tenants.yml"
  bridgectl tenant apply --file "$out/tenants.yml" --out "$out/tenants"
  echo "$((SECONDS - since))" >"$out/tenants.seconds"
  (umask 077 && grep -rhoE 'npb_[a-z0-9]{12}_[A-Za-z0-9_-]{43}' "$out/tenants" >"$out/tokens")
  step "D: $(wc -l <"$out/tokens") tenants in $((SECONDS - since)) s; 64 connections, one tenant and all of them in turn, twice $seconds s each, the consumer stopped"
  stop_pid "$(pid consumer)" TERM 100 || die "the consumer does not stop"
  # Each tenant's producer is opened at its first message, and that is not what is compared.
  count=$((2 * tenants)) load first --connections 64 --tokens "$out/tokens"
  in_turn accept
  start_consumer
  verify tenants first accept-one-1 accept-many-1 accept-one-2 accept-many-2
  step "D: the same, published and fired"
  in_turn chain
  verify tenants-chain chain-one-1 chain-many-1 chain-one-2 chain-many-2
}

# The same questions among 10,000 executions and among many more, thirty days of them.
measure_history() {
  local few=10000
  bridgectl tenant create history-0 --no-client
  bridgectl client create look --tenant history-0 --kind api-key --scopes read --out "$out/look.token"
  echo "$few and $history" >"$out/history.sizes"
  # All of them one tenant's, so that its lists fill their pages: a row costs what it costs among many too.
  seed "$few" 1
  look few
  seed "$((history - few))" 100
  look many
}

seed() { # NUMBER TENANTS
  step "E: seeding $1 executions of $2 tenants"
  "$(postgres_bin)/psql" -qX -v ON_ERROR_STOP=1 -v "count=$1" -v "tenants=$2" -v days=30 -v prefix=history- "$DATABASE_URL" \
    -f "$repo/bench/history.sql" >>"$out/setup.log" 2>&1 || die "seeding failed" "$(tail -n 5 "$out/setup.log")"
}

look() {
  step "E: statuses and lists"
  "$(postgres_bin)/psql" -qXAt "$DATABASE_URL" -c "select id from (select id from executions
    where tenant_id = 'history-0' limit 100000) e order by random() limit 1000" >"$out/look.ids"
  BRIDGE_TOKEN=$(cat "$out/look.token") "$bin/bridge-bench" look --url "$url" --ids "$out/look.ids" \
    --json "$out/look-$1.json" | sed "s/^/       /"
}

measure_waiters() {
  step "F: 5,000 callers wait for the results of 1,000 executions"
  stop_pid "$(pid consumer)" TERM 100 || die "the consumer does not stop"
  count=1000 load waited --connections 32
  BRIDGE_TOKEN=$token "$bin/bridge-bench" wait --url "$url" --accepted "$out/waited.ids" --pid "$(pid publisher)" \
    --measured "$out/wait-rest.json" --json "$out/wait.json" >"$out/wait.txt" 2>&1 &
  local waiting=$!
  wait_until 60 test -e "$out/wait-rest.json" || die "the callers were not measured" "$(cat "$out/wait.txt")"
  start_consumer
  wait "$waiting" || die "the callers got no answers" "$(cat "$out/wait.txt")"
  sed "s/^/       /" "$out/wait.txt"
  verify waited waited
}

# Published only, in turn: without traces; with all of them sent to the endpoint, which throws them away and stands for a
# collector on another machine; with all of them kept by a collector and a Jaeger on the same processors.
measure_tracing() {
  local round part
  step "G: published without traces and with all of them, in turn, $seconds s each, the consumer stopped"
  stop_pid "$(pid consumer)" TERM 100 || die "the consumer does not stop"
  "$bin/bridge-bench" spans --json "$out/spans-off.json" | sed "s/^/       /"
  for round in 1 2 3; do
    traced off "$round"
    traced on "$round" OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:$endpoint"
  done
  curl -s -m 5 "$url/metrics" -o "$out/traced.metrics"
  for part in jaeger collector; do
    "$repo/scripts/parts" start "$part" --state "$state" --fresh >>"$out/parts.log" 2>&1 || die "$part did not start" "$(tail -n 20 "$out/parts.log")"
  done
  # shellcheck disable=SC1091 # written by scripts/parts
  . "$state/collector.env"
  traced beside 1 "OTEL_EXPORTER_OTLP_ENDPOINT=$OTEL_COLLECTOR_GRPC"
  start_consumer
  verify traced {warm,trace}-{off,on}-{1,2,3} {warm,trace}-beside-1
  # What comes after is measured without.
  stop_pid "$(pid publisher)" TERM 100 || die "the publisher does not stop"
  start_publisher
  stop_tracing
}

stop_tracing() {
  local part
  for part in collector jaeger; do
    [ ! -s "$state/$part.env" ] || "$repo/scripts/parts" stop "$part" --state "$state" >>"$out/parts.log" 2>&1 || true
  done
}

traced() { # off|on|beside ROUND NAME=VALUE...
  stop_pid "$(pid publisher)" TERM 100 || die "the publisher does not stop"
  start_publisher "${@:3}"
  # Connections, statements and caches come to be outside of what is compared.
  count=2000 load "warm-$1-$2" --connections 64
  sample "before-trace-$1-$2" publisher
  load "trace-$1-$2" --connections 64 --duration "$seconds"
  sample "after-trace-$1-$2" publisher
}

in_turn() {
  local round
  for round in 1 2; do
    load "$1-one-$round" --connections 64 --duration "$seconds"
    load "$1-many-$round" --connections 64 --duration "$seconds" --tokens "$out/tokens"
  done
}

measure() {
  case $phases in *A*) measure_accepting ;; esac
  case $phases in *B*) measure_chain ;; esac
  case $phases in *C*) measure_open_loop ;; esac
  sample after publisher consumer
  case $phases in *F*) measure_waiters ;; esac
  case $phases in *G*) measure_tracing ;; esac
  case $phases in *E*) measure_history ;; esac
  # Last: a broker with thousands of topics is another broker.
  case $phases in *D*) measure_tenants ;; esac
}

finish() {
  local code=$? part part_pid
  curl -s -m 5 "$url/metrics" -o "$out/publisher.metrics" || true
  curl -s -m 5 "http://127.0.0.1:$consumer/metrics" -o "$out/consumer.metrics" || true
  for part in publisher consumer endpoint; do
    part_pid=$(pid_of "$state/$part.pid" "$bin/") && kill -TERM "$part_pid" 2>/dev/null
    rm -f "$state/$part.pid"
  done
  stop_tracing
  "$repo/scripts/parts" stop pulsar --state "$state" >>"$out/parts.log" 2>&1 || true
  "$repo/scripts/parts" stop postgres --state "$state" >>"$out/parts.log" 2>&1 || true
  [ "$code" = 0 ] || warn "the run ended early; its files are in $out"
}

# A fault is told in one line.
export RUST_BACKTRACE=0
# Phase F opens 5,000 connections.
ulimit -Sn "$(ulimit -Hn)"
build
rm -rf "$out"
mkdir -p "$out"
url='' consumer=0 count=''
trap finish EXIT
start_parts
configure
commits
start_bridge
measure
step "done"
echo
"$bin/bridge-bench" report --dir "$out"
