#!/usr/bin/env bash
# Builds, starts and stops the six services of the topology, with embedded stores and state in ./var.
# usage: scripts/start-microservices.sh COMMAND
#   build [SERVICE…]      sets up what is missing and compiles
#   start [SERVICE…]      builds if needed, starts what does not run, waits until all are ready (30 s)
#   stop [SERVICE…]       asks them to drain and end; kills what has not ended after 15 s
#   restart [SERVICE…]    stop, then start
#   status [--json]       exit 0: all run and are ready, 1: some, 3: none
#   logs [SERVICE] [-f]   the end of the logs; -f follows them
# services: gateway backend console analytics notification copilot (frontend is another name of console)
# environment: NEXUS_PORT_BASE (3000), NEXUS_STATE_DIR (./var), NEXUS_ENV (development here), NEXUS_BUILD (./build),
#   and every other setting of docs/settings.md, which the servers read themselves.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
root=$PWD

services=(gateway backend console analytics notification copilot)
start_order=(backend notification analytics copilot console gateway)
declare -A offset=([gateway]=0 [backend]=1 [console]=2 [analytics]=3 [notification]=4 [copilot]=5)
base=${NEXUS_PORT_BASE:-3000}
state=${NEXUS_STATE_DIR:-$root/var}
case $state in /*) ;; *) state=$root/$state ;; esac
build=${NEXUS_BUILD:-$root/build}
deadline_s=30 stop_s=15

say() { printf '%s\n' "$*"; }
fail() { printf 'start-microservices: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '3,9s/^# \{0,1\}//p' "$root/scripts/start-microservices.sh" >&2; exit 2; }

port() { echo $((base + offset[$1])); }
url() { echo "http://127.0.0.1:$(port "$1")"; }
log_of() { echo "$state/log/$1.log"; }

# The words as services; none means all, in the order of starting.
pick() {
  picked=()
  local word
  for word in "$@"; do
    [ "$word" = frontend ] && word=console
    [ -n "${offset[$word]:-}" ] || { printf 'start-microservices: no service is called "%s"; there are: %s\n' "$word" "${services[*]}" >&2; exit 2; }
    picked+=("$word")
  done
  [ ${#picked[@]} -gt 0 ] || picked=("${start_order[@]}")
}

# --- processes ----------------------------------------------------------------------------------

# When a process began, in ticks since boot: tells a process from a later one with the same number.
birth() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  stat=${stat##*) }
  # shellcheck disable=SC2086 # split into fields: the 20th after the name is field 22
  set -- $stat
  [ "$1" != Z ] || return 1
  echo "${20}"
}

# Prints the pid of a service that runs, and fails otherwise. A pid file of a process that is gone says nothing.
pid_of() {
  local pid born
  { read -r pid born <"$state/run/$1.pid"; } 2>/dev/null || return 1
  [ -n "$born" ] && [ "$(birth "$pid")" = "$born" ] && echo "$pid"
}

is_ready() { curl -fsS -o /dev/null --noproxy '*' --max-time 2 "$(url "$1")/health/ready" 2>/dev/null; }

uptime_of() {
  local up born
  read -r up _ </proc/uptime
  born=$(birth "$1") || return
  echo $((${up%.*} - born / $(getconf CLK_TCK)))
}

# "name (pid N)" of whoever listens on a port; nothing when nobody does or it cannot be seen.
holder() {
  local hex inode fd pid
  hex=$(printf '%04X' "$1")
  inode=$(awk -v p=":$hex" '$4 == "0A" && substr($2, length($2) - 4) == p { print $10; exit }' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
  [ -n "$inode" ] || return 1
  for fd in /proc/[0-9]*/fd/*; do
    [ "$(readlink "$fd" 2>/dev/null)" = "socket:[$inode]" ] || continue
    pid=${fd#/proc/}
    pid=${pid%%/*}
    echo "$(cat "/proc/$pid/comm" 2>/dev/null) (pid $pid)"
    return 0
  done
  echo "a process of another user"
}

# --- build --------------------------------------------------------------------------------------

build_services() { # quiet when there is nothing to do
  local targets=() service log=$build.log options=()
  for service in "$@"; do targets+=("servers/nexus-$service"); done
  [ $# -lt ${#services[@]} ] || targets+=(servers/nexus servers/nexusd)
  if [ ! -f "$build/build.ninja" ] || ! command -v ninja >/dev/null; then
    scripts/setup.sh build || fail "set-up failed; see above"
    pkg-config --exists criterion || options+=(-Dtests=false) # scripts/test.sh turns them on
    say "configuring $build"
    meson setup "$build" "${options[@]}" >"$log" 2>&1 || { tail -n 15 "$log" >&2; fail "meson setup failed; the whole log is $log"; }
  fi
  if [ "$(ninja -C "$build" -n "${targets[@]}" 2>/dev/null | tail -n 1)" != "ninja: no work to do." ]; then
    say "building (a few minutes the first time)"
    if [ -t 1 ]; then
      ninja -C "$build" "${targets[@]}" 2>&1 | tee "$log" | awk '/^\[/ { printf "\r%s\033[K", substr($0, 1, 78); fflush() } END { print "" }'
    else
      ninja -C "$build" "${targets[@]}" >"$log" 2>&1
    fi || { grep -E 'error|FAILED' "$log" | head -20 >&2; fail "the build failed; the whole log is $log"; }
  fi
  rm -f "$log"
}

# --- start --------------------------------------------------------------------------------------

start_one() {
  local service=$1 pid
  setsid "$build/servers/nexus-$service" </dev/null >>"$(log_of "$service")" 2>&1 9>&- &
  pid=$!
  disown "$pid"
  printf '%s %s\n' "$pid" "$(birth "$pid")" >"$state/run/$service.pid"
}

give_up() { # service, why
  printf '\n%s %s. The last lines of %s:\n' "$1" "$2" "$(log_of "$1")" >&2
  tail -n 20 "$(log_of "$1")" | cut -c1-400 >&2
  exit 1
}

wait_ready() {
  local waiting=("$@") left service began=$SECONDS
  while [ ${#waiting[@]} -gt 0 ]; do
    left=()
    for service in "${waiting[@]}"; do
      if is_ready "$service"; then
        say "  $service is ready"
      else
        pid_of "$service" >/dev/null || give_up "$service" "ended while starting"
        left+=("$service")
      fi
    done
    waiting=("${left[@]}")
    [ ${#waiting[@]} -eq 0 ] && return
    [ $((SECONDS - began)) -lt "$deadline_s" ] || give_up "${waiting[0]}" "is not ready after $deadline_s s"
    sleep 0.05
  done
}

print_topology() {
  local service
  printf '\n'
  for service in "${services[@]}"; do
    pid_of "$service" >/dev/null && printf '  %-13s %s\n' "$service" "$(url "$service")"
  done
  printf '\n  API reference  %s/api/docs\n  console        %s\n  state, logs    %s\n' "$(url gateway)" "$(url console)" "$state"
  if [ -s "$state/bootstrap.token" ]; then
    printf '\nFirst administrator, with this one-time token (15 minutes; "nexus admin token" makes another):\n  %s\n' "$(cat "$state/bootstrap.token")"
    printf '  curl -X POST %s/api/v1/auth/bootstrap -H "Content-Type: application/json" \\\n' "$(url gateway)"
    # shellcheck disable=SC2016 # the reader's shell expands it
    printf '    -d "{\\"token\\":\\"$(cat %s/bootstrap.token)\\",\\"email\\":\\"you@example.com\\",\\"password\\":\\"a long pass phrase\\",\\"name\\":\\"You\\"}"\n' "$state"
  fi
  local prefix='' # what another shell must know
  [ "$base" = 3000 ] || prefix+="NEXUS_PORT_BASE=$base "
  [ "$state" = "$root/var" ] || prefix+="NEXUS_STATE_DIR=$state "
  printf '\nTry next:\n'
  printf '  %s%-24s %s\n' "$prefix" "${build#"$root"/}/servers/nexus demo" "walks an order through the topology"
  printf '  %s%-24s %s\n' "$prefix" "${build#"$root"/}/servers/nexus status" "health of every service"
  printf '  %s%-24s %s\n' "$prefix" "scripts/start-microservices.sh stop" ""
}

start() {
  pick "$@"
  local service missing=() pid
  export NEXUS_ENV=${NEXUS_ENV:-development} NEXUS_STATE_DIR=$state NEXUS_PORT_BASE=$base
  build_services "${picked[@]}"
  umask 077
  mkdir -p "$state/run" "$state/log" || fail "cannot make $state"
  exec 9>"$state/run/start.lock"
  flock -n 9 || fail "another start is under way"
  for service in "${picked[@]}"; do
    if pid=$(pid_of "$service"); then
      say "$service runs already (pid $pid)"
    else
      missing+=("$service")
    fi
  done
  for service in "${missing[@]}"; do
    pid=$(holder "$(port "$service")") && fail "port $(port "$service"), which $service needs, is taken by $pid. Stop that, or set NEXUS_PORT_BASE."
  done
  if [ "$NEXUS_ENV" = development ] && [ -z "${NEXUS_OUTBOUND_ALLOW+set}" ]; then
    export NEXUS_OUTBOUND_ALLOW=127.0.0.0/8
    say "development: webhooks may reach 127.0.0.0/8 (NEXUS_OUTBOUND_ALLOW)"
  fi
  if [ "$NEXUS_ENV" != development ] && [ -z "${NEXUS_TRUSTED_PROXIES+set}" ]; then
    # All six run on this machine: the services behind learn from the gateway whom they throttle.
    export NEXUS_TRUSTED_PROXIES=127.0.0.0/8,::1/128
    say "peers on this machine are believed about their clients (NEXUS_TRUSTED_PROXIES)"
  fi
  [ ${#missing[@]} -eq 0 ] || say "starting ${missing[*]}"
  for service in "${missing[@]}"; do start_one "$service"; done
  wait_ready "${picked[@]}"
  print_topology
}

# --- stop, status, logs -------------------------------------------------------------------------

stop() {
  pick "$@"
  local service pid stopping=() left began=$SECONDS i
  for ((i = ${#picked[@]} - 1; i >= 0; i--)); do # the gateway first: nothing new comes in
    service=${picked[i]}
    if pid=$(pid_of "$service"); then
      kill -TERM "$pid" 2>/dev/null && stopping+=("$service")
    else
      rm -f "$state/run/$service.pid"
    fi
  done
  [ ${#stopping[@]} -gt 0 ] || { say "nothing runs"; return 0; }
  while [ ${#stopping[@]} -gt 0 ]; do
    left=()
    for service in "${stopping[@]}"; do
      if pid=$(pid_of "$service"); then
        left+=("$service")
        if [ $((SECONDS - began)) -ge $stop_s ]; then
          say "$service did not end in $stop_s s: killed"
          kill -KILL "$pid" 2>/dev/null
        fi
      else
        rm -f "$state/run/$service.pid"
        say "$service has ended"
      fi
    done
    stopping=("${left[@]}")
    [ ${#stopping[@]} -eq 0 ] || sleep 0.05
  done
}

status() {
  local json='' service pid ready up count=0 rows=() table=()
  case ${1:-} in --json) json=yes ;; '') ;; *) usage ;; esac
  for service in "${services[@]}"; do
    if pid=$(pid_of "$service"); then
      ready=false
      is_ready "$service" && ready=true && count=$((count + 1))
      up=$(uptime_of "$pid")
      [ $ready = true ] || running=yes
    else
      pid=null ready=false up=null
    fi
    rows+=("{\"name\":\"$service\",\"port\":$(port "$service"),\"pid\":$pid,\"ready\":$ready,\"url\":\"$(url "$service")\",\"uptime_s\":${up:-null}}")
    [ "$pid" = null ] && up=- pid=-
    table+=("$(printf '%-13s %-6s %-8s %-6s %-9s %s' "$service" "$(port "$service")" "$pid" "$ready" "$up" "$(url "$service")")")
  done
  local word=some code=1
  [ $count -lt ${#services[@]} ] || { word=all code=0; }
  [ $count -gt 0 ] || [ -n "${running:-}" ] || { word=none code=3; }
  if [ -n "$json" ]; then
    local IFS=,
    printf '{"state":"%s","services":[%s]}\n' "$word" "${rows[*]}"
  else
    printf '%-13s %-6s %-8s %-6s %-9s %s\n' service port pid ready uptime_s url
    printf '%s\n' "${table[@]}"
  fi
  return $code
}

logs() {
  local follow=() names=() word files=()
  for word in "$@"; do
    if [ "$word" = -f ]; then follow=(-F); else names+=("$word"); fi
  done
  pick "${names[@]}"
  for word in "${picked[@]}"; do [ -f "$(log_of "$word")" ] && files+=("$(log_of "$word")"); done
  [ ${#files[@]} -gt 0 ] || fail "no logs in $state/log"
  tail -n 40 "${follow[@]}" "${files[@]}"
}

[ $# -ge 1 ] || usage
command=$1
shift
case $command in
  build) pick "$@"; build_services "${picked[@]}"; say "built in $build" ;;
  start) start "$@" ;;
  stop) stop "$@" ;;
  restart) stop "$@" && start "$@" ;;
  status) status "$@" ;;
  logs) logs "$@" ;;
  -h | --help | help) usage 2>&1 | cat; exit 0 ;;
  *) usage ;;
esac
