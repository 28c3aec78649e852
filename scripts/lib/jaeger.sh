# shellcheck shell=bash
# A private Jaeger that keeps its spans on disk (badger). One program is both Jaeger and the collector of collector.sh:
# it is built from its Go module, which no registry has as a binary. The plain build has the whole query API, and a
# placeholder where the official image has the pages.

jaeger_version=1.76.0
jaeger_module=github.com/jaegertracing/jaeger
jaeger_sum=h1:sWCOOF1dr+NL0PLil7mFo3BqqQL8k4WiM7aguFbc14g=
jaeger_home=$cache/jaeger/$jaeger_version
jaeger_program=$jaeger_home/jaeger

jaeger_is_built() { [ -x "$jaeger_program" ]; }

# Seven minutes on two cores, 2 GB of disk meanwhile, 85 MB afterwards.
jaeger_fetch() {
  local log=$cache/jaeger-build.log work=$cache/jaeger/build
  jaeger_is_built && return 0
  mkdir -p "$jaeger_home"
  (
    exec 9>"$cache/.jaeger-build.lock"
    flock 9
    jaeger_is_built && exit 0
    local go
    go=$(go_install)
    need_space 5 "building Jaeger"
    say "building Jaeger $jaeger_version with $("$go" version | cut -d' ' -f3)"
    mkdir -p "$work"
    jaeger_build "$go" "$work" >"$log" 2>&1 </dev/null || {
      show_log "$log"
      die "Jaeger $jaeger_version could not be built" \
        "Check the network and Go's settings (GOPROXY, GOSUMDB), then run this again: what was compiled is kept"
    }
    mv "$work/jaeger" "$jaeger_program"
    # With the Go that came by pip, if one did: nothing else needs it.
    rm -rf -- "$work" "$cache/go"
  )
}

# `go install` refuses a module whose go.mod replaces others: its own go.mod and go.sum, with one requirement more.
jaeger_build() {
  local go=$1 work=$2 from sum
  export GOTOOLCHAIN=local GOFLAGS='-buildvcs=false -trimpath -mod=mod -modcacherw' CGO_ENABLED=0
  export GOMODCACHE=$work/modules GOCACHE=$work/compiled GOWORK=off
  unset GOOS GOARCH GOBIN
  cd "$work" || return 1
  rm -f go.mod go.sum tools.go
  "$go" mod download -json "$jaeger_module@v$jaeger_version" >module.json || return 1
  sum=$(jaeger_module_field Sum) from=$(jaeger_module_field Dir)
  [ "$sum" = "$jaeger_sum" ] || { echo "the module has the checksum $sum instead of $jaeger_sum"; return 1; }
  sed 's#^module .*#module local/jaeger#' "$from/go.mod" >go.mod
  echo "require $jaeger_module v$jaeger_version" >>go.mod
  cp "$from/go.sum" go.sum
  chmod u+w go.sum
  printf '//go:build tools\n\npackage tools\n\nimport _ "%s/cmd/jaeger"\n' "$jaeger_module" >tools.go
  nice -n 10 "$go" build -ldflags '-s -w' -o jaeger "$jaeger_module/cmd/jaeger"
}

jaeger_module_field() { sed -n "s/^\t\"$1\": \"\(.*\)\",\{0,1\}$/\1/p" module.json; }


jaeger_pid() { pid_of "$1/jaeger.pid" "$1/jaeger/jaeger.yaml"; }
jaeger_port() { value_of "$1/jaeger.ports" "$2"; }
jaeger_url() { value_of "$1/jaeger.env" JAEGER_QUERY_URL; }
jaeger_is_current() { cmp -s "$repo/otel/jaeger.yaml" "$1/jaeger/jaeger.yaml"; }

jaeger_answers() {
  curl -sf -m 2 -o /dev/null "http://127.0.0.1:$(jaeger_port "$1" health)/status" &&
    curl -sf -m 2 -o /dev/null "$(jaeger_url "$1")/api/services"
}

jaeger_start() {
  local state=$1
  if part_runs jaeger "$state"; then return 0; fi
  [ "${option[fresh]}" = no ] || part_wipe jaeger "$state"
  jaeger_fetch
  mkdir -p "$state/jaeger/badger"
  cp "$repo/otel/jaeger.yaml" "$state/jaeger/jaeger.yaml"
  if ! jaeger_launch "$state"; then
    part_port_was_taken jaeger "$state" && jaeger_launch "$state" || part_failed jaeger "$state"
  fi
  part_is_up jaeger "$state"
}

jaeger_launch() {
  local state=$1 name
  for name in query query-grpc otlp health; do remembered_port "$state/jaeger.ports" "$name" >/dev/null; done
  cat >"$state/jaeger.env" <<ENV
JAEGER_QUERY_URL=http://127.0.0.1:$(jaeger_port "$state" query)
JAEGER_OTLP_ENDPOINT=http://127.0.0.1:$(jaeger_port "$state" otlp)
ENV
  part_launch jaeger "$state" 60 env -i PATH="$PATH" HOME="$HOME" OTEL_TRACES_SAMPLER=always_off \
    JAEGER_QUERY_LISTEN="127.0.0.1:$(jaeger_port "$state" query)" \
    JAEGER_QUERY_GRPC_LISTEN="127.0.0.1:$(jaeger_port "$state" query-grpc)" \
    JAEGER_OTLP_LISTEN="127.0.0.1:$(jaeger_port "$state" otlp)" \
    JAEGER_HEALTH_LISTEN="127.0.0.1:$(jaeger_port "$state" health)" \
    JAEGER_BADGER_DIR="$state/jaeger/badger" \
    "$jaeger_program" --config "$state/jaeger/jaeger.yaml"
}

jaeger_stop() { part_stop jaeger "$1"; }
jaeger_kill() { part_kill jaeger "$1"; }
jaeger_status() { part_status jaeger "$1"; }
