"""Every primitive over its whole range, by membranes and products, never by spikes alone."""

import numpy as np
import pytest

from edgesnn.exporters.tflite.bounds import FLOAT32_EXACT, DecayForm, decay_form, fraction
from edgesnn.exporters.tflite.graph import TfliteGraph
from edgesnn.exporters.tflite.network import TfliteValue, lif
from edgesnn.exporters.tflite.primitives import TfliteNumbers
from edgesnn.exporters.tflite.step import TfliteStepPast
from edgesnn.program.golden import decay, lif_membranes, readout_codes, trunc_shift
from edgesnn.program.ops import LIF, MEMBRANE_MAX, RESIDUAL_MAX, THETA_MAX, Embed, Readout, Saturate

DECAYS = [1, 3, 64, 77, 127, 128, 129, 191, 230, 243, 254, 255, 256]
RNG = np.random.default_rng(20)


def neuron(n, channels=1, *, theta=THETA_MAX, bias=0, clip=True):
    return LIF("lif", "i", "s", n, spread(theta, channels), spread(bias, channels), clip)


def spread(value, channels):
    return np.broadcast_to(np.asarray(value, np.int32), channels).copy()


class Recording(TfliteNumbers):
    """Numbers that remember the membranes which are compared with the threshold."""

    def __init__(self, graph, reaches):
        super().__init__(graph, reaches)
        self.membranes = []

    def fired(self, op, membrane):
        if membrane not in self.membranes:
            self.membranes.append(membrane)
        return super().fired(op, membrane)


def magnitudes(reach):
    """Small, large and random magnitudes up to a reach."""
    edge = min(reach, 3000)
    parts = [np.arange(edge + 1), np.arange(reach - edge, reach + 1), RNG.integers(0, reach + 1, 40_000)]
    return np.unique(np.concatenate(parts))


def reach_of(form, n):
    """The largest reach for which a decay takes this form, or None."""
    op = neuron(n)
    top, bottom = fraction(op)
    limits = {DecayForm.PRODUCT: top, DecayForm.COMPLEMENT: bottom - top, DecayForm.PARTS: None}
    factor = limits[form]
    reach = MEMBRANE_MAX if factor is None else min(MEMBRANE_MAX, (FLOAT32_EXACT - 1) // max(factor, 1))
    return reach if decay_form(op, reach) is form else None


@pytest.mark.parametrize("form", [DecayForm.PRODUCT, DecayForm.COMPLEMENT, DecayForm.PARTS])
def test_decay_truncates_every_membrane_of_its_form(runtime, xnnpack, form):
    reached = 0
    for n in DECAYS:
        reach = reach_of(form, n)
        if reach is None:
            continue
        reached += 1
        size = magnitudes(reach)
        values = np.concatenate([-size[::-1], size])
        graph = TfliteGraph("decay")
        arriving = graph.input("v", np.float32, (-1, 1))
        graph.output("out", TfliteNumbers(graph, {"lif": reach}).decay(neuron(n), arriving))
        content = graph.serialise({}, "decay")
        got = runtime.call(content, {"v": values[:, None].astype(np.float32)}, xnnpack=xnnpack)["out"]
        np.testing.assert_array_equal(got[:, 0].astype(np.int64), decay(values, n), f"n = {n}")
    assert reached >= 3


def test_a_decay_beyond_its_reach_would_be_wrong(runtime, xnnpack):
    """The tests above have teeth: the cheap form fails where the bounds forbid it."""
    values = np.arange(MEMBRANE_MAX - 4000, MEMBRANE_MAX)
    graph = TfliteGraph("decay")
    arriving = graph.input("v", np.float32, (-1, 1))
    graph.output("out", TfliteNumbers(graph, {"lif": 100}).decay(neuron(230), arriving))
    content = graph.serialise({}, "decay")
    got = runtime.call(content, {"v": values[:, None].astype(np.float32)}, xnnpack=xnnpack)["out"]
    assert 0 < np.count_nonzero(got[:, 0] != decay(values, 230)) < len(values)


def membranes(runtime, op, current, reach, xnnpack):
    """Membranes ``[rows, T, c]`` and spikes of a LIF in a runtime."""
    rows, timesteps, channels = current.shape
    graph = TfliteGraph("lif")
    numbers = Recording(graph, {"lif": reach})
    arriving = graph.input("i", np.float32, (-1, timesteps, channels))
    spikes = lif(op, TfliteValue(arriving, channels), numbers, TfliteStepPast(numbers, timesteps), timesteps)
    graph.output("s", spikes)
    for t, membrane in enumerate(numbers.membranes):
        graph.output(f"v{t}", membrane)
    out = runtime.call(graph.serialise({}, "lif"), {"i": current.astype(np.float32)}, xnnpack=xnnpack)
    values = np.concatenate([out[f"v{t}"] for t in range(timesteps)], axis=1).astype(np.float64)
    return np.clip(values, -MEMBRANE_MAX, MEMBRANE_MAX).astype(np.int64), out["s"].astype(np.int8)


@pytest.mark.parametrize("n", [1, 128, 230, 256])
@pytest.mark.parametrize("bias", [0, 12_345, -(2**24) - 1, 2**24 + 1, 2**30, -(2**30)])
def test_membranes_are_golden_s_over_the_whole_range_of_currents(runtime, xnnpack, n, bias):
    channels = 64
    theta = np.concatenate([[1, 2, 63, 64, 65, THETA_MAX], RNG.integers(1, THETA_MAX, channels - 6)])
    op = neuron(n, channels, theta=theta, bias=bias)
    current = RNG.integers(-(2**17) + 1, 2**17, (300, 4, channels))
    current[:50] = 2**17 - 1
    current[50:100] = -(2**17) + 1
    current[100:200] = RNG.integers(-40, 41, (100, 4, channels))
    if abs(bias) > 2**23:
        current[200:250] = -np.sign(bias) * (2**17 - 1)
    want_membranes, want_spikes = lif_membranes(current, op)
    got_membranes, got_spikes = membranes(runtime, op, current, MEMBRANE_MAX, xnnpack)
    np.testing.assert_array_equal(got_membranes, want_membranes)
    np.testing.assert_array_equal(got_spikes, want_spikes)


def test_a_membrane_at_its_threshold_does_not_fire_and_one_above_does(runtime, xnnpack):
    theta = np.array([1, 64, 4095, 2**20, 2**22 + 1, THETA_MAX, THETA_MAX - 1, 127])
    for offset, fires in ((0, 0), (1, 1), (-1, 0)):
        op = neuron(256, len(theta), theta=theta, bias=theta + offset)
        _, spikes = membranes(runtime, op, np.zeros((1, 1, len(theta))), MEMBRANE_MAX, xnnpack)
        np.testing.assert_array_equal(spikes[0, 0], fires)


@pytest.mark.parametrize("fan_in", [1, 256, 1032, 9000])
def test_products_with_spikes_are_exact_at_the_extremes(runtime, xnnpack, fan_in):
    weight = RNG.integers(-127, 128, (fan_in, 6)).astype(np.int8)
    weight[:, 0], weight[:, 1] = 127, -127
    weight[:, 2] = np.where(np.arange(fan_in) % 2, 127, -127)
    spikes = (RNG.random((40, fan_in)) < np.linspace(0, 1, 40)[:, None]).astype(np.int8)
    spikes[0], spikes[1] = 0, 1
    graph = TfliteGraph("product")
    arriving = graph.input("s", np.float32, (-1, fan_in))
    graph.output("out", TfliteNumbers(graph, {}).spiking_product(arriving, weight))
    content = graph.serialise({}, "product")
    got = runtime.call(content, {"s": spikes.astype(np.float32)}, xnnpack=xnnpack)["out"]
    np.testing.assert_array_equal(got, spikes.astype(np.int64) @ weight.astype(np.int64))


def test_saturation_clips_at_the_residual_s_bounds(runtime, xnnpack):
    values = np.array(
        [[-(2**18), -RESIDUAL_MAX - 1, -RESIDUAL_MAX, 0, RESIDUAL_MAX, RESIDUAL_MAX + 1, 2**18]]
    )
    graph = TfliteGraph("saturate")
    arriving = graph.input("x", np.float32, (-1, values.shape[1]))
    graph.output("out", TfliteNumbers(graph, {}).saturate(Saturate("s", "x", "y"), arriving))
    content = graph.serialise({}, "saturate")
    got = runtime.call(content, {"x": values.astype(np.float32)}, xnnpack=xnnpack)["out"]
    np.testing.assert_array_equal(got, np.clip(values, -RESIDUAL_MAX, RESIDUAL_MAX))


@pytest.mark.parametrize("shift", [0, 7, 16, 30, 31])
def test_the_embedding_s_multiply_shift_is_exact_up_to_int32(runtime, xnnpack, shift):
    rank, dim, vocab = 64, 32, 50
    table = RNG.integers(-127, 128, (vocab, rank)).astype(np.int8)
    projection = RNG.integers(-127, 128, (rank, dim)).astype(np.int8)
    table[0], projection[:, 0] = 127, 127
    table[1], projection[:, 1] = -127, 127
    codes = table.astype(np.int64) @ projection
    top = (2**31 - 1) // np.abs(codes).max(axis=0)
    if shift < 14:
        top = np.minimum(top, (2**16 << shift) // np.abs(codes).max(axis=0))
    op = Embed("e", "x", table, projection, top.astype(np.int32), shift)
    graph = TfliteGraph("embed")
    graph.output("out", TfliteNumbers(graph, {}).embed(op, graph.input("ids", np.int32, (-1, -1))))
    ids = np.arange(vocab, dtype=np.int32).reshape(2, -1)
    got = runtime.call(graph.serialise({}, "embed"), {"ids": ids}, xnnpack=xnnpack)["out"]
    np.testing.assert_array_equal(got.reshape(vocab, dim), trunc_shift(codes * op.multiplier, shift))


@pytest.mark.parametrize(("rank", "shift"), [(1, 0), (64, 15), (64, 31), (1040, 20)])
def test_the_readout_is_exact_at_the_extremes_of_counts_codes_and_logits(runtime, xnnpack, rank, shift):
    dim, vocab, timesteps = 96, 70, 3
    weight = RNG.integers(-127, 128, (dim, rank)).astype(np.int8)
    weight[:, 0] = 127
    table = RNG.integers(-127, 128, (vocab, rank)).astype(np.int8)
    table[0], table[1] = 127, -127
    bias = RNG.integers(-30_000, 30_000, rank).astype(np.int32)
    z_max = timesteps * np.abs(weight.astype(np.int64)).sum(axis=0) + np.abs(bias)
    multiplier = (2**31 - 1) // z_max
    op = Readout("r", "c", "l", weight, bias, multiplier.astype(np.int32), shift, table, 7)
    spikes = (RNG.random((30, timesteps, dim)) < np.linspace(0, 1, 30)[:, None, None]).astype(np.int8)
    spikes[0], spikes[1] = 0, 1
    graph = TfliteGraph("readout")
    arriving = graph.input("s", np.float32, (-1, timesteps * dim))
    graph.output("out", TfliteNumbers(graph, {}).readout(op, arriving, timesteps))
    flat = spikes.reshape(len(spikes), -1).astype(np.float32)
    got = runtime.call(graph.serialise({}, "readout"), {"s": flat}, xnnpack=xnnpack)["out"]
    codes = readout_codes(spikes.sum(axis=1, dtype=np.int64), op)
    np.testing.assert_array_equal(got * 2.0**7, codes @ table.T.astype(np.int64))
