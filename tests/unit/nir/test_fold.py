"""Folding: what reduces gives the spikes of the float network; what does not is named, all at once."""

import numpy as np
import pytest

from edgesnn.errors import NetworkError
from edgesnn.nir.fold import Samples, fold
from edgesnn.nir.graph import read_graph
from edgesnn.nir.nodes import NEURONS
from edgesnn.nir.simulate import simulate
from edgesnn.nir.sources import rules_for
from edgesnn.program.golden import Golden
from edgesnn.program.ops import Add
from edgesnn.program.ops_frames import Conv, Delay, FrameOutput, Reset, StatefulLIF, SumPool
from tests.support.nir_files import chain, linear, neurons, write_graph

JELLY = rules_for("spikingjelly")


def conv(out, inside, kernel, seed=0, **more):
    """A Conv2d of exact weights, as `linear`."""
    codes = np.random.default_rng(seed).integers(-90, 127, (out, inside, *kernel))
    codes[:, 0, 0, 0] = 127
    given = {
        "stride": np.array([1, 1]),
        "padding": np.array([0, 0]),
        "dilation": np.array([1, 1]),
        "groups": 1,
    }
    return {"type": "Conv2d", "weight": codes / 64, "bias": np.zeros(out), **given, **more}


def run_both(path, rules, samples=None, frames=None):
    """What every layer of neurons makes, float and integer, by node; the outputs; and the program."""
    graph, samples = read_graph(path), samples or Samples()
    folded = fold(graph, rules, samples)
    shape = graph.shapes[graph.input]
    if frames is None:
        frames = (np.random.default_rng(1).random((5, 20, *shape)) < 0.3).astype(np.int8)
    real, whole = {}, {}
    out = simulate(graph, rules, frames * samples.scale, real.__setitem__)
    result = Golden(folded.program).sequence(frames.reshape(*frames.shape[:2], -1), whole.__setitem__)
    pairs = {
        node.name: (real[node.name].reshape(5, 20, -1), whole[folded.values[node.name]][:, :, 0])
        for node in graph.nodes
        if node.kind in NEURONS
    }
    return pairs, (out.reshape(5, 20, -1), result), folded


def assert_equal(pairs):
    for name, (real, whole) in pairs.items():
        assert real.any() and not real.all(), name
        np.testing.assert_array_equal(real, whole, err_msg=name)


def test_maps_pools_flattening_and_dense_layers_give_the_same_spikes(tmp_path):
    path = chain(
        tmp_path / "x.nir",
        ("c1", conv(4, 2, (3, 3), padding=np.array([1, 1]))),
        ("n1", neurons((4, 8, 8), v_threshold=np.full((4, 8, 8), 6.0))),
        ("avg", {"type": "AvgPool2d", "kernel_size": 2, "stride": 2, "padding": 0}),
        ("c2", conv(6, 2, (3, 2), 1, groups=2, stride=np.array([1, 2]), dilation=np.array([1, 2]))),
        ("n2", neurons((6, 2, 1))),
        (
            "sum",
            {"type": "SumPool2d", "kernel_size": np.array([2, 1]), "stride": 1, "padding": np.array([1, 0])},
        ),
        ("flat", {"type": "Flatten", "start_dim": 0, "end_dim": -1}),
        ("fc", linear(3, 18)),
        ("n3", neurons(3, v_threshold=np.full(3, 9.0))),
        shape=(2, 8, 8),
        outputs=(3,),
    )
    pairs, (out, result), folded = run_both(path, JELLY)
    assert_equal(pairs)
    np.testing.assert_array_equal(out.cumsum(axis=1), result)
    kinds = [type(op) for op in folded.program.ops]
    assert kinds.count(Conv) == 2 and kinds.count(SumPool) == 2
    # neurons of a map share their parameters
    assert [len(op.threshold) for op in folded.program.all(StatefulLIF)] == [4, 6, 3]


@pytest.mark.parametrize(
    ("source", "reset", "spikes", "kind"),
    [
        ("spikingjelly", "zero", None, Reset.ZERO),
        ("snntorch", "subtract", None, Reset.LATE),
        ("snntorch", "none", None, Reset.NONE),
        ("norse", "subtract", None, Reset.SUBTRACT),
        ("sinabs", "subtract", "many", Reset.MANY),
        ("sinabs", "subtract", "one", Reset.SUBTRACT),
        ("sinabs", "zero", "one", Reset.ZERO),
    ],
)
def test_every_reset_gives_the_same_spikes_where_weights_are_exact(tmp_path, source, reset, spikes, kind):
    r = 1e4 if source == "spikingjelly" else 1.0
    cells = {"type": "IF", "r": np.full(3, r), "v_threshold": np.array([1.5, 2.5, 4.0])}
    path = chain(tmp_path / "x.nir", ("fc", linear(3, 6)), ("n", cells), shape=(6,), outputs=(3,))
    pairs, _, folded = run_both(path, rules_for(source, reset=reset, spikes=spikes))
    assert_equal(pairs)
    [neuron] = folded.program.all(StatefulLIF)
    assert neuron.reset is kind and neuron.inclusive == (source in ("spikingjelly", "sinabs"))


@pytest.mark.parametrize(("source", "fires"), [("spikingjelly", True), ("norse", False)])
def test_a_membrane_at_its_threshold_fires_as_in_the_library(tmp_path, source, fires):
    r = 1e4 if source == "spikingjelly" else 1.0
    weight = {"type": "Linear", "weight": np.array([[127 / 64, 1.0]])}
    cells = {"type": "IF", "r": np.array([r]), "v_threshold": np.array([1.0])}
    path = chain(tmp_path / "x.nir", ("fc", weight), ("n", cells), shape=(2,), outputs=(1,))
    frames = np.zeros((5, 20, 2), np.int8)
    frames[:, 3, 1] = 1
    graph = read_graph(path)
    folded = fold(graph, rules_for(source), Samples(), "spikes")
    out = Golden(folded.program).sequence(frames)
    assert out[:, 3, 0].tolist() == [int(fires)] * 5


def test_leak_gain_and_reset_voltage_fold_into_threshold_and_bias(tmp_path):
    cells = neurons(3, "LIF", v_reset=np.full(3, -0.5), v_leak=np.full(3, -0.5))
    affine = {**linear(3, 6), "type": "Affine", "bias": np.array([0.25, -0.125, 0.5])}
    path = chain(tmp_path / "x.nir", ("fc", affine), ("n", cells), shape=(6,), outputs=(3,))
    pairs, _, folded = run_both(path, JELLY)
    assert_equal(pairs)  # beta 3/4 and gain 1 are exact
    [neuron] = folded.program.all(StatefulLIF)
    assert neuron.decay.tolist() == [192] * 3
    # u = V - v_reset: threshold 2.5 + 0.5 in 1/64 of a code, a code being 1/64; >= as ceil(..) - 1
    assert neuron.threshold.tolist() == [3 * 64 * 64 - 1] * 3
    assert neuron.bias.tolist() == [1024, -512, 2048]


def test_a_delay_shifts_frames_and_one_of_nothing_is_no_op(tmp_path):
    steps = np.array([0, 3, 0, 1, 0, 2]) * 1e-4
    path = chain(
        tmp_path / "x.nir",
        ("none", {"type": "Delay", "delay": np.zeros(6)}),
        ("wait", {"type": "Delay", "delay": steps}),
        ("fc", linear(3, 6)),
        ("n", neurons(3)),
        shape=(6,),
        outputs=(3,),
    )
    pairs, _, folded = run_both(path, JELLY)
    assert_equal(pairs)
    [delay] = folded.program.all(Delay)
    assert delay.delays.tolist() == [0, 3, 0, 1, 0, 2]


def test_scales_in_front_of_weights_and_behind_them_multiply_into_the_weights(tmp_path):
    path = chain(
        tmp_path / "x.nir",
        ("before", {"type": "Scale", "scale": np.array([1.0, 0.5, 2.0, 1.0, 0.25, 1.0])}),
        ("fc", {"type": "Linear", "weight": np.array([[1.0, 2, -1, 1, 4, 0.5], [0.5, 2, 0.25, -1, 4, 1]])}),
        ("behind", {"type": "Scale", "scale": np.array([2.0, 0.5])}),
        ("n", neurons(2)),
        shape=(6,),
    )
    pairs, _, _ = run_both(path, JELLY)
    for real, whole in pairs.values():
        assert real.any() and (real != whole).mean() < 0.05  # 127 steps to a weight of 2 are not exact


def test_a_sum_of_two_paths_shares_one_scale(tmp_path):
    nodes = {
        "input": {"type": "Input", "shape": np.array([6])},
        "a": linear(3, 6, 1),
        "n": neurons(3),
        "b": linear(4, 3, 2),
        "skip": linear(4, 6, 3),
        "m": neurons(4),
        "output": {"type": "Output", "shape": np.array([4])},
    }
    edges = [
        ("input", "a"),
        ("a", "n"),
        ("n", "b"),
        ("b", "m"),
        ("input", "skip"),
        ("skip", "m"),
        ("m", "output"),
    ]
    pairs, _, folded = run_both(write_graph(tmp_path / "x.nir", nodes, edges), JELLY)
    assert_equal(pairs)
    assert len(list(folded.program.all(Add))) == 1


def test_neurons_that_read_spikes_without_weights_and_a_last_layer_without_neurons(tmp_path):
    path = chain(
        tmp_path / "x.nir",
        ("n", neurons(4, v_threshold=np.full(4, 2.0))),
        ("fc", {**linear(2, 4), "type": "Affine", "bias": np.array([0.5, -0.25])}),
    )
    pairs, (out, result), folded = run_both(path, JELLY)
    assert_equal(pairs)
    [*_, last] = folded.program.ops
    assert isinstance(last, FrameOutput) and not last.summed
    np.testing.assert_allclose(result * last.scale, out, atol=1e-9)


def test_samples_are_worth_their_scale(tmp_path):
    path = chain(tmp_path / "x.nir", ("fc", linear(3, 6)), ("n", neurons(3)), shape=(6,), outputs=(3,))
    frames = np.random.default_rng(2).integers(-100, 127, (5, 20, 6)).astype(np.int8)
    pairs, _, folded = run_both(path, JELLY, Samples(-127, 127, 2.0**-7), frames)
    assert_equal(pairs)
    assert folded.program.frames.scale == 2.0**-7


def test_thresholds_beyond_reach_are_counted_as_dead(tmp_path):
    cells = neurons(3, v_threshold=np.array([2.5, 1e9, 1e12]))
    path = chain(tmp_path / "x.nir", ("fc", linear(3, 6)), ("n", cells), shape=(6,), outputs=(3,))
    folded = fold(read_graph(path), JELLY, Samples())
    assert folded.layers[0].dead == 2
    assert folded.layers[0].fraction < 6


def test_names_of_nodes_become_names_of_ops(tmp_path):
    long = "a layer – with a name that is far too long to be the name of an op" * 2
    path = chain(tmp_path / "x.nir", (long, linear(3, 4)), (long + "!", neurons(3)), outputs=(3,))
    folded = fold(read_graph(path), JELLY, Samples())
    names = [op.name for op in folded.program.ops]
    assert len(set(names)) == len(names) and all(len(name) < 64 and " " not in name for name in names)


def refused(path, rules=JELLY, samples=None):
    with pytest.raises(NetworkError) as met:
        fold(read_graph(path), rules, samples or Samples())
    return list(met.value.problems)


def test_all_nodes_that_do_not_reduce_are_named_at_once(tmp_path):
    path = chain(
        tmp_path / "x.nir",
        ("a", linear(3, 4)),
        ("b", linear(3, 3)),
        ("slow", neurons(3, r=np.ones(3))),
        ("li", {"type": "LI", "tau": np.ones(3), "r": np.ones(3), "v_leak": np.zeros(3)}),
        ("wait", {"type": "Delay", "delay": np.full(3, 1.5e-4)}),
        ("high", neurons(3, v_threshold=np.full(3, -1.0))),
        outputs=(3,),
    )
    said = refused(path)
    assert said == [
        "node 'b' (Linear): a second layer of weights without neurons between: multiply both into one",
        "node 'slow' (IF): dt 0.0001 s contradicts its r of 1, which SpikingJelly writes as 1/dt",
        "node 'li' (LI): its membrane is no spike, and only the output may read it",
        "node 'high' (IF): its threshold -1 is not above where its membrane begins",
    ]


def test_a_pool_of_currents_and_delays_between_frames_are_refused(tmp_path):
    pool = {"type": "SumPool2d", "kernel_size": 2, "stride": 2, "padding": 0}
    path = chain(
        tmp_path / "x.nir", ("c", conv(2, 2, (3, 3))), ("p", pool), shape=(2, 8, 8), outputs=(2, 3, 3)
    )
    assert "it reads a sum of weights, not spikes" in refused(path)[0]
    delay = {"type": "Delay", "delay": np.full(4, 1.5e-4)}
    assert (
        "no whole number of time steps" in refused(chain(tmp_path / "y.nir", ("d", delay), outputs=(4,)))[0]
    )
    long = {"type": "Delay", "delay": np.full(4, 5000e-4)}
    assert "'d'" in refused(chain(tmp_path / "z.nir", ("d", long), outputs=(4,)))[0]


def test_several_spikes_and_a_reset_to_zero_are_refused(tmp_path):
    cells = {"type": "IF", "r": np.ones(3), "v_threshold": np.ones(3)}
    path = chain(tmp_path / "x.nir", ("a", linear(3, 4)), ("n", cells), outputs=(3,))
    [one] = refused(path, rules_for("sinabs", reset="zero"))
    assert one.startswith("node 'n' (IF): several spikes in a frame and a reset to zero")


def test_a_sum_that_cannot_be_bounded_is_refused_by_name(tmp_path):
    pool = {"type": "SumPool2d", "kernel_size": 40, "stride": 40, "padding": 0}
    path = chain(tmp_path / "x.nir", ("p", pool), shape=(1, 40, 40), outputs=(1, 1, 1))
    [one] = refused(path, samples=Samples(-127, 127, 1.0))
    assert "'p'" in one and "overflow" in one
