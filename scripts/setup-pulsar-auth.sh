#!/usr/bin/env bash
# Makes the tokens with which publisher, consumer and tenants log in at the broker.
set -euo pipefail
# shellcheck source=lib/bridgectl.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/bridgectl.sh"

usage() {
  cat <<'HELP'
usage: scripts/setup-pulsar-auth.sh [--tenant T]... [--key FILE] [--out DIR] [--expires 90d]

  --key FILE   the broker's signing key (its tokenSecretKey, or the private half of its tokenPublicKey);
               PULSAR_SECRET_KEY_FILE without it
  --out DIR    where the tokens go, DIR/<role>.token, for their owner only; PULSAR_TOKENS_DIR without it
  --tenant T   also the role of T, which may read its dead-letter topics and nothing else
  --expires    how long a token is good; without it a tenant's is good for 90 days, a daemon's without end

A token that is still good is kept: a second run says that there is nothing to change. What the roles may
do at the broker is set by setup-pulsar-topics.sh, which says where the rest of the environment comes from.
HELP
}

arguments=() key='' out=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --key) key=${2:-}; shift ;;
    --out) out=${2:-}; shift ;;
    --tenant | --expires) arguments+=("$1" "${2:-}"); shift ;;
    *) usage >&2; exit 64 ;;
  esac
  shift || fail "the last flag has no value" "See --help"
done

use_bridge
key=${key:-${PULSAR_SECRET_KEY_FILE:-}} out=${out:-${PULSAR_TOKENS_DIR:-}}
[ -n "$key" ] || fail "the broker's signing key is not known" "Give --key FILE"
[ -n "$out" ] || fail "it is not known where the tokens go" "Give --out DIR"
run_bridgectl roles apply --key "$key" --out "$out" "${arguments[@]}"
