# shellcheck shell=bash
# scripts/up --observe: Jaeger, collector and Prometheus beside the bridge, and the ways to what they saw.

# In the order of their stopping.
observers=(prometheus collector jaeger)

# Asked for once, they stay until ./scripts/down --purge.
observe_wanted() { [ "${observe:-no}" = yes ] || [ -f "$parts/collector.env" ]; }

start_observers() {
  "$repo/scripts/parts" start jaeger --state "$parts"
  "$repo/scripts/parts" start collector --state "$parts"
  "$repo/scripts/parts" start prometheus --state "$parts"
}

# Of the bridge's configuration file.
observe_config() {
  observe_wanted || return 0
  cat <<TOML

[telemetry]
otlp_endpoint = "$(value_of "$parts/collector.env" OTEL_COLLECTOR_GRPC)"
jaeger_url = "$(jaeger_url "$parts")"
TOML
}

# For .bridge/env.
observe_env() {
  observe_wanted || return 0
  cat <<ENV
export BRIDGE_JAEGER_URL=$(jaeger_url "$parts")
PROMETHEUS_URL=$(prometheus_url "$parts")
$(cat "$parts/collector.env")
ENV
}

observe_targets() {
  prometheus_target "$parts" bridge-publisher "127.0.0.1:$(value_of "$state/ports" publisher)"
  prometheus_target "$parts" bridge-consumer "127.0.0.1:$(value_of "$state/ports" consumer)"
  prometheus_parts_targets "$parts"
}

# trace_of EXECUTION: the id of its newest trace, once Jaeger has it
trace_of() {
  curl -sf -m 5 -G "$(jaeger_url "$parts")/api/traces" --data-urlencode service=bridge-publisher \
    --data-urlencode "tags={\"execution.id\":\"$1\"}" -d lookback=1h -d limit=5 |
    grep -o '"traceID" *: *"[0-9a-f]*"' | head -n1 | json_text traceID
}

has_trace() { [ -n "$(trace_of "$1")" ]; }

prometheus_says() { # QUERY: the first value
  curl -sf -m 5 -G "$(prometheus_url "$parts")/api/v1/query" --data-urlencode "query=$1" |
    grep -o '"value":\[[^]]*\]' | head -n1 | sed 's/.*,"\([^"]*\)".*/\1/'
}

has_value() { [ -n "$(prometheus_says "$1")" ]; }

observe_metric='sum by (lane) (bridge_accept_to_fire_seconds_count)'

# After the demonstration: both have seen it, or say which has not.
observe_seen() {
  local ok
  ok=$(value_of "$state/demo" ok)
  wait_until 30 has_trace "$ok" || die "Jaeger has no trace of the execution $ok after 30 s" \
    "See ./scripts/logs collector jaeger, and bridge_spans_total in $(daemon_url publisher)/metrics"
  wait_until 30 has_value 'up{job="bridge-publisher"} == 1' || die "Prometheus does not reach the publisher" \
    "See $(prometheus_url "$parts")/api/v1/targets"
  wait_until 30 has_value "$observe_metric" || die "Prometheus has no $observe_metric" "See $(prometheus_url "$parts")/api/v1/targets"
}

observe_show() {
  local ok='' trace='' jaeger prometheus
  jaeger=$(jaeger_url "$parts") prometheus=$(prometheus_pages "$parts")
  if [ -f "$state/demo" ]; then ok=$(value_of "$state/demo" ok) trace=$(trace_of "$ok" || true); fi
  cat <<TEXT

Traces are in Jaeger, $jaeger; figures in Prometheus, $prometheus/graph.
TEXT
  [ -z "$trace" ] || cat <<TEXT

  the trace of the first execution above, in the terminal:  bridgectl trace $ok
  as JSON, by the query API:  $jaeger/api/traces/$trace
  (pages come with the official image of Jaeger: there it is $jaeger/trace/$trace)
TEXT
  if n8n_wanted && [ -f "$state/n8n-demo" ]; then
    printf '\n  one with its run in n8n:  bridgectl trace %s\n' "$(value_of "$state/n8n-demo" ai)"
  fi
  cat <<TEXT

  from accepted to fired, by lane:
  $prometheus/graph?g0.expr=sum%20by%20(lane)%20(bridge_accept_to_fire_seconds_count)&g0.tab=1
TEXT
}
