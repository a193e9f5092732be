"""What the compiler's choices cost in bits per byte, on a student's held-out text.

    python benchmarks/compiler.py [STUDENT] [--tokens N]

STUDENT is a student artifact; the reference student by default. Figures of docs/decisions/compiler.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from edgesnn.api.students import read_student, student_folder
from edgesnn.bundle.bundle import EVAL_NAME, read_eval_slice
from edgesnn.program.compile import CalibrationText, compile_program
from edgesnn.program.float_program import float_logits
from edgesnn.program.fold import fold
from edgesnn.program.golden import Golden
from edgesnn.program.scoring import score_documents


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("student", nargs="?", type=Path, default=Path("reference"))
    parser.add_argument("--tokens", type=int, default=20_000)
    given = parser.parse_args()
    path = student_folder(given.student)
    folded = fold(read_student(path))
    held_out = read_eval_slice(path / EVAL_NAME, folded.embed.table.shape[0])
    calibration = held_out.first(4000)
    used = len(calibration.doc_bytes)
    documents = held_out.documents()[used:]
    sizes = held_out.doc_bytes[used:]
    rest = sum(len(document) for document in documents)
    print(f"scored on {min(rest, given.tokens):,} tokens that calibration did not see")
    keep = int(np.searchsorted(np.cumsum([len(d) for d in documents]), given.tokens)) + 1
    documents, sizes = documents[:keep], sizes[:keep]
    text = CalibrationText(calibration.documents(), calibration.doc_bytes, "calibration")
    real = score_documents(lambda ids: float_logits(folded, ids), documents, sizes)
    print(f"{'float32 student':44} {real.bits_per_byte:.4f} bits/byte")
    for label, calibrated, stock in (
        ("integer, exponent by text, stock grid", text, True),
        ("integer, exponent by text, fine thresholds", text, False),
        ("integer, exponent by bounds, stock grid", None, True),
    ):
        compiled = compile_program(folded, calibrated, stock_grid=stock)
        golden, scale = Golden(compiled.program), np.float32(compiled.program.logit_scale)
        scores = score_documents(
            lambda ids, golden=golden, scale=scale: golden.sequence(ids) * scale, documents, sizes
        )
        change = 100 * (scores.bits_per_byte / real.bits_per_byte - 1)
        served = sum(compiled.stock.values())
        print(
            f"{label:44} {scores.bits_per_byte:.4f} bits/byte  {change:+.2f} %  f = "
            f"{compiled.program.readout.exponent}, {served} of {len(compiled.stock)} LIFs on stock neurons"
        )
        for exponent, bits in sorted(compiled.exponent_choice.items()):
            print(f"    f = {exponent:3}: {bits:.4f} bits/byte on the calibration text")


if __name__ == "__main__":
    main()
