"""`edgesnn map` on a random program of the flagship's size (V = 49,152).

    python benchmarks/map_flagship.py [--chip loihi2] [--tokens 64]

Takes about ten seconds; exit code 3 when it does not fit.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn.api.mapping import map_program
from edgesnn.chips.description import load_chip
from edgesnn.cli.map import raise_on_violation, render
from edgesnn.cli.output import CommandOutput
from edgesnn.errors import FitError
from edgesnn.profiler.counts.activity import count_activity
from tests.support.random_program import FLAGSHIP, random_program

SEED = 3
NAME = "random-flagship"


def main() -> int:
    """Map and print; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chip", default="loihi2")
    parser.add_argument("--tokens", type=int, default=64)
    arguments = parser.parse_args()
    chip = load_chip(arguments.chip)
    program = random_program(FLAGSHIP, SEED)
    ids = np.random.default_rng(SEED).integers(0, program.vocab_size, arguments.tokens)
    mapping = map_program(program, chip, count_activity(program, ids), "random token ids")
    out = CommandOutput("map", json_mode=False)
    render(out, NAME, mapping)
    try:
        raise_on_violation(NAME, mapping.fit)
    except FitError as error:
        out.fail(error)
    return out.finish()


if __name__ == "__main__":
    raise SystemExit(main())
