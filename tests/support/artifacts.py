"""A random but valid student artifact, made with numpy, safetensors and tokenizers alone."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIALS = ("<|endoftext|>", "<|user|>", "<|assistant|>")
TEXT = (
    "What is that building? It is the old town hall. Turn left at the corner. "
    "The tram leaves in four minutes. Read the sign to me. It says: closed on Mondays. "
)

#: Sizes of the tiny student; every head has another window, one of them 1.
TINY = {
    "dim": 16,
    "depth": 2,
    "num_heads": 2,
    "mlp_dim": 24,
    "rank": 8,
    "windows": [1, 6],
    "shift_channels": 8,
}


def tiny_tokenizer(vocab_size: int = 280) -> Tokenizer:
    """A byte-level BPE with the three special tokens of our own tokenizers."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return tokenizer


def tiny_metadata(vocab_size: int, timesteps: int = 3, **architecture) -> dict:
    """The metadata that `edgesnn train` would write, less what no reader needs."""
    sizes = {**TINY, **architecture}
    return {
        "model_type": "SpikingTransformerLM",
        "architecture_version": "v2.0",
        "vocab_size": vocab_size,
        "student_params": 0,
        "architecture": {"name": "spiking_transformer", **sizes, "norm_eps": 1e-5},
        "snn_config": {
            "num_timesteps": timesteps,
            "surrogate_type": "fast_sigmoid",
            "surrogate_slope": 2.0,
            "surrogate_power": 2,
            "spike_threshold": 1.0,
            "decay_numerator": 230,
            "membrane_decay": 0.9,
        },
        "training_config": {"num_steps": 0},
        "config": {},
        "training_results": {"steps": 0},
        "metadata": {"timestamp": "2026-01-01T00:00:00.000Z", "git_commit": None},
        "tokenizer": {"file": "tokenizer.json", "kind": "byte-level-bpe"},
        "text": {"prompt_template": "<|user|>{prompt}<|assistant|>", "end_of_text": SPECIALS[0]},
    }


def random_tensors(metadata: dict, seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict with random weights and norm statistics under which every layer fires."""
    rng = np.random.default_rng(seed)
    sizes = metadata["architecture"]
    d, m, r, vocab = sizes["dim"], sizes["mlp_dim"], sizes["rank"], metadata["vocab_size"]
    tensors: dict[str, np.ndarray] = {}

    def normal(name: str, *shape: int, std: float) -> None:
        tensors[name] = rng.normal(0, std, shape).astype(np.float32)

    def norm(name: str, channels: int, mean: float, variance: float, gain: float = 1.0) -> None:
        spread = np.sqrt(variance)
        tensors[f"{name}.weight"] = (gain * rng.uniform(0.6, 1.4, channels)).astype(np.float32)
        tensors[f"{name}.bias"] = rng.normal(0, 0.3, channels).astype(np.float32)
        tensors[f"{name}.running_mean"] = (mean + spread * rng.normal(0, 0.2, channels)).astype(np.float32)
        tensors[f"{name}.running_var"] = (variance * rng.uniform(0.5, 1.5, channels)).astype(np.float32)

    normal("embed.weight", vocab, r, std=1 / np.sqrt(r))
    normal("embed.project.weight", d, r, std=1.0)
    for index in range(sizes["depth"]):
        attn, mlp = f"blocks.{index}.attn", f"blocks.{index}.mlp"
        norm(f"{attn}.norm_in", d, 0.0, 1.0 + 0.5 * index)
        normal(f"{attn}.qkv.weight", 3 * d, d, std=1 / np.sqrt(d))
        norm(f"{attn}.norm_qkv", 3 * d, 0.0, 0.25)
        norm(f"{attn}.norm_out", d, 0.5, 1.0)
        normal(f"{attn}.out.weight", d, d, std=1 / np.sqrt(d))
        norm(f"{attn}.norm_res", d, 0.0, 0.25, gain=0.5)
        norm(f"{mlp}.norm_in", d, 0.0, 1.25 + 0.5 * index)
        normal(f"{mlp}.up.weight", m, d, std=1 / np.sqrt(d))
        norm(f"{mlp}.norm_up", m, 0.0, 0.25)
        normal(f"{mlp}.down.weight", d, m, std=1 / np.sqrt(m))
        norm(f"{mlp}.norm_res", d, 0.0, 0.25, gain=0.5)
    norm("readout.norm", d, 0.0, 1.5)
    normal("readout.weight", r, d, std=0.5 / np.sqrt(d))
    normal("readout.bias", r, std=0.2)
    return tensors


def write_eval_slice(path: Path, tokenizer: Tokenizer, documents: int = 6) -> None:
    """Held-out documents of different lengths."""
    encoded = [tokenizer.encode(TEXT[5 * i : 40 + 25 * i]).ids + [0] for i in range(documents)]
    starts = np.concatenate([[0], np.cumsum([len(ids) for ids in encoded])])
    sizes = [len(tokenizer.decode(ids[1:]).encode()) for ids in encoded]
    np.savez(
        path,
        ids=np.concatenate(encoded).astype(np.int32),
        doc_starts=starts.astype(np.int64),
        doc_bytes=np.array(sizes, np.int64),
    )


def write_artifact(folder: Path, seed: int = 0, *, timesteps: int = 3, **architecture) -> Path:
    """Write a whole artifact folder.

    Args:
        folder: The folder to make.
        seed: Seed of weights and norms.
        timesteps: T.
        architecture: Sizes that differ from `TINY`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer()
    metadata = tiny_metadata(tokenizer.get_vocab_size(), timesteps, **architecture)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False), encoding="utf-8")
    write_eval_slice(folder / "eval.npz", tokenizer)
    save_file(random_tensors(metadata, seed), folder / "student.safetensors")
    (folder / "metadata.json").write_text(json.dumps(metadata, indent=1), encoding="utf-8")
    return folder


def change_metadata(folder: Path, section: str | None = None, **changes) -> None:
    """Change keys of ``metadata.json``, or of one of its sections; a value of ... removes the key."""
    path = folder / "metadata.json"
    document = json.loads(path.read_text("utf-8"))
    target = document if section is None else document[section]
    for key, value in changes.items():
        if value is ...:
            del target[key]
        else:
            target[key] = value
    path.write_text(json.dumps(document), encoding="utf-8")


def change_tensors(folder: Path, **changes) -> None:
    """Change tensors of the artifact by name, ``__`` standing for the dot; None removes one."""
    from safetensors.numpy import load_file

    path = folder / "student.safetensors"
    tensors = load_file(path)
    for key, value in changes.items():
        name = key.replace("__", ".")
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    save_file(tensors, path)
