#!/usr/bin/env bash
# The project's own gate: bytes, spikes, operations, mismatches and quality of the reference student against
# .ci/baselines, and the instructions of a token on emulated microcontrollers against
# benchmarks/microcontroller.json, where compiler and emulator are those of that file.
#
#   tools/gate.sh            compare; exit code 3 when something got worse
#   tools/gate.sh update     accept what is there now
set -euo pipefail

work=build/gate
edgesnn=.venv/bin/edgesnn
rm -rf "$work"
"$edgesnn" export reference -o "$work/bundle" --format onnx >/dev/null
"$edgesnn" profile "$work/bundle" --target onnxruntime --profile .ci/gate.toml -o "$work/run.json" >/dev/null
if [ "${1:-compare}" = update ]; then
  "$edgesnn" baseline update "$work/run.json" --baselines .ci/baselines
  .venv/bin/python benchmarks/microcontroller.py --write || [ $? = 2 ]  # 2: no emulator here
else
  "$edgesnn" compare .ci/baselines "$work/run.json" --counts-only
  code=0
  .venv/bin/python benchmarks/microcontroller.py --gate || code=$?
  case $code in 0) ;; 2) echo "instructions on microcontrollers: not comparable here, not judged" ;; *) exit 3 ;; esac
fi
