#!/usr/bin/env bash
# Runs the demo from the wheel on every Python from 3.11 on that is here: on PATH, or below pyenv.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
.venv/bin/python -m build --no-isolation --wheel --outdir "$work" . >/dev/null 2>&1
wheel=$(echo "$work"/*.whl)
failed=()
for version in 3.11 3.12 3.13 3.14; do
  python=
  for candidate in "python$version" "$HOME/.pyenv/versions/$version".*/bin/python; do
    if "$candidate" -c '' 2>/dev/null; then python=$candidate; fi  # a name alone may be a shim of pyenv's
  done
  if [ -z "$python" ]; then
    echo "$version: not here"
    continue
  fi
  "$python" -m venv "$work/$version"
  "$work/$version/bin/python" -m pip install --quiet --constraint constraints.txt "$wheel" 2>"$work/log" || { cat "$work/log"; exit 1; }
  if (cd "$work" && "$work/$version/bin/edgesnn" demo --output "$work/demo-$version" >"$work/log" 2>&1); then
    echo "$version: demo passed ($("$python" --version))"
  else
    cat "$work/log"
    failed+=("$version")
  fi
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
