"""Networks that four libraries wrote, and every spike that those libraries made of the same frames."""

import numpy as np
import pytest

from edgesnn.api.nir.importing import import_network
from edgesnn.nir.graph import read_graph
from edgesnn.nir.nodes import FIRING, NEURONS
from edgesnn.nir.simulate import simulate
from edgesnn.nir.sources import rules_for
from edgesnn.program.golden import Golden
from tests.support.nir_files import SAID, options_for, recorded


def rules_of(options):
    return rules_for(options.source, options.dt, options.reset, options.spikes, options.norm_input)


def layers(path):
    """What the library's layers made, ``[n, frames, c]``, in their order."""
    arrays = np.load(path.with_suffix(".npz"))
    made = [arrays[f"neurons{i}"] for i in range(len(arrays.files) - 2)]
    return arrays["frames"], [one.reshape(*one.shape[:2], -1) for one in made]


@pytest.mark.parametrize("case", SAID)
def test_the_float_simulation_makes_every_spike_of_the_library(case, tmp_path):
    path = recorded(case, tmp_path)
    graph, seen = read_graph(path), {}
    frames, theirs = layers(path)
    simulate(graph, rules_of(options_for(case)), frames, seen.__setitem__)
    ours = [(node.kind, seen[node.name]) for node in graph.nodes if node.kind in NEURONS]
    assert len(ours) == len(theirs)
    for (kind, mine), made in zip(ours, theirs, strict=True):
        flat = mine.reshape(made.shape)
        if kind in FIRING:
            assert made.any()
            np.testing.assert_array_equal(flat, made)
        else:  # the library's membranes are float32
            np.testing.assert_allclose(flat, made, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("case", "wrong"),
    [
        ("snntorch-subtract", {"reset": "zero"}),
        ("snntorch-zero", {"reset": "subtract"}),
        ("norse-subtract", {"reset": "zero"}),
        ("sinabs-lif", {"norm_input": False}),
        ("sinabs-iaf", {"spikes": "one"}),
    ],
)
def test_another_rule_than_the_librarys_makes_other_spikes(case, wrong, tmp_path):
    path, options = recorded(case, tmp_path), options_for(case)
    asked = {"reset": options.reset, "spikes": options.spikes, "norm_input": options.norm_input, **wrong}
    graph, seen = read_graph(path), {}
    frames, theirs = layers(path)
    simulate(graph, rules_for(options.source, **asked), frames, seen.__setitem__)
    first = next(node.name for node in graph.nodes if node.kind in FIRING)
    assert (seen[first].reshape(theirs[0].shape) != theirs[0]).sum() > 10


@pytest.mark.parametrize("case", SAID)
def test_the_integer_program_is_close_to_the_library(case, tmp_path):
    path = recorded(case, tmp_path)
    network = import_network(path, options_for(case), calibration=path.with_suffix(".npz"))
    frames, theirs = layers(path)
    seen = {}
    Golden(network.program).sequence(network.to_samples(frames), seen.__setitem__)
    firing = [node for node in network.graph.nodes if node.kind in NEURONS]
    for node, made in zip(firing, theirs, strict=True):
        mine = seen[network.folded.values[node.name]][:, :, 0]
        if node.kind in FIRING:
            # the report's float side is the library's own, so its count is this one
            [layer] = [one for one in network.agreement.layers if one.node == node.name]
            assert layer.differ == (mine != made).sum() and layer.slots == made.size
        else:
            # spikes in front of the last layer differ here and there; a wrong scale would be far off
            error = np.abs(mine * network.program.output_scale - made)
            assert np.median(error) < 0.03 * np.abs(made).max()
    # the most active network, 0.44 spikes of a neuron in a frame, is the hardest to hold
    assert network.agreement.differ_share < (0.03 if case == "sinabs-maps" else 0.015)


def test_a_program_of_neurons_without_reset_and_one_of_membranes_say_what_they_give(tmp_path):
    path = recorded("norse-membranes", tmp_path)
    network = import_network(path, options_for("norse-membranes"))
    frames, theirs = layers(path)
    out = Golden(network.program).sequence(network.to_samples(frames))
    real = out * network.program.output_scale
    assert np.corrcoef(real.ravel(), theirs[-1].ravel())[0, 1] > 0.999
    assert np.abs(real - theirs[-1]).max() < 0.05
