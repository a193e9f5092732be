"""The folder in which the blocks of the background documents run: teachers of their names, tiny."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")

from tests.background.table import BY_NAME, VARIABLE, runnable  # noqa: E402

FEW = """
schema = "edgesnn.profile/1"
name = "few"
[workload]
prompt_tokens = 4
generated_tokens = 4
context = 4
windows = 3
min_window_seconds = 0.0
metered_window_seconds = 0.1
idle_seconds = 0.1
min_window_tokens = 8
warmup_tokens = 1
first_tokens = 0
activity_tokens = 0
memory_probes = 0
parity_tokens = 4
accuracy_tokens = 100
"""
#: Class of the library and place of every teacher that the documents name.
TEACHERS = {
    "gpt2": "GPT2LMHeadModel",
    "sshleifer/tiny-gpt2": "GPT2LMHeadModel",
    "meta-llama/Llama-3.2-3B": "LlamaForCausalLM",
    "Qwen/Qwen2.5-3B": "Qwen2ForCausalLM",
}
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 64, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip


def save_teachers(folder: Path) -> None:
    """Write every teacher with a byte-level BPE of 500 tokens learnt from the built-in prompts."""
    import torch
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    from edgesnn.student.text.data import synthetic_records

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[AddedToken("<|endoftext|>", special=True, normalized=False)],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for record in synthetic_records() for text in record), trainer)
    for name, kind in TEACHERS.items():
        torch.manual_seed(0)
        model_class = getattr(transformers, kind)
        rows = tokenizer.get_vocab_size()
        model_class(model_class.config_class(vocab_size=rows, **SIZES)).save_pretrained(folder / name)
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
        ).save_pretrained(folder / name)


def wikitext() -> str:
    """A text of ours in wikitext's form: articles under top headings."""
    from edgesnn.student.text.data import synthetic_records

    answers = [answer for _, answer in synthetic_records()]
    articles = [" ".join(answers[start : start + 12]) for start in range(0, 480, 12)]
    return "".join(f" = Article {number} = \n\n {text} \n\n" for number, text in enumerate(articles))


class Workspace:
    """Runs blocks in one folder; a block that others need runs once."""

    def __init__(self, folder: Path, documents: Path | None) -> None:
        self.folder, self.documents = folder, documents
        self.done: dict[str, object] = {}

    def command(self, name: str) -> str:
        """Run a shell block; what it printed."""
        if name not in self.done:
            from edgesnn.cli.main import run

            program, *words = shlex.split(runnable(BY_NAME[name], self.documents))
            assert program == "edgesnn"
            shown = io.StringIO()
            with contextlib.redirect_stdout(shown):
                code = run(words)
            assert code == 0, shown.getvalue()
            self.done[name] = shown.getvalue()
        return str(self.done[name])

    def python(self, name: str, **names: object) -> dict[str, object]:
        """Run a Python block with some names that it takes for granted; its names afterwards."""
        for before in BY_NAME[name].after:
            self.command(before)
        space = dict(names)
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            exec(compile(runnable(BY_NAME[name], self.documents), name, "exec"), space)
        return {**space, "printed": shown.getvalue()}


@pytest.fixture(scope="session")
def documents() -> Path | None:
    """The folder of the two documents, where somebody says where it is."""
    return Path(os.environ[VARIABLE]).resolve() if os.environ.get(VARIABLE) else None


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, documents):
    import torch

    from edgesnn.student.text import datasets_hub

    folder = tmp_path_factory.mktemp("background")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    save_teachers(folder)
    (folder / "few.toml").write_text(FEW)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("EDGESNN_LOCKS", str(folder / "locks"))
        patch.setattr(datasets_hub, "load_hub_documents", hub_documents)
        yield Workspace(folder, documents)
    torch.set_num_threads(threads)


def hub_documents(name: str, *_: object):
    """In place of the hub's wikitext-2."""
    from edgesnn.student.text.data import split_text, text_document

    assert name == "wikitext-2"
    return [text_document(piece) for piece in split_text(wikitext())]
