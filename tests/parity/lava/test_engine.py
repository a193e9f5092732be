"""The numpy engine of the single-process form against golden, bit for bit; no Lava is needed for it."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn import resources
from edgesnn.exporters.base import ExportSource
from edgesnn.exporters.lava.arrays import LavaArrays
from edgesnn.exporters.lava.exporter import manifest
from edgesnn.program.golden import Golden
from tests.parity.lava.conftest import ids_of
from tests.support.programs import programs, scattered
from tests.support.random_program import RandomShape, random_program

sys.path.insert(0, str(resources.folder("lava") / "export"))
from snn_lava.engine import MOST_TOKENS, Engine  # noqa: E402

sys.path.pop(0)


def engine_of(program):
    arrays = LavaArrays()
    return Engine(manifest(ExportSource(program, None, "random", "0" * 64), arrays), arrays.stored)


def check(program, ids, pieces):
    """Run ids in pieces of some lengths, each from the state that the one before left."""
    engine, state, start = engine_of(program), {}, 0
    want = Golden(program).sequence(ids)
    while start < ids.shape[1]:
        stop = min(start + pieces[start % len(pieces)], ids.shape[1])
        got = engine.run(ids[:, start:stop], state, every=True)
        np.testing.assert_array_equal(got, want[:, start:stop])
        assert (got == np.trunc(got)).all()
        start = stop


@settings(max_examples=60)
@given(program=programs(), pieces=st.lists(st.integers(1, 9), min_size=1, max_size=3), seed=st.integers(0, 9))
def test_random_programs_equal_golden_whatever_the_pieces(program, pieces, seed):
    check(program, ids_of(program, 2, 30, seed=seed), pieces)


@pytest.mark.parametrize(
    "shape",
    [
        RandomShape(vocab=64, dim=64, windows=(1, 7, 40, 200), mlp=90, rank=16, timesteps=4, shifted=31),
        RandomShape(vocab=64, dim=64, windows=(4,), mlp=700, timesteps=9, density=0.8, saturate=True),
        RandomShape(vocab=64, dim=400, windows=(3, 20), mlp=64, timesteps=1, density=0.5, clip=False),
    ],
    ids=["long windows", "dense and saturated", "wide heads"],
)
def test_long_texts_equal_golden_past_every_wrap(shape):
    program = scattered(random_program(shape, 3), 3)
    check(program, ids_of(program, 1, 3 * MOST_TOKENS), [MOST_TOKENS, 1, 63])


def test_the_last_logits_alone_are_the_last_of_all():
    program = random_program()
    ids, engine = ids_of(program, 3, 20), engine_of(program)
    last = engine.run(ids, {}, every=False)
    np.testing.assert_array_equal(last, engine.run(ids, {}, every=True)[:, -1:])
