"""What a program does on frames, counted by hand."""

import numpy as np
import pytest

from edgesnn.errors import FramesError
from edgesnn.profiler.counts.activity import count_activity
from edgesnn.program.ops import Linear
from edgesnn.program.ops_frames import Conv, Delay, FrameOutput, Frames, Reset, StatefulLIF, SumPool
from edgesnn.program.program import Program
from tests.support.frame_programs import random_frames, random_frames_program


def small(low=0, high=1):
    one = np.ones(1, np.int32)
    weight = np.array([[[[1, 0, 2]]]], np.int8)
    return Program(
        1,
        (
            Frames("frames", "frames", (1, 4), low, high, 1.0),
            Delay("delay", "frames", "delay", np.array([0, 0, 1, 2], np.int32)),
            Conv("conv", "delay", "conv", weight, (1, 1, 4), (1, 1), (0, 1)),
            StatefulLIF("lif", "conv", "lif", 256 * one, 100 * one, 0 * one, Reset.SUBTRACT),
            SumPool("pool", "lif", "pool", (1, 1, 4), (1, 2), (1, 2)),
            Linear("linear", "pool", "linear", np.array([[1, 0, 3], [4, 5, 6]], np.int8)),
            StatefulLIF("last", "linear", "last", 0 * one, 64 * one, 0 * one, Reset.ZERO),
            FrameOutput("output", "last", "output", True),
        ),
    )


def test_a_frame_counted_by_hand():
    counts = count_activity(small(), np.array([[1, 1, 0, 0]], np.int8))
    conv, linear = counts.ops
    # four places meet a window of three, but for the two at the edges: 4 * 3 - 2
    assert (conv.name, conv.dense_total, conv.weight_bytes_total, conv.effective_total) == ("conv", 10, 5, 3)
    # currents [2, 1, 1, 0], membranes [128, 64, 64, 0]: the first fires and keeps 28
    assert conv.accumulates and not linear.accumulates
    assert (linear.dense_total, linear.weight_bytes_total, linear.effective_total) == (6, 3, 2)
    lif, last = counts.layers
    assert (lif.neurons, lif.spikes, lif.membrane_updates, lif.silent_neurons) == (4, 1, 3, 3)
    assert (last.neurons, last.spikes) == (3, 1)
    assert counts.work.residual_adds == counts.work.lookup_bytes == 0
    (shift,) = counts.shifts
    assert (shift.channels, shift.steps, shift.spikes) == (2, 2, 0)
    assert (counts.weights, counts.zero_weights) == (9, 2)
    assert counts.parameter_bytes == 9 + 4 * (6 + 4)
    assert counts.state_bytes == 2 * 4 * 2 + 4 * 4 + 3 * 4 + 3 * 4


def test_a_graded_input_multiplies():
    counts = count_activity(small(-5, 5), np.array([[3, -1, 0, 0]], np.int8))
    assert not counts.ops[0].accumulates
    assert counts.ops[0].effective_total == 3


def test_a_membrane_that_stays_is_no_update():
    counts = count_activity(small(), np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], np.int8))
    assert counts.layers[0].membrane_updates == 1
    assert counts.work.tokens == 3


@pytest.mark.parametrize("seed", range(6))
def test_totals_of_random_programs_hold_together(seed):
    program = random_frames_program(seed)
    frames = random_frames(program, np.random.default_rng(seed), 1, 6, 0.4)[0]
    counts = count_activity(program, frames)
    assert len(counts.layers) == len(list(program.all(StatefulLIF)))
    for op in counts.ops:
        assert 0 <= op.effective_total <= op.weight_bytes_total <= op.dense_total
    full = np.full_like(frames, program.frames.high)
    assert count_activity(program, full).ops[0].weight_bytes_total >= counts.ops[0].weight_bytes_total


def test_what_is_no_frame_is_refused():
    with pytest.raises(FramesError):
        count_activity(small(), np.array([[2, 0, 0, 0]], np.int8))
