#!/usr/bin/env bash
# Runs every check to its end, whatever fails before it, then says which failed. Exit code 1 if any did.
set -uo pipefail

bin=.venv/bin
failed=()
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

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
  # One worker per core, a file's tests on one of them, in the order of tests/conftest.py: the long files first.
  check "pytest" "$bin/python" -m pytest -rs --durations=20 \
    --numprocesses auto --dist loadfile --no-loadscope-reorder -m "not realtime and not long"
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
