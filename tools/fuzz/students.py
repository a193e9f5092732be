"""Harnesses of students, and of what they are taught from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgesnn.program.artifact import read_artifact, read_tensors
from edgesnn.program.fold import fold
from edgesnn.program.v1_student import block_shapes, read_v1
from edgesnn.student.sampling.prompts import read_prompts
from edgesnn.student.teacher.cache import MANIFEST_FILE, CachedText, CacheKey, TeacherCache
from edgesnn.student.teacher.trimming import TrimmedVocabulary
from edgesnn.text.tokenizer import load_tokenizer
from tests.support.artifacts import tiny_tokenizer, write_artifact
from tools.fuzz.harness import Harness, Subject


def _metadata(folder: Path) -> Subject:
    artifact = write_artifact(folder / "artifact")
    seed = (artifact / "metadata.json").read_bytes()

    def run(data: bytes) -> None:
        (artifact / "metadata.json").write_bytes(data)
        fold(read_artifact(artifact))

    return Subject([seed], run)


def _v1_tensors(vocab: int, dim: int, depth: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"embed.weight": (vocab, dim), "head.weight": (vocab, dim), "head.bias": (vocab,)}
    for number in range(depth):
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in block_shapes(dim, 2 * dim).items()}
    return {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


def _v1_metadata(folder: Path) -> Subject:
    """Both dialects of students of version 1.0: what the newer script wrote, and the one before it."""
    from safetensors.numpy import save_file

    config = {"teacher_model": "some-teacher", "max_length": 64, "lr": 1e-4, "batch_size": 2}
    newer = {
        "model_type": "SpikingStudentLM",
        "architecture_version": "v1.0",
        "vocab_size": 50,
        "architecture": {"dim": 8, "depth": 2, "num_heads": 2},
        "snn_config": {"num_timesteps": 4, "surrogate_type": "sigmoid", "spike_threshold": 1.0},
        "training_config": {**config, "num_steps": 20},
        "training_results": {"steps": 20, "avg_loss": 3.5},
    }
    older = {"config": config, "steps": 20, "avg_loss": 3.5}
    save_file(_v1_tensors(50, 8, 2), folder / "student.safetensors")

    def run(data: bytes) -> None:
        (folder / "metadata.json").write_bytes(data)
        read_v1(read_artifact(folder))

    return Subject([json.dumps(one).encode() for one in (newer, older)], run)


def _tensors(folder: Path) -> Subject:
    from safetensors.numpy import save

    path = folder / "student.safetensors"
    codes = {"w": np.ones((3, 2), np.int8), "w.scales": np.ones(3, np.float32)}
    seeds = [save(_v1_tensors(5, 4, 1)), save({"a": np.ones((2, 3), np.float16)}), save(codes)]

    def run(data: bytes) -> None:
        path.write_bytes(data)
        read_tensors(path)

    return Subject(seeds[:2], run)


def _tokenizer(folder: Path) -> Subject:
    path, seed = folder / "tokenizer.json", tiny_tokenizer().to_str(pretty=False).encode()

    def run(data: bytes) -> None:
        path.write_bytes(data)
        tokenizer = load_tokenizer(path)
        tokenizer.decode(tokenizer.encode("What is that?"))
        tokenizer.byte_lengths()

    return Subject([seed], run)


def _prompts(folder: Path) -> Subject:
    lines = [json.dumps({"prompt": f"What is {k}?", "response": "A thing."}) for k in range(6)]
    seeds = ["\n".join(lines).encode(), b"one\ntwo\nthree\n", "drei\nvier".encode("utf-16")]
    path = folder / "prompts.txt"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        read_prompts(path)

    return Subject(seeds, run)


def _teacher_cache(folder: Path) -> Subject:
    trimmed = TrimmedVocabulary.build(tiny_tokenizer().to_str(), 270)
    text = CachedText(
        np.arange(12, dtype=np.int32), np.array([0, 5, 12]), np.array([9, 11]), np.array([1, 3, 6, 7])
    )
    key = CacheKey("t", {"a": "0" * 64}, *["1" * 64] * 4, 2, 2.0, 8, 0, "float32")
    cache = folder / "cache"
    TeacherCache.create(cache, key, text, trimmed)
    seed = (cache / MANIFEST_FILE).read_bytes()

    def run(data: bytes) -> None:
        (cache / MANIFEST_FILE).write_bytes(data)
        opened = TeacherCache.open(cache)
        _ = opened.done, opened.total, opened.complete, opened.text, opened.rows

    return Subject([seed], run)


HARNESSES = {
    "student-metadata": Harness(_metadata),
    "v1-metadata": Harness(_v1_metadata),
    "safetensors": Harness(_tensors),
    "tokenizer": Harness(_tokenizer),
    "prompts": Harness(_prompts),
    "teacher-cache": Harness(_teacher_cache),
}
