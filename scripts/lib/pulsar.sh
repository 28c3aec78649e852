# shellcheck shell=bash
# A private Pulsar standalone in a state directory: one JVM, RocksDB metadata, one bookie.

pulsar_version=4.0.8
pulsar_sha256=35c7d064c9e0928edbf2e708989faba0379662f98aa84ce0d4190c59efb6765e
# It closes every topic that is loaded, thousands of them one by one.
pulsar_stop_limit=120
pulsar_home=$cache/pulsar/apache-pulsar-$pulsar_version

pulsar_is_fetched() { [ -f "$pulsar_home/.complete" ]; }

# By Maven, from the repository Maven is set up for; the checksum is ours.
pulsar_fetch() {
  pulsar_is_fetched && return 0
  local dir=$cache/pulsar log=$cache/pulsar-fetch.log
  local tarball=$dir/pulsar-server-distribution-$pulsar_version-bin.tar.gz
  mkdir -p "$dir"
  has mvn || die "Maven is not installed: it fetches the Pulsar distribution" "Run ./scripts/up, or: apt-get install maven"
  exec 9>"$cache/.pulsar-fetch.lock"
  flock 9
  if pulsar_is_fetched; then exec 9>&-; return 0; fi
  say "fetching Pulsar $pulsar_version (245 MB)"
  mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
    "-Dartifact=org.apache.pulsar:pulsar-server-distribution:$pulsar_version:tar.gz:bin" \
    -DoutputDirectory="$dir" >"$log" 2>&1 </dev/null || {
    printf 'error: Maven could not fetch Pulsar %s\n' "$pulsar_version" >&2
    show_log "$log"
    die "no Pulsar distribution" "Check the network and Maven's settings (proxy, mirror), then run this again"
  }
  if ! echo "$pulsar_sha256  $tarball" | sha256sum -c --quiet - >/dev/null 2>&1; then
    rm -f "$tarball"
    die "the fetched Pulsar distribution has another checksum than $pulsar_sha256" \
      "It was removed, and so should be what Maven keeps of it:" \
      "rm -r ~/.m2/repository/org/apache/pulsar/pulsar-server-distribution, then run this again"
  fi
  rm -rf "$pulsar_home"
  tar -xzf "$tarball" -C "$dir" "apache-pulsar-$pulsar_version"/{lib,LICENSE,NOTICE} ||
    die "cannot unpack $tarball" "Check the disk space with: df -h $dir (it needs 500 MB)"
  rm -f "$tarball"
  touch "$pulsar_home/.complete"
  exec 9>&-
}

pulsar_java_major() {
  java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n1
}

pulsar_conf() {
  local state=$1
  mkdir -p "$state/pulsar"
  cat >"$state/pulsar/standalone.conf" <<CONF
clusterName=standalone
brokerServicePort=$(pulsar_port "$state" broker)
webServicePort=$(pulsar_port "$state" web)
brokerServicePortTls=$(pulsar_port "$state" broker-tls)
webServicePortTls=$(pulsar_port "$state" web-tls)
bindAddress=127.0.0.1
advertisedAddress=127.0.0.1
managedLedgerDefaultEnsembleSize=1
managedLedgerDefaultWriteQuorum=1
managedLedgerDefaultAckQuorum=1
loadManagerClassName=org.apache.pulsar.broker.loadbalance.NoopLoadManager
loadBalancerEnabled=false
brokerDeleteInactiveTopicsEnabled=false
webSocketServiceEnabled=false
# Keys of the bookie. Without listeningInterface it would listen on every address.
listeningInterface=lo
# Without this the bookie's port is not the one that was asked for.
allowEphemeralPorts=true
allowLoopback=true
ledgerStorageClass=org.apache.bookkeeper.bookie.storage.ldb.DbLedgerStorage
nettyMaxFrameSizeBytes=5253120
flushInterval=60000
diskUsageThreshold=0.99
diskUsageWarnThreshold=0.99
journalSyncData=true
# A lone message is written at once instead of waiting a millisecond for company.
journalFlushWhenQueueEmpty=true
# A subscription that has caught up looks for the next message at once, not 10 ms later.
managedLedgerNewEntriesCheckDelayInMillis=0
# Policies are the namespaces'. For policies of single topics every namespace would get a topic, a reader and a writer more.
systemTopicEnabled=false
topicLevelPoliciesEnabled=false
$(pulsar_auth_conf "$state")
CONF
  cat >"$state/pulsar/log4j2.xml" <<'XML'
<Configuration status="warn">
  <Appenders><Console name="c"><PatternLayout pattern="%d{ISO8601} %-5p %t %c{1} %m%n"/></Console></Appenders>
  <Loggers><Root level="info"><AppenderRef ref="c"/></Root></Loggers>
</Configuration>
XML
}

pulsar_launch() {
  local state=$1 heap=$2 bookie=$3 major opened
  local dir=$state/pulsar jvm=()
  major=$(pulsar_java_major)
  [[ $major =~ ^[0-9]+$ ]] || major=0
  [ "$major" -ge 17 ] || die "Pulsar needs Java 17 or later, found: $major" \
    "Run ./scripts/up, or: apt-get install default-jre-headless"
  for opened in java.base/java.io java.base/java.util.zip java.base/java.nio java.base/jdk.internal.misc \
    java.base/sun.net java.management/sun.management jdk.management/com.sun.management.internal \
    java.base/jdk.internal.platform; do
    jvm+=(--add-opens "$opened=ALL-UNNAMED")
  done
  jvm+=(--enable-native-access=ALL-UNNAMED)
  if [ "$major" -ge 23 ]; then jvm+=(--sun-misc-unsafe-memory-access=allow); fi
  # C1 and the serial collector: small and quick to start. A load test takes the JVM's own choice.
  if [ "${PULSAR_FAST_JIT:-}" != 1 ]; then jvm+=(-XX:TieredStopAtLevel=1 -XX:+UseSerialGC); fi
  pulsar_conf "$state"
  # The JVM unpacks its libraries there and leaves them when it is killed.
  rm -rf -- "$dir/tmp"
  mkdir -p "$dir/tmp"
  start_detached "$state/pulsar.pid" "$state/pulsar.log" \
    java "-Xmx$heap" -XX:MaxDirectMemorySize=256m "${jvm[@]}" \
    -Djava.io.tmpdir="$dir/tmp" -Dio.netty.tryReflectionSetAccessible=true -Djava.net.preferIPv4Stack=true \
    -Dlog4j2.is.webapp=false -Dlog4j.shutdownHookEnabled=false \
    -Dlog4j.configurationFile="$dir/log4j2.xml" \
    -Dbookkeeper.metadata.bookie.drivers=org.apache.pulsar.metadata.bookkeeper.PulsarMetadataBookieDriver \
    -Dbookkeeper.metadata.client.drivers=org.apache.pulsar.metadata.bookkeeper.PulsarMetadataClientDriver \
    -cp "$pulsar_home/lib/*" org.apache.pulsar.PulsarStandaloneStarter \
    --config "$dir/standalone.conf" --no-functions-worker --no-stream-storage \
    --metadata-dir "$dir/data/meta" --bookkeeper-dir "$dir/data/bk" --bookkeeper-port "$bookie" -a 127.0.0.1
  wait_until 120 pulsar_ready "$state" && pulsar_healthy "$state"
}

pulsar_healthy() {
  local token url
  token=$(pulsar_token_file "$1" bridge-admin)
  url=http://127.0.0.1:$(pulsar_port "$1" web)/admin/v2/brokers/health
  # The token by a file of curl's own: the command line is everybody's to read.
  [ "$(curl -s -m 2 -K - "$url" 2>/dev/null <<<"header = \"Authorization: Bearer $(cat "$token")\"")" = ok ]
}

pulsar_ready() { # an end is found at once, not after the deadline
  pulsar_pid "$1" >/dev/null || return 0
  pulsar_healthy "$1"
}

pulsar_pid() { pid_of "$1/pulsar.pid" "$1/pulsar/standalone.conf"; }

pulsar_start() {
  local state=$1 fresh=${option[fresh]} heap=${option[heap]} pid
  if pid=$(pulsar_pid "$state"); then
    if [ "$fresh" = no ]; then say "pulsar already runs (pid $pid)"; return 0; fi
    pulsar_kill "$state"
  fi
  [ "$fresh" = no ] || pulsar_wipe "$state"
  has java || die "Java is not installed: Pulsar needs it" "Run ./scripts/up, or: apt-get install default-jre-headless"
  has curl || die "curl is not installed" "Run ./scripts/up, or: apt-get install curl"
  pulsar_fetch
  if pulsar_bookie_port_is_lost "$state"; then
    die "port $(pulsar_bookie_port "$state") is busy, and the broker's data in $state/pulsar is bound to it" \
      "Free it (ss -ltnp shows who has it), or start without that data: ./scripts/parts start pulsar --state $state --fresh" \
      "Executions live in Postgres: their timers publish what is still due again."
  fi
  mkdir -p "$state/pulsar/data"
  pulsar_make_keys "$state"
  pulsar_take_issuer "$state" "${option[oidc]}" "${option[audience]}"
  if ! pulsar_start_on_ports "$state" "$heap"; then
    log_says "$state/pulsar.log" 'Address already in use|BindException' 200 || pulsar_failed "$state"
    pulsar_kill "$state" >/dev/null
    pulsar_start_on_ports "$state" "$heap" || pulsar_failed "$state"
  fi
  say "pulsar is up on $(sed -n 's/^PULSAR_SERVICE_URL=//p' "$state/pulsar.env") (pid $(cat "$state/pulsar.pid"))"
}

# The bookie's port is written into its data: with that data no other will do.
pulsar_bookie_port() {
  local port
  port=$(sed -n 's/^bookieHost: ".*:\([0-9]*\)"$/\1/p' "$1/pulsar/data/bk/current/VERSION" 2>/dev/null)
  [ -n "$port" ] && echo "$port"
}

pulsar_bookie_port_is_lost() {
  local port
  port=$(pulsar_bookie_port "$1") || return 1
  ! pulsar_pid "$1" >/dev/null && ! port_is_free "$port"
}

pulsar_port() { sed -n "s/^$2=//p" "$1/pulsar.ports"; }

pulsar_start_on_ports() {
  local state=$1 name bookie
  for name in broker web broker-tls web-tls; do remembered_port "$state/pulsar.ports" "$name" >/dev/null; done
  bookie=$(pulsar_bookie_port "$state") || bookie=$(remembered_port "$state/pulsar.ports" bookie)
  pulsar_env "$state" >"$state/pulsar.env"
  pulsar_launch "$state" "$2" "$bookie"
}

pulsar_env() {
  cat <<ENV
PULSAR_SERVICE_URL=pulsar://127.0.0.1:$(pulsar_port "$1" broker)
PULSAR_HTTP_URL=http://127.0.0.1:$(pulsar_port "$1" web)
PULSAR_TLS_URL=pulsar+ssl://127.0.0.1:$(pulsar_port "$1" broker-tls)
PULSAR_HTTPS_URL=https://127.0.0.1:$(pulsar_port "$1" web-tls)
PULSAR_CA_FILE=$(pulsar_keys "$1")/ca.pem
PULSAR_SECRET_KEY_FILE=$(pulsar_keys "$1")/secret.key
PULSAR_ADMIN_TOKEN_FILE=$(pulsar_token_file "$1" bridge-admin)
PULSAR_PUBLISHER_TOKEN_FILE=$(pulsar_token_file "$1" bridge-publisher)
PULSAR_CONSUMER_TOKEN_FILE=$(pulsar_token_file "$1" bridge-consumer)
ENV
}

pulsar_failed() {
  if pulsar_pid "$1" >/dev/null; then
    printf 'error: Pulsar did not become healthy within 120 s\n' >&2
  else
    printf 'error: Pulsar ended while it was starting\n' >&2
  fi
  show_log "$1/pulsar.log" 25
  die "pulsar is not up" "Short of memory? It needs about 400 MB (free -m)." \
    "Its data may be of another try: ./scripts/parts start pulsar --state $1 --fresh"
}

pulsar_stop() {
  local pid
  pid=$(pulsar_pid "$1") || { say "pulsar does not run"; return 0; }
  stop_pid "$pid" TERM "$pulsar_stop_limit" || die "Pulsar (pid $pid) does not stop within $pulsar_stop_limit s" "See $1/pulsar.log, or: ./scripts/parts kill pulsar --state $1"
  rm -f "$1/pulsar.pid"
  say "pulsar stopped"
}

pulsar_kill() {
  local pid
  pid=$(pulsar_pid "$1") || { say "pulsar does not run"; return 0; }
  stop_pid "$pid" KILL 30 || die "Pulsar (pid $pid) survives SIGKILL"
  rm -f "$1/pulsar.pid"
  say "pulsar killed"
}

pulsar_wipe() {
  rm -rf -- "$1/pulsar"
  rm -f "$1"/pulsar.{env,pid,log}
}

pulsar_status() {
  local pid
  if pid=$(pulsar_pid "$1"); then
    say "pulsar    running  pid $pid  $(sed -n 's/^PULSAR_SERVICE_URL=//p' "$1/pulsar.env")$(pulsar_healthy "$1" || echo '  NOT HEALTHY')"
  else
    say "pulsar    stopped"
    return 3
  fi
}
