"""A teacher small enough for every test: a random GPT-2, its byte-level BPE learnt from built-in prompts."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")

CHATML = (
    "{% for m in messages %}"
    "{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}"
)


@pytest.fixture(autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def native_tokenizer():
    """A learnt byte-level BPE of 700 tokens with ChatML's special tokens, as ``tokenizers`` holds it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    from edgesnn.student.text.data import synthetic_records

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<file_sep>")
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[AddedToken(name, special=True, normalized=False) for name in names],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for record in synthetic_records() for text in record), trainer)
    return tokenizer


@pytest.fixture(scope="session")
def save_teacher(native_tokenizer):
    """Writes a random GPT-2 with its tokenizer into a folder."""

    def save(folder, chat=True, rows=704, seed=0, sharpness=1.0):
        import torch
        from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

        torch.manual_seed(seed)
        size = {"n_positions": 256, "n_embd": 32, "n_layer": 2, "n_head": 2}
        config = GPT2Config(vocab_size=rows, bos_token_id=0, eos_token_id=0, **size)
        model = GPT2LMHeadModel(config)
        with torch.no_grad():
            model.transformer.wte.weight.mul_(20 * sharpness)
        model.save_pretrained(folder)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=native_tokenizer,
            bos_token="<|im_start|>" if chat else "<|endoftext|>",
            eos_token="<|im_end|>" if chat else "<|endoftext|>",
        )
        if chat:
            tokenizer.chat_template = CHATML
        tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def teacher_folder(save_teacher, tmp_path_factory):
    return save_teacher(tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="session")
def teacher(teacher_folder):
    from edgesnn.student.teacher import load_teacher

    return load_teacher(str(teacher_folder), dtype="float32", system="Be brief.")


@pytest.fixture(scope="session")
def trimmed(teacher):
    from edgesnn.student.teacher import trim_for

    return trim_for(teacher, 330)


@pytest.fixture(scope="session")
def documents():
    from edgesnn.student.text.data import record_document, synthetic_records, text_document

    records = [record_document(*record) for record in synthetic_records()[::9]]
    texts = [text_document("The station is near. " * n + "naïve 日本語 🙂") for n in (1, 9)]
    return [*records[:40], *texts]


@pytest.fixture(scope="session")
def teaching(teacher, trimmed, documents):
    """What a pass takes first."""
    return teacher, trimmed, documents


@pytest.fixture(scope="session")
def save_model(native_tokenizer):
    """Writes any model class of transformers, in a tiny size, with a tokenizer into a folder."""

    def save(folder, kind, sharpness=1.0, **options):
        import torch
        import transformers
        from transformers import PreTrainedTokenizerFast

        torch.manual_seed(0)
        model_class = getattr(transformers, kind)
        model = model_class(model_class.config_class(**{**TINY, **options}))
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(sharpness)
        model.save_pretrained(folder)
        PreTrainedTokenizerFast(
            tokenizer_object=native_tokenizer, bos_token="<|endoftext|>", eos_token="<|im_end|>"
        ).save_pretrained(folder)
        return folder

    return save


TINY = {
    "vocab_size": 704, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 64, "bos_token_id": 0, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
