#!/usr/bin/env bash
# Makes what tenants have at the broker and in the bridge, as often as you like.
set -euo pipefail
# shellcheck source=lib/bridgectl.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/bridgectl.sh"

usage() {
  cat <<'HELP'
usage: scripts/setup-pulsar-topics.sh [--tenant T] [--dry-run]

  --tenant T  everything that T needs: the Pulsar tenant, namespace, policies, topics, dead-letter topics,
              subscriptions, roles and permissions; its record in the bridge; a service account, printed
              once as a credential to paste into n8n. A second run says that nothing changed.
  --dry-run   only say what would change at the broker

Without --tenant: what the broker lacks for the tenants that there are.

The bridge is that of ./scripts/up, unless BRIDGE_CONFIG names another's configuration; then BRIDGE_URL,
BRIDGE_TOKEN[_FILE] (an administrator's) and BRIDGE_PULSAR__ADMIN_TOKEN_FILE come from the environment too.
HELP
}

tenant='' dry_run=no
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --tenant) tenant=${2:-}; [ -n "$tenant" ] || fail "--tenant needs a tenant" "For example: --tenant acme"; shift ;;
    --dry-run) dry_run=yes ;;
    *) usage >&2; exit 64 ;;
  esac
  shift
done

use_bridge
case $tenant:$dry_run in
  :no) run_bridgectl topics apply ;;
  :yes) run_bridgectl topics apply --dry-run ;;
  *:yes) run_bridgectl topics apply --tenant "$tenant" --dry-run ;;
  *) run_bridgectl tenant create "$tenant" ;;
esac
