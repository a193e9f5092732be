"""What is not the model that was meant is refused at load: wrong tensors, no numbers, sight of the future."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")

from edgesnn.errors import TrainingError, UserError  # noqa: E402
from edgesnn.student.teacher import load_teacher  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture
def llama(save_model, tmp_path):
    return save_model(tmp_path / "llama", "LlamaForCausalLM")


LAYER = "model.layers.0.self_attn.q_proj"


def _weights(folder, change):
    """Write the tensors of a folder anew."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, {"format": "pt"})


def _configure(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def _load(folder, dtype="float32"):
    return load_teacher(str(folder), dtype=dtype)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {f"_orig_mod.{k}": v for k, v in w.items()},
         "21 missing, first model.embed.*21 unexpected, first _orig_mod.lm_head.*torch.comp"),
        (lambda w: {f"module.{k}": v for k, v in w.items()}, "21 missing.*first module.*wrapped"),
        (lambda w: {f"base_model.model.{k}": v for k, v in w.items()}, "21 missing.*merge_and_unload"),
        (lambda w: {**w, f"{LAYER}.lora_A.weight": torch.zeros(4, 32)},
         "1 unexpected, first model.layers.0.self_attn.q_proj.lora_A.weight.*merge_and_unload"),
        (lambda w: {**w, f"{LAYER}.bias": torch.zeros(32)}, "1 unexpected.*q_proj.bias"),
        (lambda w: {k: v for k, v in w.items() if "lm_head" not in k}, "1 missing, first lm_head.weight"),
        (lambda w: {k: v for k, v in w.items() if "layers.1" not in k}, "9 missing, first model.layers.1"),
        (lambda w: {**w, "model.embed_tokens.weight": torch.zeros(700, 32)},
         r"1 of another shape, first model.embed_tokens.weight \(700, 32\), configured \(704, 32\)"),
        (lambda w: {k.removeprefix("model."): v for k, v in w.items() if "lm_head" not in k},
         "1 missing.*lm_head"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_their_configuration_are_named(llama, change, message):
    _weights(llama, change)
    with pytest.raises(TrainingError, match=f"'llama' do not fit its configuration.*{message}"):
        _load(llama)


@pytest.mark.parametrize(("layers", "message"), [(3, "9 missing"), (1, "9 unexpected, first model.layers.1")])
def test_more_or_fewer_layers_than_the_file_has_are_an_error(llama, layers, message):
    _configure(llama, num_hidden_layers=layers)
    with pytest.raises(TrainingError, match=f"do not fit its configuration.*{message}"):
        _load(llama)


def test_an_expert_that_is_missing_among_its_fellows_is_an_error(save_model, tmp_path):
    folder = save_model(tmp_path / "experts", "MixtralForCausalLM", num_local_experts=4, head_dim=8)
    _weights(folder, lambda w: {k: v for k, v in w.items() if "1.block_sparse_moe.experts.3.w1" not in k})
    with pytest.raises(TrainingError, match="not fit its configuration.*first model.layers.1.mlp.experts"):
        _load(folder)


def test_a_head_of_another_task_is_an_error(save_model, tmp_path):
    folder = save_model(tmp_path / "judge", "Qwen2ForSequenceClassification", tie_word_embeddings=True)
    with pytest.raises(TrainingError, match="1 unexpected, first score.weight"):
        _load(folder)


def test_a_file_of_a_wrapped_state_is_an_error(llama):
    from safetensors.torch import load_file

    torch.save({"state_dict": load_file(llama / "model.safetensors")}, llama / "pytorch_model.bin")
    (llama / "model.safetensors").unlink()
    with pytest.raises(TrainingError, match="'llama'"):
        _load(llama)


def test_what_transformers_may_leave_out_goes_on_to_load(save_model, tmp_path):
    tied = save_model(tmp_path / "tied", "LlamaForCausalLM", tie_word_embeddings=True)
    with_old_frequencies = save_model(tmp_path / "old", "LlamaForCausalLM")
    _weights(
        with_old_frequencies, lambda w: {**w, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}
    )
    base = save_model(tmp_path / "base", "GPT2Model")
    masks = save_model(
        tmp_path / "masks", "GPTNeoForCausalLM", num_layers=2, num_heads=4, attention_types=[[["global"], 2]]
    )
    _weights(
        masks,
        lambda w: {
            **w,
            "transformer.h.0.attn.attention.bias": torch.ones(1, 1, 8, 8, dtype=torch.bool),
            "transformer.h.0.attn.attention.masked_bias": torch.tensor(-1e9),
        },
    )
    for folder in (tied, with_old_frequencies, base, masks):
        assert _load(folder).vocab_size == 704


def test_a_folder_that_lacks_a_shard_or_holds_an_adapter_is_an_error(save_model, tmp_path):
    import transformers

    whole = save_model(tmp_path / "whole", "LlamaForCausalLM")
    model = transformers.LlamaForCausalLM.from_pretrained(whole)
    (whole / "model.safetensors").unlink()
    model.save_pretrained(whole, max_shard_size="40KB")
    assert _load(whole).vocab_size == 704
    shard = sorted(whole.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(TrainingError, match=f"lacks 1 of the weight files.*{shard.name}"):
        _load(whole)
    (whole / "adapter_config.json").write_text("{}")
    with pytest.raises(TrainingError, match="holds an adapter.*merge_and_unload"):
        _load(whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": (0, 2)}, "is part 1 of 2.*gguf-split --merge"),
        ({"split": (1, 2)}, "is part 2 of 2.*gguf-split --merge"),
        ({"leave_out": "blk.1.ffn_up"}, "1 missing, first model.layers.1.mlp.up_proj.weight"),
        ({"configured": 1}, "1 layers unexpected, first blk.1"),
        ({"configured": 3}, "9 missing, first model.layers.2"),
    ],
)
def test_a_part_of_a_gguf_is_an_error_and_a_whole_one_is_not(native_tokenizer, tmp_path, options, message):
    pytest.importorskip("gguf", reason="needs the `train` extra")
    assert _load(_write_gguf(tmp_path / "whole.gguf", native_tokenizer)).vocab_size == 704
    with pytest.raises(TrainingError, match=message):
        _load(_write_gguf(tmp_path / "part.gguf", native_tokenizer, **options))


def test_a_gguf_is_parsed_once_and_the_package_left_as_it_was(native_tokenizer, tmp_path, monkeypatch):
    gguf = pytest.importorskip("gguf", reason="needs the `train` extra")
    parsed, reader = [], gguf.GGUFReader

    def counted(path):
        parsed.append(path)
        return reader(path)

    monkeypatch.setattr(gguf, "GGUFReader", counted)
    assert _load(_write_gguf(tmp_path / "whole.gguf", native_tokenizer)).vocab_size == 704
    assert len(parsed) == 1 and gguf.GGUFReader is counted


def _write_gguf(path, tokenizer, split=None, leave_out="none", configured=2):
    import gguf
    import numpy as np

    document = json.loads(tokenizer.to_str())
    vocab, merges = document["model"]["vocab"], document["model"]["merges"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(32)
    writer.add_block_count(configured)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(704)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    names = sorted(vocab, key=vocab.get)
    writer.add_token_list([*names, *(f"<spare{i}>" for i in range(704 - len(names)))])
    writer.add_token_types([3 if i < 4 or i >= len(names) else 1 for i in range(704)])
    writer.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    if split is not None:
        writer.add_uint16("split.no", split[0])
        writer.add_uint16("split.count", split[1])
    block = {
        "attn_norm": (32,), "attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32),
        "attn_output": (32, 32), "ffn_norm": (32,), "ffn_gate": (64, 32), "ffn_up": (64, 32),
        "ffn_down": (32, 64),
    }  # fmt: skip
    shapes = {"token_embd": (704, 32), "output_norm": (32,), "output": (704, 32)}
    shapes |= {f"blk.{i}.{name}": shape for i in range(2) for name, shape in block.items()}
    rng = np.random.default_rng(0)
    for name, shape in shapes.items():
        if name != leave_out:
            writer.add_tensor(f"{name}.weight", rng.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(("value", "dtype"), [(float("nan"), "float32"), (float("inf"), "bfloat16")])
def test_nan_and_infinity_in_the_weights_name_the_tensor_and_the_type(llama, value, dtype):
    def spoil(weights):
        weights["model.layers.0.mlp.up_proj.weight"][3, 5] = value
        return weights

    _weights(llama, spoil)
    with pytest.raises(
        TrainingError, match=f"'llama' does not give numbers in {dtype}.*layers.0.mlp.up_proj"
    ):
        _load(llama, dtype)


def test_what_overflows_in_float16_is_named_with_its_cure(save_model, tmp_path):
    folder = save_model(tmp_path / "loud", "LlamaForCausalLM")
    _weights(folder, lambda w: {k: v * (3e7 if "down_proj" in k else 1) for k, v in w.items()})
    with pytest.raises(TrainingError, match=r"numbers in float16.*weight.*down_proj.*--teacher-dtype"):
        _load(folder, "float16")
    scales = {"down_proj": 1e-7, "up_proj": 2e5, "gate_proj": 1e4}
    _weights(
        folder, lambda w: {k: v * next((s for n, s in scales.items() if n in k), 1) for k, v in w.items()}
    )
    with pytest.raises(TrainingError, match=r"numbers in float16.*in its logits"):
        _load(folder, "float16")
    assert _load(folder, "float32").dtype == torch.float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["RobertaForCausalLM", "BertLMHeadModel", "RoFormerForCausalLM"])
def test_a_model_that_reads_the_future_is_refused(save_model, tmp_path, kind, dtype):
    folder = save_model(tmp_path / "encoder", kind, max_position_embeddings=256)
    with pytest.raises(UserError, match="'encoder' is no causal language model.*place 16"):
        _load(folder, dtype)
    if dtype == "float32":
        _configure(folder, is_decoder=True)
        assert _load(folder, dtype).vocab_size == 704 or kind == "BertLMHeadModel"


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("MixtralForCausalLM", {"num_local_experts": 4, "head_dim": 8}),
        ("MambaForCausalLM", {"state_size": 8}),
        ("GemmaForCausalLM", {"head_dim": 8}),
    ],
)
def test_experts_recurrences_and_short_contexts_are_causal(save_model, tmp_path, kind, options):
    assert _load(save_model(tmp_path / "model", kind, sharpness=5.0, **options), "bfloat16").vocab_size == 704


def test_a_context_shorter_than_the_probe_is_probed_as_far_as_it_goes(save_model, tmp_path):
    short = save_model(tmp_path / "short", "GPT2LMHeadModel", n_positions=12)
    assert _load(short).context == 12
    encoder = save_model(tmp_path / "encoder", "BertLMHeadModel", max_position_embeddings=12)
    with pytest.raises(UserError, match="is no causal language model.*place 6"):
        _load(encoder)


def test_code_of_a_folder_s_own_is_never_run_and_never_asked_about(llama, capfd):
    _configure(
        llama,
        model_type="mine",
        auto_map={"AutoConfig": "configuration_mine.Mine", "AutoModelForCausalLM": "modeling_mine.Mine"},
    )
    for name in ("configuration_mine", "modeling_mine"):
        (llama / f"{name}.py").write_text("raise SystemExit('code of the folder ran')\n")
    with pytest.raises(
        TrainingError, match="'llama' needs code of its own, which is not run.*transformers knows"
    ):
        _load(llama)
    assert capfd.readouterr().out == ""
