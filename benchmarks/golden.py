"""The golden interpreter: time for 1,000 tokens in the sequence form and token by token.

    python benchmarks/golden.py [STUDENT]

STUDENT is a student artifact; the reference student by default. One thread of matrix products.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from edgesnn.api.students import compile_student, student_folder
from edgesnn.program.golden import Golden
from edgesnn.program.state import State

TOKENS = 1000
REPEATS = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("student", nargs="?", type=Path, default=Path("reference"))
    _, _, compiled = compile_student(student_folder(parser.parse_args().student))
    program = compiled.program
    golden = Golden(program)
    ids = np.random.default_rng(0).integers(0, program.vocab_size, (1, TOKENS))
    times: dict[str, list[float]] = {"sequence": [], "step": []}
    for _ in range(REPEATS):
        started = time.perf_counter()
        whole = golden.sequence(ids)
        times["sequence"].append(time.perf_counter() - started)
        state = State(program)
        started = time.perf_counter()
        steps = [golden.step(ids[:, i], state)[0] for i in range(TOKENS)]
        times["step"].append(time.perf_counter() - started)
        if not np.array_equal(np.stack(steps), whole[0]):
            raise SystemExit("step and sequence differ")
    print(f"{TOKENS:,} tokens, V {program.vocab_size:,}, T {program.timesteps}, {REPEATS} repeats")
    for form, seconds in times.items():
        print(f"{form:9} min {min(seconds):6.2f} s   median {sorted(seconds)[REPEATS // 2]:6.2f} s")


if __name__ == "__main__":
    main()
