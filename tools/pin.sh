#!/usr/bin/env bash
# Writes constraints.txt: the versions that pip resolves today for edgesnn, its extras and its build tools; and
# minima.txt: the oldest versions that edgesnn says it takes.
set -euo pipefail

work=build/pin
rm -rf "$work" && mkdir -p "$work"
"${PYTHON:-python3.11}" -m venv "$work/venv"
python=$work/venv/bin/python
"$python" -m pip install --quiet --upgrade pip
"$python" -m pip install --quiet ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".[train,tflite,nir,phone,report,serve,docs,dev]" hatchling editables
{
  echo "# Every package that edgesnn, its extras train, tflite, nir, phone, report, serve, docs and dev and its build need, pinned to what is tested."
  echo "# Python 3.11 or newer on Linux. Regenerate with 'make constraints'; then run 'make test'."
  echo "# A local build tag of torch (+cpu) is dropped: the plain version matches any build of it. What a GPU"
  echo "# build of torch brings along is pinned by torch itself."
  # torch's local tag; the GPU libraries that a plain torch brings; edgesnn itself
  "$python" -m pip freeze --all |
    sed -E 's/^(torch==[^+]*)\+.*/\1/' |
    grep -Eiv '^(nvidia-|cuda-|triton|edgesnn|setuptools|wheel)' |
    LC_ALL=C sort -f
} >"$work/constraints.txt"
mv "$work/constraints.txt" constraints.txt
"$python" -m pip install --quiet uv
{
  echo "# The oldest versions that edgesnn says it takes, with what they need beside them: the wheel is tested with these"
  echo "# (tests/cli/test_wheel.py), everything else with constraints.txt. Regenerate with 'make constraints'."
  "$work/venv/bin/uv" pip compile --quiet --no-header --no-annotate --resolution lowest-direct \
    --python-version 3.11 pyproject.toml
} >"$work/minima.txt"
mv "$work/minima.txt" minima.txt
