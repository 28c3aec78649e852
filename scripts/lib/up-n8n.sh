# shellcheck shell=bash
# scripts/up --n8n: an n8n with the first tenant's credential, a workflow that publishes, and one for each lane that
# the bridge fires.

lanes=(short long ai analytics)
n8n_owner=owner@bridge.test

# Asked for once, it stays until ./scripts/down --purge.
n8n_wanted() { [ "${n8n:-no}" = yes ] || [ -f "$parts/n8n.env" ]; }

n8n_url() {
  n8n_wanted || return 0
  if ! n8n_pid "$parts" >/dev/null; then remembered_port "$parts/n8n.ports" n8n >/dev/null; fi
  echo "http://127.0.0.1:$(value_of "$parts/n8n.ports" n8n)"
}

# By bash itself: what sed shall put in would be on its command line.
fill_in() { # FILE CREDENTIAL
  local text url id secret
  text=$(cat "$1")
  url=$(daemon_url publisher)
  id=$(grep -oE 'svc_[a-z0-9]{12}' "$2" | head -n1)
  secret=$(grep -oE 'nps_[A-Za-z0-9_-]{43}' "$2" | head -n1)
  text=${text//__BRIDGE_URL__/"$url"}
  text=${text//__CLIENT_ID__/"$id"}
  text=${text//__CLIENT_SECRET__/"$secret"}
  printf '%s\n' "$text" >"$1"
}

# What it imports: the workflow "caller" of the tests with the tenant's own credential, and n8n-LANE for each lane.
n8n_import_files() { # DIRECTORY
  local file lane number=1
  rm -rf -- "$1"
  mkdir -p "$1"/{credentials,workflows}
  cp "$repo/tests/n8n/credentials/bridge-oauth2.json" "$1/credentials/"
  cp "$repo/tests/n8n/workflows/caller.json" "$1/workflows/"
  for file in "$1"/*/*.json; do fill_in "$file" "$state/secrets/n8n-credential.json"; done
  for lane in "${lanes[@]}"; do
    sed "s/__LANE__/$lane/g; s/__NUMBER__/000$number/g" "$repo/scripts/n8n/workflows/lane.json" >"$1/workflows/n8n-$lane.json"
    number=$((number + 1))
  done
}

start_n8n() {
  local import=$parts/n8n-import flags=()
  # Its OpenTelemetry is on in any case: to our collector, or to whichever is at the usual place; none there does no harm.
  if observe_wanted; then
    flags+=(--otlp "$(value_of "$parts/collector.env" OTEL_COLLECTOR_HTTP)")
  else
    flags+=(--otlp http://127.0.0.1:4318)
  fi
  (umask 077 && n8n_import_files "$import.new")
  if diff -rq "$import" "$import.new" >/dev/null 2>&1; then
    rm -rf -- "$import.new"
    "$repo/scripts/parts" start n8n --state "$parts" "${flags[@]}"
  else
    "$repo/scripts/parts" start n8n --state "$parts" "${flags[@]}" --import "$import.new"
    rm -rf -- "$import"
    mv "$import.new" "$import"
  fi
  n8n_make_owner
}

# n8n's first visitor would make the owner: it is made here, with a password that only this machine's user can read.
n8n_make_owner() {
  local url password=$state/secrets/n8n-password
  url=$(n8n_url)
  curl -sf -m 10 "$url/rest/settings" | grep -q '"showSetupOnFirstLoad":true' || return 0
  # Its rule: eight characters, a digit, a capital letter.
  secret_file "$password" printf 'Bridge-%s' "$(random_hex 12)"
  (umask 077 && printf '{"email":"%s","firstName":"Bridge","lastName":"Owner","password":"%s"}' \
    "$n8n_owner" "$(cat "$password")" >"$password.json")
  curl -sf -m 20 -o /dev/null -X POST "$url/rest/owner/setup" -H 'Content-Type: application/json' -d "@$password.json" ||
    warn "n8n did not take its owner: it asks its first visitor to make one"
  rm -f "$password.json"
}

# An execution for each lane, each a run in n8n.
n8n_demo() {
  local lane id
  : >"$state/n8n-demo"
  for lane in "${lanes[@]}"; do
    id=$(publish_one "n8n-$lane")
    expect_state "$id" succeeded
    echo "$lane=$id" >>"$state/n8n-demo"
  done
}

n8n_show() {
  cat <<TEXT

n8n is at $(n8n_url); log in as $n8n_owner with the password in .bridge/secrets/n8n-password.
Each lane has a workflow there: n8n-short, n8n-long, n8n-ai, n8n-analytics. Publish to one of them from a workflow of n8n:

  curl -s $(n8n_url)/webhook/caller -H "Content-Type: application/json" \\
    -d '{"workflow_id": "n8n-ai", "payload": {"lead": 42}}'
TEXT
}
