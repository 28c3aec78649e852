# shellcheck shell=bash
# All of the library, in the order of its needs. Sourcing defines functions and paths, and does nothing else.
lib=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/common.sh
. "$lib/common.sh"
# shellcheck source=lib/steps.sh
. "$lib/steps.sh"
# shellcheck source=lib/postgres.sh
. "$lib/postgres.sh"
# shellcheck source=lib/pulsar.sh
. "$lib/pulsar.sh"
# shellcheck source=lib/install.sh
. "$lib/install.sh"
# shellcheck source=lib/bridge.sh
. "$lib/bridge.sh"
