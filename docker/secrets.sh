#!/usr/bin/env bash
# Makes the secrets of docker-compose.yml, once: what is there stays.
set -euo pipefail
lib=$(cd "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib" && pwd)
# shellcheck source=../scripts/lib/common.sh
. "$lib/common.sh"
# shellcheck source=../scripts/lib/pulsar-keys.sh
. "$lib/pulsar-keys.sh"
# shellcheck source=../scripts/lib/bridge.sh
. "$lib/bridge.sh"

case ${1:-} in
  '') ;;
  *)
    cat <<'HELP'
usage: docker/secrets.sh

Makes docker/secrets/, one file a secret, which docker-compose.yml hands to the services that need it. The
directory is its owner's only; the files in it can be read by every user id, because compose hands a file on
with its mode and the services run as different users. Run it again after an update: what is missing is
made, what is there stays. Keep a copy of master_keys apart from the database's: sealed secrets cannot be
opened without it.
HELP
    case $1 in -h | --help) exit 0 ;; *) exit 64 ;; esac
    ;;
esac

has openssl || die "openssl is not installed: it makes the keys" "Install it, then run this again"
perl_signs || die "perl with Digest::SHA is not installed: it signs the broker's tokens" "Install it, then run this again"
dir=${BRIDGE_SECRETS_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/secrets}
mkdir -p "$dir"
chmod 700 "$dir"

made=0
secret() { # FILE COMMAND...
  local file=$dir/$1
  shift
  [ ! -s "$file" ] || return 0
  "$@" >"$file.new" || die "cannot make $file"
  chmod 444 "$file.new"
  mv -f "$file.new" "$file"
  made=$((made + 1))
}
password() { random_hex 24; }
ignored() { echo '*'; }
random_key() { openssl rand 32; }
token() { pulsar_token "$dir/pulsar_secret_key" "$1"; }
database_url() { printf 'postgres://bridge:%s@postgres:5432/bridge' "$(cat "$dir/bridge_db_password")"; }
redis_conf() { printf 'requirepass %s\n' "$(cat "$dir/redis_password")"; }

secret .gitignore ignored
# Postgres: its superuser, the bridge, n8n. Letters and digits only: one of them stands in a URL.
for name in postgres_password bridge_db_password n8n_db_password redis_password grafana_admin_password n8n_encryption_key; do
  secret "$name" password
done
secret database_url database_url
secret redis.conf redis_conf
# The bridge: what signs messages, what seals secrets in the database.
secret keyring.toml new_keyring
secret master_keys new_master_keys
# The broker: the key that signs its tokens, and a token for each role.
secret pulsar_secret_key random_key
for role in admin broker publisher consumer; do
  name=bridge-$role
  [ "$role" != broker ] || name=broker
  secret "pulsar_${role}_token" token "$name"
done

# Whom Alertmanager tells: yours, in their place, before the profile `alerts` is started.
for name in alert_pager_key alert_chat_url; do secret "$name" echo replace-me; done

if [ "$made" -eq 0 ]; then say "nothing to change in $dir"; else say "$made made in $dir"; fi
