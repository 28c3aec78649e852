# shellcheck shell=bash
# Steps with progress: begin NAME COMMAND... runs in the background, finish NAME HINT... waits for it.
# A script that sources this sets $logs to the directory of the steps' output.

declare -A step_pid=() step_since=()
step_summary=()

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }
seconds_since() { printf '%d.%d' $((($(now_ms) - $1) / 1000)) $((($(now_ms) - $1) % 1000 / 100)); }

begin() {
  local name=$1
  shift
  rm -f "$logs/$name.code"
  # stdout is kept for a reader, stdin is closed: nothing may wait for an answer here. The exit code goes to a file: a
  # shell forgets a child's when another child gets the same pid, which happens within a long build.
  (
    trap 'echo $? >"$logs/$name.code"' EXIT
    ("$@")
  ) >"$logs/$name.log" 2>&1 </dev/null &
  step_pid[$name]=$!
  step_since[$name]=$(now_ms)
}

# finish NAME HINT...: waits, says how it went; a failure ends the script
finish() {
  local name=$1 took code=0
  shift
  step_wait "$name" || code=$?
  took=$(seconds_since "${step_since[$name]}")
  unset "step_pid[$name]"
  if [ "$code" -eq 0 ]; then
    step_line "$name" "$(printf '%6s s' "$took")"
    step_summary+=("$(printf '%-12s %6s s' "$name" "$took")")
    return 0
  fi
  step_line "$name" "$(printf '%6s s  FAILED' "$took")"
  printf '\nerror: the step "%s" failed (exit code %s)\n' "$name" "$code" >&2
  show_log "$logs/$name.log" 25
  die "stopped at: $name" "$@" "All of its output: $logs/$name.log"
}

step() {
  local name=$1 hint=$2
  shift 2
  begin "$name" "$@"
  finish "$name" "$hint"
}

step_line() {
  if [ -t 1 ]; then printf '\r\033[K'; fi
  printf '  %-12s %s\n' "$1" "$2"
}

# On a terminal one line that moves; elsewhere a line every 15 seconds.
step_wait() {
  local name=$1 pid=${step_pid[$1]} ticks=0 last code
  while ! pid_gone "$pid"; do
    sleep 0.2
    ticks=$((ticks + 1))
    if [ -t 1 ] && [ $((ticks % 5)) -eq 0 ]; then
      last=$(step_last_line "$name")
      printf '\r\033[K  %-12s %6s s  %.60s' "$name" "$(seconds_since "${step_since[$name]}")" "$last"
    elif [ ! -t 1 ] && [ $((ticks % 75)) -eq 0 ]; then
      printf '  %-12s %6s s  ... %.60s\n' "$name" "$(seconds_since "${step_since[$name]}")" "$(step_last_line "$name")"
    fi
  done
  # Killed, it has written none.
  code=$(cat "$logs/$name.code" 2>/dev/null) || code=137
  return "$code"
}

step_last_line() { tail -c 400 "$logs/$1.log" 2>/dev/null | tr '\r' '\n' | sed '/^ *$/d; s/\x1b\[[0-9;]*[A-Za-z]//g; s/^ *//' | tail -n1; }

kill_tree() {
  local child
  for child in $(children_of "$1"); do kill_tree "$child"; done
  kill "$1" 2>/dev/null || true
}

# For a trap: what was begun and not finished ends with the script. Daemons have left the tree by then.
stop_steps() {
  local name
  for name in "${!step_pid[@]}"; do kill_tree "${step_pid[$name]}"; done
}
