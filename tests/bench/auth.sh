#!/usr/bin/env bash
# What tokens and keys cost: verification beside the bare signature check, npm jose and fast-jwt; RBAC; API keys; the token
# endpoint of the backend on SQLite and PostgreSQL.
#     tests/bench/auth.sh [--only verify,token] [--quick] [--check] [--json] [--seconds S]
# Exits 0 whatever it finds; with --check 1 when a goal is missed. Needs: apt-get install wrk; scripts/setup.sh for the peers.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${NEXUS_BUILD:-$top/build}
exec /usr/bin/python3 "$top/tests/bench/auth.py" --build "$build" "$@"
