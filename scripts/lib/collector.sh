# shellcheck shell=bash
# A private OpenTelemetry collector: the program of jaeger.sh with otel/collector.yaml. It sends to the Jaeger of the
# same state directory.

collector_pid() { pid_of "$1/collector.pid" "$1/collector/collector.yaml"; }
collector_port() { value_of "$1/collector.ports" "$2"; }
collector_url() { value_of "$1/collector.env" OTEL_COLLECTOR_GRPC; }

# Jaeger may have another port since.
collector_is_current() {
  cmp -s "$repo/otel/collector.yaml" "$1/collector/collector.yaml" &&
    [ "$(value_of "$1/jaeger.env" JAEGER_OTLP_ENDPOINT)" = "$(cat "$1/collector/jaeger-endpoint" 2>/dev/null)" ]
}

# Its exporter of metrics answers, and both of its receivers listen.
collector_answers() {
  curl -sf -m 2 -o /dev/null "$(value_of "$1/collector.env" OTEL_COLLECTOR_METRICS)" &&
    curl -sf -m 2 -o /dev/null "http://127.0.0.1:$(collector_port "$1" self)/metrics" &&
    ! port_is_free "$(collector_port "$1" grpc)" && ! port_is_free "$(collector_port "$1" http)"
}

collector_start() {
  local state=$1
  [ -f "$state/jaeger.env" ] || die "the collector needs a Jaeger to send to" \
    "Start it first: ./scripts/parts start jaeger --state $state"
  if part_runs collector "$state"; then return 0; fi
  [ "${option[fresh]}" = no ] || part_wipe collector "$state"
  jaeger_fetch
  mkdir -p "$state/collector"
  cp "$repo/otel/collector.yaml" "$state/collector/collector.yaml"
  value_of "$state/jaeger.env" JAEGER_OTLP_ENDPOINT >"$state/collector/jaeger-endpoint"
  if ! collector_launch "$state"; then
    part_port_was_taken collector "$state" && collector_launch "$state" || part_failed collector "$state"
  fi
  part_is_up collector "$state"
}

collector_launch() {
  local state=$1 name
  for name in grpc http metrics self; do remembered_port "$state/collector.ports" "$name" >/dev/null; done
  cat >"$state/collector.env" <<ENV
OTEL_COLLECTOR_GRPC=http://127.0.0.1:$(collector_port "$state" grpc)
OTEL_COLLECTOR_HTTP=http://127.0.0.1:$(collector_port "$state" http)
OTEL_COLLECTOR_METRICS=http://127.0.0.1:$(collector_port "$state" metrics)/metrics
OTEL_COLLECTOR_SELF=http://127.0.0.1:$(collector_port "$state" self)/metrics
COLLECTOR_PROGRAM=$jaeger_program
ENV
  part_launch collector "$state" 60 env -i PATH="$PATH" HOME="$HOME" OTEL_TRACES_SAMPLER=always_off \
    OTLP_GRPC_LISTEN="127.0.0.1:$(collector_port "$state" grpc)" \
    OTLP_HTTP_LISTEN="127.0.0.1:$(collector_port "$state" http)" \
    SPAN_METRICS_LISTEN="127.0.0.1:$(collector_port "$state" metrics)" \
    COLLECTOR_METRICS_HOST=127.0.0.1 COLLECTOR_METRICS_PORT="$(collector_port "$state" self)" \
    JAEGER_OTLP_ENDPOINT="$(cat "$state/collector/jaeger-endpoint")" \
    "$jaeger_program" --config "$state/collector/collector.yaml"
}

collector_stop() { part_stop collector "$1"; }
collector_kill() { part_kill collector "$1"; }
collector_status() { part_status collector "$1"; }
