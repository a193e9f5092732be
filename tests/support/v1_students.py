"""Students of version 1.0, made by code of their own: torch's MultiheadAttention, after the layout alone."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edgesnn.student.text.bpe import learn_bpe
from edgesnn.student.text.data import synthetic_records


class Threshold(nn.Module):
    """1 above the threshold, else 0; backwards the slope of a sigmoid."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold

    def forward(self, x):
        soft = torch.sigmoid(x - self.threshold)
        return (x > self.threshold).float() + soft - soft.detach()


class Attention(nn.Module):
    def __init__(self, dim, heads, threshold):
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm = nn.LayerNorm(dim)
        self.spike = Threshold(threshold)

    def forward(self, x):
        return self.spike(self.norm(x + self.attn(x, x, x, need_weights=False)[0]))


class Block(nn.Module):
    def __init__(self, dim, heads, threshold):
        super().__init__()
        self.attn = Attention(dim, heads, threshold)
        self.ff = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.GELU(), Threshold(threshold), nn.Linear(2 * dim, dim)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        x = self.attn(x)
        return self.norm(x + self.ff(x))


class OldStudent(nn.Module):
    """What the older script trains."""

    def __init__(self, vocab, dim=128, depth=2, heads=4, threshold=1.0):
        super().__init__()
        self.sizes = {"dim": dim, "depth": depth, "num_heads": heads}
        self.threshold = threshold
        self.embed = nn.Embedding(vocab, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, threshold) for _ in range(depth))
        self.head = nn.Linear(dim, vocab)

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)

    @torch.no_grad()
    def logits(self, ids):
        return self.eval()(torch.as_tensor(np.asarray(ids))).numpy()


def make_old(vocab=1000, seed=0, **sizes):
    torch.manual_seed(seed)
    return OldStudent(vocab, **sizes).eval()


def metadata_of(model, dialect="v1.0", max_length=64):
    """``metadata.json`` as the newer script writes it, or the one before it (``older``)."""
    config = {"teacher_model": "some-teacher", "max_length": max_length, "lr": 1e-4, "batch_size": 2}
    if dialect == "older":
        return {"config": config, "steps": 20, "avg_loss": 3.5}
    return {
        "model_type": "SpikingStudentLM",
        "architecture_version": "v1.0",
        "vocab_size": model.head.out_features,
        "student_params": sum(p.numel() for p in model.parameters()),
        "architecture": model.sizes,
        "snn_config": {
            "num_timesteps": 4,
            "surrogate_type": "sigmoid",
            "spike_threshold": model.threshold,
        },
        "training_config": {**config, "num_steps": 20},
        "config": {**config, "num_steps": 20},
        "training_results": {"steps": 20, "avg_loss": 3.5},
        "metadata": {"timestamp": "2024-12-08T11:46:46Z", "git_commit": None},
    }


def save_old(model, folder, dialect="v1.0", *, max_length=64, safetensors=False):
    """An artifact folder with ``student.pt`` (or ``student.safetensors``) and ``metadata.json``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if safetensors:
        from safetensors.torch import save_file

        save_file(model.state_dict(), folder / "student.safetensors")
    else:
        torch.save(model.state_dict(), folder / "student.pt")
    (folder / "metadata.json").write_text(json.dumps(metadata_of(model, dialect, max_length)))
    return folder


def glasses_text():
    """The built-in records as lines of text."""
    return [f"{prompt} {response}" for prompt, response in synthetic_records()]


def glasses_tokenizer(vocab, lines=None):
    """A byte-level tokenizer of at most so many ids."""
    return learn_bpe(lines or glasses_text(), vocab)


class CausalTeacher(nn.Module):
    """A small recurrent language model: what a transformer teacher is to the older script."""

    def __init__(self, vocab, dim=192):
        super().__init__()
        self.embed = nn.Embedding(vocab, dim)
        self.rnn = nn.GRU(dim, dim, batch_first=True)
        self.head = nn.Linear(dim, vocab)

    def forward(self, ids):
        return self.head(self.rnn(self.embed(ids))[0])


def train_old(model, ids, *, steps, length=64, batch=16, seed=0):
    """Teach a student as the older script does: the teacher's distribution at every place, no mask.

    Args:
        model: The student.
        ids: Token ids of a text ``[n]``.
        steps: Optimizer steps, first of the teacher on the text, then of the student.
        length: Tokens of a sequence.
        batch: Sequences of a step.
        seed: Of teacher and batches.
    """
    torch.manual_seed(seed)
    rng, ids = np.random.default_rng(seed), torch.as_tensor(np.asarray(ids, np.int64))

    def rows():
        starts = rng.integers(0, len(ids) - length - 1, batch)
        return torch.stack([ids[s : s + length + 1] for s in starts])

    teacher = CausalTeacher(model.head.out_features)
    optimizer = torch.optim.AdamW(teacher.parameters(), 3e-3)
    for _ in range(steps):
        part = rows()
        loss = functional.cross_entropy(teacher(part[:, :-1]).flatten(0, 1), part[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer = torch.optim.AdamW(model.train().parameters(), 2e-3)
    for _ in range(steps):
        part = rows()[:, :-1]
        with torch.no_grad():
            wanted = functional.log_softmax(teacher(part), -1)
        said = functional.log_softmax(model(part), -1)
        loss = functional.kl_div(said, wanted, reduction="none", log_target=True).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
