"""Students of version 1.0: how the exported files agree with torch, how large they are, how they teach.

    python benchmarks/v1_students.py [--text FILE] [--vocab 1000] [--steps 600] [--seeds 2]

Each student is trained here as the older script trains: a small recurrent teacher learns the text, then the
student learns the teacher's distribution at every place, without a mask. Text: the built-in records, or FILE.
Every twentieth line is held out; all figures are of held-out text, and every place is judged from the tokens
up to it alone (see docs/v1_students.md).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn.api.students import export_student
from edgesnn.api.v1.agreement import bundled_student, verify_v1_bundle
from edgesnn.api.v1.exporting import V1ExportOptions
from edgesnn.program.scoring import score_positions
from edgesnn.program.v1_student import NORM_EPS
from edgesnn.student.text.reading import read_documents
from edgesnn.student.v1.model import V1StudentModel
from tests.support.v1_students import glasses_text, glasses_tokenizer, make_old, save_old, train_old

LENGTH = 64


def ways_to_ask(bundle, sequences):
    """Cross-entropy and agreement of three ways to ask one student: prefixes, a mask, the whole text."""
    student = bundled_student(bundle)
    model = V1StudentModel(student.tensors, student.heads, student.threshold, NORM_EPS)
    nats, places, same = {"prefixes": 0.0, "causal mask": 0.0, "whole text": 0.0}, 0, {}
    for ids in sequences:
        row, target = ids[None], np.asarray(ids[1:], np.int64)
        said = {
            "prefixes": np.stack([model.logits(row[:, :end])[0, -1] for end in range(1, len(ids))]),
            "causal mask": model.logits(row, causal=True)[0, :-1],
            "whole text": model.logits(row)[0, :-1],
        }
        for name, logits in said.items():
            nats[name] += score_positions(logits, target)[0]
            hits = (logits.argmax(-1) == said["prefixes"].argmax(-1)).sum()
            same[name] = same.get(name, 0) + int(hits)
        places += len(target)
    return {name: (nats[name] / places, same[name] / places) for name in nats}, places


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--text", type=Path)
    options.add_argument("--vocab", type=int, default=1000)
    options.add_argument("--steps", type=int, default=600)
    options.add_argument("--seeds", type=int, default=2)
    options.add_argument("--tokens", type=int, default=2000)
    asked = options.parse_args()
    lines = (
        glasses_text()
        if asked.text is None
        else [" ".join(one.plain) for one in read_documents(asked.text).documents]
    )
    held, train = lines[::20], [line for number, line in enumerate(lines) if number % 20]
    tokenizer = glasses_tokenizer(asked.vocab, train)
    ids = np.concatenate([[*tokenizer.encode_plain(line), 0] for line in train])
    print(f"{len(ids):,} training tokens, {tokenizer.vocab_size} ids, {len(held)} lines held out")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "text.txt").write_text("\n".join(line.replace("\n", " ") for line in held))
        for seed in range(asked.seeds):
            model = train_old(make_old(asked.vocab, seed), ids, steps=asked.steps, length=LENGTH, seed=seed)
            old = save_old(model, folder / f"old{seed}")
            tokenizer.save(old / "tokenizer.json")
            for form in ("weights", "small", "dynamic", "static"):
                bundle = export_student(
                    old,
                    folder / f"{seed}-{form}",
                    v1=V1ExportOptions(text=folder / "text.txt", int8=form),
                )
                sizes = bundle.manifest.sizes
                if form == "weights":
                    found = verify_v1_bundle(bundle, tokens=asked.tokens)
                    float32, int8 = found[1], found[0]
                    print(
                        f"student {seed}: float32 {sizes['onnx-v1-fp32 sequence']:,} bytes, largest "
                        f"difference {float32.largest_difference:.2g}, same best token {float32.top1:.4f}, "
                        f"{float32.positions:,} places, cross-entropy {float32.reference_cross_entropy:.3f}"
                    )
                else:
                    [int8] = verify_v1_bundle(bundle, "onnxruntime-v1", tokens=asked.tokens)
                print(
                    f"  int8 {form}: {sizes['onnx-v1 sequence']:,} bytes, same best token {int8.top1:.4f}, "
                    f"cross-entropy {int8.rise:+.5f} nat, {'; '.join(int8.failures()) or 'within'}"
                )
                if form == "weights":
                    held_out = bundle.eval_slice()
                    ways, places = ways_to_ask(bundle, held_out.first(asked.tokens).documents())
            for name, (nat, same) in ways.items():
                print(f"  asked by {name}: {nat:.3f} nat, same best token as generation {same:.4f}")
            print(f"  ({places:,} places)")


if __name__ == "__main__":
    main()
