"""Verifying: one wrong bit anywhere is found, and nothing passes that was not compared."""

import io

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgesnn import parity_targets, verify_bundle
from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import RunnerError, UsageError
from edgesnn.profiler.quality.verify import golden_cases, parity_ids, verify_runner
from edgesnn.program.golden import Golden
from edgesnn.runners.base import Capability, RunnerOptions
from edgesnn.runners.golden import GoldenRunner
from edgesnn.runners.native import build as native_build
from tests.support.bundles import copied_bundle, replace_file, shared_bundle


@pytest.fixture(scope="module")
def bundle():
    return Bundle(shared_bundle())


@pytest.fixture
def golden(bundle):
    with GoldenRunner() as runner:
        runner.open(bundle, RunnerOptions())
        yield runner


@pytest.fixture(scope="module")
def cases(bundle):
    return golden_cases(bundle.program(), parity_ids(bundle.program(), None, 100))


def verified(runner, bundle, cases):
    return verify_runner(runner, "under test", bundle.program(), cases, text="random token ids")


FILES = {"sequence": "student.onnx", "step": "student.step.onnx", "prefill": "student.prefill.onnx"}


def flipped_weight(folder, role):
    """One weight of the readout's table changed by one bit."""
    path = folder / FILES[role]
    model = onnx.load(path)
    tensor = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [8, 280])
    array = numpy_helper.to_array(tensor).copy()
    array[1, 1] ^= 1
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return replace_file(folder, path.name, model.SerializeToString())


def test_every_exact_target_of_a_fresh_bundle_is_exact(bundle):
    results = verify_bundle(bundle, tokens=300)
    native = ["native"] if native_build.missing() is None else []
    assert [result.target for result in results] == ["golden", *native, "onnxruntime"]
    for result in results:
        assert result.mismatches == 0 and result.largest_difference == 0
        assert result.forms == {"sequence": 0, "step": 0, "prefill": 0}
        assert result.tokens >= 900
        assert result.logits_compared == result.tokens * 280
        assert result.text == "held-out text and random token ids"


@pytest.mark.parametrize("role", ["sequence", "step", "prefill"])
def test_one_flipped_weight_is_found_in_the_form_that_has_it(tmp_path, role):
    damaged = flipped_weight(copied_bundle(tmp_path / "bundle"), role)
    (result,) = verify_bundle(damaged, ["onnxruntime"], tokens=300)
    assert result.mismatches > 0
    assert result.forms[role] > 0
    wrong = {form for form, count in result.forms.items() if count}
    assert wrong == ({"step", "prefill"} if role == "step" else {role})  # a prefill is continued by steps
    assert result.largest_difference > 0


def test_one_wrong_logit_in_one_position_is_found(bundle, golden, cases, monkeypatch):
    sequence = golden.sequence

    def wrong(ids):
        output = sequence(ids)
        output.logits[-1, -1, 7] ^= 1
        return output

    monkeypatch.setattr(golden, "sequence", wrong)
    result = verified(golden, bundle, cases)
    assert (result.mismatches, result.largest_difference) == (len(cases), 1)
    assert result.forms == {"sequence": len(cases), "step": 0, "prefill": 0}


def test_a_state_that_is_lost_after_a_prefill_is_found(bundle, golden, cases, monkeypatch):
    prefill = golden.prefill

    def forgetful(ids):
        output = prefill(ids)
        golden.reset(len(ids))
        return output

    monkeypatch.setattr(golden, "prefill", forgetful)
    result = verified(golden, bundle, cases)
    assert result.forms["prefill"] > 0
    assert result.forms["sequence"] == result.forms["step"] == 0


def test_a_ring_that_forgets_one_token_at_its_wrap_is_found(bundle, golden, cases, monkeypatch):
    step, counts = golden.step, []

    def leaky(tokens):
        output = step(tokens)
        state = golden._state
        counts.append(state.count)
        if state.count == 20:
            for name, array in state.tensors.items():
                if name.startswith("v."):
                    array[..., 0, :] = 0
        return output

    monkeypatch.setattr(golden, "step", leaky)
    assert verified(golden, bundle, cases).forms["step"] > 0


@pytest.mark.parametrize(
    "change",
    [
        lambda logits: logits.astype(np.float32),
        lambda logits: logits.astype(np.int64),
        lambda logits: logits[..., :-1],
        lambda logits: logits[:, :-1],
        lambda logits: logits[None],
    ],
    ids=["float32", "int64", "a smaller vocabulary", "a token less", "a dimension more"],
)
def test_logits_of_another_type_or_shape_are_a_runner_error(bundle, golden, cases, monkeypatch, change):
    from edgesnn.runners.base import Output

    sequence = golden.sequence
    monkeypatch.setattr(golden, "sequence", lambda ids: Output(change(sequence(ids).logits), 1))
    with pytest.raises(RunnerError, match="sequence returned logits of the wrong type or shape.*int32"):
        verified(golden, bundle, cases)


def capable(runner, *capabilities):
    """The open runner with other capabilities than its class."""
    runner.__class__ = type("Limited", (GoldenRunner,), {"capabilities": frozenset(capabilities)})
    return runner


def test_forms_that_a_runner_lacks_are_not_compared_and_not_claimed(bundle, golden, cases):
    limited = capable(golden, Capability.EXACT, Capability.LOGITS, Capability.STEP)
    result = verified(limited, bundle, cases)
    assert result.forms == {"step": 0}
    alone = sum(case.ids.size for case in cases if case.ids.shape[0] == 1)
    assert result.tokens == alone


def test_a_runner_without_any_comparable_form_does_not_pass(bundle, golden, cases):
    with pytest.raises(RunnerError, match="has no form that can be compared"):
        verified(capable(golden, Capability.EXACT, Capability.LOGITS), bundle, cases)


def test_a_runner_that_shows_its_values_names_the_first_layer_that_differs(bundle, golden, cases):
    program = bundle.program()
    wrong = program.ops[6]

    def values(ids):
        seen = {}
        Golden(program).sequence(ids, lambda name, value: seen.__setitem__(name, value.copy()))
        for op in program.ops[6:]:
            seen[op.out].ravel()[0] ^= 1
        return seen

    able = capable(golden, *GoldenRunner.capabilities, Capability.INTERMEDIATE)
    sequence = able.sequence
    able.values = values
    able.sequence = lambda ids: type(sequence(ids))(sequence(ids).logits + 1, 1)
    assert verified(able, bundle, cases).worst_layer == wrong.name


def test_sequences_are_longer_than_the_largest_window_alone_and_side_by_side(bundle):
    program = bundle.program()
    for tokens in (1, 5000):
        batches = parity_ids(program, None, tokens)
        assert {len(ids) for ids in batches} == {1, 3}
        assert all(ids.shape[1] > 1.5 * program.context_window for ids in batches)
        assert sum(ids.size for ids in batches) >= tokens
        assert all(ids.min() >= 0 and ids.max() < program.vocab_size for ids in batches)


def test_text_is_used_where_it_is_long_enough_and_random_ids_beside_it(bundle):
    program, text = bundle.program(), np.arange(280).repeat(2)
    batches = parity_ids(program, text, 100)
    from_text = [ids for ids in batches if (np.diff(ids) >= 0).all()]
    assert len(from_text) == 2
    again = parity_ids(program, text, 100)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))


def test_text_that_is_too_short_is_not_claimed(tmp_path):
    content = io.BytesIO()
    np.savez(content, ids=np.arange(9), doc_starts=np.array([0, 9]), doc_bytes=np.array([20]))
    bundle = replace_file(copied_bundle(tmp_path / "bundle"), "eval.npz", content.getvalue())
    assert verify_bundle(bundle, ["golden"], tokens=1)[0].text == "random token ids"


def test_progress_names_target_and_form(bundle):
    told = []
    verify_bundle(bundle, ["golden"], tokens=1, on_progress=lambda *what: told.append(what))
    assert told[0] == ("golden", 0, 1)
    assert {stage for stage, _, _ in told[1:]} == {"golden sequence", "golden step", "golden prefill"}
    assert all(done < total for _, done, total in told)


def test_targets_that_do_not_run_the_program_are_refused(bundle):
    with pytest.raises(UsageError, match="'onnxruntime-fp32' does not run the integer program"):
        verify_bundle(bundle, ["onnxruntime-fp32"])
    with pytest.raises(UsageError, match="no target 'onnxruntim'|there is no target 'onnxruntim'"):
        verify_bundle(bundle, ["onnxruntim"])


def test_targets_that_cannot_run_here_are_listed_with_their_reason(bundle, monkeypatch):
    from edgesnn.runners.onnxruntime.runner import OnnxRuntimeRunner

    monkeypatch.setattr(OnnxRuntimeRunner, "missing", classmethod(lambda cls: "no such library"))
    monkeypatch.setattr(native_build, "missing_host_compiler", lambda names: "no C compiler")
    reasons = parity_targets(bundle)
    assert (reasons["golden"], reasons["onnxruntime"]) == (None, "no such library")
    assert "no C compiler" in reasons["native"] and "no format 'tflite'" in reasons["litert"]
    assert [result.target for result in verify_bundle(bundle, tokens=1)] == ["golden"]


def test_two_addresses_of_one_runner_are_two_targets(bundle, monkeypatch):
    opened = []
    start = GoldenRunner.open

    def remember(self, bundle, options):
        opened.append(options.address)
        return start(self, bundle, options)

    monkeypatch.setattr(GoldenRunner, "open", remember)
    results = verify_bundle(bundle, ["golden:one", "golden:two"], tokens=1)
    assert opened == ["one", "two"]
    assert [result.target for result in results] == ["golden:one", "golden:two"]
