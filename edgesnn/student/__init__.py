"""The student: spiking language models, their training and their artifact. torch lives only here.

Importing this package imports nothing heavy; each name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesnn.student.artifact.files import load_student
    from edgesnn.student.config import SnnConfig, TrainConfig
    from edgesnn.student.distillation import (
        SNNDistillationConfig,
        create_default_config,
        save_default_config,
    )
    from edgesnn.student.training.progress import Progress
    from edgesnn.student.training.trainer import train_student

__all__ = [
    "Progress",
    "SNNDistillationConfig",
    "SnnConfig",
    "TrainConfig",
    "create_default_config",
    "load_student",
    "save_default_config",
    "train_student",
]

_HOME = {
    "Progress": "training.progress",
    "SNNDistillationConfig": "distillation",
    "SnnConfig": "config",
    "TrainConfig": "config",
    "create_default_config": "distillation",
    "save_default_config": "distillation",
    "load_student": "artifact.files",
    "train_student": "training.trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edgesnn.student' has no attribute '{name}'")
    return getattr(import_module(f"edgesnn.student.{_HOME[name]}"), name)
