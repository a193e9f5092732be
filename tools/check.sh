#!/usr/bin/env bash
# Runs every check to its end, whatever fails before it, then says which failed. Exit code 1 if any did.
set -uo pipefail

bin=.venv/bin
failed=()
logs=$(mktemp -d)
trap 'rm -rf "$logs" ${in_memory:+"$in_memory"}' EXIT

# What tests write lives in memory where there is room and programs may run: a disk that is told to keep every
# file makes the workers wait. TMPDIR=FOLDER decides otherwise.
free_kb() { df --output=avail "$1" 2>/dev/null | tail -n 1; }
room_kb=$((6 << 20))
if [ -z "${TMPDIR:-}" ] && [ "$(free_kb /dev/shm)" -gt $room_kb ] 2>/dev/null \
    && [ "$(awk '/^MemAvailable/ {print $2}' /proc/meminfo)" -gt $((2 * room_kb)) ] \
    && in_memory=$(mktemp -d /dev/shm/edgesnn-tests-XXXXXX) \
    && cp "$(type -P true)" "$in_memory/runs" && "$in_memory/runs" 2>/dev/null; then
  export TMPDIR=$in_memory
fi

report() {  # NAME CODE SECONDS
  if [ "$2" = 0 ]; then
    printf '== %s: ok, %d s\n\n' "$1" "$3"
  else
    printf '== %s: FAILED, %d s\n\n' "$1" "$3"
    failed+=("$1")
  fi
}

check() {  # NAME COMMAND...
  local name=$1 start=$SECONDS
  shift
  printf '== %s\n' "$name"
  "$@"
  report "$name" $? $((SECONDS - start))
}

# What runs on one core runs beside the next check; `finish` waits for it and says what it said.
beside() {  # NAME COMMAND...
  local name=$1 start=$SECONDS
  shift
  ( "$@" >"$logs/$name" 2>&1; echo "$? $((SECONDS - start))" >"$logs/$name.end" ) &
}

finish() {  # NAME
  wait
  printf '== %s\n' "$1"
  cat "$logs/$1"
  report "$1" $(cat "$logs/$1.end")
}

check "ruff check" "$bin/ruff" check .
check "ruff format" "$bin/ruff" format --check .
beside "mypy" "$bin/python" -m mypy --strict
check "import rules" "$bin/lint-imports" --no-cache
check "security rules" "$bin/bandit" --quiet --severity-level medium --recursive edgesnn tools firmware_bridge
check "bill of materials" "$bin/python" tools/sbom.py --check
check "known weaknesses" "$bin/python" tools/audit.py
if [ "${1:-all}" = all ]; then
  # One worker more than cores, for many tests wait; a file's tests on one of them, in the order of
  # tests/conftest.py: the long files first.
  check "pytest" "$bin/python" -m pytest -rs --durations=20 \
    --numprocesses $(($(nproc) + 1)) --dist loadfile --no-loadscope-reorder -m "not realtime and not long"
  finish "mypy"
  # Then, alone, what plays an instrument in real time: starved of a core it loses samples, as an instrument would.
  check "pytest, in real time" "$bin/python" -m pytest -rs --durations=5 -m "realtime and not long" tests/meters
else
  finish "mypy"
fi

if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[*]}"
  exit 1
fi
echo "all checks passed"
