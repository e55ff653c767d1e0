#!/usr/bin/env bash
# Installs what building, running and testing libnexus needs and this machine lacks: Debian packages, and the npm
# packages of the browser test. Prints what it does, does nothing when nothing is missing, needs no second run.
# usage: scripts/setup.sh [build|test]      build: enough to build and run; test (default): also what the tests use
set -euo pipefail
cd "$(dirname "$0")/.."

build_packages=(
  gcc libc6-dev meson ninja-build pkg-config curl procps
  libevent-dev libssl-dev libargon2-dev libsodium-dev libjansson-dev libcurl4-openssl-dev libnghttp2-dev libc-ares-dev zlib1g-dev
  tzdata libsqlite3-dev libpq-dev libhiredis-dev librdkafka-dev libnats-dev python3 jq)
test_packages=(
  g++ cmake libcriterion-dev nghttp2-client python3-pytest python3-pytest-xdist python3-aiosmtpd openssl
  postgresql-15 redis-server nats-server prometheus chromium nodejs shellcheck)

say() { printf 'setup: %s\n' "$*"; }

case "${1:-test}" in
  build) wanted=("${build_packages[@]}") ;;
  test) wanted=("${build_packages[@]}" "${test_packages[@]}") ;;
  -h | --help) sed -n '2,5s/^# //p' "$0"; exit 0 ;;
  *) echo "usage: scripts/setup.sh [build|test]" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null; then
  echo "setup: this machine has no dpkg; install the equivalents of: ${wanted[*]}" >&2
  exit 1
fi

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Some tools may be there without their Debian package (another Node, say): what counts is that they run.
present() {
  case $1 in
    nodejs) command -v node >/dev/null ;;
    npm) command -v npm >/dev/null ;;
    cmake | gcc | g++ | curl | openssl) command -v "$1" >/dev/null ;;
    *) installed "$1" ;;
  esac
}

missing=()
for package in "${wanted[@]}"; do
  present "$package" || missing+=("$package")
done
if [ "${1:-test}" = test ] && ! command -v npm >/dev/null; then
  missing+=(npm)
fi

install_packages() { # as root, or through sudo; $1 is "" or "sudo"
  local as=$1 guard=/usr/sbin/policy-rc.d made=
  # Servers that apt installs must not start by themselves: tests start their own, on free ports.
  if [ ! -e "$guard" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as tee "$guard" >/dev/null
    $as chmod +x "$guard"
    made=yes
  fi
  local rc=0
  $as apt-get update -qq || rc=$?
  [ $rc -eq 0 ] && { $as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/tmp/nexus-setup.$$.log 2>&1 || rc=$?; }
  [ -z "$made" ] || $as rm -f "$guard"
  if [ $rc -ne 0 ]; then
    tail -n 15 /tmp/nexus-setup.$$.log 2>/dev/null >&2 || true
    say "apt-get failed (exit $rc)" >&2
  fi
  rm -f /tmp/nexus-setup.$$.log
  return $rc
}

if [ ${#missing[@]} -gt 0 ]; then
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  if [ "$(id -u)" = 0 ]; then
    install_packages ""
  elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    install_packages sudo
  else
    {
      echo "setup: not root and no sudo. Ask an administrator to run:"
      echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    } >&2
    exit 1
  fi
else
  say "all Debian packages are there"
fi

npm_packages() { # of tests/$1
  local stamp=tests/$1/node_modules/.installed
  if [ ! -e "$stamp" ] || [ "tests/$1/package-lock.json" -nt "$stamp" ]; then
    say "installing the $1 test's npm packages"
    (cd "tests/$1" && npm ci --no-audit --no-fund --silent)
    touch "$stamp"
  fi
}

if [ "${1:-test}" = test ]; then
  npm_packages browser
  npm_packages grpc
  npm_packages oauth
fi
say "ready"
