# shellcheck shell=bash
# All of the library, in the order of its needs. Sourcing defines functions and paths, and does nothing else.
lib=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/common.sh
. "$lib/common.sh"
# shellcheck source=lib/steps.sh
. "$lib/steps.sh"
# shellcheck source=lib/postgres.sh
. "$lib/postgres.sh"
# shellcheck source=lib/pulsar-keys.sh
. "$lib/pulsar-keys.sh"
# shellcheck source=lib/pulsar.sh
. "$lib/pulsar.sh"
# shellcheck source=lib/node.sh
. "$lib/node.sh"
# shellcheck source=lib/python.sh
. "$lib/python.sh"
# shellcheck source=lib/part.sh
. "$lib/part.sh"
# shellcheck source=lib/oidc.sh
. "$lib/oidc.sh"
# shellcheck source=lib/n8n.sh
. "$lib/n8n.sh"
# shellcheck source=lib/go.sh
. "$lib/go.sh"
# shellcheck source=lib/jaeger.sh
. "$lib/jaeger.sh"
# shellcheck source=lib/collector.sh
. "$lib/collector.sh"
# shellcheck source=lib/prometheus.sh
. "$lib/prometheus.sh"
# shellcheck source=lib/install.sh
. "$lib/install.sh"
# shellcheck source=lib/bridge.sh
. "$lib/bridge.sh"
# shellcheck source=lib/tenant.sh
. "$lib/tenant.sh"
# shellcheck source=lib/up-n8n.sh
. "$lib/up-n8n.sh"
# shellcheck source=lib/observe.sh
. "$lib/observe.sh"
# shellcheck source=lib/demo.sh
. "$lib/demo.sh"
# shellcheck source=lib/test-env.sh
. "$lib/test-env.sh"
