#!/usr/bin/env bash
# Applies pulsar/topics.yml to the broker: tenants, namespaces, topics, policies, subscriptions. Idempotent.
#   scripts/setup-pulsar-topics.sh [--tenant T] [--dry-run]
# Reads the configuration that BRIDGE_CONFIG names (.bridge/bridge.toml without it).
set -euo pipefail
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
config=${BRIDGE_CONFIG:-$repo/.bridge/bridge.toml}

if [ ! -r "$config" ]; then
  echo "error: no configuration at $config" >&2
  echo "       Run ./scripts/up, or set BRIDGE_CONFIG" >&2
  exit 1
fi
for bridgectl in "${BRIDGECTL:-}" "$(command -v bridgectl || true)" "$repo"/target/{release,quick,debug}/bridgectl; do
  [ -n "$bridgectl" ] && [ -x "$bridgectl" ] && exec "$bridgectl" --config "$config" topics apply "$@"
done
echo "error: bridgectl is not built" >&2
echo "       Run: cargo build --release -p bridgectl" >&2
exit 1
