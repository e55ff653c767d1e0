#!/usr/bin/env bash
# What the gateway costs, beside nginx, haproxy, h2o, nghttpx and a bare epoll proxy in the same run.
#     tests/bench/gateway.sh [--only ROW,…] [--quick] [--check] [--json] [--rounds N] [--seconds S] [--peers NAME,…]
# Rows: plain chain large memory idle tls http2 latency routes. All take under 12 minutes, with --quick under 3.
# Exits 0 whatever it finds; with --check 1 when a goal is missed. Needs: apt-get install wrk nginx haproxy h2o nghttp2
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${NEXUS_BUILD:-$top/build}
exec /usr/bin/python3 "$top/tests/bench/gateway.py" --build "$build" "$@"
