#!/usr/bin/env bash
# Runs every check to its end, whatever fails before it, then says which failed. Exit code 1 if any did.
set -uo pipefail

bin=.venv/bin
failed=()

check() {
  local name=$1 start=$SECONDS
  shift
  printf '== %s\n' "$name"
  if "$@"; then
    printf '== %s: ok, %d s\n\n' "$name" $((SECONDS - start))
  else
    printf '== %s: FAILED, %d s\n\n' "$name" $((SECONDS - start))
    failed+=("$name")
  fi
}

check "ruff check" "$bin/ruff" check .
check "ruff format" "$bin/ruff" format --check .
check "mypy" "$bin/python" -m mypy --strict
check "import rules" "$bin/lint-imports" --no-cache
if [ "${1:-all}" = all ]; then
  # One worker per core, a file's tests on one of them; then alone what plays an instrument in real time.
  check "pytest" "$bin/python" -m pytest -rs --durations=15 --numprocesses auto --dist loadfile -m "not realtime"
  check "pytest, in real time" "$bin/python" -m pytest -rs --durations=5 -m realtime
fi

if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[*]}"
  exit 1
fi
echo "all checks passed"
