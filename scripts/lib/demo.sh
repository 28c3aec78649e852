# shellcheck shell=bash
# Three executions to look at.

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
