"""Every primitive over its whole range, by membranes and integers, against numpy's int64.

The nodes are those that ship: they come from `IntegerNumbers`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgesnn.exporters.onnx.network import OnnxValue, lif
from edgesnn.program.golden import decay, lif_membranes, readout_codes, trunc_shift
from edgesnn.program.ops import LIF, MEMBRANE_MAX, THETA_MAX, Embed, Linear, Readout, Saturate

RunPrimitive = Callable[..., np.ndarray]
NO_BIAS = np.zeros(1, np.int32)
DECAYS = [1, 2, 3, 64, 100, 115, 127, 128, 129, 200, 224, 229, 230, 231, 254, 255, 256]


def spread_membranes() -> np.ndarray:
    rng = np.random.default_rng(1)
    edges = np.array(
        [0, 1, 2, 127, 128, 129, 255, 256, 145_888, 145_889, 2**22, MEMBRANE_MAX - 1, MEMBRANE_MAX]
    )
    drawn = rng.integers(-MEMBRANE_MAX, MEMBRANE_MAX + 1, 60_000)
    near = (np.arange(-300, 300)[:, None] + np.array([0, 2**17, -(2**17), 2**20])).ravel()
    return np.concatenate([edges, -edges, drawn, near]).astype(np.int32)[None]


def make_lif(n: int, theta: int = 100, bias: int = 0, clip: bool = True, channels: int = 1) -> LIF:
    full = np.full(channels, 1, np.int32)
    return LIF("lif", "i", "s", n, full * np.int32(theta), full * np.int32(bias), clip)


@pytest.mark.parametrize("n", DECAYS)
def test_decay_truncates_toward_zero_over_the_whole_range(n: int, run_primitive: RunPrimitive) -> None:
    membrane = spread_membranes()
    got = run_primitive(lambda numbers, x: numbers.decay(make_lif(n), x), membrane, np.int32)
    np.testing.assert_array_equal(got, decay(membrane.astype(np.int64), n))


@pytest.mark.parametrize("n", [1, 64, 115, 128, 200, 224, 230, 255])
def test_decay_in_float32_is_exact_up_to_the_bound_that_admits_it(
    n: int, run_primitive: RunPrimitive
) -> None:
    numerator = n // np.gcd(n, 256)
    limit = min(2**24 // numerator, MEMBRANE_MAX)
    rng = np.random.default_rng(n)
    edge = np.arange(limit - 2000, limit + 1)
    membrane = np.concatenate([edge, -edge, rng.integers(-limit, limit + 1, 60_000), np.arange(-999, 999)])
    membrane = membrane.astype(np.int32)[None]
    narrow = frozenset({"lif"})
    got = run_primitive(lambda numbers, x: numbers.decay(make_lif(n), x), membrane, np.int32, narrow=narrow)
    np.testing.assert_array_equal(got, decay(membrane.astype(np.int64), n))


@pytest.mark.parametrize("theta", [1, 100, THETA_MAX])
def test_a_neuron_fires_above_its_threshold_and_not_at_it(theta: int, run_primitive: RunPrimitive) -> None:
    membrane = np.array([[theta - 1, theta, theta + 1, 0, -theta, -MEMBRANE_MAX]], np.int32)
    op = make_lif(230, theta)
    fired = run_primitive(lambda numbers, x: numbers.fired(op, x), membrane, np.bool_)
    np.testing.assert_array_equal(fired, membrane > theta)
    rest = np.where(membrane > theta, 0, membrane)
    few = run_primitive(lambda numbers, x: numbers.reset_few(op, x), membrane, np.int32)
    np.testing.assert_array_equal(few, rest)

    def reset(numbers, x):
        return numbers.reset(op, x, numbers.fired(op, x))

    np.testing.assert_array_equal(run_primitive(reset, membrane, np.int32), rest)


def test_the_lower_saturation_stands_and_is_left_out_where_proven_unreachable(
    run_primitive: RunPrimitive,
) -> None:
    membrane = np.array([[-(2**31), -(2**30), -MEMBRANE_MAX - 1, -MEMBRANE_MAX, -1, 5]], np.int32)
    got = run_primitive(lambda numbers, x: numbers.floor(make_lif(230), x), membrane, np.int32)
    np.testing.assert_array_equal(got, np.maximum(membrane, -MEMBRANE_MAX))

    def unclipped(numbers, x):
        return numbers.graph.op("Identity", numbers.floor(make_lif(230, clip=False), x))

    np.testing.assert_array_equal(run_primitive(unclipped, membrane, np.int32), membrane)


class Layout:
    axis = 1

    def __init__(self, few: bool) -> None:
        self.few = few


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("timesteps", [1, 2, 4, 7])
@pytest.mark.parametrize(("n", "theta", "bias"), [(230, 3000, -77), (256, 1, 5), (1, THETA_MAX, 2**30)])
def test_a_lif_unrolled_fires_as_golden_up_to_the_ends_of_a_current(
    *, few: bool, timesteps: int, n: int, theta: int, bias: int, run_primitive: RunPrimitive
) -> None:
    rng = np.random.default_rng(timesteps)
    current = rng.integers(-200, 200, (3, timesteps, 64))
    current[1] = rng.integers(-(2**17) + 1, 2**17, (timesteps, 64))
    current[2] = rng.choice([-(2**17) + 1, 2**17 - 1], (timesteps, 64))
    op = make_lif(n, theta, bias, channels=64)
    _, spikes = lif_membranes(current, op)

    def whole(numbers, x):
        return lif(op, OnnxValue(x, 64), numbers, Layout(few), timesteps)

    got = run_primitive(whole, (64 * current).astype(np.int32), np.bool_)
    np.testing.assert_array_equal(got, spikes)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_linear_is_exact_at_the_extremes(sign: int, run_primitive: RunPrimitive) -> None:
    rng = np.random.default_rng(0)
    weight = np.full((1032, 16), 127 * sign, np.int8)
    weight[:, 8:] = rng.choice([-127, 127], (1032, 8))
    spikes = rng.random((2, 3, 1032)) < 0.5
    spikes[0] = True
    op = Linear("linear", "s", "i", weight)
    got = run_primitive(lambda numbers, x: numbers.linear(op, x), spikes, np.int32)
    np.testing.assert_array_equal(got, 64 * (spikes.astype(np.int64) @ weight.astype(np.int64)))


@pytest.mark.parametrize("many_rows", [False, True])
@pytest.mark.parametrize("shift", [0, 7, 16, 30, 31])
def test_the_embedding_multiplies_and_shifts_exactly_at_the_extremes(
    shift: int, many_rows: bool, run_primitive: RunPrimitive
) -> None:
    rng = np.random.default_rng(shift)
    table = rng.choice([-127, 127], (40, 64)).astype(np.int8)
    table[0], table[1] = 127, -127
    projection = rng.choice([-127, 127], (64, 24)).astype(np.int8)
    projection[:, 0], projection[:, 1] = 127, -127
    codes = table.astype(np.int64) @ projection.astype(np.int64)
    multiplier = (2**31 - 1) // np.maximum(1, np.abs(codes).max(axis=0))
    if shift < 15:
        multiplier = np.full(24, 1)
    op = Embed("embed", "x0", table, projection, multiplier.astype(np.int32), shift)
    ids = np.arange(40, dtype=np.int64).reshape(2, 20)
    got = run_primitive(lambda numbers, x: numbers.embed(op, x), ids, np.int32, rank=3, many_rows=many_rows)
    expected = 64 * trunc_shift(codes * op.multiplier, shift)
    np.testing.assert_array_equal(got, expected.astype(np.int32).reshape(2, 20, 24))


@pytest.mark.parametrize("many_rows", [False, True])
@pytest.mark.parametrize("shift", [0, 13, 15, 31])
def test_the_readout_clips_at_127_and_truncates_negatives(
    shift: int, many_rows: bool, run_primitive: RunPrimitive
) -> None:
    rng = np.random.default_rng(shift)
    timesteps, dim, rank, vocab = 3, 40, 12, 50
    weight = rng.integers(-127, 128, (dim, rank)).astype(np.int8)
    weight[:, 0], weight[:, 1] = 127, -127
    table = rng.choice([-127, 127], (vocab, rank)).astype(np.int8)
    bias = rng.integers(-3000, 3000, rank).astype(np.int32)
    largest = timesteps * np.abs(weight.astype(np.int64)).sum(axis=0) + np.abs(bias)
    multiplier = ((2**31 - 1) // largest).astype(np.int32)
    op = Readout("readout", "c", "logits", weight, bias, multiplier, shift, table, 10)
    spikes = rng.random((64, timesteps, dim)) < rng.random((64, 1, 1))
    spikes[0], spikes[1] = True, False
    codes = readout_codes(spikes.sum(axis=1), op)
    expected = codes @ table.astype(np.int64).T
    flat = spikes.reshape(64, timesteps * dim)
    got = run_primitive(
        lambda numbers, x: numbers.readout(op, x, timesteps), flat, np.float32, many_rows=many_rows
    )
    np.testing.assert_array_equal(got * 2.0**10, expected)


def test_saturate_clips_the_residual_stream(run_primitive: RunPrimitive) -> None:
    current = np.array([[-(2**25) // 64, -(2**17), -(2**17) + 1, 0, 2**17 - 1, 2**17, 2**18]], np.int32)
    op = Saturate("saturate", "x", "y")
    got = run_primitive(lambda numbers, x: numbers.saturate(op, x), 64 * current, np.int32)
    np.testing.assert_array_equal(got, 64 * np.clip(current, -(2**17) + 1, 2**17 - 1))


@pytest.mark.parametrize("timesteps", [1, 2, 4, 6, 12])
@pytest.mark.parametrize("n", [1, 128, 230, 256])
@pytest.mark.parametrize("bias", [0, -700, 900, 2**30, -(2**30)])
def test_a_steady_current_fires_by_levels_as_by_recurrence(
    timesteps: int, n: int, bias: int, run_primitive: RunPrimitive
) -> None:
    rng = np.random.default_rng(n)
    theta = np.concatenate([[1, 2, 63, 64, 65, THETA_MAX], rng.integers(1, 40_000, 58)]).astype(np.int32)
    op = LIF("lif", "i", "s", n, theta, np.full(64, bias, np.int32), True)
    near = theta // 64 + rng.integers(-2, 3, (40, 64))
    wide = rng.integers(-(2**17) + 1, 2**17, (20, 64))
    few = near // rng.integers(1, 8, (40, 64))
    ends = np.array([[2**17 - 1], [1 - 2**17]]).repeat(64, axis=1)
    current = np.concatenate([near, few, wide, ends]).clip(1 - 2**17, 2**17 - 1)
    _, spikes = lif_membranes(np.repeat(current[:, None], timesteps, axis=1), op)

    def whole(numbers, x):
        return lif(op, OnnxValue(x, 64, steady=True), numbers, Layout(True), timesteps)

    got = run_primitive(whole, (64 * current[:, None]).astype(np.int32), np.bool_)
    np.testing.assert_array_equal(got, spikes)
