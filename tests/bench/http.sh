#!/usr/bin/env bash
# CPU per static reply beside nginx, haproxy and h2o (what of them is installed), all in one run; --h2: over HTTP/2 beside
# nghttpd, nginx and h2o.
#   tests/bench/http.sh [--check] [--json] [--rounds N] [--seconds N] [--path /4k] [--headers] [--h2] [--only libnexus,nginx]
# Builds bench-http into build-release/ unless NEXUS_BUILD names another build folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${NEXUS_BUILD:-$root/build-release}
[ -f "$build/build.ninja" ] || meson setup "$build" "$root" --buildtype=release >/dev/null
ninja -C "$build" tests/bench/bench-http >/dev/null
exec python3 "$here/http_bench.py" --server "$build/tests/bench/bench-http" "$@"
