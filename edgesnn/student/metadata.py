"""The content of metadata.json."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, cast

from torch import nn

from edgesnn.student import registry
from edgesnn.student.config import TrainConfig
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
    config: TrainConfig, model: nn.Module, vocab_size: int, results: dict[str, Any]
) -> dict[str, Any]:
    """Everything a later room needs to know of a student, without machine paths.

    Args:
        config: The run.
        model: The trained student.
        vocab_size: Ids of its tokenizer.
        results: The ``training_results``.
    """
    architecture = registry.find(config.architecture)
    dataset = config.dataset if config.dataset_path is None else PurePath(config.dataset_path).name
    return {
        "model_type": architecture.model_type,
        "architecture_version": architecture.version,
        "vocab_size": vocab_size,
        "student_params": sum(p.numel() for p in model.parameters()),
        "architecture": cast(registry.Student, model).describe(),
        "snn_config": config.snn.describe(),
        "training_config": {
            "num_steps": config.num_steps,
            "batch_size": config.batch_size,
            "grad_accum_steps": config.grad_accum_steps,
            "teacher_model": None,
            "lr": config.lr,
            "scheduler": config.scheduler,
            "warmup_steps": config.warmup_steps,
            "temperature": None,
            "dataset": dataset,
            "max_length": config.max_length,
        },
        "config": config.portable(),
        "training_results": results,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "git_commit": git_commit() if config.git_tracking else None,
        },
        "tokenizer": {"file": "tokenizer.json", "kind": "byte-level-bpe"},
        "text": {"prompt_template": PROMPT_TEMPLATE, "end_of_text": END_OF_TEXT},
    }
