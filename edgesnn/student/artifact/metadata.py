"""The content of metadata.json."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, cast

from torch import nn

from edgesnn.student.config import TrainConfig
from edgesnn.student.model import registry
from edgesnn.student.training.preparation import Prepared
from edgesnn.text.tokenizer import END_OF_TEXT, PROMPT_TEMPLATE


def git_commit() -> str | None:
    """Commit of the working directory's repository, or None where there is none."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short=8", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def describe_run(
    config: TrainConfig, model: nn.Module, prepared: Prepared, results: dict[str, Any]
) -> dict[str, Any]:
    """Everything a later room needs to know of a student, without machine paths.

    Args:
        config: The run.
        model: The trained student.
        prepared: Its text and tokenizer.
        results: The ``training_results``.
    """
    portable = config.portable()
    cache = prepared.cache
    teacher = None if cache is None else str(cache.key["teacher"])
    architecture = registry.find(config.architecture)
    paths = [*([] if config.dataset_path is None else [config.dataset_path]), *config.sampled]
    dataset = ", ".join(PurePath(path).name for path in paths) or config.dataset
    return {
        "model_type": architecture.model_type,
        "architecture_version": architecture.version,
        "vocab_size": prepared.tokenizer.vocab_size,
        "student_params": sum(p.numel() for p in model.parameters()),
        "architecture": cast(registry.Student, model).describe(),
        "snn_config": config.snn.describe(),
        "training_config": {
            "num_steps": config.num_steps,
            "batch_size": config.batch_size,
            "grad_accum_steps": config.grad_accum_steps,
            "teacher_model": teacher,
            "lr": config.lr,
            "scheduler": config.scheduler,
            "warmup_steps": config.warmup_steps,
            "temperature": config.temperature if config.teacher_model is not None else None,
            "dataset": dataset,
            "max_length": config.max_length,
            "alpha": config.weights[0],
            "alpha_kd": config.weights[1],
            "spike_rate": config.spike_rate,
        },
        "config": portable,
        "data": list(prepared.sources),
        "training_results": results,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "git_commit": git_commit() if config.git_tracking else None,
        },
        "tokenizer": describe_tokenizer(config, prepared),
        "text": {"prompt_template": PROMPT_TEMPLATE, "end_of_text": END_OF_TEXT},
    }


def describe_tokenizer(config: TrainConfig, prepared: Prepared) -> dict[str, Any]:
    """The tokenizer and, where it was cut out of a teacher's, whose."""
    described: dict[str, Any] = {"file": "tokenizer.json", "kind": "byte-level-bpe"}
    if prepared.cache is None:
        return {**described, "name": None}
    key = prepared.cache.key
    return {
        **described,
        "name": key["teacher"],
        "trimmed_from": {
            "teacher": key["teacher"],
            "tokenizer_sha256": key["tokenizer"],
            "map": key["trimming"],
            "file": "trimming.npz",
        },
    }
