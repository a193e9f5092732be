"""Small networks that decide, as bundles with held-out windows, and what they decide by plain sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgesnn.bundle.eval_frames import EvalFrames
from edgesnn.bundle.frames import FramesBundleSource, write_frames_bundle
from edgesnn.program.golden import Golden
from edgesnn.program.ops import Linear
from edgesnn.program.ops_frames import Conv, FrameOutput, Frames, Reset, StatefulLIF, SumPool
from edgesnn.program.program import Program

CHANNELS, CLASSES, LENGTH = 12, 4, 10


def neurons(name, source, decay, threshold):
    one = (np.array([value], np.int32) for value in (decay, threshold, 0))
    return StatefulLIF(name, source, name, *one, Reset.ZERO)


def wake_program(*, summed=True) -> Program:
    """Each class has three channels of its own: spikes on them make it win."""
    weight = np.repeat(np.eye(CLASSES, dtype=np.int8) * 60, CHANNELS // CLASSES, axis=0)
    return Program(
        1,
        (
            Frames("frames", "frames", (CHANNELS,)),
            Linear("linear", "frames", "linear", weight),
            neurons("lif", "linear", 200, 64 * 100),
            FrameOutput("output", "lif", "output", summed),
        ),
    )


def held_out(windows=400, seed=0, *, flipped=0.0) -> EvalFrames:
    """Windows in which the channels of the label fire more; the float network decides as golden does."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, windows)
    rate = np.where(np.arange(CHANNELS) // (CHANNELS // CLASSES) == labels[:, None], 0.6, 0.15)
    frames = (rng.random((windows, LENGTH, CHANNELS)) < rate[:, None]).astype(np.int8)
    decided = Golden(wake_program()).sequence(frames)[:, -1].argmax(axis=1)
    wrong = rng.random(windows) < flipped
    return EvalFrames(frames, np.where(wrong, (labels + 1) % CLASSES, labels), decided)


def worsened(program: Program, noise=25.0) -> Program:
    """Weights noised and thresholds shifted: the same network, damaged."""
    rng = np.random.default_rng(1)

    def damaged(op):
        if isinstance(op, Linear):
            codes = np.rint(op.weight + rng.normal(0, noise, op.weight.shape))
            return replace(op, weight=np.clip(codes, -127, 127).astype(np.int8))
        if isinstance(op, StatefulLIF):
            return replace(op, threshold=(op.threshold * 1.3).astype(np.int32))
        return op

    return Program(program.timesteps, tuple(damaged(op) for op in program.ops))


def wake_bundle(folder, program=None, windows=None, name="wake"):
    """A bundle of a wake network."""
    source = FramesBundleSource(name, program or wake_program(), {}, {}, windows)
    return write_frames_bundle(source, folder, overwrite=True)


def maps_program() -> Program:
    """A convolution of 2 x 4 x 4 maps to 3, a pool of 2 x 2, and a decision."""
    kernel = np.ones((3, 2, 3, 3), np.int8)
    return Program(
        1,
        (
            Frames("frames", "frames", (2, 4, 4)),
            Conv("conv", "frames", "conv", kernel, (2, 4, 4), padding=(1, 1)),
            neurons("maps", "conv", 128, 640),
            SumPool("pool", "maps", "pool", (3, 4, 4), (2, 2), (2, 2)),
            Linear("linear", "pool", "linear", np.ones((12, 2), np.int8)),
            neurons("last", "linear", 128, 640),
            FrameOutput("output", "last", "output", True),
        ),
    )
