"""Random programs beyond the trained ones: scattered shifts, mixed windows, every T and decay."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from edgesnn.program.ops import (
    LIF,
    Add,
    Count,
    Embed,
    Linear,
    Readout,
    Shift,
)
from edgesnn.program.program import Program
from tests.support.random_program import RandomShape, random_program

#: Small enough to flip every byte of its file.
SMALLEST = RandomShape(vocab=5, dim=4, depth=1, windows=(1, 3), mlp=3, rank=2, timesteps=2, shifted=2)


@st.composite
def shapes(draw, largest_window=12):
    """Shapes of small programs; half of the heads look back one token only."""
    windows = tuple(draw(st.lists(st.sampled_from((1, 2, 3, 5, largest_window)), min_size=1, max_size=3)))
    dim = len(windows) * draw(st.integers(1, 5))
    return RandomShape(
        vocab=draw(st.integers(2, 12)),
        dim=dim,
        depth=draw(st.integers(1, 2)),
        windows=windows,
        mlp=draw(st.integers(1, 9)),
        rank=draw(st.integers(1, 6)),
        timesteps=draw(st.sampled_from((1, 2, 4, 7))),
        decay=draw(st.sampled_from((1, 17, 128, 230, 255, 256))),
        shifted=draw(st.integers(0, dim)),
        density=draw(st.sampled_from((0.05, 0.2, 0.5))),
        saturate=draw(st.booleans()),
    )


@st.composite
def programs(draw, **options):
    """Random programs whose shifted channels are scattered over the width."""
    shape, seed = draw(shapes(**options)), draw(st.integers(0, 2**16))
    return scattered(random_program(shape, seed), seed)


def scattered(program: Program, seed: int) -> Program:
    """The program with the same number of shifted channels, at random places."""
    rng, width = np.random.default_rng(seed), program.channels()

    def moved(op):
        if not isinstance(op, Shift):
            return op
        places = np.sort(rng.choice(width[op.out], len(op.channels), replace=False))
        return replace(op, channels=places.astype(np.int32))

    return replace(program, ops=tuple(moved(op) for op in program.ops))


def smallest() -> Program:
    """One block, every kind of op, a file of a few kilobytes."""
    return random_program(replace(SMALLEST, saturate=True), seed=1)


def with_op(program: Program, name: str, /, **changes) -> Program:
    """The program with one op changed."""
    assert any(op.name == name for op in program.ops)
    ops = (replace(op, **changes) if op.name == name else op for op in program.ops)
    return replace(program, ops=tuple(ops))


def one_layer(weight, threshold, bias, *, decay=230, timesteps=4, table=None, clip=True) -> Program:
    """Token -> LIF -> Linear -> LIF -> Count -> Readout; row ``i`` of the table fires channel ``i`` only.

    The first LIF fires wherever the embedding is positive, so a token picks the spikes of the Linear.
    """
    weight = np.asarray(weight, np.int8)
    fan_in, fan_out = weight.shape
    spikes = np.eye(fan_in, dtype=np.int8) if table is None else np.asarray(table, np.int8)
    rank = spikes.shape[1]
    ones = np.ones(fan_in, np.int32)
    ops = (
        Embed("embed", "x", spikes, np.eye(rank, fan_in, dtype=np.int8), ones, 0),
        LIF("fire", "x", "s", 256, ones, 0 * ones, clip=False),
        Linear("linear", "s", "i", weight),
        LIF("lif", "i", "o", decay, np.asarray(threshold, np.int32), np.asarray(bias, np.int32), clip),
        Count("count", "o", "c"),
        Readout(
            "readout",
            "c",
            "logits",
            np.ones((fan_out, rank), np.int8),
            np.zeros(rank, np.int32),
            np.ones(rank, np.int32),
            0,
            spikes,
            0,
        ),
    )
    return Program(timesteps, ops)


def residual(*weights, names=("first", "second", "third")) -> Program:
    """A residual stream of several writers, each a Linear of the same spikes, read by one LIF."""
    weights = [np.asarray(weight, np.int8) for weight in weights]
    fan_in, width = weights[0].shape
    table = np.ones((1, 1), np.int8)
    ones, wide = np.ones(fan_in, np.int32), np.ones(width, np.int32)
    ops = [
        Embed("embed", "x", table, np.ones((1, fan_in), np.int8), ones, 0),
        LIF("fire", "x", "s", 256, ones, 0 * ones, clip=False),
    ]
    ops += [Linear(n, "s", f"{n}.i", w) for n, w in zip(names, weights, strict=False)]
    stream = f"{names[0]}.i"
    for name in names[1 : len(weights)]:
        ops.append(Add(f"{name}.add", stream, f"{name}.i", f"{name}.x"))
        stream = f"{name}.x"
    ops += [
        LIF("last", stream, "o", 230, 1000 * wide, 0 * wide, clip=True),
        Count("count", "o", "c"),
        Readout(
            "readout",
            "c",
            "logits",
            np.ones((width, 1), np.int8),
            np.zeros(1, np.int32),
            np.ones(1, np.int32),
            0,
            table,
            0,
        ),
    ]
    return Program(2, tuple(ops))
