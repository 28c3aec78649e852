# shellcheck shell=bash
# A private Postgres cluster in a state directory. Never the system's own.

postgres_bin() {
  local dir=${1:+/usr/lib/postgresql/$1/bin}
  if [ -n "$dir" ] && [ -x "$dir/initdb" ]; then echo "$dir"; return 0; fi
  [ -z "${1:-}" ] || return 1
  dir=$(find /usr/lib/postgresql -maxdepth 3 -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n1)
  [ -n "$dir" ] || dir=$(command -v initdb || true)
  [ -n "$dir" ] || return 1
  dirname "$(readlink -f "$dir")"
}

# initdb and postgres refuse to run as root: then they run as the user `postgres`.
as_postgres() {
  if is_root; then
    setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
  else
    "$@"
  fi
}

postgres_user_exists() {
  is_root || return 0
  id postgres >/dev/null 2>&1 && return 0
  useradd --system --user-group --home-dir /var/lib/postgresql --shell /usr/sbin/nologin postgres ||
    die "cannot create the user postgres, which Postgres needs when it is started by root"
}

# Where the data lives: in the state directory, or, when the user `postgres` cannot reach that
# (a checkout under /root, mode 700), beside the system's state, with a link left in its place.
postgres_place() {
  local state=$1
  mkdir -p "$state"
  if [ -e "$state/postgres" ]; then readlink -f "$state/postgres"; return 0; fi
  if ! is_root || as_postgres test -x "$state"; then echo "$state/postgres"; return 0; fi
  local aside
  aside=/var/lib/bridge-dev/$(hash_of "$state")/postgres
  warn "the user postgres cannot enter $state: its data goes to $aside"
  ln -sfn "$aside" "$state/postgres"
  echo "$aside"
}

postgres_init() {
  local state=$1 data=$2 bin=$3 password secret
  password=$(random_hex 16)
  mkdir -p "$data"
  secret=$data.password
  (umask 077 && echo "$password" >"$secret")
  if is_root; then chown postgres:postgres "$data" "$secret"; fi
  as_postgres "$bin/initdb" --pgdata="$data" --username=bridge --pwfile="$secret" --auth=scram-sha-256 \
    --encoding=UTF8 --locale=C.UTF-8 >"$state/postgres.init.log" 2>&1 || {
    printf 'error: initdb failed in %s\n' "$data" >&2
    show_log "$state/postgres.init.log"
    die "no Postgres cluster" "Remove $data and try again; check the disk space with: df -h $data"
  }
  rm -f "$secret"
  (umask 077 && echo "$password" >"$state/postgres.password")
}

postgres_conf() {
  local data=$1 port=$2
  # Written each time, last one wins: the port may have changed.
  cat >"$data/postgresql.auto.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = ''   # a socket's path may be too long under a deep checkout
max_connections = 300
fsync = on
synchronous_commit = on
full_page_writes = on
max_wal_size = 2GB
log_line_prefix = '%m [%p] %d '
CONF
}

postgres_pid() {
  local data
  [ -e "$1/postgres" ] || return 1
  data=$(readlink -f "$1/postgres")
  pid_of "$data/postmaster.pid" "$data"
}

postgres_answers() {
  PGPASSWORD=$(cat "$1/postgres.password") PGCONNECT_TIMEOUT=2 \
    "$3/psql" -qAtX -h 127.0.0.1 -p "$2" -U bridge -d postgres -c 'select 1' >/dev/null 2>&1
}

postgres_ready() { # state port bin: an end is found at once, not after the deadline
  pid_gone "$(cat "$1/postgres.pid")" && return 0
  postgres_answers "$@"
}

postgres_launch() {
  local state=$1 data=$2 bin=$3 port=$4
  : >>"$state/postgres.log"
  postgres_conf "$data" "$port"
  if is_root; then
    start_detached "$state/postgres.pid" "$state/postgres.log" \
      setpriv --reuid=postgres --regid=postgres --init-groups -- "$bin/postgres" -D "$data"
  else
    start_detached "$state/postgres.pid" "$state/postgres.log" "$bin/postgres" -D "$data"
  fi
  wait_until 60 postgres_ready "$state" "$port" "$bin" && postgres_answers "$state" "$port" "$bin"
}

postgres_start() {
  local state=$1 fresh=${option[fresh]} data bin port version=''
  if pid=$(postgres_pid "$state"); then
    if [ "$fresh" = no ]; then say "postgres already runs (pid $pid)"; return 0; fi
    postgres_kill "$state"
  fi
  [ "$fresh" = no ] || postgres_wipe "$state"
  postgres_user_exists
  data=$(postgres_place "$state")
  if [ -f "$data/PG_VERSION" ]; then version=$(cat "$data/PG_VERSION"); fi
  bin=$(postgres_bin "$version") || die "no Postgres server${version:+ of version $version} is installed" \
    "Run ./scripts/up, or: apt-get install postgresql${version:+-$version}"
  [ -n "$version" ] || postgres_init "$state" "$data" "$bin"
  port=$(remembered_port "$state/postgres.ports" postgres)
  if ! postgres_launch "$state" "$data" "$bin" "$port"; then
    if log_says "$state/postgres.log" 'Address already in use' 20; then
      port=$(remembered_port "$state/postgres.ports" postgres)
      postgres_launch "$state" "$data" "$bin" "$port" || postgres_failed "$state" "$port"
    else
      postgres_failed "$state" "$port"
    fi
  fi
  postgres_database "$state" "$port" "$bin"
  (umask 077 && cat >"$state/postgres.env" <<ENV
DATABASE_URL=postgres://bridge:$(cat "$state/postgres.password")@127.0.0.1:$port/bridge
ENV
  )
  say "postgres is up on 127.0.0.1:$port (pid $(cat "$state/postgres.pid"))"
}

postgres_database() {
  local state=$1 port=$2 bin=$3
  local -x PGPASSWORD
  PGPASSWORD=$(cat "$state/postgres.password")
  local psql=("$bin/psql" -qAtX -h 127.0.0.1 -p "$port" -U bridge -d postgres)
  [ "$("${psql[@]}" -c "select 1 from pg_database where datname = 'bridge'")" = 1 ] ||
    "${psql[@]}" -c 'create database bridge' ||
    die "cannot create the database bridge" "See $state/postgres.log"
}

postgres_failed() {
  if postgres_pid "$1" >/dev/null; then
    printf 'error: Postgres did not become ready on 127.0.0.1:%s within 60 s\n' "$2" >&2
  else
    printf 'error: Postgres ended while it was starting\n' >&2
  fi
  show_log "$1/postgres.log"
  die "postgres is not up" "Its data may be of another try: ./scripts/parts start postgres --state $1 --fresh"
}

postgres_stop() {
  local pid
  pid=$(postgres_pid "$1") || { say "postgres does not run"; return 0; }
  # SIGINT is the fast shutdown: SIGTERM would wait for every client to leave.
  stop_pid "$pid" INT 60 || die "Postgres (pid $pid) does not stop" "See $1/postgres.log, or: ./scripts/parts kill postgres --state $1"
  rm -f "$1/postgres.pid"
  say "postgres stopped"
}

postgres_kill() {
  local pid child
  pid=$(postgres_pid "$1") || { say "postgres does not run"; return 0; }
  local children
  read -ra children <<<"$(children_of "$pid")"
  kill -KILL "$pid" "${children[@]}" 2>/dev/null || true
  # The next start is refused while a backend still holds the shared memory.
  for child in "$pid" "${children[@]}"; do
    wait_until 30 pid_gone "$child" || die "process $child of Postgres survives SIGKILL"
  done
  # All of them ended; the number in the lock file may still be a zombie's, which would refuse the next start.
  rm -f "$(readlink -f "$1/postgres")/postmaster.pid"
  rm -f "$1/postgres.pid"
  say "postgres killed"
}

postgres_wipe() {
  local data
  if [ -e "$1/postgres" ] || [ -L "$1/postgres" ]; then
    data=$(readlink -m "$1/postgres")
    rm -rf -- "$data"
    case $data in /var/lib/bridge-dev/*) rmdir --ignore-fail-on-non-empty "$(dirname "$data")" /var/lib/bridge-dev || true ;; esac
    rm -f "$1/postgres" 2>/dev/null || true
  fi
  rm -f "$1"/postgres.{env,pid,password,log,init.log}
}

postgres_status() {
  local pid
  if pid=$(postgres_pid "$1"); then
    say "postgres  running  pid $pid  $(sed -E 's/^DATABASE_URL=//; s#(:)[^:@]*@#\1***@#' "$1/postgres.env" 2>/dev/null)"
  else
    say "postgres  stopped"
    return 3
  fi
}
