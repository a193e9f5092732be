"""A reference beside the student: the same text in two vocabularies, scores, steps, and its own process."""

import json
import math

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from edgesnn import profile_bundle
from edgesnn.api import references
from edgesnn.api.references import MeasuredReference, measure_reference, reference_part
from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import EdgesnnError, RunnerError, TextError, UsageError, UserError
from edgesnn.profiler.budgets.workload import Workload
from edgesnn.profiler.quality.accuracy import bootstrap_ratio
from edgesnn.profiler.quality.reference import NO_PIECE, align, first_pieces, score_reference, time_steps
from edgesnn.program.scoring import DocumentScores
from edgesnn.record.quantities import present
from edgesnn.runners.causal_lm import OnnxCausalModel, find_model
from edgesnn.text.tokenizer import SPECIAL_TOKENS, TextTokenizer
from tests.support.bundles import shared_bundle
from tests.support.patience import patience

LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())


def _tokenizer(*merges):
    vocabulary = [*SPECIAL_TOKENS, *LETTERS, *("".join(pair) for pair in merges)]
    inner = Tokenizer(models.BPE({t: i for i, t in enumerate(vocabulary)}, list(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(SPECIAL_TOKENS))
    return TextTokenizer(inner)


STUDENT = _tokenizer(("a", "b"), ("c", "d"))
NATIVE = _tokenizer(("b", "c"), ("a", "b"), ("ab", "c"), ("d", "e"))


class Oracle:
    """A model that gives the next token of whatever it is asked nine tenths of the probability."""

    tokenizer = NATIVE
    vocab_size = NATIVE.vocab_size
    before, between, text_start = (1,), (2,), (0,)
    context = 64
    cached = True

    def __init__(self, wrong=False):
        self.wrong, self.begun, self.steps = wrong, [], 0

    def logits(self, ids):
        share = np.full((len(ids), self.vocab_size), 0.1 / (self.vocab_size - 1))
        for place, token in enumerate([*ids[1:], 0]):
            share[place, (token + 1) % self.vocab_size if self.wrong else token] = 0.9
        return np.log(share).astype(np.float32)

    def begin(self, ids):
        self.begun = list(ids)

    def step(self, token):
        self.steps += 1


def _document(text):
    return [*STUDENT.encode(text), 0]


def test_two_vocabularies_share_the_places_where_tokens_of_both_begin():
    ids = _document("abcdeab")  # student: ab cd e ab; native: b c first, so a bc de a b or alike
    aligned = align(ids, STUDENT, Oracle())
    pieces, native = STUDENT.token_bytes(), NATIVE.token_bytes()
    assert aligned.native[0] == 0
    assert b"".join(native[i] for i in aligned.native[1:]) == b"abcdeab"
    assert aligned.text_bytes == 7
    assert aligned.places
    for row, place in zip(aligned.shared_rows, aligned.places, strict=True):
        before = b"".join(native[i] for i in aligned.native[1:row])
        assert before == b"".join(pieces[i] for i in ids[:place])


def test_a_dialogue_wears_the_reference_s_own_chat_format():
    ids = [1, *STUDENT.encode("ab"), 2, *STUDENT.encode("cd"), 0]
    aligned = align(ids, STUDENT, Oracle())
    assert aligned.native[0] == 1 and 2 in aligned.native
    assert aligned.native.index(2) not in aligned.rows
    assert aligned.text_bytes == 4


def test_bytes_that_are_no_text_cannot_be_aligned():
    broken = [i for i, piece in enumerate(STUDENT.token_bytes()) if piece == b"\xff"]
    assert align([*STUDENT.encode("ab"), *broken], STUDENT, Oracle()) is None


def test_every_native_token_gives_its_probability_to_the_first_piece_of_its_spelling():
    pieces = first_pieces(NATIVE, STUDENT, NATIVE.vocab_size + 3)
    name = {NATIVE.token_id(t): t for t in ("abc", "bc", "de", "a")}
    first = {"abc": "ab", "bc": "b", "de": "d", "a": "a"}
    for number, spelling in name.items():
        assert pieces[number] == STUDENT.token_id(first[spelling])
    assert (pieces[:3] == NO_PIECE).all() and (pieces[-3:] == NO_PIECE).all()


def test_bits_and_hits_are_those_of_the_probabilities_that_were_given():
    documents = [_document("abcdeab"), _document("cdab")]
    scores = score_reference(Oracle(), documents, STUDENT, lambda done: None)
    assert scores.documents == [0, 1] and scores.skipped == 0
    assert scores.nats == pytest.approx([-math.log(0.9) * n for n in scores.tokens], rel=1e-5)
    assert scores.own_hits == scores.tokens
    assert scores.hits == [len(places) for places in scores.places]
    wrong = score_reference(Oracle(wrong=True), documents, STUDENT, lambda done: None)
    assert sum(wrong.own_hits) == 0 and wrong.nats[0] > scores.nats[0]


def test_documents_longer_than_the_reference_s_context_are_counted_and_left_out():
    scores = score_reference(Oracle(), [_document("e" * 80), _document("abcd")], STUDENT, lambda done: None)
    assert (scores.documents, scores.skipped) == ([1], 1)
    with pytest.raises(TextError, match="cannot read"):
        score_reference(Oracle(), [_document("e" * 80)], STUDENT, lambda done: None)


def test_a_timed_step_has_seen_the_context_that_is_asked_for():
    model = Oracle()
    times = time_steps(model, [3, 4, 5], context=20, steps=7)
    assert len(times) == 7 and (times > 0).all()
    assert len(model.begun) + model.steps - len(times) + 1 == 20


@pytest.fixture(scope="module")
def measured():
    """The tiny student's own ONNX file as its reference: both are one model, so nothing may differ."""
    bundle = Bundle(shared_bundle())
    said = []
    path = str(shared_bundle() / "student.onnx")
    found = measure_reference(
        bundle,
        path,
        Workload(context=8),
        tokens=200,
        steps=10,
        timeout_s=patience(),
        on_progress=lambda *a: said.append(a),
    )
    return found, said


def test_a_model_beside_itself_keeps_everything(measured):
    found = reference_part(
        measured[0],
        {
            "size.model": present(0.5, "MB", "tests"),
            "memory.peak": present(50.0, "MB", "tests"),
            "forward.p50": present(0.1, "ms", "tests"),
        },
    )
    quantities = found.quantities
    assert quantities["retention"].value == pytest.approx(1.0, abs=0.15)
    assert quantities["bits_per_byte"].value == pytest.approx(
        quantities["student_bits_per_byte"].value, rel=0.25
    )
    size = (shared_bundle() / "student.onnx").stat().st_size
    assert quantities["compression"].value == pytest.approx(size / 1e6 / 0.5)
    assert quantities["speed_up"].value == pytest.approx(quantities["step.p50"].value / 0.1)
    assert found.kv_cache is False and "reads the context again" in quantities["step.p50"].how
    assert quantities["memory.peak"].value > 20
    assert found.documents >= 1 and found.name == "student.onnx"


def test_a_reference_has_a_perplexity_in_its_own_tokens_and_so_has_the_student():
    report = {
        "name": "r", "engine": "e", "dtype": "float32", "parameters": 1, "model_bytes": 1, "context": 4,
        "cached": True, "step_ms": [1.0] * 90, "peak_bytes": 1, "how": "tests",
        "scores": {
            "documents": [0, 1], "nats": [2.0, 4.0], "tokens": [1, 2], "text_bytes": [4, 4],
            "own_hits": [1, 0], "hits": [1, 1], "places": [[1], [1]], "skipped": 0,
        },
    }  # fmt: skip
    two = np.array([1, 1])
    student = DocumentScores(np.array([3.0, 6.0]), two, two, two, np.array([4, 4]))
    sizes = {name: present(1.0, "MB", "tests") for name in ("size.model", "memory.peak", "forward.p50")}
    found = reference_part(MeasuredReference(report, student, 1, "it is near chance"), sizes).quantities
    assert found["perplexity"].value == pytest.approx(math.exp(6 / 3))
    assert found["student_perplexity"].value == pytest.approx(math.exp(9 / 3))
    assert found["retention"].reason == "it is near chance"


def test_the_process_tells_its_progress(measured):
    stages = [stage for stage, _, _ in measured[1]]
    assert stages[0] == "loading the reference" and "scoring the reference" in stages


def test_a_reference_stands_in_the_record_and_in_the_terminal(measured, tmp_path, monkeypatch, capsys):
    from edgesnn.cli.output import CommandOutput
    from edgesnn.cli.profile.show import doubts, render
    from edgesnn.record.files import read_run, write_run

    monkeypatch.setattr("edgesnn.api.profiling.measure_reference", lambda *a, **k: measured[0])
    profile = tmp_path / "p.toml"
    profile.write_text(
        'schema = "edgesnn.profile/1"\nname = "p"\n[workload]\nwindows = 1\nmin_window_seconds = 0.0\n'
        "min_window_tokens = 4\nfirst_tokens = 0\nactivity_tokens = 0\nmemory_probes = 0\n"
        "accuracy_tokens = 0\nparity_tokens = 4\nwarmup_tokens = 2\n"
    )
    run = profile_bundle(shared_bundle(), profile=str(profile), reference="named", compare=False)
    write_run(run, tmp_path / "run.json")
    record = read_run(tmp_path / "run.json").record
    assert record.reference.quantities["compression"].value > 0
    assert record.reference.quantities["memory_ratio"].value is None
    render(CommandOutput("profile", False), record, details=False)
    assert "reference student.onnx" in capsys.readouterr().out
    named = record.reference.quantities
    assert doubts(record) == [f"retention says nothing: {r}" for r in [named["retention"].reason] if r]


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("./no-such-model", UserError, "no reference at"),
        (str(shared_bundle() / "student.step.onnx"), UsageError, "no causal language model"),
    ],
    ids=["missing", "a student"],
)
def test_a_model_that_cannot_be_a_reference_says_why(name, kind, words):
    if kind is UserError:
        pytest.importorskip("torch")
    with pytest.raises(kind, match=words):
        measure_reference(Bundle(shared_bundle()), name, Workload(), tokens=10, steps=2, timeout_s=patience())


@pytest.mark.parametrize(
    ("program", "words", "timeout_s"),
    [
        ("import time; print('{}', flush=True); time.sleep(6000)", "did not answer in time", 1.5),
        (
            "import sys; sys.stderr.write('out of memory'); sys.exit(9)",
            "exit code 9; actual: out of memory",
            patience(),
        ),
    ],
)
def test_a_process_that_hangs_or_dies_ends_with_a_reason(tmp_path, monkeypatch, program, words, timeout_s):
    (tmp_path / "stand_in.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(references, "MODULE", "stand_in")
    with pytest.raises(RunnerError, match=words):
        measure_reference(Bundle(shared_bundle()), "x", Workload(), tokens=10, timeout_s=timeout_s)


def test_an_error_of_the_process_keeps_its_branch_and_its_remedy(tmp_path, monkeypatch):
    error = {"code": "missing-extra", "what": "w", "actual": None, "limit": None, "remedy": "pip install x"}
    (tmp_path / "stand_in.py").write_text(f"print({json.dumps(json.dumps({'error': error}))})")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(references, "MODULE", "stand_in")
    with pytest.raises(EdgesnnError) as met:
        measure_reference(Bundle(shared_bundle()), "x", Workload(), tokens=10, timeout_s=patience())
    assert (met.value.code, met.value.exit_code, met.value.remedy) == ("missing-extra", 1, "pip install x")


def test_a_ratio_whose_denominator_may_vanish_has_no_interval():
    assert bootstrap_ratio(np.array([1, 0, 0]), np.array([1, 0, 0])) is None
    assert bootstrap_ratio(np.array([1, 2, 1]), np.array([2, 2, 2])) is not None


def test_a_folder_means_its_model_and_anything_else_is_no_onnx(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"")
    assert find_model(tmp_path) == tmp_path / "a.onnx"
    (tmp_path / "b.onnx").write_bytes(b"")
    assert find_model(tmp_path) is None
    (tmp_path / "model.onnx").write_bytes(b"")
    assert find_model(tmp_path) == tmp_path / "model.onnx"
    assert find_model(tmp_path / "nothing") is None


@pytest.fixture
def cached_model(tmp_path):
    """An ONNX model that sums embeddings: its cache holds those of the tokens before."""
    rng = np.random.default_rng(0)
    size = NATIVE.vocab_size
    constants = {
        "table": rng.normal(size=(size, 2)).astype(np.float32),
        "out": rng.normal(size=(2, size)).astype(np.float32),
        "two": np.array([2], np.int64),
        "axis": np.array(2, np.int64),
        "one": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("Unsqueeze", ["embedded", "one"], ["new"]),
        helper.make_node("Concat", ["past_key_values.0.key", "new"], ["present.0.key"], axis=2),
        helper.make_node("CumSum", ["new", "axis"], ["sums"]),
        helper.make_node("ReduceSum", ["past_key_values.0.key", "two"], ["before"], keepdims=1),
        helper.make_node("Add", ["sums", "before"], ["hidden"]),
        helper.make_node("Squeeze", ["hidden", "one"], ["flat"]),
        helper.make_node("MatMul", ["flat", "out"], ["logits"]),
    ]
    cache = ["batch", 1, "past", 2]
    graph = helper.make_graph(
        nodes,
        "sums",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "n"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "all"]),
            helper.make_tensor_value_info("past_key_values.0.key", TensorProto.FLOAT, cache),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "n", size]),
            helper.make_tensor_value_info("present.0.key", TensorProto.FLOAT, ["batch", 1, "all", 2]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save(model, tmp_path / "model.onnx")
    (tmp_path / "tokenizer.json").write_text(NATIVE.to_json())
    return OnnxCausalModel(tmp_path / "model.onnx", 1)


def test_an_onnx_model_with_a_cache_steps_to_the_logits_of_the_whole_sequence(cached_model):
    ids = [5, 9, 30, 7]
    assert cached_model.cached and cached_model.text_start == (NATIVE.token_id("<|endoftext|>"),)
    cached_model.begin(ids[:2])
    cached_model.step(ids[2])
    (past,) = cached_model._state.values()
    assert past.shape == (1, 1, 3, 2)
    stepped = cached_model._run([ids[3]], cached_model._state, 3)[0][0, -1]
    np.testing.assert_allclose(stepped, cached_model.logits(ids)[-1], rtol=1e-5)


@pytest.fixture
def sums(tmp_path):
    """Writes an ONNX model that sums embeddings up to each place, or from it to the end."""

    def write(reverse=0, value=1.0, **saving):
        size = NATIVE.vocab_size
        table = np.random.default_rng(0).normal(size=(size, 64)).astype(np.float32)
        table[40] *= value
        constants = {"table": table, "out": table.T.copy(), "axis": np.array(1, np.int64)}
        nodes = [
            helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
            helper.make_node("CumSum", ["embedded", "axis"], ["sums"], reverse=reverse),
            helper.make_node("MatMul", ["sums", "out"], ["logits"]),
        ]
        graph = helper.make_graph(
            nodes,
            "sums",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "n"])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "n", size])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        save(model, tmp_path / "model.onnx", **saving)
        (tmp_path / "tokenizer.json").write_text(NATIVE.to_json())
        return OnnxCausalModel(tmp_path / "model.onnx", 1)

    return write


def test_an_onnx_model_that_reads_the_future_or_gives_no_numbers_is_refused(sums):
    assert not sums().cached
    with pytest.raises(UserError, match=r"the reference 'model\.onnx' is no causal language model.*place 16"):
        sums(reverse=1)
    with pytest.raises(UserError, match=r"'model\.onnx' gives logits that are not numbers"):
        sums(value=np.nan)


def test_the_size_of_an_onnx_model_is_that_of_its_file_and_of_the_data_it_names(sums, tmp_path):
    outside = {"save_as_external_data": True, "location": "heavy.weights", "size_threshold": 0}
    for name in ("model.onnx_data", "model.onnx.data", "other.onnx", "model.safetensors"):
        (tmp_path / name).write_bytes(bytes(10**6))
    size = sums(**outside).model_bytes
    assert size == sum((tmp_path / name).stat().st_size for name in ("model.onnx", "heavy.weights"))
    assert sums().model_bytes == (tmp_path / "model.onnx").stat().st_size


def test_a_reference_that_stops_giving_numbers_is_named_with_the_document():
    model = Oracle()
    model.logits = lambda ids: np.full((len(ids), NATIVE.vocab_size), np.nan, np.float32)
    with pytest.raises(UserError, match="does not answer with numbers.*document 0"):
        score_reference(model, [_document("abcd")], STUDENT, lambda done: None)


def test_an_onnx_file_without_tokenizer_or_sense_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(UsageError, match="no tokenizer"):
        OnnxCausalModel(tmp_path / "model.onnx", 1)
    (tmp_path / "tokenizer.json").write_text(NATIVE.to_json())
    with pytest.raises(RunnerError, match="refuses"):
        OnnxCausalModel(tmp_path / "model.onnx", 1)
