# shellcheck shell=bash
# A private Prometheus. Debian's package is unpacked, not installed: installed it would start a server of its own.

prometheus_home=$cache/prometheus

# prometheus_tool prometheus|promtool: the machine's own, or the one that was unpacked
prometheus_tool() {
  if [ -x "$prometheus_home/usr/bin/$1" ]; then echo "$prometheus_home/usr/bin/$1"; else command -v "$1"; fi
}

prometheus_is_there() { prometheus_tool prometheus >/dev/null && prometheus_tool promtool >/dev/null; }

prometheus_fetch() {
  prometheus_is_there && return 0
  has apt-get && has dpkg-deb || die "Prometheus is not installed, and this machine has no apt-get" \
    "Install prometheus and promtool 2.42 or later, so that they are in the PATH"
  mkdir -p "$cache"
  (
    local package
    exec 9>"$cache/.prometheus-fetch.lock"
    flock 9
    prometheus_is_there && exit 0
    say "fetching Prometheus with apt"
    rm -rf -- "$prometheus_home.new"
    mkdir -p "$prometheus_home.new"
    cd "$prometheus_home.new"
    # apt's list of packages may be older than what the mirrors still have.
    { apt-get -q download prometheus || { is_root && apt_update && apt-get -q download prometheus; }; } \
      >"$cache/prometheus-fetch.log" 2>&1 || {
      show_log "$cache/prometheus-fetch.log"
      die "apt could not fetch Prometheus" "Try: apt-get update, as root, then run this again"
    }
    # The scripts of its pages are packages of their own. Without them everything but the pages works.
    # The Alertmanager's package has what checks its configuration.
    { dpkg-deb -f prometheus_*.deb Depends | grep -oE '(libjs|fonts)-[a-z0-9.+-]+' && echo libjs-d3 prometheus-alertmanager; } |
      xargs apt-get -q download >>"$cache/prometheus-fetch.log" 2>&1 || warn "Prometheus has no pages here: see $cache/prometheus-fetch.log"
    for package in *.deb; do dpkg-deb -x "$package" .; done
    # 220 MB that no page asks for.
    rm -rf -- *.deb usr/share/doc usr/share/javascript/moment-timezone/data usr/bin/prometheus-alertmanager
    rm -rf -- "$prometheus_home"
    mv "$prometheus_home.new" "$prometheus_home"
  )
}

prometheus_pid() { pid_of "$1/prometheus.pid" "$1/prometheus/prometheus.yml"; }
prometheus_port() { value_of "$1/prometheus.ports" prometheus; }
prometheus_url() { value_of "$1/prometheus.env" PROMETHEUS_URL; }
# Debian's has its pages elsewhere.
prometheus_pages() {
  local url
  url=$(prometheus_url "$1")
  if curl -sf -m 2 -o /dev/null "$url/classic/graph"; then echo "$url/classic"; else echo "$url"; fi
}
prometheus_answers() { curl -sf -m 2 -o /dev/null "$(prometheus_url "$1")/-/ready"; }
prometheus_config() { sed -E "s/^(  (scrape|evaluation)_interval:).*/\1 $1/" "$repo/otel/prometheus.yml"; }

prometheus_is_current() {
  [ "$(prometheus_config "${option[interval]}")" = "$(cat "$1/prometheus/prometheus.yml" 2>/dev/null)" ] &&
    diff -rq "$repo/otel/rules" "$1/prometheus/rules" >/dev/null 2>&1
}

# The shipped configuration, scraping more often, beside this machine's targets instead of those of the containers.
prometheus_start() {
  local state=$1 home=$1/prometheus
  if part_runs prometheus "$state"; then return 0; fi
  [ "${option[fresh]}" = no ] || part_wipe prometheus "$state"
  prometheus_fetch
  mkdir -p "$home"/{data,targets,rules}
  prometheus_config "${option[interval]}" >"$home/prometheus.yml"
  rm -f "$home"/rules/*.yml
  if compgen -G "$repo/otel/rules/*.yml" >/dev/null; then cp "$repo"/otel/rules/*.yml "$home/rules/"; fi
  prometheus_parts_targets "$state"
  if ! prometheus_launch "$state"; then
    part_port_was_taken prometheus "$state" && prometheus_launch "$state" || part_failed prometheus "$state"
  fi
  part_is_up prometheus "$state"
}

prometheus_launch() {
  local state=$1 port program pages=()
  program=$(prometheus_tool prometheus)
  port=$(remembered_port "$state/prometheus.ports" prometheus)
  cat >"$state/prometheus.env" <<ENV
PROMETHEUS_URL=http://127.0.0.1:$port
PROMETHEUS_TARGETS=$state/prometheus/targets
PROMTOOL=$(prometheus_tool promtool)
ENV
  # A flag of Debian's.
  if [ -d "$prometheus_home/usr/share/prometheus/web" ]; then pages=(--web.local-assets="$prometheus_home/usr/share/prometheus/web/"); fi
  part_launch prometheus "$state" 60 "$program" --config.file="$state/prometheus/prometheus.yml" \
    --storage.tsdb.path="$state/prometheus/data" --storage.tsdb.retention.time=7d --storage.tsdb.retention.size=1GB \
    --web.listen-address="127.0.0.1:$port" --log.level=warn --enable-feature=exemplar-storage "${pages[@]}"
}

# prometheus_target DIR JOB ADDRESS: where it is scraped; Prometheus follows within five seconds
prometheus_target() {
  local file=$1/prometheus/targets/$2.yml
  [ -n "$3" ] || { rm -f "$file"; return 0; }
  # Renamed into its place: it is read while it is written otherwise.
  printf -- '- targets: ["%s"]\n' "$3" >"$file.$BASHPID"
  mv "$file.$BASHPID" "$file"
}

# The parts of the same state directory.
prometheus_parts_targets() {
  local state=$1 web='' n8n='' spans='' self=''
  if [ -f "$state/pulsar.ports" ]; then web=127.0.0.1:$(pulsar_port "$state" web); fi
  if [ -f "$state/n8n.env" ]; then n8n=127.0.0.1:$(value_of "$state/n8n.ports" n8n); fi
  if [ -f "$state/collector.ports" ]; then
    spans=127.0.0.1:$(collector_port "$state" metrics) self=127.0.0.1:$(collector_port "$state" self)
  fi
  prometheus_target "$state" pulsar "$web"
  prometheus_target "$state" n8n "$n8n"
  prometheus_target "$state" otel-collector "$self"
  prometheus_target "$state" span-metrics "$spans"
}

prometheus_stop() { part_stop prometheus "$1"; }
prometheus_kill() { part_kill prometheus "$1"; }
prometheus_status() { part_status prometheus "$1"; }

# --- the shipped rules ---------------------------------------------------------

# Syntax of all that is shipped, and the rules against their own tests.
prometheus_check() {
  local promtool=$1 files=()
  "$promtool" check config "$repo/otel/prometheus.yml"
  mapfile -t files < <(compgen -G "$repo/otel/rules/*.yml" || true)
  if [ ${#files[@]} -gt 0 ]; then "$promtool" check rules "${files[@]}"; else say "there are no otel/rules yet: not checked"; fi
  mapfile -t files < <(compgen -G "$repo/otel/tests/*.yml" || true)
  if [ ${#files[@]} -gt 0 ]; then "$promtool" test rules "${files[@]}"; else say "there are no otel/tests yet: not run"; fi
  if [ ! -f "$repo/otel/alertmanager.yml" ]; then
    say "there is no otel/alertmanager.yml yet: not checked"
  elif prometheus_tool amtool >/dev/null; then
    "$(prometheus_tool amtool)" check-config "$repo/otel/alertmanager.yml"
  else
    say "amtool is not here: otel/alertmanager.yml is not checked"
  fi
  # What dashboards and rules ask for is in the catalogue.
  python3 "$repo/otel/dashboards/check.py" --lint
}
