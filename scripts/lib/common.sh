# shellcheck shell=bash
# What every script shares: messages, ports, processes. Sourced, never run.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck disable=SC2034 # used by the files that source this one
cache=${BRIDGE_CACHE:-$repo/.bridge/cache}

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }

# die WHAT [WHY OR WHAT TO DO]...
die() {
  printf 'error: %s\n' "$1" >&2
  shift
  local line
  for line in "$@"; do printf '       %s\n' "$line" >&2; done
  exit 1
}

# show_log FILE [LINES]: the end of a log, indented, for a failure's message
show_log() {
  [ -s "$1" ] || { printf '       (%s is empty)\n' "$1" >&2; return 0; }
  printf '       last lines of %s:\n' "$1" >&2
  tail -n "${2:-20}" "$1" | cut -c1-1000 | sed 's/^/       | /' >&2
}

has() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }
random_hex() { od -An -v -tx1 -N "$1" /dev/urandom | tr -d ' \n'; }
hash_of() { printf '%s' "$1" | sha256sum | cut -c1-12; }

# wait_until SECONDS COMMAND...: asks every tenth of a second; 1 when the time is over
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# value_of FILE NAME: of a line NAME=value
value_of() { sed -n "s/^$2=//p" "$1"; }

# --- ports -----------------------------------------------------------------

# Listeners (state 0A) in the kernel's table: works without ss or lsof, and sees listeners on every address.
port_is_free() {
  local hex
  printf -v hex '%04X' "$1"
  ! grep -Eqi "^ *[0-9]+: [0-9A-F]+:$hex [0-9A-F]+:[0-9A-F]+ 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# Below 32768, where the kernel starts to hand out ports to outgoing connections.
free_port() {
  local port try
  for try in {1..200}; do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    port_is_free "$port" && { echo "$port"; return 0; }
  done
  die "no free port between 20000 and 32000 after $try tries" "See what listens with: ss -ltn"
}

# remembered_port FILE NAME: the port of last time, or a new one when there is none or it is busy
remembered_port() {
  local file=$1 name=$2 port=''
  [ -f "$file" ] && port=$(sed -n "s/^$name=\([0-9]*\)$/\1/p" "$file")
  if [ -n "$port" ] && port_is_free "$port"; then echo "$port"; return 0; fi
  local fresh
  fresh=$(free_port)
  [ -z "$port" ] || warn "port $port ($name) is busy: taking $fresh instead"
  [ -f "$file" ] && sed -i "/^$name=/d" "$file"
  echo "$name=$fresh" >>"$file"
  echo "$fresh"
}

# log_says FILE PATTERN LINES: whether the end of a log holds PATTERN
log_says() { grep -Eq -- "$2" <<<"$(tail -n "$3" "$1" 2>/dev/null)"; }

# need_space GIB WHAT: a full disk shows late and oddly, for example as a broker that answers nothing any more
need_space() {
  local free
  free=$(df --output=avail -BG "$repo" | tail -n1 | tr -dc '0-9')
  [ "$free" -ge "$1" ] || die "$2 needs $1 GiB of disk, and $repo has $free GiB free" \
    "Make room first: the largest are mostly target/ and .bridge/ of this checkout and of others"
}

# --- processes -------------------------------------------------------------

# pid_of PIDFILE NEEDLE: the pid, only when that process lives and its command line holds NEEDLE.
# A pid file may outlive its process, and the number may belong to somebody else by now.
pid_of() {
  local pid
  [ -f "$1" ] || return 1
  pid=$(head -n1 "$1")
  [[ $pid =~ ^[0-9]+$ ]] && [ -r "/proc/$pid/cmdline" ] || return 1
  grep -qaF -- "$2" "/proc/$pid/cmdline" 2>/dev/null || return 1
  echo "$pid"
}

# A zombie has ended too: in a container its parent may never collect it. But while other threads
# of it still leave, its ports are still taken.
pid_gone() {
  local tasks=("/proc/$1/task/"*)
  [ ! -d "/proc/$1" ] && return 0
  [ "${#tasks[@]}" -le 1 ] && grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}

children_of() { cat "/proc/$1/task/$1/children" 2>/dev/null || true; }

# start_detached PIDFILE LOG COMMAND...: own session, so that Ctrl-C in the terminal does not reach it;
# without the scripts' locks (descriptors 7 to 9), which it would hold for as long as it lives
start_detached() {
  local pidfile=$1 log=$2
  shift 2
  setsid "$@" >>"$log" 2>&1 </dev/null 7>&- 8>&- 9>&- &
  local pid=$!
  echo "$pid" >"$pidfile"
  disown
  # Until it has become the command, `pid_of` would take it for gone.
  wait_until 10 has_become_another "$pid"
}

has_become_another() { [ ! -e "/proc/$1/exe" ] || ! [ "/proc/$1/exe" -ef "/proc/$BASHPID/exe" ]; }

# stop_pid PID SIGNAL SECONDS: 1 when it is still there after that time
stop_pid() {
  kill "-$2" "$1" 2>/dev/null || true
  wait_until "$3" pid_gone "$1"
}
