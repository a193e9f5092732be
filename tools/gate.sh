#!/usr/bin/env bash
# The project's own gate: bytes, spikes, operations, mismatches and quality of the reference student against
# .ci/baselines.
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
else
  "$edgesnn" compare .ci/baselines "$work/run.json" --counts-only
fi
