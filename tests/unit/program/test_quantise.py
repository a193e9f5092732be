"""Quantising: thresholds that fire where the student does, shared scales, multipliers that never overflow."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn.program import quantise as module
from edgesnn.program.artifact import read_artifact
from edgesnn.program.float_program import FloatLIF, FloatLinear, FloatReadout, run_float
from edgesnn.program.fold import fold
from edgesnn.program.golden import Golden, readout_codes
from edgesnn.program.ops import LIF, LIF_BIAS_MAX, THETA_MAX, Add, Linear
from edgesnn.program.program import Program
from edgesnn.program.quantise import multiply_shift, quantise, quantise_columns, quantise_readout


def quantised_lif(theta, bias, scale):
    op = FloatLIF("lif", "i", "s", 230, np.array([theta], np.float32), np.array([bias], np.float32))
    made, report = module._lif(op, np.array([scale], np.float64), False)
    return int(made.threshold[0]), int(made.bias[0]), report


@settings(max_examples=300, deadline=None)
@given(st.integers(64, 2**20), st.integers(-3, 3), st.sampled_from((1.0, 0.5, 0.125, 3.0, 1 / 127, 0.0071)))
def test_the_integer_threshold_fires_exactly_where_the_float_one_does(code, nudge, scale):
    """V >= theta and V_q > Theta agree for every integer V_q around theta, ties included."""
    exact = np.float32(code * scale / 64)
    theta = np.nextafter(exact, np.float32(np.inf if nudge > 0 else -np.inf)) if nudge else exact
    integer, _, _ = quantised_lif(theta, 0, scale)
    at = round(float(theta) / scale * 64)
    for v in range(at - 3, at + 4):
        fires = Fraction(v) * Fraction(scale) / 64 >= Fraction(float(theta))
        close = abs(float(Fraction(v) * Fraction(scale) / 64 / Fraction(float(theta))) - 1) < 1e-12
        assert fires == (v > integer) or close, (v, integer)


def test_a_membrane_equal_to_theta_fires_as_the_student_does():
    integer, _, _ = quantised_lif(2.0, 0, 0.5)
    assert integer == 64 * 4 - 1
    integer, _, _ = quantised_lif(2.0 + 2**-20, 0, 0.5)
    assert integer == 64 * 4


def test_thresholds_are_held_in_their_range_and_dead_neurons_are_counted():
    assert quantised_lif(1e-6, 0, 1.0)[0] == 1
    threshold, _, report = quantised_lif(1e9, 0, 1.0)
    assert (threshold, report.dead) == (THETA_MAX, 1)
    assert quantised_lif((THETA_MAX + 1) / 64, 0, 1.0)[2].dead == 0


def test_biases_round_to_the_nearest_unit_and_are_held_in_their_range():
    assert quantised_lif(1.0, 0.0235, 1.0)[1] == 2
    assert quantised_lif(1.0, -0.0235, 1.0)[1] == -2
    assert quantised_lif(1.0, 1e9, 1.0)[1] == LIF_BIAS_MAX
    assert quantised_lif(1.0, -1e9, 1.0)[1] == -LIF_BIAS_MAX


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20), st.integers(1, 6), st.integers(0, 999))
def test_columns_are_rounded_to_within_half_a_step_and_never_to_minus_128(rows, columns, seed):
    matrix = np.random.default_rng(seed).normal(0, 1, (rows, columns)).astype(np.float32)
    codes, scale = quantise_columns(matrix)
    assert codes.dtype == np.int8 and codes.min() >= -127
    assert (np.abs(codes).max(axis=0) == 127).all()
    assert (np.abs(codes * scale - matrix) <= scale / 2 * (1 + 1e-6)).all()


def test_a_column_of_zeros_stays_zero():
    codes, scale = quantise_columns(np.array([[0.0, 1.0], [0.0, -2.0]]))
    assert codes[:, 0].tolist() == [0, 0]
    assert scale[0] == 1.0


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(1e-12, 1e6), st.integers(0, 2**30)),
        min_size=1,
        max_size=5,
    )
)
def test_multipliers_never_overflow_and_the_shift_is_the_largest_that_allows_it(pairs):
    ratio = np.array([p[0] for p in pairs])
    largest = np.array([p[1] for p in pairs], np.int64)
    multiplier, shift = multiply_shift(ratio, largest)
    assert 0 <= shift <= 31
    assert all(int(m) * max(1, x) < 2**31 for m, x in zip(multiplier, largest.tolist(), strict=True))
    wanted = [round(Fraction(float(r)) * 2**shift) for r in ratio]
    overflows = any(w * max(1, x) >= 2**31 for w, x in zip(wanted, largest.tolist(), strict=True))
    if not overflows:
        assert multiplier.tolist() == wanted
        if shift < 31:
            again = [round(Fraction(float(r)) * 2 ** (shift + 1)) for r in ratio]
            assert any(w * max(1, x) >= 2**31 for w, x in zip(again, largest.tolist(), strict=True))
    else:
        assert shift == 0


def test_multipliers_are_precise_where_the_range_allows():
    ratio = np.array([127 / 5000, 0.3, 1e-3])
    multiplier, shift = multiply_shift(ratio, np.array([5000, 400, 100_000]))
    np.testing.assert_allclose(multiplier / 2.0**shift, ratio, rtol=1e-4)


# The residual stream --------------------------------------------------------------------------------------


@pytest.fixture
def folded(artifact):
    return fold(read_artifact(artifact))


def test_all_writers_of_the_residual_stream_share_the_largest_scale_of_each_channel(folded):
    scales = module._current_scales(folded)
    writers = [op for op in folded.ops if isinstance(op, FloatLinear) and op.name.endswith(("out", "down"))]
    wanted = np.max([np.abs(op.weight).max(axis=0) for op in writers], axis=0) / 127
    stream = {"embed"} | {op.out for op in writers} | {op.out for op in folded.ops if isinstance(op, Add)}
    for name in stream:
        np.testing.assert_allclose(scales[name], wanted, rtol=1e-6)
    other = next(op for op in folded.ops if op.name == "blocks.0.attn.qkv")
    np.testing.assert_allclose(scales[other.out], np.abs(other.weight).max(axis=0) / 127, rtol=1e-6)
    assert (scales["blocks.0.attn.attend"] == 1).all()


def test_a_residual_channel_that_no_writer_reaches_has_a_usable_scale(folded):
    def silenced(op):
        if not (isinstance(op, FloatLinear) and op.name.endswith(("out", "down"))):
            return op
        weight = op.weight.copy()
        weight[:, 3] = 0
        return replace(op, weight=weight)

    scales = module._current_scales(replace(folded, ops=tuple(map(silenced, folded.ops))))
    assert (scales["embed"] > 0).all()


def test_integer_ops_keep_names_order_and_shapes(folded):
    made = quantise(folded, 10)
    assert [op.name for op in made.ops] == [op.name for op in folded.ops]
    for real, integer in zip(folded.ops, made.ops, strict=True):
        if isinstance(integer, Linear):
            assert integer.weight.shape == real.weight.shape
        if isinstance(integer, LIF):
            assert integer.decay == real.decay


def test_weights_are_within_half_a_step_of_the_student(folded):
    scales = module._current_scales(folded)
    made = {op.name: op for op in quantise(folded, 10).ops}
    for op in folded.ops:
        if isinstance(op, FloatLinear):
            step = scales[op.out]
            assert (np.abs(made[op.name].weight * step - op.weight) <= step / 2 * (1 + 1e-5)).all()


def test_finer_weights_converge_to_the_float_student_in_the_first_layers(folded, monkeypatch):
    """With 2**13 steps in place of 127 the spikes of the first layers are the student's, but near-ties.

    More steps would push thresholds beyond their range.
    """
    fine_max = 2**13
    monkeypatch.setattr(module, "WEIGHT_MAX", fine_max)
    monkeypatch.setattr(
        module,
        "_codes",
        lambda matrix, scale: np.clip(np.rint(matrix / scale), -fine_max, fine_max).astype(np.int64),
    )
    fine = {op.name: op for op in quantise(folded, 0, stock_grid=False).ops}
    ids = np.random.default_rng(0).integers(0, folded.embed.table.shape[0], (4, 30))
    _, rates = run_float(folded, ids)
    lif, qkv = fine["blocks.0.attn.lif_in"], fine["blocks.0.attn.qkv"]
    # the embedding in float64: its multiplier-shift is bounded by int32 and cannot become finer
    scale = module._current_scales(folded)["embed"]
    x0 = np.rint(64 * (folded.embed.table[ids].astype(float) @ folded.embed.projection) / scale)
    fired = spikes_of(np.repeat(x0[:, :, None], 3, axis=2), lif)
    assert abs(fired.mean(axis=(0, 1, 2)) - rates["blocks.0.attn.lif_in"]).max() < 0.01
    shifted = fired.copy()
    shifted[:, 1:, :, :8] = fired[:, :-1, :, :8]
    shifted[:, 0, :, :8] = 0
    second = spikes_of(64 * (shifted @ qkv.weight), fine["blocks.0.attn.lif_qkv"])
    assert abs(second.mean(axis=(0, 1, 2)) - rates["blocks.0.attn.lif_qkv"]).max() < 0.01


def spikes_of(drive, op):
    """Spikes of a drive in membrane units, without the bounds of int32 membranes."""
    v, out = np.zeros_like(drive[:, :, 0]), np.empty(drive.shape)
    for t in range(drive.shape[2]):
        v = v * op.decay / 256 + drive[:, :, t] + op.bias
        out[:, :, t] = v > op.threshold
        v = np.where(v > op.threshold, 0, v)
    return out


def test_the_first_layer_of_the_integer_program_fires_like_the_student(folded):
    program = Program(folded.timesteps, quantise(folded, 10, stock_grid=False).ops)
    ids = np.random.default_rng(1).integers(0, program.vocab_size, (4, 40))
    _, rates = run_float(folded, ids)
    seen = {}
    Golden(program).sequence(ids, lambda name, value: seen.__setitem__(name, value.mean(axis=(0, 1, 2))))
    assert np.abs(seen["blocks.0.attn.lif_in"] - rates["blocks.0.attn.lif_in"]).mean() < 0.01


# The readout ----------------------------------------------------------------------------------------------


def readout(weight, bias, table):
    weight, bias, table = (np.asarray(a, np.float32) for a in (weight, bias, table))
    return FloatReadout("readout", "c", "logits", weight, bias, table)


def integer_logits(op, counts, exponent, timesteps=4):
    table, scale = quantise_columns(op.table)
    made, _ = quantise_readout(op, table, scale, timesteps, exponent)
    return readout_codes(counts, made) @ table.T.astype(np.int64) * 2.0**-exponent


@pytest.mark.parametrize("exponent", [6, 8, 10])
def test_integer_logits_times_two_to_the_minus_exponent_are_the_students(exponent):
    rng = np.random.default_rng(0)
    op = readout(rng.normal(0, 0.1, (20, 6)), rng.normal(0, 0.2, 6), rng.normal(0, 0.4, (30, 6)))
    counts = rng.integers(0, 5, (50, 20))
    wanted = (counts @ op.weight + op.bias) @ op.table.T
    got = integer_logits(op, counts, exponent)
    step = 127 * 2.0**-exponent
    assert np.abs(got - wanted).max() < 6 * step + 0.1 * np.abs(wanted).max()


@pytest.mark.parametrize("weight", [0.0, 1e-12, 1e-9, 1e-6, 1e-3])
def test_a_bias_far_larger_than_its_weights_keeps_its_value(weight):
    """Training starts with one such channel: the unigram's, whose row of D is zero."""
    op = readout([[weight, 0.1], [weight, -0.1]], [4.0, 0.5], [[0.25, 0.1], [-0.25, 0.2]])
    counts = np.array([[0, 0], [4, 4], [4, 0]])
    wanted = (counts @ op.weight + op.bias) @ op.table.T
    np.testing.assert_allclose(integer_logits(op, counts, 13), wanted, atol=0.02)
