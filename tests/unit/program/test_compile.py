"""The compiler's choices and its report, recomputed on a small student."""

import json

import numpy as np
import pytest

from edgesnn.errors import CompileError
from edgesnn.program.artifact import read_artifact
from edgesnn.program.bounds import prove
from edgesnn.program.compile import CalibrationText, compile_program
from edgesnn.program.float_program import FloatLIF, float_logits
from edgesnn.program.fold import fold
from edgesnn.program.golden import Golden
from edgesnn.program.ops import LIF, Saturate
from edgesnn.program.quantise import quantise_columns, quantise_readout
from edgesnn.program.scoring import score_documents
from edgesnn.program.snn_format import program_hash
from edgesnn.program.stock import stock_representable
from edgesnn.program.validate import check_program
from tests.support.artifacts import write_artifact


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    return fold(read_artifact(write_artifact(tmp_path_factory.mktemp("compile") / "student", seed=2)))


@pytest.fixture(scope="module")
def text(folded):
    rng = np.random.default_rng(0)
    documents = [
        rng.integers(0, folded.embed.table.shape[0], n) for n in (9, 30, 1, 14, 22, 5, 17, 3, 11, 40)
    ]
    return CalibrationText(documents, np.array([3 * len(d) for d in documents]), "random ids")


@pytest.fixture(scope="module")
def compiled(folded, text):
    return compile_program(folded, text)


def rerun(compiled, text):
    """Every value of every document, each run alone, so without any padding."""
    golden = Golden(compiled.program)
    for document in text.documents:
        seen = {}
        logits = golden.sequence(document[None], lambda name, value, seen=seen: seen.__setitem__(name, value))
        yield document, seen, logits[0]


def test_the_program_is_legal_proven_and_the_proof_is_part_of_the_result(compiled):
    check_program(compiled.program)
    assert compiled.bounds == prove(compiled.program)


def test_compiling_twice_gives_the_same_program(folded, text, compiled):
    assert program_hash(compile_program(folded, text).program) == program_hash(compiled.program)


def test_spike_rates_silent_and_constant_neurons_are_those_of_the_text_without_padding(compiled, text):
    calibration, program = compiled.calibration, compiled.program
    fired, slots = {}, 0
    for document, seen, _ in rerun(compiled, text):
        slots += len(document) * program.timesteps
        for op in program.all(LIF):
            fired[op.name] = fired.get(op.name, 0) + seen[op.out].sum(axis=(0, 1, 2), dtype=np.int64)
    for name, count in fired.items():
        assert calibration.spike_rates[name] == pytest.approx(count.mean() / slots), name
        assert calibration.silent[name] == (count == 0).sum(), name
        assert calibration.constant[name] == (count == slots).sum(), name
    assert set(calibration.spike_rates) == set(fired)


def test_the_cost_of_the_integers_is_recomputed_from_both_students(compiled, folded, text):
    calibration = compiled.calibration
    nats = {"float": 0.0, "integer": 0.0}
    right = {"float": 0, "integer": 0}
    same = positions = 0
    for document, _, logits in rerun(compiled, text):
        both = {
            "integer": logits[:-1] * compiled.program.logit_scale,
            "float": float_logits(folded, document[None])[0, :-1].astype(np.float64),
        }
        target = document[1:]
        for kind, values in both.items():
            shifted = values - values.max(axis=-1, keepdims=True)
            logp = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
            nats[kind] -= logp[np.arange(len(target)), target].sum()
            right[kind] += int((values.argmax(axis=-1) == target).sum())
        same += int((both["integer"].argmax(axis=-1) == both["float"].argmax(axis=-1)).sum())
        positions += len(target)
    size = text.doc_bytes.sum()
    assert calibration.integer_bits_per_byte == pytest.approx(nats["integer"] / np.log(2) / size, rel=1e-5)
    assert calibration.float_bits_per_byte == pytest.approx(nats["float"] / np.log(2) / size, rel=1e-5)
    assert calibration.loss_percent == pytest.approx(100 * (nats["integer"] / nats["float"] - 1), abs=1e-3)
    assert calibration.integer_top1 == right["integer"] / positions
    assert calibration.float_top1 == right["float"] / positions
    assert calibration.same_top1 == pytest.approx(same / positions, abs=0.01)
    assert (calibration.documents, calibration.tokens) == (10, positions)


def test_the_exponent_is_the_one_with_the_fewest_bits_of_those_tried(compiled, folded, text):
    tried = compiled.exponent_choice
    assert len(tried) == 4
    assert sorted(tried) == list(range(min(tried), max(tried) + 1))
    assert compiled.program.readout.exponent == min(tried, key=lambda f: tried[f])
    table, scale = quantise_columns(folded.readout.table)
    for exponent, bits in tried.items():
        made, _ = quantise_readout(folded.readout, table, scale, folded.timesteps, exponent)
        program = type(compiled.program)(folded.timesteps, (*compiled.program.ops[:-1], made))
        golden = Golden(program)
        scores = score_documents(
            lambda ids, golden=golden, f=exponent: golden.sequence(ids) * np.float32(2.0**-f),
            text.documents,
            text.doc_bytes,
        )
        assert scores.bits_per_byte == pytest.approx(bits, rel=1e-5)


def test_without_text_the_exponent_clips_no_code_and_nothing_is_claimed(folded):
    compiled = compile_program(folded, None)
    assert compiled.calibration is None
    assert compiled.exponent_choice == {}
    readout = compiled.program.readout
    reach = np.maximum(
        compiled.program.timesteps * np.maximum(readout.weight.astype(int), 0).sum(axis=0) + readout.bias,
        -(compiled.program.timesteps * np.minimum(readout.weight.astype(int), 0).sum(axis=0) + readout.bias),
    )
    codes = reach * readout.multiplier.astype(float) / 2**readout.shift
    assert 63 < codes.max() < 128.5


def test_the_report_is_plain_json_and_names_every_layer_with_parameters(compiled):
    report = json.loads(json.dumps(compiled.report(), allow_nan=False))
    with_parameters = [
        op.name for op in compiled.program.ops if type(op).__name__ in ("Embed", "Linear", "LIF", "Readout")
    ]
    assert [layer["op"] for layer in report["layers"]] == with_parameters
    for layer in report["layers"]:
        if layer["kind"] != "LIF":
            assert 0 < layer["relative_error"] < 0.02
    assert report["logit_exponent"] == compiled.program.readout.exponent
    assert report["saturate"] == [op.name for op in compiled.program.all(Saturate)]
    assert report["stock_representable"] == {
        op.name: stock_representable(op) for op in compiled.program.all(LIF)
    }


def test_the_rounding_error_of_the_report_is_recomputed(compiled, folded):
    layers = {layer.op: layer for layer in compiled.layers}
    ops = {op.name: op for op in compiled.program.ops}
    op = next(op for op in folded.ops if op.name == "blocks.0.attn.qkv")
    scale = np.abs(op.weight).max(axis=0) / 127
    rounding = ops[op.name].weight * scale - op.weight
    wanted = np.sqrt((rounding**2).mean()) / np.sqrt((op.weight.astype(float) ** 2).mean())
    assert layers[op.name].relative_error == pytest.approx(wanted, rel=1e-4)


def test_large_thresholds_move_to_the_stock_grid_and_small_ones_keep_their_values(folded):
    on = compile_program(folded, None)
    off = compile_program(folded, None, stock_grid=False)
    values = {op.name: op for op in off.program.all(LIF)}
    for op in on.program.all(LIF):
        large = np.median(values[op.name].threshold) >= 4096
        assert on.stock[op.name] or not large
        if not large:
            np.testing.assert_array_equal(op.threshold, values[op.name].threshold)
            np.testing.assert_array_equal(op.bias, values[op.name].bias)
        else:
            assert np.abs(op.threshold - values[op.name].threshold).max() <= 32


def test_progress_tells_every_stage_to_its_end(folded, text):
    told = {}
    compile_program(
        folded, text, on_progress=lambda stage, done, total: told.__setitem__(stage, (done, total))
    )
    assert told == {
        "calibrating integers": (10, 10),
        "calibrating float32": (10, 10),
    }


def test_a_rank_that_float32_logits_cannot_carry_is_refused(folded):
    from dataclasses import replace

    wide = np.zeros((folded.embed.table.shape[0], 1041), np.float32)
    ops = (*folded.ops[:-1], replace(folded.readout, table=wide))
    with pytest.raises(CompileError, match="rank.*actual: 1041; limit: 1040"):
        compile_program(type(folded)(folded.timesteps, ops), None)


def test_a_fan_in_that_cannot_be_proven_is_refused_by_name(folded):
    from dataclasses import replace

    def widened(op):
        if op.name == "blocks.0.mlp.up":
            return replace(op, weight=np.ones((16, 1100), np.float32))
        if op.name == "blocks.0.mlp.lif_up":
            return replace(op, threshold=np.ones(1100, np.float32), bias=np.zeros(1100, np.float32))
        if op.name == "blocks.0.mlp.down":
            return replace(op, weight=np.ones((1100, 16), np.float32))
        return op

    wide = type(folded)(folded.timesteps, tuple(map(widened, folded.ops)))
    assert any(isinstance(op, FloatLIF) for op in wide.ops)
    with pytest.raises(CompileError, match="op 'blocks.0.mlp.down' .Linear. can overflow"):
        compile_program(wide, None)
