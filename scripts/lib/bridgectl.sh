# shellcheck shell=bash
# For scripts that only call bridgectl: finds it, and the bridge of scripts/up unless the environment names another.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

fail() {
  printf 'error: %s\n       %s\n' "$1" "$2" >&2
  exit 1
}

use_bridge() {
  # Of the scripts, and no setting of the bridge.
  unset BRIDGE_CACHE
  if [ -z "${BRIDGE_CONFIG:-}" ] && [ -r "$repo/.bridge/env" ]; then
    # shellcheck disable=SC1091 # written by scripts/up
    . "$repo/.bridge/env"
  fi
  [ -r "${BRIDGE_CONFIG:-}" ] || fail "no configuration${BRIDGE_CONFIG:+ at $BRIDGE_CONFIG}" \
    "Run ./scripts/up, or set BRIDGE_CONFIG, BRIDGE_URL, BRIDGE_TOKEN_FILE and BRIDGE_PULSAR__ADMIN_TOKEN_FILE"
  if [ -n "${BRIDGE_TOKEN_ADMIN_FILE:-}" ]; then
    # What .bridge/env calls BRIDGE_TOKEN is a tenant's.
    unset BRIDGE_TOKEN
    export BRIDGE_TOKEN_FILE=$BRIDGE_TOKEN_ADMIN_FILE
  fi
}

run_bridgectl() {
  local bridgectl
  for bridgectl in "${BRIDGECTL:-}" "$(command -v bridgectl || true)" "$repo"/target/{release,quick,debug}/bridgectl; do
    if [ -n "$bridgectl" ] && [ -x "$bridgectl" ]; then exec "$bridgectl" --config "$BRIDGE_CONFIG" "$@"; fi
  done
  fail "bridgectl is not built" "Run: cargo build --release -p bridgectl"
}
