"""What a file says of itself, and which form of the arithmetic its bounds chose."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from edgesnn.errors import ExportError
from edgesnn.exporters.base import ExportSource
from edgesnn.exporters.tflite.bounds import DecayForm, decay_form, membrane_reaches
from edgesnn.exporters.tflite.exporter import FILES, TfliteExporter
from edgesnn.exporters.tflite.files import build
from edgesnn.exporters.tflite.graph import TfliteGraph, schema
from edgesnn.exporters.tflite.network import TfliteNetwork
from edgesnn.exporters.tflite.primitives import TfliteNumbers
from edgesnn.program.golden import Golden, lif_membranes
from edgesnn.program.ops import LIF, MEMBRANE_MAX, Attend, Count, Linear
from edgesnn.program.program import Program
from edgesnn.program.state import state_tensors
from tests.parity.tflite.runtimes import metadata
from tests.support.random_program import FLAGSHIP, RandomShape, random_program


@pytest.fixture(scope="module")
def program():
    return random_program(RandomShape(), seed=1)


def test_a_file_carries_name_hash_exponent_and_state_rules(program, export):
    folder = export(program, name="glass", digest="ab" * 32)
    for role, file in FILES.items():
        facts = metadata((folder / file).read_bytes())
        assert (facts["model_name"], facts["program_hash"], facts["role"]) == ("glass", "ab" * 32, role)
        assert facts["logit_exponent"] == program.readout.exponent
        assert facts["vocab_size"] == program.vocab_size
    rules = metadata((folder / "student.step.tflite").read_bytes())["state"]
    assert [rule["name"] for rule in rules] == [tensor.name for tensor in state_tensors(program)]
    rings = [list(ring) for ring in next(program.all(Attend)).rings]
    assert next(rule["rings"] for rule in rules if rule["kind"] == "key") == rings


def test_the_signature_names_every_state_tensor_with_its_canonical_shape(program, tmp_path):
    result = TfliteExporter().export(ExportSource(program, None, "x", "0" * 64), tmp_path)
    step, prefill = result.signatures["step"], result.signatures["prefill"]
    state = {tensor.name: ["batch", *tensor.shape] for tensor in state_tensors(program)}
    assert {i["name"]: i["shape"] for i in step["inputs"]} == {"input_ids": ["batch", 1], **state}
    outputs = {o["name"]: o for o in step["outputs"]}
    assert set(outputs) == {"logits", *(f"new.{name}" for name in state)}
    assert {o["dtype"] for name, o in outputs.items() if name != "logits"} == {"int8"}
    assert {o["name"]: o["shape"] for o in prefill["outputs"]} == {
        "logits": ["batch", program.vocab_size],
        **{f"state.{name}": shape for name, shape in state.items()},
    }
    sequence = result.signatures["sequence"]
    assert sequence["inputs"] == [{"name": "input_ids", "dtype": "int32", "shape": ["batch", "seq_len"]}]


def test_a_file_holds_builtin_operators_and_one_signature_by_its_role(program, export):
    folder = export(program)
    for role, file in FILES.items():
        content = (folder / file).read_bytes()
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        assert [definition.signatureKey for definition in model.signatureDefs] == [role.encode()]
        assert all(code.customCode is None for code in model.operatorCodes)
        assert schema.BuiltinOperator.CUSTOM not in {code.builtinCode for code in model.operatorCodes}


def test_an_export_is_reproducible(program, export):
    first, second = export(program), export(program)
    for file in FILES.values():
        assert (first / file).read_bytes() == (second / file).read_bytes()


def test_weights_are_stored_once_as_int8(export):
    program = random_program(replace(FLAGSHIP, vocab=4096), seed=1)
    weights = sum(op.weight.size for op in program.ops if hasattr(op, "weight"))
    size = (export(program) / "student.step.tflite").stat().st_size
    assert size < 1.25 * (weights + program.embed.table.size) + 400_000


def test_bounds_choose_every_form_of_the_decay_on_the_flagship():
    program = random_program(replace(FLAGSHIP, vocab=512), seed=1)
    reaches = membrane_reaches(program)
    forms = {decay_form(op, reaches[op.name]) for op in program.all(LIF)}
    assert forms == {DecayForm.PRODUCT, DecayForm.COMPLEMENT, DecayForm.PARTS}


def test_no_membrane_of_a_run_is_beyond_the_reach_that_chose_its_form():
    program = random_program(RandomShape(decay=230), seed=2)
    reaches, values = membrane_reaches(program), {}
    ids = np.random.default_rng(0).integers(0, program.vocab_size, (4, 30))
    Golden(program).sequence(ids, lambda name, value: values.__setitem__(name, value.copy()))
    for op in program.all(LIF):
        membranes, fired = lif_membranes(values[op.input], op)
        kept = np.where(fired, 0, np.maximum(membranes, -MEMBRANE_MAX))
        assert np.abs(kept).max() <= reaches[op.name]


def test_a_product_beyond_float32_is_an_export_error():
    numbers = TfliteNumbers(TfliteGraph("g"), {})
    left = numbers.graph.input("x", np.float32, (-1, 1100))
    with pytest.raises(ExportError, match="float32"):
        numbers.product(left, np.full((1100, 2), 127, np.int8), 127)


def test_a_program_without_readout_and_a_count_read_elsewhere_are_export_errors(program):
    with pytest.raises(ExportError, match="no readout"):
        build(Program(program.timesteps, program.ops[:-1]), "step", {})
    count = next(program.all(Count))
    misread = Linear("extra", count.out, "extra.i", np.ones((32, 4), np.int8))
    with pytest.raises(ExportError, match="only a readout reads a count"):
        build(Program(program.timesteps, (*program.ops, misread)), "sequence", {})


def test_an_op_that_nobody_taught_the_exporter_is_named():
    graph = TfliteGraph("g")
    network = TfliteNetwork(random_program(), TfliteNumbers(graph, {}), None)
    with pytest.raises(ExportError, match="object"):
        network._unary(object(), None)


def test_importing_exporter_and_runner_needs_no_extra():
    code = (
        "import sys; sys.modules['ai_edge_litert'] = None\n"
        "import edgesnn.exporters.tflite.exporter, edgesnn.runners.litert.runner as r\n"
        "print(r.LiteRtRunner.missing())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False
    )
    assert "pip install 'edgesnn[tflite]'" in done.stdout, done.stderr
