# shellcheck shell=bash
# What the simple parts have in common: one process each, its configuration copied into DIR/NAME/, ready when
# NAME_answers says so. A part brings NAME_pid, NAME_answers, NAME_url, and NAME_is_current: whether the one that runs
# has the configuration of now.

# part_launch NAME DIR SECONDS COMMAND...: ready, or 1
part_launch() {
  local name=$1 state=$2 limit=$3
  shift 3
  # One start, one log: what a start that failed said is not taken for this one's.
  : >"$state/$name.log"
  start_detached "$state/$name.pid" "$state/$name.log" "$@"
  wait_until "$limit" part_settled "$name" "$state" && "${name}_answers" "$state"
}

part_settled() { pid_gone "$(cat "$2/$1.pid")" || "${1}_answers" "$2"; }

part_port_was_taken() { log_says "$2/$1.log" 'address already in use' 50; }

part_failed() {
  local name=$1 state=$2
  if "${name}_pid" "$state" >/dev/null; then
    printf 'error: %s did not become ready\n' "$name" >&2
  else
    printf 'error: %s ended while it was starting\n' "$name" >&2
  fi
  show_log "$state/$name.log" 25
  die "$name is not up" "Its configuration: $state/$name; its log: $state/$name.log" \
    "Its data may be of another try: ./scripts/parts start $name --state $state --fresh"
}

# part_runs NAME DIR: says so and is true when it runs already and may go on; else it is stopped, or does not run
part_runs() {
  local name=$1 state=$2 pid
  pid=$("${name}_pid" "$state") || return 1
  if [ "${option[fresh]}" = no ] && "${name}_is_current" "$state"; then say "$name already runs (pid $pid)"; return 0; fi
  part_stop "$name" "$state" >/dev/null
  return 1
}

part_is_up() { say "$1 is up on $("${1}_url" "$2") (pid $(cat "$2/$1.pid"))"; }

part_stop() {
  local name=$1 state=$2 pid
  pid=$("${name}_pid" "$state") || { say "$name does not run"; return 0; }
  stop_pid "$pid" TERM 30 || die "$name (pid $pid) does not stop within 30 s" \
    "See $state/$name.log, or: ./scripts/parts kill $name --state $state"
  rm -f "$state/$name.pid"
  say "$name stopped"
}

part_kill() {
  local name=$1 state=$2 pid
  pid=$("${name}_pid" "$state") || { say "$name does not run"; return 0; }
  stop_pid "$pid" KILL 10 || die "$name (pid $pid) survives SIGKILL"
  rm -f "$state/$name.pid"
  say "$name killed"
}

part_wipe() {
  rm -rf -- "${2:?}/$1"
  rm -f "$2/$1".{env,pid,log}
}

part_status() {
  local name=$1 state=$2 pid
  if pid=$("${name}_pid" "$state"); then
    printf '%-9s running  pid %s  %s%s\n' "$name" "$pid" "$("${name}_url" "$state")" \
      "$("${name}_answers" "$state" || echo '  DOES NOT ANSWER')"
  else
    printf '%-9s stopped\n' "$name"
    return 3
  fi
}
