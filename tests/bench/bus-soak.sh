#!/bin/sh
# Soak of the bus: 30 minutes of publishing and handling while its owner is killed and stopped, judged by tests/thread/history.c.
#
#   tests/bench/bus-soak.sh [SECONDS] [SEED]     NEXUS_BUILD=build
#
# The test run does 3 seconds of it, twice (plain and sanitized), so that all of CI stays within its time.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${NEXUS_BUILD:-$root/build}
exec "$build/tests/thread/thread-bus-soak" "${1:-1800}" ${2:+"$2"}
