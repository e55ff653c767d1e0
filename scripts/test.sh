#!/usr/bin/env bash
# Sets up, builds and runs the tests.
# usage: scripts/test.sh [unit|system|meta|asan|ROOM|SERVICE] [--coverage]
#   (nothing)  everything: unit and system tests, the meta tests, and both once more under AddressSanitizer and UBSan
#   unit       unit tests, thread programs and fuzz corpora
#   system     tests against the real servers
#   meta       layers, headers, exported symbols, packaging
#   asan       unit and system tests in the sanitizer build only
#   ROOM       one room's unit tests (base, json, http, bus, …)
#   SERVICE    one service's system tests (gateway, backend, console, analytics, notification, copilot, …)
# Build folders: build/, build-asan/, build-cov/. Logs of a failure stay there: failed/NAME.log of a unit test,
# pytest-LABEL.log. The last lines name every failing test.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
root=$PWD
what=all coverage=
for arg in "$@"; do
  case $arg in
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --coverage) coverage=yes ;;
    -*) echo "test.sh: unknown option $arg (see --help)" >&2; exit 2 ;;
    *) what=$arg ;;
  esac
done
case $what in
  all | unit | system | meta | asan) ;;
  *) [ -d "tests/unit/$what" ] || [ -f "tests/system/test_$what.py" ] ||
       { echo "test.sh: no room and no service is called '$what' (see --help)" >&2; exit 2; } ;;
esac

scripts/setup.sh test || exit 1

# What failed, in pairs: the step, and the names of its failing tests, one a line (or nothing).
failures=() passed=0 failed=0 skipped=0
python=/usr/bin/python3
[ -x "$python" ] || python=python3

# Adds the numbers of a line like 3+4; nothing gives 0.
sum_up() { local e; read -r e || true; echo $((${e:-0})); }
step() { printf '\n== %s\n' "$*"; }

configure() { # folder, meson options…
  local dir=$1 again=()
  shift
  [ ! -f "$dir/build.ninja" ] || again=(--reconfigure) # the start script may have made it without tests
  meson setup "${again[@]}" "$dir" -Dtests=true -Dexamples=true "$@" >"$dir.log" 2>&1 || { cat "$dir.log" >&2; return 1; }
  rm -f "$dir.log"
  ninja -C "$dir" >"$dir/ninja.log" 2>&1 || { grep -E 'error|warning|FAILED' "$dir/ninja.log" | head -40 >&2; tail -n 5 "$dir/ninja.log" >&2; return 1; }
}

# Names the tests of a meson run that did not pass, one a line, keeps what each wrote in DIR/failed/NAME.log and
# shows the last lines of it on stderr. (testlog.json has a line of JSON a test.)
failing_tests() { # folder
  [ -f "$1/meson-logs/testlog.json" ] || return 0
  "$python" - "$1" <<'EOF'
import json, os, sys
for line in open(sys.argv[1] + "/meson-logs/testlog.json", encoding="utf-8", errors="replace"):
    test = json.loads(line)
    if test["result"] in ("OK", "SKIP", "EXPECTEDFAIL"):
        continue
    name = test["name"].split(" / ")[-1]
    log = os.path.join(sys.argv[1], "failed", name.replace("/", "_") + ".log")
    os.makedirs(os.path.dirname(log), exist_ok=True)
    wrote = (test.get("stdout") or "") + (test.get("stderr") or "")
    with open(log, "w", encoding="utf-8", errors="replace") as file:
        file.write(wrote)
    ended = f"{name}: {test['result']} after {test['duration']:.1f} s, status {test['returncode']}"
    print(ended)
    print(f"-- {ended} (all of it: {log})", *wrote.splitlines()[-25:], sep="\n", file=sys.stderr)
EOF
}

# Adds the counts of a meson run ("Ok: 5", "Fail: 0", …) to ours.
meson_tests() { # folder, meson test arguments…
  local dir=$1 out rc=0 ok bad skip
  shift
  rm -rf "$dir/meson-logs/testlog.json" "$dir/failed"
  out=$(meson test -C "$dir" --no-rebuild --num-processes "$at_once" "$@" 2>&1) || rc=$?
  printf '%s\n' "$out" | tail -n 9
  ok=$(sed -n 's/^Ok: *//p' <<<"$out") bad=$(sed -n 's/^\(Fail\|Timeout\|Unexpected Pass\): *//p' <<<"$out" | paste -sd+ | sum_up)
  skip=$(sed -n 's/^Skipped: *//p' <<<"$out")
  passed=$((passed + ${ok:-0})) failed=$((failed + ${bad:-0})) skipped=$((skipped + ${skip:-0}))
  [ $rc -eq 0 ] || failures+=("meson test -C $dir $*" "$(failing_tests "$dir")")
  return $rc
}

pytests() { # label, build folder, pytest arguments…
  local label=$1 dir=$2 out rc=0
  shift 2
  local log=$dir/pytest-$label.log
  NEXUS_BUILD="$root/$dir" "$python" -m pytest -q -p no:cacheprovider "$@" >"$log" 2>&1 || rc=$?
  [ $rc -eq 5 ] && { echo "no test selected"; return 0; }
  if [ $rc -eq 0 ]; then tail -n 4 "$log"; else tail -n 120 "$log"; fi
  out=$(tail -n 1 "$log")
  local n
  n=$(grep -oE '[0-9]+ passed' <<<"$out" | cut -d' ' -f1); passed=$((passed + ${n:-0}))
  n=$(grep -oE '[0-9]+ (failed|error)' <<<"$out" | cut -d' ' -f1 | paste -sd+ | sum_up); failed=$((failed + ${n:-0}))
  n=$(grep -oE '[0-9]+ skipped' <<<"$out" | cut -d' ' -f1); skipped=$((skipped + ${n:-0}))
  [ $rc -eq 0 ] || failures+=("pytest $label ($log)" "$(sed -n '/short test summary info/,$s/^\(FAILED\|ERROR\) //p' "$log")")
}

# Sanitizer reports go to files: Criterion lets a leak pass, a report file does not (one appears only on a finding).
sanitized() {
  local reports=$root/build-asan/sanitizer
  rm -rf "$reports" && mkdir -p "$reports"
  export ASAN_OPTIONS="log_path=$reports/report:detect_leaks=1:abort_on_error=0:exitcode=99"
  export UBSAN_OPTIONS="log_path=$reports/report:print_stacktrace=1:halt_on_error=1"
  export LSAN_OPTIONS="suppressions=$root/tests/lsan.supp:print_suppressions=0"
  "$@"
  unset ASAN_OPTIONS UBSAN_OPTIONS LSAN_OPTIONS
  if [ -n "$(ls -A "$reports")" ]; then
    echo "sanitizer reports:" >&2
    head -n 60 "$reports"/* >&2
    failures+=("sanitizer reports in build-asan/sanitizer/" "")
    failed=$((failed + 1))
  fi
}

asan_tests() {
  meson_tests build-asan --suite unit --timeout-multiplier 4 || true
  pytests system-asan build-asan "${parallel[@]}" tests/system
}

asan() {
  step "AddressSanitizer and UBSan build"
  if configure build-asan -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false -Ddefault_library=shared; then
    sanitized asan_tests
  else
    failures+=("sanitizer build" ""); failed=$((failed + 1))
  fi
}

# Tests wait more than they work: twice as many at once as there are cores. A file's system tests are in one process.
at_once=$((2 * $(nproc)))
parallel=(-n "$at_once" --dist loadfile)
started=$SECONDS
dir=build
options=(-Dwerror=true)
[ -z "$coverage" ] || { dir=build-cov; options+=(-Db_coverage=true); }
if [ "$what" != asan ]; then
  step "building ($dir)"
  configure "$dir" "${options[@]}" || exit 1
fi
case $what in
  all)
    step "unit tests" && meson_tests "$dir" --suite unit
    step "meta tests" && pytests meta "$dir" tests/meta
    step "system tests" && pytests system "$dir" "${parallel[@]}" tests/system
    [ -n "$coverage" ] || asan
    ;;
  unit) step "unit tests" && meson_tests "$dir" --suite unit ;;
  meta) step "meta tests" && pytests meta "$dir" tests/meta ;;
  system) step "system tests" && pytests system "$dir" "${parallel[@]}" tests/system ;;
  asan) asan ;;
  *)
    [ ! -d "tests/unit/$what" ] || { step "unit tests of $what" && meson_tests "$dir" --suite "$what"; }
    [ ! -f "tests/system/test_$what.py" ] || { step "system tests of $what" && pytests "$what" "$dir" "tests/system/test_$what.py"; }
    ;;
esac
if [ -n "$coverage" ]; then
  step "coverage" && ninja -C "$dir" coverage-text >/dev/null && tail -n 3 "$dir/meson-logs/coverage.txt"
fi

printf '\n%d s\n' $((SECONDS - started))
for ((i = 0; i < ${#failures[@]}; i += 2)); do
  printf 'FAILED: %s\n' "${failures[i]}"
  while read -r name; do [ -z "$name" ] || printf '  %s\n' "${name:0:198}"; done <<<"${failures[i + 1]}"
done
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ ${#failures[@]} -eq 0 ]
