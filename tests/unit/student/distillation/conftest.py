"""A tiny GPT-2 with a byte-level BPE, made here: the teacher of the guide's quickstart, no download."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the `train` extra")

SIZES = {"dim": 32, "depth": 1, "num_heads": 4, "mlp_dim": 64, "rank": 16, "windows": (2, 4, 8, 16)}


@pytest.fixture(autouse=True)
def offline_with_one_thread(monkeypatch):
    import torch

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory):
    """Folder of a random GPT-2 with 500 tokens learnt from the built-in prompts."""
    pytest.importorskip("transformers", reason="needs the `train` extra")
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

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
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=tokenizer.get_vocab_size(), n_positions=256, n_embd=32, n_layer=2, n_head=2,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny-gpt2")
    GPT2LMHeadModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def teacher_cache(tiny_gpt2, tmp_path_factory):
    """A finished cache of that teacher over the built-in prompts, vocabulary 350, temperature 2."""
    from edgesnn.student import TrainConfig
    from edgesnn.student.training.distilled_text import prepare_distilled

    folder = tmp_path_factory.mktemp("cache")
    prepare_distilled(TrainConfig.model_validate(distilled(tiny_gpt2, folder, folder)), folder)
    return folder


def distilled(teacher, cache, output):
    return {
        "teacher_model": str(teacher),
        "teacher_cache": str(cache),
        "output_dir": str(output),
        "temperature": 2.0,
        "vocab_size": 350,
        "max_length": 32,
        "num_steps": 10,
        "log_interval": 1,
        "lr": 3e-3,
        "eval_tokens": 300,
        "architecture_options": dict(SIZES),
        "git_tracking": False,
        "freeze_share": 0.4,
        "integer_share": 0.2,
    }


@pytest.fixture
def make_config(tiny_gpt2, teacher_cache, tmp_path):
    from edgesnn.student import TrainConfig

    def make(**changes):
        return TrainConfig.model_validate(
            {**distilled(tiny_gpt2, teacher_cache, tmp_path / "student"), **changes}
        )

    return make
