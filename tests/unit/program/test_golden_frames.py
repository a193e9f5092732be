"""Golden on programs of frames: against plain integers, in all forms, at the limits."""

import numpy as np
import pytest

from edgesnn.errors import FramesError, UsageError
from edgesnn.program.bounds import prove
from edgesnn.program.golden import Golden, lif_membranes
from edgesnn.program.golden_frames import stateful_lif
from edgesnn.program.ops import LIF, Linear
from edgesnn.program.ops_frames import FrameOutput, Frames, Reset, StatefulLIF
from edgesnn.program.program import Program
from edgesnn.program.validate import check_program
from tests.support.frame_programs import plain, random_frames, random_frames_program


@pytest.mark.parametrize("seed", range(60))
def test_golden_equals_plain_integers(seed):
    program = random_frames_program(seed)
    check_program(program)
    prove(program)
    frames = random_frames(program, np.random.default_rng(seed), 1, 7, 0.4)
    out = Golden(program).sequence(frames)
    assert np.array_equal(out[0], plain(program, frames[0]))


def test_the_random_programs_spike_and_use_every_reset():
    resets, rates = set(), []
    for seed in range(60):
        program = random_frames_program(seed)
        frames = random_frames(program, np.random.default_rng(seed), 1, 7, 0.4)
        seen = {}
        Golden(program).sequence(frames, seen.__setitem__)
        for op in program.all(StatefulLIF):
            resets.add(op.reset)
            if not op.membrane:
                rates.append(float((seen[op.out] > 0).mean()))
    assert resets == set(Reset)
    assert 0.1 < np.mean(rates) < 0.9


@pytest.mark.parametrize("seed", range(30))
def test_steps_and_a_prefill_with_steps_equal_the_sequence(seed):
    program = random_frames_program(seed)
    golden = Golden(program)
    frames = random_frames(program, np.random.default_rng(seed), 3, 13, 0.4)
    whole = golden.sequence(frames)
    for cut in (1, 5, 12):
        outputs, state = golden.prefill(frames[:, :cut])
        assert np.array_equal(outputs, whole[:, :cut])
        state = state.copied(program)
        for i in range(cut, 13):
            assert np.array_equal(golden.step(frames[:, i], state), whole[:, i])


@pytest.mark.parametrize("decay", [0, 1, 115, 230, 256])
def test_a_frame_is_an_inner_timestep_of_the_lif_of_text(decay):
    rng = np.random.default_rng(decay)
    width, length = 40, 50
    current = rng.integers(-(2**17) + 1, 2**17, (2, length, width)).astype(np.int32)
    current[:, ::3] //= 1000
    theta = rng.integers(1, 2**23 - 1, width).astype(np.int32)
    bias = rng.integers(-5000, 5000, width).astype(np.int32)
    old = LIF("l", "i", "s", max(decay, 1), theta, bias, True)
    full = np.full(width, max(decay, 1), np.int32)
    new = StatefulLIF("l", "i", "s", full, theta, bias, Reset.ZERO)
    membranes, spikes = lif_membranes(current, old)
    got_v, got_s, _ = stateful_lif(current[:, :, None], new, np.zeros((2, width), np.int32))
    assert np.array_equal(got_v[:, :, 0], membranes)
    assert np.array_equal(got_s[:, :, 0], spikes)


def _one(reset, *, theta, drive, n=256, inclusive=False, frames=6, fraction=6):
    op = StatefulLIF(
        "l", "i", "s",
        np.array([n], np.int32), np.array([theta], np.int32), np.array([0], np.int32),
        reset, inclusive, fraction,
    )  # fmt: skip
    current = np.full((1, frames, 1, 1), drive, np.int32)
    v, s, _ = stateful_lif(current, op, np.zeros((1, 1), np.int32))
    return v.ravel().tolist(), s.ravel().tolist()


def test_resets_by_hand():
    assert _one(Reset.NONE, theta=100, drive=1) == ([64, 128, 192, 256, 320, 384], [0, 1, 1, 1, 1, 1])
    assert _one(Reset.ZERO, theta=100, drive=1) == ([64, 128, 64, 128, 64, 128], [0, 1, 0, 1, 0, 1])
    assert _one(Reset.SUBTRACT, theta=100, drive=1) == ([64, 128, 92, 156, 120, 84], [0, 1, 0, 1, 1, 0])
    assert _one(Reset.LATE, theta=100, drive=1) == ([64, 128, 92, 156, 120, 84], [0, 1, 0, 1, 1, 0])
    many = ([64, 73, 71, 69, 67, 65], [5, 6, 6, 6, 6, 5])
    assert _one(Reset.MANY, theta=10, drive=1, inclusive=True) == many
    assert _one(Reset.NONE, theta=3, drive=1, fraction=0) == ([1, 2, 3, 4, 5, 6], [0, 0, 0, 1, 1, 1])


def test_a_late_reset_decays_before_it_takes_effect():
    # by hand: 64, 128 (fires), 128/2 + 64 - 100 = 28, 14 + 64 = 78 ...
    assert _one(Reset.LATE, theta=100, drive=1, n=128)[0][:3] == [64, 96, 112]
    assert _one(Reset.LATE, theta=90, drive=1, n=128)[0] == [64, 96, 22, 75, 101, 24]


def test_membranes_saturate_on_both_sides():
    top = 2**23 - 1
    assert _one(Reset.NONE, theta=2**23 - 2, drive=2**22, frames=2) == ([top, top], [1, 1])
    assert _one(Reset.NONE, theta=5, drive=-(2**22), frames=2) == ([-top, -top], [0, 0])


def test_an_output_saturates_where_float32_ends():
    program = Program(
        1, (Frames("frames", "frames", (1,), -127, 127, 0.5), FrameOutput("out", "frames", "out", True))
    )
    golden = Golden(program)
    _, state = golden.prefill(np.full((1, 1, 1), 127, np.int8))
    state.tensors["count.out"][:] = 2**24 - 100
    assert golden.step(np.array([[127]]), state)[0, 0] == 2**24 - 1
    assert golden.step(np.array([[-127]]), state)[0, 0] == 2**24 - 128


def test_what_is_no_frame_is_an_error_that_says_what_is():
    program = random_frames_program(3)
    op = program.frames
    good = np.zeros((1, 2, *op.shape), np.int8)
    assert program.check_input(good).shape == (1, 2, op.channels)
    wide = good.astype(np.int16)
    empty, real = good[:, :0], good.astype(np.float32)
    for bad in (good[0], empty, real, good[..., :-1], wide + op.high + 1, wide + op.low - 1):
        with pytest.raises(FramesError):
            program.check_input(bad)


def test_a_program_of_frames_has_no_text():
    program = random_frames_program(0)
    with pytest.raises(UsageError, match="reads frames"):
        _ = program.vocab_size
    with pytest.raises(UsageError, match="reads frames"):
        program.check_ids(np.zeros((1, 1), np.int64))


def test_a_linear_of_graded_values_is_bounded_by_what_they_can_be():
    weight = np.array([[3], [-4]], np.int8)
    one = np.ones(1, np.int32)
    program = Program(
        1,
        (
            Frames("frames", "frames", (2,), -10, 20, 1.0),
            Linear("linear", "frames", "linear", weight),
            StatefulLIF("lif", "linear", "lif", one, one, one, Reset.ZERO),
            FrameOutput("out", "lif", "out", False),
        ),
    )
    bound = prove(program)[1]
    assert (bound.low, bound.high) == (-10 * 3 - 20 * 4, 20 * 3 + 10 * 4)
