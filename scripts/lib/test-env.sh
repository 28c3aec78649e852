# shellcheck shell=bash
# What the tests read (tests/src/parts.rs): where the parts of a state directory are, and who may do what there.

# test_environment DIR: lines of `export`
test_environment() {
  local name value
  while IFS='=' read -r name value; do
    case $name in
      DATABASE_URL) ;;
      PULSAR_SERVICE_URL) name=PULSAR_URL ;;
      PULSAR_HTTP_URL) name=PULSAR_HTTP ;;
      PULSAR_HTTPS_URL) name=PULSAR_HTTPS ;;
      PULSAR_CA_FILE) name=PULSAR_CA ;;
      PULSAR_SECRET_KEY_FILE) name=PULSAR_SECRET_KEY ;;
      # The others keep their names.
    esac
    printf 'export BRIDGE_TEST_%s=%q\n' "$name" "$value"
  done < <(cat "$1"/{postgres,pulsar,oidc}.env; cat "$1"/{jaeger,collector,prometheus}.env 2>/dev/null)
}
