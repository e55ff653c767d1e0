#!/usr/bin/env bash
# What the bus costs, beside a bare log, SQLite, PostgreSQL, Redis streams, NATS JetStream and BullMQ in the same run.
#     tests/bench/bus.sh [--only ROW,…] [--quick] [--check] [--json] [--rounds N] [--seconds S] [--dir DIR]
# Rows: batch clients single consume replay open behind poison saga. All take about 8 minutes, with --quick 2; 8 GiB of disk under --dir.
# Exits 0 whatever it finds; with --check 1 when a goal is missed. Needs: apt-get install redis-server postgresql nats-server
# BullMQ takes part where Node finds it: npm install --prefix ~/.cache/nexus-bench bullmq ioredis
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${NEXUS_BUILD:-$top/build}
exec /usr/bin/python3 "$top/tests/bench/bus/bus.py" --build "$build" "$@"
