"""What the exporters write: names, shapes, versions, metadata, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgesnn.errors import ExportError, OutputError
from edgesnn.exporters.base import ExportResult, ExportSource
from edgesnn.exporters.onnx.exporter import OnnxExporter
from edgesnn.exporters.onnx.float32 import OnnxFloat32Exporter
from edgesnn.program.ops import Count, Linear
from edgesnn.program.program import Program
from edgesnn.program.state import state_tensors
from tests.parity.onnx.conftest import session
from tests.support.random_program import RandomShape, random_program

SHAPE = RandomShape(vocab=40, depth=1)
ROLES = ["sequence", "step", "prefill"]


@pytest.fixture(scope="module", params=[OnnxExporter, OnnxFloat32Exporter], ids=["int8", "fp32"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, to_float: Any) -> Any:
    program = random_program(SHAPE)
    folder = tmp_path_factory.mktemp("bundle")
    source = ExportSource(program, to_float(program), "tiny", "abc123")
    return request.param().export(source, folder), folder, program


def load(exported: tuple[ExportResult, Path, Program], role: str) -> Any:
    result, folder, _ = exported
    return onnx.load(folder / result.files[role])


def described(values: Any) -> dict[str, list[Any]]:
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def test_the_sequence_has_the_names_of_the_mobile_contract(exported: Any) -> None:
    graph = load(exported, "sequence").graph
    assert described(graph.input) == {"input_ids": ["batch", "seq_len"]}
    assert described(graph.output) == {"logits": ["batch", "seq_len", 40]}
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT64
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


@pytest.mark.parametrize("role", ROLES)
def test_the_usual_preparation_of_quantising_reads_every_graph(
    exported: Any, role: str, tmp_path: Path
) -> None:
    pytest.importorskip("sympy", reason="symbolic shape inference needs sympy")
    from onnxruntime.quantization.shape_inference import quant_pre_process

    result, folder, program = exported
    quant_pre_process(str(folder / result.files[role]), str(tmp_path / "prepared.onnx"))
    prepared, original = onnx.load(tmp_path / "prepared.onnx"), load(exported, role)
    ids = np.arange(150, dtype=np.int64)[None] % program.vocab_size
    feeds = {"input_ids": ids[:, :1] if role == "step" else ids}
    for tensor in state_tensors(program) if role == "step" else []:
        kind = next(i.type.tensor_type.elem_type for i in original.graph.input if i.name == tensor.name)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
        feeds[tensor.name] = np.zeros((1, *tensor.shape), dtype)
    before, after = (session(model).run(None, feeds) for model in (original, prepared))
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_step_takes_every_state_tensor_and_gives_its_new_part(exported: Any) -> None:
    graph, program = load(exported, "step").graph, exported[2]
    tensors = state_tensors(program)
    inputs, outputs = described(graph.input), described(graph.output)
    assert inputs.pop("input_ids") == ["batch", 1]
    assert outputs.pop("logits") == ["batch", 40]
    assert inputs == {t.name: ["batch", *t.shape] for t in tensors}
    assert set(outputs) == {f"new.{t.name}" for t in tensors}


def test_the_prefill_gives_whole_state_tensors_and_the_last_logits(exported: Any) -> None:
    graph, program = load(exported, "prefill").graph, exported[2]
    outputs = described(graph.output)
    assert outputs.pop("logits") == ["batch", 40]
    assert outputs == {f"state.{t.name}": ["batch", *t.shape] for t in state_tensors(program)}


@pytest.mark.parametrize("role", ROLES)
def test_a_file_passes_the_full_check_with_opset_17_and_standard_operators(exported: Any, role: str) -> None:
    model = load(exported, role)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    assert {node.domain for node in model.graph.node} == {""}


@pytest.mark.parametrize("role", ROLES)
def test_a_file_says_what_it_was_made_from(exported: Any, role: str) -> None:
    properties = {p.key: p.value for p in load(exported, role).metadata_props}
    assert properties["model_name"] == "tiny"
    assert properties["program_hash"] == "abc123"
    assert properties["producer"] == "edgesnn"
    assert properties["role"] == role


def test_signatures_say_what_the_files_say(exported: Any) -> None:
    result = exported[0]
    for role in ROLES:
        graph = load(exported, role).graph
        for kind, values in (("inputs", graph.input), ("outputs", graph.output)):
            listed = {item["name"]: item["shape"] for item in result.signatures[role][kind]}
            assert listed == described(values)


def test_every_left_side_of_an_integer_product_is_unsigned(tmp_path: Path, to_float: Any) -> None:
    program = random_program(SHAPE)
    OnnxExporter().export(ExportSource(program, to_float(program), "tiny", "0"), tmp_path)
    for file in tmp_path.iterdir():
        graph = onnx.shape_inference.infer_shapes(onnx.load(file)).graph
        types = {v.name: v.type.tensor_type.elem_type for v in [*graph.value_info, *graph.input]}
        types |= {t.name: t.data_type for t in graph.initializer}
        products = [node for node in graph.node if node.op_type == "MatMulInteger"]
        assert products
        assert {types[node.input[0]] for node in products} == {onnx.TensorProto.UINT8}


def test_the_same_program_gives_the_same_bytes(tmp_path: Path, to_float: Any) -> None:
    program = random_program(SHAPE)
    source = ExportSource(program, to_float(program), "tiny", "0")
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        files = OnnxExporter().export(source, folder).files
    for file in files.values():
        assert (first / file).read_bytes() == (second / file).read_bytes()


def test_a_count_that_a_linear_reads_is_refused_by_name(tmp_path: Path, to_float: Any) -> None:
    program = random_program(SHAPE)
    ops = list(program.ops)
    place = next(i for i, op in enumerate(ops) if isinstance(op, Count)) + 1
    ops.insert(place, Linear("odd", "readout.c", "odd.i", np.ones((32, 4), np.int8)))
    source = ExportSource(Program(4, tuple(ops)), to_float(program), "tiny", "0")
    with pytest.raises(ExportError, match="odd"):
        OnnxExporter().export(source, tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, to_float: Any) -> None:
    program = random_program(SHAPE)
    source = ExportSource(program, to_float(program), "tiny", "0")
    with pytest.raises(OutputError, match=r"missing.*student\.onnx"):
        OnnxExporter().export(source, tmp_path / "missing")
