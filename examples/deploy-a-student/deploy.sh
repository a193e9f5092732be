#!/usr/bin/env bash
# deploy.sh STUDENT FOLDER PROMPT: export, verify, and put together what goes to a device.
set -euo pipefail
student=$1 out=$2 prompt=$3

edgesnn export "$student" -o "$out.bundle" --format c,onnx
edgesnn verify "$out.bundle" --target onnxruntime --target native   # exit code 3 if one bit differs: nothing is deployed

make -C "$out.bundle/c" CC="${CC:-cc}"
mkdir -p "$out"
cp "$out.bundle/c/snn_example" "$out.bundle/c/program.snn" "$out.bundle/c/vocab.bin" "$out/"
edgesnn generate "$out.bundle" "$prompt" --max-tokens 1 --json |
  python3 -c 'import json, sys; print(*json.load(sys.stdin)["prompt_tokens"])' > "$out/ids.txt"
ls -l "$out"
