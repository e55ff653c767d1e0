#!/usr/bin/env bash
# CPU per proxied request beside nginx, haproxy and h2o in the same run.
#     tests/bench/gateway.sh [--check] [--json] [--reps N] [--dur S] [--path /4k] [--conns 64] [--headers]
# Exits 0 whatever it finds; with --check 1 when the goal (no dearer than nginx's proxy_pass) is missed.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${NEXUS_BUILD:-$top/build}
exec python3 "$top/tests/bench/gateway.py" --build "$build" "$@"
