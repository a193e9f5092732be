"""`SNNLLMBackend`: what an agent gets."""

import shutil
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pytest

from edgesnn import SNNLLMBackend, export_student, generate_text
from edgesnn.api.runtime.student import OpenStudent, TextContext
from edgesnn.errors import ArtifactError, RunnerError, TextError, UsageError
from edgesnn.runners.litert.runner import LiteRtRunner
from edgesnn.text.stops import StopScanner
from tests.conftest import ROOT
from tests.support.bundles import shared_artifact
from tests.support.patience import patience

PROMPTS = ["What is on my desk?", "How do I boil an egg?", "Hello", "Tell me a story about 3 émigrés 🙂"]


@runtime_checkable
class BaseLLMBackend(Protocol):
    """The protocol of the public agent project, by its documentation."""

    def generate(self, prompt: str, max_tokens: int = 256, system_prompt: str = "") -> str: ...

    def generate_tokens(self, input_ids: list[int], max_tokens: int = 64, **kw: Any) -> list[int]: ...


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    formats = ["onnx", "tflite"] if LiteRtRunner.missing() is None else ["onnx"]
    return export_student(ROOT / "reference", tmp_path_factory.mktemp("b") / "bundle", formats).path


@pytest.fixture(scope="module")
def backend(folder):
    with SNNLLMBackend(model_path=folder) as made:
        yield made


def test_it_is_what_an_agent_calls(backend):
    assert isinstance(backend, BaseLLMBackend)
    assert backend.model_name == "reference" and backend.model_type == "SpikingTransformerLM"
    assert backend.vocab_size == 4096 and backend.training_config["num_steps"] > 0
    assert backend.stub_mode is False and backend.device == "cpu"


@pytest.mark.parametrize("target", ["native", "golden", "onnxruntime", "litert"])
def test_every_exact_engine_says_the_same(folder, backend, target):
    if target == "litert" and LiteRtRunner.missing() is not None:
        pytest.skip("no LiteRT")
    count = 8 if target == "golden" else 40
    with SNNLLMBackend(model_path=folder, target=target, runners=1) as other:
        for prompt in PROMPTS:
            wanted = str(generate_text(folder, prompt, max_tokens=count))
            assert other.generate(prompt, count) == wanted == backend.generate(prompt, count)


@pytest.fixture(scope="module")
def tiny():
    """What the tiny student of the tests says."""
    with SNNLLMBackend(model_path=shared_artifact()) as made:
        return made.generate("Hello", 5)


@pytest.mark.parametrize("name", ["student.pt", "student.safetensors", "", "metadata apart"])
def test_a_model_is_a_file_or_a_folder(tiny, tmp_path, name):
    artifact = tmp_path / "mine"
    shutil.copytree(shared_artifact(), artifact)
    (artifact / "student.pt").touch()  # a file beside the weights that are read: the reference ships one form
    options = {"model_path": artifact / name}
    if name == "metadata apart":
        (tmp_path / "elsewhere").mkdir()
        shutil.move(artifact / "metadata.json", tmp_path / "elsewhere/facts.json")
        options = {
            "model_path": artifact / "student.safetensors",
            "metadata_path": tmp_path / "elsewhere/facts.json",
        }
    with SNNLLMBackend(**options) as made:
        assert made.generate("Hello", 5) == tiny


def test_an_empty_prompt_and_no_tokens_have_an_empty_answer(backend):
    assert backend.generate("") == backend.generate("Hello", 0) == ""
    assert backend.generate_tokens([], 5) == backend.generate_tokens([5], 0) == []


def test_token_ids_are_answered_with_new_ids_only(backend):
    ids = backend.model.prompt_ids("Hello")
    new = backend.generate_tokens(ids, 10)
    assert len(new) == 10
    assert backend.tokenizer.decode(new) == backend.generate("Hello", 10)
    assert backend.generate_tokens(np.array(ids), 10, temperature=0.0, seed=3) == new
    with pytest.raises(TextError, match="outside the vocabulary"):
        backend.generate_tokens([4096], 1)


def test_a_system_prompt_stands_before_and_a_template_can_be_left_out(backend, folder):
    wanted = backend.generate("Be short.\n\nHello", 12)
    assert backend.generate("Hello", 12, "Be short.") == wanted
    with SNNLLMBackend(model_path=folder, template="none") as bare:
        assert bare.generate("Once upon", 12) == str(
            generate_text(folder, "Once upon", max_tokens=12, raw=True)
        )


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(backend):
    whole = backend.generate("Hello", 40)
    stop = whole[10:14]
    assert backend.generate("Hello", 40, stop=stop) == whole[: whole.index(stop)]
    assert backend.generate("Hello", 40, stop=["\x00never", stop]) == whole[: whole.index(stop)]
    pieces = list(backend.stream("Hello", 40, stop=stop))
    assert "".join(piece.text for piece in pieces) == whole[: whole.index(stop)]
    with pytest.raises(UsageError, match="stop string is empty"):
        backend.generate("Hello", 4, stop="")


def test_no_part_of_a_stop_string_is_given_out():
    scanner = StopScanner(["abab", "x"])
    assert [scanner.push(piece) for piece in ("a", "b", "a", "c", "aba")] == ["", "", "", "abac", ""]
    assert scanner.flush() == "aba" and scanner.found is None
    scanner = StopScanner(["abab"])
    assert scanner.push("zab") + scanner.push("abq") == "z" and scanner.found == "abab"
    assert scanner.push("more") == "" == scanner.flush()


def test_closing_a_stream_gives_the_runner_back(backend):
    for _ in range(3 * backend.model.runners):  # more than there are: one that is kept would block here
        stream = backend.stream("Hello", 50)
        next(stream)
        stream.close()
    assert backend.generate("Hello", 5)


def test_a_conversation_reads_nothing_twice_and_says_what_one_text_would(backend):
    talk, ids = backend.conversation(), []
    before = backend.statistics.prompt_tokens
    for prompt in PROMPTS:
        turn = backend.model.prompt_ids(prompt)
        ids += turn
        wanted = backend.model.generate(ids, max_tokens=25)
        text = wanted.text()
        assert talk.say(prompt, 25) == text
        ids += wanted.tokens
        assert talk.tokens == len(ids)
    assert backend.statistics.prompt_tokens > before


@pytest.mark.parametrize("way", ["stop", "close", "nothing"])
def test_a_turn_that_was_cut_short_stays_in_the_text_as_far_as_it_came(backend, way):
    student, context = backend.model, TextContext()
    first, second = student.prompt_ids("Hello"), student.prompt_ids("And you?")
    said = student.generate(first, max_tokens=30).text()
    made = student.generate(
        first,
        max_tokens=0 if way == "nothing" else 30,
        stop=[said[4:8]] if way == "stop" else (),
        context=context,
    )
    if way == "close":
        for _ in range(4):
            next(made)
        made.close()
    else:
        made.text()
    assert made.finish_reason == {"stop": "stop", "nothing": "length", "close": None}[way]
    wanted = student.generate(first + made.tokens + second, max_tokens=15).text()
    assert student.generate(second, max_tokens=15, context=context).text() == wanted


def test_a_text_that_the_student_ended_goes_on_exactly(backend):
    """The token that ends a text was chosen, not run: it is no part of the context."""
    student = backend.model
    end = student.end
    try:
        student.end = student.generate(student.prompt_ids("Hello"), max_tokens=6).text() and None
        sixth = student.generate(student.prompt_ids("Hello"), max_tokens=6)
        sixth.text()
        student.end = sixth.tokens[5]
        context = TextContext()
        made = student.generate(student.prompt_ids("Hello"), max_tokens=30, context=context)
        made.text()
        assert made.finish_reason == "stop" and made.tokens == sixth.tokens[: sixth.tokens.index(student.end)]
        more = student.prompt_ids("And you?")
        wanted = student.generate(student.prompt_ids("Hello") + made.tokens + more, max_tokens=3).text()
        assert student.generate(more, max_tokens=3, context=context).text() == wanted
    finally:
        student.end = end


def test_twenty_threads_get_what_one_gets(backend):
    wanted = {prompt: backend.generate(prompt, 30) for prompt in PROMPTS}
    with ThreadPoolExecutor(20) as threads:
        jobs = [(prompt, threads.submit(backend.generate, prompt, 30)) for prompt in PROMPTS * 10]
        assert all(job.result(patience()) == wanted[prompt] for prompt, job in jobs)
    assert backend.generate_many(PROMPTS, 30) == [wanted[prompt] for prompt in PROMPTS]


def test_drawn_answers_depend_on_their_seed_alone(backend):
    drawn = [backend.generate("Hello", 20, temperature=0.9, top_k=40, top_p=0.9, seed=s) for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    for wrong in ({"temperature": float("nan")}, {"top_p": 0.0}, {"top_k": -1}, {"seed": -1}):
        with pytest.raises(UsageError, match="out of range"):
            backend.generate("Hello", 5, **wrong)
    with pytest.raises(UsageError, match="max-tokens"):
        backend.generate("Hello", -1)


def test_an_unknown_option_is_ignored_with_one_warning(folder):
    with SNNLLMBackend(model_path=folder, runners=1) as made:
        with pytest.warns(UserWarning, match="ignores 'beam'"):
            made.generate("Hello", 2, beam=3)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            made.generate("Hello", 2, beam=3)


def test_a_prompt_longer_than_every_window_is_answered_as_by_steps(backend):
    text = "word " * 900
    ids = backend.model.prompt_ids(text)
    assert len(ids) > 3 * 256
    wanted = str(generate_text(backend.model.bundle, text, max_tokens=8))
    assert backend.generate(text, 8) == wanted


def test_what_is_no_text_is_refused(backend):
    with pytest.raises(TextError, match="no UTF-8"):
        backend.generate("\ud83d", 2)


def test_without_a_student_it_says_how_to_get_one_or_echoes(tmp_path):
    for nothing in (tmp_path, tmp_path / "student.pt"):
        with pytest.raises(ArtifactError, match="no student") as caught:
            SNNLLMBackend(model_path=nothing)
        assert "allow_stub=True" in caught.value.remedy
    with pytest.warns(UserWarning, match="stub mode"):
        stub = SNNLLMBackend(model_path=tmp_path, allow_stub=True)
    assert stub.generate("Hello", 5) == "Hello" and stub.generate("Hello", 0) == "" and stub.stub_mode
    assert stub.conversation().say("Hi") == "Hi" and stub.generate_tokens([1, 2]) == []
    stub.close()
    with pytest.raises(UsageError, match="run on the CPU"):
        SNNLLMBackend(model_path="reference", device="cuda")


def test_a_tokenizer_of_another_model_is_refused(folder, tmp_path):
    from tests.support.bundles import shared_bundle

    with pytest.raises(TextError, match="another model's"):
        SNNLLMBackend(model_path=folder, tokenizer_name=str(shared_bundle() / "tokenizer.json"))
    with pytest.raises(UsageError, match="no tokenizer"):
        SNNLLMBackend(model_path=folder, tokenizer_name="gpt2")
    with SNNLLMBackend(model_path=folder, tokenizer_name=str(folder)) as made:
        assert made.generate("Hello", 3)


def test_a_runner_that_fails_is_closed_and_the_next_call_gets_a_new_one(folder, monkeypatch):
    from edgesnn.runners.native.runner import NativeRunner

    with OpenStudent(folder, "native", runners=1) as student:
        ids, context = student.prompt_ids("Hello"), TextContext()
        wanted = student.generate(ids, max_tokens=5, context=context).text()
        kept = context.tokens

        def fails(self, ids, k, *, new):
            raise RunnerError("the cable was pulled")

        with monkeypatch.context() as patch:
            patch.setattr(NativeRunner, "best", fails)
            with pytest.raises(RunnerError, match="cable"):
                student.generate(ids, max_tokens=5, context=context).text()
        assert context.tokens == kept
        assert student.generate(ids, max_tokens=5).text() == wanted


def test_a_closed_backend_says_so_to_everyone_who_waits(folder):
    made = SNNLLMBackend(model_path=folder, runners=1)
    stream = made.stream("Hello", 50)
    next(stream)
    failures = []

    def waits():
        try:
            made.generate("Hello", 2)
        except UsageError as error:
            failures.append(error)

    waiting = threading.Thread(target=waits)
    waiting.start()
    made.close()
    waiting.join(patience())
    assert len(failures) == 1 and "was closed" in failures[0].what
    stream.close()
    made.close()
