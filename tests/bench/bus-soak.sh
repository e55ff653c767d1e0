#!/bin/sh
# Soak of the bus: 30 minutes of publishing and handling while its owner is killed and stopped, judged by tests/thread/history.c.
#
#   tests/bench/bus-soak.sh [SECONDS] [SEED]     NEXUS_BUILD=build
#
# CI does 60 seconds of it: 30 in the plain run of the tests, 30 in the sanitized one.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${NEXUS_BUILD:-$root/build}
exec "$build/tests/thread/thread-bus-soak" "${1:-1800}" ${2:+"$2"}
