"""A graph that cannot run is refused with every reason at once, each by the name of its node."""

import numpy as np
import pytest

from edgesnn.errors import NetworkError
from edgesnn.nir.graph import read_graph
from edgesnn.nir.nodes import Node
from tests.support.nir_files import chain, linear, neurons, write_graph


def refused(path, *shape):
    with pytest.raises(NetworkError) as met:
        read_graph(path, *shape)
    return list(met.value.problems)


def test_every_reason_is_said_at_once_and_names_its_node(tmp_path):
    bad = linear(3, 4)
    bad["weight"][1, 2] = np.nan
    nodes = {
        "input": {"type": "Input", "shape": np.array([4])},
        "fc": bad,
        "lif": {"type": "LIF", "tau": np.ones(3), "r": np.ones(3)},
        "cuba": {"type": "CubaLIF", "tau_syn": np.ones(3)},
        "odd": {"type": "Lif", "tau": np.ones(3)},
        "nameless": {"weight": np.ones((3, 3))},
        "more": {**linear(3, 3), "colour": np.ones(2)},
        "output": {"type": "Output", "shape": np.array([3])},
    }
    names = list(nodes)
    said = refused(write_graph(tmp_path / "x.nir", nodes, list(zip(names, names[1:], strict=False))))
    [cuba] = [
        one for one in said if one.startswith("node 'cuba' (CubaLIF): its synapses decay, a second state")
    ]
    assert sorted(said) == sorted(
        [
            cuba,
            "node 'fc' (Linear): weight holds 1 NaN or infinite of 12 numbers",
            "node 'lif' (LIF): without v_leak, v_threshold",
            "node 'odd' (Lif): an unknown type of node; did you mean LIF or LI or IF?",
            "node 'nameless': it has no type",
            "node 'more' (Linear): an unknown parameter 'colour'",
        ]
    )


def test_the_error_is_one_line_and_numbers_its_reasons(tmp_path):
    path = chain(tmp_path / "x.nir", ("a", {"type": "Foo"}), ("b", {"type": "Bar"}))
    with pytest.raises(NetworkError) as met:
        read_graph(path)
    assert "cannot be imported, for 2 reasons" in met.value.what
    assert met.value.actual.startswith("(1) node 'a' (Foo): an unknown type of node")
    assert "(2) node 'b' (Bar)" in met.value.actual and "\n" not in str(met.value)


def test_a_cycle_is_named_with_its_way(tmp_path):
    nodes = {
        "input": {"type": "Input", "shape": np.array([3])},
        "lif": neurons(3),
        "back": linear(3, 3),
        "output": {"type": "Output", "shape": np.array([3])},
    }
    edges = [("input", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output")]
    [one] = refused(write_graph(tmp_path / "x.nir", nodes, edges))
    assert "back -> lif -> back" in one or "lif -> back -> lif" in one
    assert "recurrent" in one


def test_edges_that_name_nothing_stand_twice_or_lead_nowhere_are_named(tmp_path):
    nodes = {
        "input": {"type": "Input", "shape": np.array([4])},
        "fc": linear(2, 4),
        "lif": neurons(2),
        "lost": neurons(2),
        "output": {"type": "Output", "shape": np.array([2])},
    }
    good = [("input", "fc"), ("fc", "lif"), ("lif", "output")]
    path = tmp_path / "x.nir"
    [one] = refused(write_graph(path, nodes, [*good, ("lost", "ghost")]))
    assert one == "node 'ghost': edges name it, but there is no such node"
    said = refused(write_graph(path, nodes, [*good, ("fc", "lif")]))
    assert "the graph: the edge from 'fc' to 'lif' stands there 2 times" in said
    assert "node 'lost' (IF): nothing comes to it from the input" in said
    assert "node 'lost' (IF): what it makes does not reach the output" in said


@pytest.mark.parametrize("edges", [None, "text", 3])
def test_a_graph_without_edges_is_refused(tmp_path, edges):
    import h5py

    path = write_graph(tmp_path / "x.nir", {"input": {"type": "Input", "shape": np.array([4])}}, None)
    if edges is not None:
        with h5py.File(path, "a") as file:
            file["node/edges"] = edges
    assert "the graph: without edges, pairs of names of nodes" in refused(path)


def test_hdf5_without_a_graph_is_no_nir(tmp_path):
    import h5py

    with h5py.File(tmp_path / "x.nir", "w") as file:
        file["weights"] = np.ones(3)
    [one] = refused(tmp_path / "x.nir")
    assert one == "it is HDF5 but no NIR: it has no group 'node' of type NIRGraph"


def test_two_inputs_and_no_output_are_refused(tmp_path):
    nodes = {"a": {"type": "Input", "shape": np.array([4])}, "b": {"type": "Input", "shape": np.array([4])}}
    said = refused(write_graph(tmp_path / "x.nir", nodes, [("a", "b")]))
    assert "the graph: 2 nodes of type Input, not 1: a, b" in said
    assert "the graph: 0 nodes of type Output, not 1" in said


CONV = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, "bias": np.zeros(2)}


@pytest.mark.parametrize(
    ("node", "shape", "reason"),
    [
        (linear(2, 5), (4,), "its weight [2, 5] reads [5], what comes in is [4]"),
        (linear(2, 4), (1, 4, 4), "what comes in is [1, 4, 4]"),
        ({"type": "Linear", "weight": np.ones((1, 2, 4))}, (4,), "weight has shape [1, 2, 4], not [out, in]"),
        ({**linear(2, 4), "type": "Affine", "bias": np.ones(3)}, (4,), "bias of shape [3] for 2 outputs"),
        ({"type": "Conv2d", "weight": np.ones((2, 3, 3, 3)), **CONV}, (2, 8, 8), "[3, height, width]"),
        (
            {"type": "Conv2d", "weight": np.ones((2, 2, 30, 3)), **CONV},
            (2, 8, 8),
            "larger than what comes in",
        ),
        ({"type": "Conv2d", "weight": np.ones((2, 2, 3)), **CONV}, (2, 8, 8), "not [out, in/groups, kernel]"),
        ({"type": "Conv1d", "weight": np.ones((2, 2, 3)), **CONV, "groups": 3}, (6, 8), "groups is [3]"),
        ({"type": "Conv1d", "weight": np.ones((2, 2, 3)), **CONV, "stride": 0}, (2, 8), "stride is [0]"),
        (
            {"type": "Conv1d", "weight": np.ones((2, 2, 3)), **CONV, "padding": "odd"},
            (2, 8),
            "is 'odd', neither",
        ),
        (
            {"type": "Conv1d", "weight": np.ones((2, 2, 4)), **CONV, "padding": "same"},
            (2, 8),
            "has no middle",
        ),
        (
            {"type": "SumPool2d", "kernel_size": 2, "stride": 2, "padding": 2},
            (2, 8, 8),
            "padding [2, 2] is not smaller",
        ),
        (
            {"type": "AvgPool2d", "kernel_size": 2, "stride": 2, "padding": 0},
            (4,),
            "reads [channels, height, width]",
        ),
        ({"type": "Flatten", "start_dim": 1, "end_dim": 5}, (2, 8, 8), "flattens dimensions 1 to 5"),
        (neurons(3), (4,), "r of shape [3] for values of shape [4]"),
        (neurons(3, v_threshold=np.ones(2)), (3,), "v_threshold of shape [2] for values of shape [3]"),
        ({"type": "Scale", "scale": np.array([])}, (4,), "scale is empty"),
        ({"type": "Linear", "weight": "heavy"}, (4,), "weight is no array of numbers"),
        (
            {"type": "Conv1d", "weight": np.ones((2, 2, 3)), **CONV, "stride": 1.5},
            (2, 8),
            "not a list of whole numbers",
        ),
    ],
)
def test_parameters_that_do_not_fit_are_refused(tmp_path, node, shape, reason):
    said = refused(chain(tmp_path / "x.nir", ("node", node), shape=shape), shape)
    assert len(said) == 1 and said[0].startswith("node 'node'") and reason in said[0]


def test_every_layer_whose_shape_is_wrong_is_named(tmp_path):
    said = refused(
        chain(
            tmp_path / "x.nir", ("a", linear(3, 4)), ("b", neurons(2)), ("c", linear(2, 3)), ("d", neurons(3))
        )
    )
    assert [one[:8] for one in said] == ["node 'b'"]  # what reads it is not known any more
    said = refused(chain(tmp_path / "x.nir", ("a", linear(3, 5)), shape=(4,)), (7,))
    assert "what comes in is [7]" in said[0]


def test_parameters_without_a_dimension_stand_for_all_neurons(tmp_path):
    path = chain(
        tmp_path / "x.nir",
        ("fc", linear(3, 4)),
        ("lif", {"type": "LIF", "tau": 4e-4, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0}),
        outputs=(3,),
    )
    graph = read_graph(path)
    [lif] = [node for node in graph.nodes if node.kind == "LIF"]
    assert graph.shapes["lif"] == (3,)
    assert lif.spread("tau", (3,)).tolist() == [4e-4] * 3
    assert lif.spread("v_reset", (3,)).tolist() == [0.0] * 3


def test_parameters_of_maps_spread_over_them_and_nothing_is_guessed():
    node = Node(
        "n", "LIF", {"tau": np.array([[[1.0]], [[2.0]]]), "r": np.ones((1, 2, 2, 2)), "v": np.ones(2)}
    )
    assert node.spread("tau", (2, 1, 2)).tolist() == [1.0, 1.0, 2.0, 2.0]
    assert node.spread("r", (2, 2, 2)).tolist() == [1.0] * 8
    with pytest.raises(ValueError, match=r"v of shape \[2\]"):
        node.spread("v", (2, 2, 2))


def test_dimensions_of_batch_and_time_in_front_of_a_frame_are_dropped(tmp_path):
    for said in [(4,), (1, 4), (24, 1, 4)]:
        graph = read_graph(chain(tmp_path / "x.nir", ("fc", linear(2, 4)), ("lif", neurons(2)), shape=said))
        assert graph.shapes[graph.input] == (4,)


def test_the_user_may_say_the_shape_of_a_frame(tmp_path):
    conv = {"type": "Conv2d", "weight": np.ones((2, 2, 3, 3)), **CONV}
    path = chain(tmp_path / "x.nir", ("conv", conv), shape=(2, 9, 9), outputs=(2, 9, 9))
    assert read_graph(path).shapes["conv"] == (2, 9, 9)
    assert read_graph(path, (2, 5, 7)).shapes["conv"] == (2, 5, 7)


def test_a_graph_inside_is_unfolded(tmp_path):
    inner = {
        "nodes": {
            "in": {"type": "Input", "shape": np.array([3])},
            "lif": neurons(3),
            "out": {"type": "Output", "shape": np.array([3])},
        },
        "edges": [("in", "lif"), ("lif", "out")],
    }
    graph = read_graph(chain(tmp_path / "x.nir", ("fc", linear(3, 4)), ("block", inner), outputs=(3,)))
    assert [node.name for node in graph.nodes if node.kind != "Identity"] == [
        "input",
        "fc",
        "block.lif",
        "output",
    ]
    assert graph.shapes["output"] == (3,)


def test_a_graph_inside_without_doors_is_refused(tmp_path):
    inner = {"nodes": {"lif": neurons(3)}, "edges": []}
    said = refused(chain(tmp_path / "x.nir", ("fc", linear(3, 4)), ("block", inner), outputs=(3,)))
    assert "graph 'block': 0 nodes of type Input, not 1" in said
