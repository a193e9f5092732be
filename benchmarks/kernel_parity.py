"""Every kernel set of the C engine against golden, token by token, all logits: how many differ.

    python benchmarks/kernel_parity.py [--student 20000] [--flagship 10000] [--seed 1]

The tokens are random, in sequences of 500, past the wrap of every window: of the reference student, and of a
random program of the flagship's shape (V = 8,192). Exit code 3 where one logit differs.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn import compile_student
from edgesnn.program.golden import Golden
from edgesnn.program.program import Program
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.native.engine import Engine, kernel_sets
from tests.support.random_program import FLAGSHIP, random_program

LENGTH = 500


def mismatches(program: Program, tokens: int, seed: int) -> dict[str, int]:
    """Logits that differ from golden's, by kernel set."""
    golden, data = Golden(program), to_bytes(program)
    engines = {name: Engine(data, name) for name in kernel_sets()}
    differing = dict.fromkeys(engines, 0)
    logits = np.empty(program.vocab_size, np.int32)
    address = logits.__array_interface__["data"][0]
    rng = np.random.default_rng(seed)
    for _ in range(-(-tokens // LENGTH)):
        ids = rng.integers(0, program.vocab_size, LENGTH)
        wanted = golden.sequence(ids[None])[0]
        for name, engine in engines.items():
            engine.reset(1)
            for token, row in zip(ids.tolist(), wanted, strict=True):
                engine.step(token, address)
                differing[name] += int((logits != row).sum())
    return differing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--student", type=int, default=20_000, help="tokens of the reference student")
    parser.add_argument("--flagship", type=int, default=10_000, help="tokens of the random flagship")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    programs = {
        "reference student": (compile_student("reference")[2].program, given.student),
        "random flagship": (random_program(replace(FLAGSHIP, vocab=8192)), given.flagship),
    }
    failed = False
    for name, (program, tokens) in programs.items():
        started = time.perf_counter()
        found = mismatches(program, tokens, given.seed)
        failed |= any(found.values())
        counts = ", ".join(f"{kernels} {count}" for kernels, count in found.items())
        print(f"{name}, {tokens:,} tokens: {counts} logits differ ({time.perf_counter() - started:.0f} s)")
    return 3 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
