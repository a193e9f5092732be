"""An ONNX file that reaches outside itself is refused before an engine sees it."""

import random

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesnn.errors import BundleError, RunnerError
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.onnxruntime.guard import check_onnx
from edgesnn.runners.onnxruntime.runner import OnnxRuntimeRunner
from tests.support.bundles import copied_bundle, replace_file, shared_bundle

FLOAT = TensorProto.FLOAT


def inside(name="w"):
    return numpy_helper.from_array(np.ones(3, np.float32), name)


def outside(name="w"):
    tensor = inside(name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return tensor


def graph(nodes=(), initializers=(), name="g"):
    y = helper.make_tensor_value_info("y", FLOAT, [3])
    return helper.make_graph(list(nodes), name, [], [y], list(initializers))


def constant(tensor):
    return helper.make_node("Constant", [], ["y"], value=tensor)


def model(made_graph, domains=("",)):
    return helper.make_model(made_graph, opset_imports=[helper.make_opsetid(d, 17) for d in domains])


def nested(made_graph, depth):
    for _ in range(depth):
        node = helper.make_node("If", ["c"], ["y"], then_branch=made_graph, else_branch=graph())
        made_graph = graph([node])
    return made_graph


def sparse(tensor):
    made = onnx.SparseTensorProto()
    made.values.CopyFrom(tensor)
    made.indices.CopyFrom(numpy_helper.from_array(np.zeros(3, np.int64), "i"))
    made.dims.append(3)
    return made


def refused(made, message):
    data = made if isinstance(made, bytes) else made.SerializeToString()
    with pytest.raises(BundleError, match=message):
        check_onnx(data, "x.onnx")


def test_a_plain_model_passes():
    check_onnx(model(graph([constant(inside())], [inside()])).SerializeToString(), "x.onnx")
    check_onnx(model(nested(graph([constant(inside())]), 3), ("", "ai.onnx")).SerializeToString(), "x.onnx")


def test_every_exported_file_passes():
    files = sorted(shared_bundle().glob("*.onnx"))
    assert len(files) == 6
    for path in files:
        check_onnx(path.read_bytes(), path.name)


def test_external_data_in_an_initializer_is_refused():
    refused(model(graph([], [inside("a"), outside("b")])), "'x.onnx' keeps data outside the file")


def test_external_data_in_a_sparse_initializer_is_refused():
    made = model(graph())
    made.graph.sparse_initializer.append(sparse(outside()))
    refused(made, "keeps data outside the file")


@pytest.mark.parametrize(
    "attribute",
    [
        lambda: helper.make_attribute("a", outside()),
        lambda: helper.make_attribute("a", [inside(), outside()]),
        lambda: helper.make_attribute("a", sparse(outside())),
        lambda: helper.make_attribute("a", [sparse(inside()), sparse(outside())]),
        lambda: helper.make_attribute("a", graph([], [outside()])),
        lambda: helper.make_attribute("a", [graph(), graph([constant(outside())])]),
    ],
    ids=["tensor", "tensors", "sparse", "sparses", "graph", "graphs"],
)
def test_external_data_in_any_kind_of_attribute_is_refused(attribute):
    node = helper.make_node("Any", [], ["y"])
    node.attribute.append(attribute())
    refused(model(graph([node])), "keeps data outside the file")


@pytest.mark.parametrize("depth", [1, 2, 10])
def test_external_data_in_a_graph_inside_a_graph_is_refused(depth):
    refused(model(nested(graph([constant(outside())]), depth)), "keeps data outside the file")
    refused(model(nested(graph([], [outside()]), depth)), "keeps data outside the file")


def test_a_location_without_entries_and_entries_without_location_are_refused():
    tensor = outside()
    tensor.ClearField("external_data")
    refused(model(graph([], [tensor])), "outside the file")
    tensor = outside()
    tensor.ClearField("data_location")
    refused(model(graph([], [tensor])), "outside the file")


def test_graphs_nested_without_end_are_refused():
    refused(model(nested(graph(), 20)), "nested too deeply")


def test_operators_of_another_domain_are_refused_wherever_they_stand():
    foreign = helper.make_node("Steal", [], ["y"], domain="com.example")
    refused(model(graph([foreign])), "operators of another domain; actual: com.example")
    refused(model(nested(graph([foreign]), 2)), "another domain")
    refused(model(graph(), ("", "com.microsoft")), "another domain; actual: com.microsoft")


def test_functions_and_training_graphs_are_refused():
    made = model(graph())
    made.functions.append(onnx.FunctionProto(name="f", domain=""))
    refused(made, "defines functions")
    made = model(graph())
    made.training_info.append(onnx.TrainingInfoProto(initialization=graph([], [outside()])))
    refused(made, "how to train")


def test_a_file_without_or_with_two_graphs_is_refused():
    refused(b"", "is no ONNX file")
    data = model(graph()).SerializeToString()
    refused(data + data, "is no ONNX file; actual: 2 graphs")


def test_a_file_that_is_no_protocol_buffer_is_refused():
    for data in (b"\xff" * 50, b"GGUF" + bytes(60), b"\x00" * 10, b"\x3b\x00", b"\x3c"):
        refused(data, "is no ONNX file")


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def test_a_field_number_that_cxx_readers_would_truncate_to_another_is_refused():
    """A key of 33 bits is field 5 (initializer) to a reader that keeps the lower 32."""
    tensor = outside().SerializeToString()
    hidden = varint((1 << 32) | 5 << 3 | 2) + varint(len(tensor)) + tensor
    body = graph().SerializeToString() + hidden
    refused(varint(7 << 3 | 2) + varint(len(body)) + body, "is no ONNX file")


def test_truncation_of_an_exported_file_is_refused_or_leaves_a_file_that_is_safe():
    data = (shared_bundle() / "student.step.onnx").read_bytes()
    taken = 0
    for size in range(0, len(data), 97):
        try:
            check_onnx(data[:size], "x.onnx")
            taken += 1
        except BundleError:
            pass
    assert taken <= 2


def test_random_edits_raise_nothing_but_errors_of_ours():
    data = (shared_bundle() / "student.step.onnx").read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        edited = bytearray(data)
        for _ in range(rng.choice((1, 4, 50))):
            edited[rng.randrange(len(edited))] = rng.randrange(256)
        try:
            check_onnx(bytes(edited), "x.onnx")
        except BundleError:
            continue


def test_the_runner_refuses_a_bundle_whose_onnx_file_reaches_outside(tmp_path):
    folder = copied_bundle(tmp_path / "bundle")
    made = onnx.load(folder / "student.step.onnx")
    made.graph.initializer.append(outside("stolen"))
    bundle = replace_file(folder, "student.step.onnx", made.SerializeToString())
    with pytest.raises(BundleError, match="keeps data outside"):
        OnnxRuntimeRunner().open(bundle, RunnerOptions())


def test_a_graph_that_onnxruntime_refuses_is_a_runner_error(tmp_path):
    folder = copied_bundle(tmp_path / "bundle")
    bundle = replace_file(folder, "student.step.onnx", model(graph()).SerializeToString())
    with pytest.raises(RunnerError, match="refused|other inputs or outputs"):
        OnnxRuntimeRunner().open(bundle, RunnerOptions())


def test_a_step_graph_with_other_inputs_than_the_program_is_a_runner_error(tmp_path):
    folder = copied_bundle(tmp_path / "bundle")
    sequence = (folder / "student.onnx").read_bytes()
    bundle = replace_file(folder, "student.step.onnx", sequence)
    with pytest.raises(RunnerError, match="other inputs or outputs than the program"):
        OnnxRuntimeRunner().open(bundle, RunnerOptions())
