"""Students of version 1.0 from the weights of the older script to a bundle, an answer, a profile, an heir."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import edgesnn
from edgesnn.api.students import export_student
from edgesnn.api.v1.exporting import V1ExportOptions
from edgesnn.errors import (
    ArtifactError,
    BundleError,
    CompileError,
    ExportError,
    TextError,
    TrainingError,
    UsageError,
)
from edgesnn.runners.base import Capability, RunnerOptions

torch = pytest.importorskip("torch")

from tests.support.v1_students import (  # noqa: E402 - they need torch
    glasses_text,
    glasses_tokenizer,
    make_old,
    metadata_of,
    save_old,
)

TINY = {"dim": 16, "depth": 1, "heads": 2}
FORMS = ("weights", "small", "dynamic", "static")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tokenizer, a text, and an untrained student of the usual size in both dialects."""
    folder = tmp_path_factory.mktemp("v1")
    glasses_tokenizer(1000).save(folder / "tokenizer.json")
    (folder / "text.txt").write_text("\n".join(glasses_text()[:150]))
    save_old(make_old(1000), folder / "new")
    save_old(make_old(1000), folder / "older", "older")
    save_old(make_old(1000), folder / "safe", safetensors=True)
    return folder


@pytest.fixture(scope="module")
def model():
    return make_old(1000)


def options(place, **more):
    return V1ExportOptions(tokenizer=place / "tokenizer.json", text=place / "text.txt", **more)


@pytest.fixture(scope="module")
def bundle(place):
    return export_student(place / "new", place / "bundle", v1=options(place))


def run_file(path, ids):
    return onnxruntime.InferenceSession(str(path)).run(None, {"input_ids": np.asarray(ids, np.int64)})[0]


# Export -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["new", "older", "safe", "new/student.pt", "safe/student.safetensors"])
def test_both_dialects_and_both_files_of_weights_give_the_logits_of_the_model(place, model, which, tmp_path):
    made = export_student(place / which, tmp_path / "b", "onnx")
    ids = np.random.default_rng(3).integers(0, 1000, (3, 29))
    got, want = run_file(made.path / "student.onnx", ids), model.logits(ids)
    assert np.abs(got - want).max() <= 1e-4
    assert (got.argmax(-1) == want.argmax(-1)).mean() >= 0.9999


def test_the_graph_is_one_file_of_opset_17_that_keeps_the_contract(bundle):
    for file in ("student.onnx", "student.int8.onnx"):
        graph = onnx.load(bundle.path / file, load_external_data=False)
        assert [(one.domain, one.version) for one in graph.opset_import] == [("", 17)]
        assert not any(t.external_data for t in graph.graph.initializer)
        assert {node.domain for node in graph.graph.node} == {""}
        [ids], [logits] = graph.graph.input, graph.graph.output
        assert (ids.name, ids.type.tensor_type.elem_type) == ("input_ids", onnx.TensorProto.INT64)
        assert logits.name == "logits"
    assert sorted(p.suffix for p in bundle.path.iterdir()).count(".data") == 0


@pytest.mark.parametrize(("form", "planes"), [("small", 1), ("weights", 2)])
def test_every_matrix_is_int8_with_a_scale_a_channel(place, model, tmp_path, form, planes):
    made = export_student(place / "new", tmp_path / "b", v1=V1ExportOptions(int8=form))
    graph = onnx.load(made.path / "student.int8.onnx").graph
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    codes = [arrays[node.input[0]] for node in nodes]
    assert {c.dtype for c in codes} == {np.dtype(np.int8)}
    numbers = {n: p.numel() for n, p in model.named_parameters() if p.ndim == 2}
    assert (
        sum(c.size for c in codes) == planes * sum(numbers.values()) - (planes - 1) * numbers["head.weight"]
    )
    assert not any(a.ndim == 2 and a.dtype == np.float32 for a in arrays.values())
    parts = [arrays[n.input[0]] * arrays[n.input[1]][:, None] for n in nodes if n.attribute[0].i == 0]
    weight = model.embed.weight.detach().numpy()
    step = np.abs(weight).max() / 127
    assert len(parts) == planes
    assert np.abs(sum(parts) - weight).max() <= step / 2 / 254 ** (planes - 1) * 1.01
    sizes = made.manifest.sizes
    assert sizes["onnx-v1 sequence"] < (0.1 + 0.2 * planes) * sizes["onnx-v1-fp32 sequence"]


@pytest.mark.parametrize("form", FORMS)
def test_every_int8_form_runs_near_the_float_file(place, form, tmp_path, model):
    made = export_student(place / "new", tmp_path / "b", v1=options(place, int8=form))
    assert made.manifest.quantisation["int8"] == form
    [found] = edgesnn.verify_v1_bundle(made, "onnxruntime-v1", tokens=300)
    assert (found.arithmetic, found.text) == (form, "the text of the bundle")
    assert found.positions >= 280
    assert abs(found.rise) < 0.1 and found.top1 > 0.6
    if form == "weights":
        assert found.failures() == [] and found.top1 > 0.97
    kinds = {node.op_type for node in onnx.load(made.path / "student.int8.onnx").graph.node}
    assert {
        "weights": "DequantizeLinear",
        "small": "DequantizeLinear",
        "dynamic": "DynamicQuantizeLinear",
        "static": "QuantizeLinear",
    }[form] in kinds


def test_static_int8_without_a_text_says_what_it_needs(place, tmp_path):
    with pytest.raises(ExportError, match="measures its activations on text") as met:
        export_student(place / "new", tmp_path / "b", v1=V1ExportOptions(int8="static"))
    assert "--text" in met.value.remedy
    assert not (tmp_path / "b").exists()


def test_an_unknown_int8_form_is_a_usage_error(place, tmp_path):
    with pytest.raises(UsageError, match="no int8 form 'int4'"):
        export_student(place / "new", tmp_path / "b", v1=V1ExportOptions(int8="int4"))


def test_the_manifest_says_that_there_is_no_step_and_no_state(bundle):
    manifest = bundle.manifest
    assert manifest.state == [] and manifest.bounds == []
    assert "no step and no state" in manifest.quantisation["runs_as"]
    assert set(manifest.exports) == {"onnx-v1", "onnx-v1-fp32"}
    assert all(set(entry.files) == {"sequence"} for entry in manifest.exports.values())
    assert (bundle.vocab_size, bundle.context_window) == (1000, 64)


def test_options_of_such_students_are_refused_for_others(tmp_path):
    with pytest.raises(UsageError, match="no student of version 1.0"):
        export_student("reference", tmp_path / "b", "c", v1=V1ExportOptions(int8="weights"))


# Tokenizer and text -----------------------------------------------------------------------------------------


def test_a_tokenizer_with_more_ids_than_the_student_is_another_models(place, tmp_path):
    old = save_old(make_old(300, **TINY), tmp_path / "old")
    with pytest.raises(ArtifactError, match="more ids than the student") as met:
        export_student(old, tmp_path / "b", v1=V1ExportOptions(tokenizer=place / "tokenizer.json"))
    assert met.value.limit == "300 ids" and "some-teacher" in met.value.remedy


def test_a_text_without_a_tokenizer_asks_for_the_teachers_by_name(place, tmp_path):
    with pytest.raises(UsageError, match="needs a tokenizer") as met:
        export_student(place / "new", tmp_path / "b", v1=V1ExportOptions(text=place / "text.txt"))
    assert "some-teacher" in met.value.remedy


def test_without_a_tokenizer_it_exports_and_says_so_when_it_is_to_speak(place, tmp_path):
    made = export_student(place / "new", tmp_path / "b")
    with pytest.raises(TextError, match="brings no tokenizer"):
        str(edgesnn.generate_text(made, "Hello"))
    with pytest.raises(BundleError, match=r"tokenizer\.json.*--tokenizer"):
        edgesnn.profile_bundle(made, profile="quick")


def test_a_bundle_without_text_is_judged_on_random_ids_and_says_so(place, tmp_path):
    made = export_student(place / "new", tmp_path / "b")
    found = edgesnn.verify_v1_bundle(made, "onnxruntime-v1-fp32", tokens=130)
    assert found[0].text.startswith("random token ids") and found[0].failures() == []


# Weights and metadata that are wrong ------------------------------------------------------------------------


def broken(tmp_path, change=None, metadata=None):
    old = make_old(300, **TINY)
    folder = save_old(old, tmp_path / "old")
    state = dict(old.state_dict())
    if change is not None:
        change(state)
        torch.save(state, folder / "student.pt")
    if metadata is not None:
        found = {**metadata_of(old), **metadata}
        (folder / "metadata.json").write_text(json.dumps(found))
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("head.bias"), "lacks the tensor 'head.bias'"),
        (lambda s: s.update({"head.bias": torch.zeros(7)}), "wrong shape"),
        (lambda s: s["embed.weight"].fill_(float("nan")), "NaN or infinity"),
        (lambda s: s.update({"head.bias": torch.zeros(300, dtype=torch.int64)}), "wrong dtype"),
        (lambda s: s.update({"more": torch.zeros(2)}), "does not know"),
    ],
)
def test_weights_that_are_wrong_are_an_artifact_error_and_leave_nothing(tmp_path, change, said):
    with pytest.raises(ArtifactError, match=said):
        export_student(broken(tmp_path, change), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_metadata_that_lies_is_one_error(tmp_path):
    folder = broken(tmp_path, metadata={"architecture": {"dim": 128, "depth": 2, "num_heads": 4}})
    with pytest.raises(ArtifactError, match="describes another student") as met:
        export_student(folder, tmp_path / "b")
    assert met.value.actual == "architecture.dim 128, architecture.depth 2"
    assert met.value.limit.startswith("architecture.dim 16, architecture.depth 1")


def test_a_pickle_that_is_more_than_tensors_is_never_run(tmp_path, capsys):
    class Payload:
        def __reduce__(self):
            return print, ("never run",)

    folder = broken(tmp_path)
    torch.save({"embed.weight": Payload()}, folder / "student.pt")
    with pytest.raises(ArtifactError, match="refused"):
        export_student(folder, tmp_path / "b")
    assert "never run" not in capsys.readouterr().out


def test_weights_that_were_changed_after_the_export_are_refused(place, tmp_path):
    made = export_student(place / "new", tmp_path / "b")
    content = bytearray((made.path / "student.safetensors").read_bytes())
    content[-1] ^= 1
    (made.path / "student.safetensors").write_bytes(content)
    with pytest.raises(BundleError, match="changed after the export"):
        edgesnn.open_bundle(made.path)


# The one rule -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["c", "tflite", "lava", "web", "onnx-fp32"])
def test_formats_of_an_integer_program_are_refused_by_the_rule(place, name, tmp_path):
    with pytest.raises(CompileError, match=r"softmax attention.*LayerNorm.*GELU.*head"):
        export_student(place / "new", tmp_path / "b", name)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("target", ["golden", "native", "onnxruntime", "onnxruntime-fp32"])
def test_targets_that_run_an_integer_program_are_refused_by_the_rule(bundle, target):
    for call in (
        lambda: edgesnn.profile_bundle(bundle, target=target, profile="quick"),
        lambda: edgesnn.verify_v1_bundle(bundle, target),
        lambda: edgesnn.SNNLLMBackend(model_path=bundle.path, target=target),
    ):
        with pytest.raises(CompileError, match="GELU"):
            call()


def test_whatever_else_needs_a_program_says_the_same(bundle, place):
    from edgesnn.student.artifact.files import load_student

    said = set()
    for call in (
        bundle.program,
        lambda: edgesnn.compile_student(place / "older"),
        lambda: edgesnn.map_bundle(bundle, "loihi2"),
        lambda: edgesnn.verify_bundle(bundle),
        lambda: load_student(place / "new"),
    ):
        with pytest.raises(CompileError, match="no integer program") as met:
            call()
        said.add(met.value.what.partition(": ")[2])
    assert len(said) == 1


def test_an_artifact_where_a_bundle_is_meant_names_the_rule_and_the_way(place):
    with pytest.raises(BundleError, match=r"not a bundle.*no integer program.*edgesnn export"):
        edgesnn.profile_bundle(place / "new", profile="quick")


def test_a_runner_of_such_students_refuses_other_bundles():
    from edgesnn.plugins import load_runner
    from tests.support.bundles import shared_bundle

    with load_runner("onnxruntime-v1")() as runner, pytest.raises(BundleError, match="version 1.0 only"):
        runner.open(edgesnn.open_bundle(shared_bundle()), RunnerOptions())


# Running ----------------------------------------------------------------------------------------------------


def test_the_runners_claim_no_step_and_no_state():
    from edgesnn.plugins import load_runner

    for name in ("onnxruntime-v1", "onnxruntime-v1-fp32"):
        able = load_runner(name).capabilities
        assert able == {Capability.SEQUENCE, Capability.BATCH, Capability.LOGITS}


def greedy(model, ids, known, count):
    """Generation that runs the whole text for every token, with the model itself."""
    ids = list(ids)
    for _ in range(count):
        ids.append(int(model.logits(np.array([ids]))[0, -1, :known].argmax()))
    return ids[-count:]


def test_generation_runs_the_whole_text_for_every_token(bundle, model):
    known = glasses_tokenizer(1000).vocab_size
    with edgesnn.SNNLLMBackend(model_path=bundle.path, target="onnxruntime-v1-fp32") as backend:
        ids = backend.tokenizer.encode("Where is the station?")
        assert backend.generate_tokens(ids, max_tokens=6) == greedy(model, ids, known, 6)
        assert backend.vocab_size == 1000 and backend.model_type == "SpikingStudentLM"
        said = backend.generate("Where is the station?", max_tokens=6)
    pieces = edgesnn.generate_text(
        bundle, "Where is the station?", target="onnxruntime-v1-fp32", max_tokens=6
    )
    assert str(pieces) == said


@pytest.mark.parametrize("which", ["new/student.pt", "older", "safe/student.safetensors"])
def test_the_backend_takes_the_artifact_and_a_tokenizer(place, which):
    with edgesnn.SNNLLMBackend(
        model_path=place / which, tokenizer_name=str(place / "tokenizer.json")
    ) as backend:
        assert len(backend.generate_tokens([5, 6, 7], max_tokens=3)) == 3
        assert not backend.stub_mode


def test_the_backend_takes_weights_of_another_name_and_metadata_elsewhere(place, tmp_path):
    (tmp_path / "weights.pt").write_bytes((place / "older" / "student.pt").read_bytes())
    with edgesnn.SNNLLMBackend(
        model_path=tmp_path / "weights.pt",
        metadata_path=place / "older" / "metadata.json",
        tokenizer_name=str(place / "tokenizer.json"),
    ) as backend:
        assert backend.generate_tokens([5], max_tokens=1)


def test_the_backend_without_a_tokenizer_says_where_to_give_one(place):
    with pytest.raises(TextError, match="tokenizer_name"):
        edgesnn.SNNLLMBackend(model_path=place / "new" / "student.pt")


def test_a_conversation_is_the_whole_text_run_again(bundle, model):
    known = glasses_tokenizer(1000).vocab_size
    with edgesnn.SNNLLMBackend(model_path=bundle.path, target="onnxruntime-v1-fp32") as backend:
        encode, talk = backend.tokenizer.encode_plain, backend.conversation()
        talk.say("Hello", 4)
        first = [*encode("Hello"), *greedy(model, encode("Hello"), known, 4)]
        assert talk.tokens == len(first)
        want = greedy(model, [*first, *encode(" you")], known, 3)
        assert talk.say(" you", 3) == backend.tokenizer.decode(want)


def test_a_float_file_agrees_with_torch_and_a_wrong_one_does_not(bundle, place, tmp_path):
    [found] = edgesnn.verify_v1_bundle(bundle, "onnxruntime-v1-fp32", tokens=300)
    assert found.failures() == [] and found.largest_difference <= 1e-4 and found.top1 == 1
    other = save_old(make_old(1000, threshold=0.9), tmp_path / "old")
    wrong = export_student(other, tmp_path / "b")
    manifest = json.loads((wrong.path / "manifest.json").read_text())
    manifest["student"]["snn_config"]["spike_threshold"] = 1.0
    (wrong.path / "manifest.json").write_text(json.dumps(manifest))
    [found] = edgesnn.verify_v1_bundle(wrong.path, "onnxruntime-v1-fp32", tokens=300)
    assert len(found.failures()) == 2


def test_verify_says_what_it_compared_and_fails_beyond_the_limits(edgesnn_here, bundle):
    asked = ("verify", bundle.path, "--target", "onnxruntime-v1-fp32", "--tokens", 200)
    finished = edgesnn_here(*asked, "--json")
    [target] = finished.document["targets"]
    assert finished.exit_code == 0 and target["failures"] == []
    assert target["text"] == "the text of the bundle" and target["positions"] >= 180
    finished = edgesnn_here(*asked)
    assert "1.0000" in finished.stdout and "within" in finished.stdout


def test_verify_leaves_with_3_where_an_engine_is_beyond_its_limits(edgesnn_here, bundle, monkeypatch):
    from edgesnn.profiler.quality import agreement

    monkeypatch.setattr(agreement, "INT8_TOP1", 1.01)
    finished = edgesnn_here("verify", bundle.path, "--target", "onnxruntime-v1", "--tokens", 100)
    assert finished.exit_code == 3 and "same best token" in finished.stderr


def test_a_profile_times_whole_contexts_and_says_how_it_ran(bundle, tmp_path):
    run = edgesnn.profile_bundle(
        bundle,
        profile="quick",
        windows=2,
        min_window_seconds=0.0,
        compare=False,
        allow_unmeasured=True,
        output=tmp_path / "run.json",
    )
    record = run.record
    assert record.model.vocab_size == 1000 and record.latency.context == 64
    assert record.device.runner == "onnxruntime-v1" and record.device.details["int8"] == "weights"
    assert record.quantities["latency.p50"].value > 0
    assert record.quantities["accuracy.bits_per_byte"].value > 0
    assert "no integer program" in record.quantities["activity.spike_rate"].reason
    assert any("no step and no state" in mark for mark in record.marks)
    assert any("against torch on the text of the bundle" in mark for mark in record.marks)
    result = edgesnn.compare_runs(tmp_path / "run.json", [tmp_path / "run.json"])
    assert result is not None


def test_accuracy_never_sees_the_token_that_it_predicts(bundle, model):
    """What a record calls accuracy is of prefixes, not of the whole text, which the student has read."""
    from edgesnn.api.measuring.quality import accuracy_of
    from edgesnn.profiler.budgets.profile import load_profile

    found = accuracy_of(bundle, load_profile("quick"), lambda *_: None)
    part = bundle.eval_slice().first(load_profile("quick").workload.accuracy_tokens)
    hits = nats = places = 0
    for ids in part.documents()[:20]:
        for end in range(1, len(ids)):
            logits = model.logits(ids[None, :end].astype(np.int64))[0, -1].astype(np.float64)
            nats += np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[ids[end]]
            hits, places = hits + (logits.argmax() == ids[end]), places + 1
    documents = found.by_document
    own = documents["bits"][:20].sum() * np.log(2) / documents["positions"][:20].sum()
    assert own == pytest.approx(nats / places, abs=0.02)  # int8 against float


# Its heir ---------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path):
    folder = save_old(make_old(320, **TINY), tmp_path / "old", max_length=16)
    glasses_tokenizer(320).save(folder / "tokenizer.json")
    (folder / "text.txt").write_text("\n".join(glasses_text()[:80]))
    return folder


def test_the_teacher_answers_every_place_from_what_is_before_it(tiny):
    from edgesnn.program.v1_student import NORM_EPS
    from edgesnn.student.v1.model import V1StudentModel
    from edgesnn.student.v1.teacher import PrefixTeacher

    found = edgesnn.read_v1_student(tiny)
    student = V1StudentModel(found.tensors, found.heads, found.threshold, NORM_EPS)
    ids = torch.randint(0, 320, (2, 9), generator=torch.Generator().manual_seed(0))
    answer = PrefixTeacher(student)(input_ids=ids).logits
    model = make_old(320, **TINY)
    for end in range(1, 10):
        want = model.logits(ids[:, :end].numpy())[:, -1]
        assert np.abs(answer[:, end - 1].numpy() - want).max() < 1e-4
    changed = ids.clone()
    changed[:, 5:] = 0
    assert torch.equal(PrefixTeacher(student)(input_ids=changed).logits[:, :5], answer[:, :5])
    assert not torch.equal(student(changed)[:, :5], student(ids)[:, :5])


def test_an_upgrade_gives_a_student_that_every_target_runs(edgesnn_here, tiny, tmp_path):
    finished = edgesnn_here(
        *("upgrade", tiny / "student.pt", "--dataset-path", tiny / "text.txt"),
        *("--output-dir", tmp_path / "new", "--num-steps", 4, "--dim", 16, "--depth", 1, "--rank", 8),
        *("--vocab-size", 300, "--threads", 1, "--json"),
    )
    assert finished.exit_code == 0, finished.stderr
    assert finished.document["model_type"] == "SpikingTransformerLM"
    made = export_student(tmp_path / "new", tmp_path / "bundle", "onnx")
    [parity] = edgesnn.verify_bundle(made, "golden", tokens=40)
    assert parity.mismatches == 0
    assert made.manifest.student["training_results"]["teacher_positions"] > 0


def test_an_upgrade_without_a_tokenizer_names_the_teacher_it_came_from(tiny, tmp_path):
    (tiny / "tokenizer.json").unlink()
    config = edgesnn.TrainConfig(output_dir=str(tmp_path / "new"), dataset_path=str(tiny / "text.txt"))
    with pytest.raises(UsageError, match="some-teacher"):
        edgesnn.upgrade_student(tiny, config)


def test_an_upgrade_of_another_student_is_refused(tmp_path):
    config = edgesnn.TrainConfig(output_dir=str(tmp_path / "new"))
    with pytest.raises(ArtifactError, match=r"no SpikingStudentLM v1\.0"):
        edgesnn.upgrade_student("reference", config)


def test_train_sends_an_old_student_as_teacher_to_upgrade(tiny, tmp_path):
    config = edgesnn.TrainConfig(
        output_dir=str(tmp_path / "new"), dataset_path=str(tiny / "text.txt"), teacher_model=str(tiny)
    )
    with pytest.raises(TrainingError, match="edgesnn upgrade"):
        edgesnn.train_student(config)


def test_the_support_writes_both_files_where_the_older_script_does(place):
    assert {p.name for p in Path(place / "new").iterdir()} == {"student.pt", "metadata.json"}
