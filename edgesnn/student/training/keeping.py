"""What a run keeps beside its log: checkpoints, the last good state in memory, the best student."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgesnn.student.training.checkpoint import (
    CHECKPOINT_FILE,
    load_checkpoint,
    save_checkpoint,
    write_checkpoint,
)
from edgesnn.whole_files import write_whole

BEST_FILE = "best.pt"
DIVERGED_FILE = "diverged"

MAY_CHANGE_AFTER_DIVERGENCE = frozenset({"lr", "clip_norm", "warmup_steps", "scheduler"})
"""What a run that diverged may be given anew when it goes on."""


class RunKeeper:
    """The work directory of a run.

    Args:
        directory: Where checkpoints lie.
        identity: What a checkpoint must agree on.
        writes: Whether this process writes; the others only read.
    """

    def __init__(self, directory: Path, identity: dict[str, Any], writes: bool) -> None:
        self.directory = directory
        self._identity = identity
        self._writes = writes
        self._good: dict[str, Any] | None = None
        self.best: dict[str, Any] | None = None

    def load(self) -> dict[str, Any] | None:
        """The checkpoint, or None where there is none.

        Raises:
            TrainingError: It is damaged or belongs to another configuration.
        """
        diverged = (self.directory / DIVERGED_FILE).is_file()
        ignored = MAY_CHANGE_AFTER_DIVERGENCE if diverged else frozenset()
        return load_checkpoint(self.directory, self._identity, ignored)

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
        """Write a checkpoint.

        Raises:
            OutputError: It could not be written; the one before it is intact.
        """
        if self._writes:
            save_checkpoint(self.directory, self._identity, model, optimizer, progress)
            (self.directory / DIVERGED_FILE).unlink(missing_ok=True)

    def remember(self, model: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
        """Keep a copy in memory, for the case that training diverges before the next checkpoint."""
        self._good = {
            "model": deepcopy(model.state_dict()),
            "optimizer": deepcopy(optimizer.state_dict()),
            "progress": deepcopy(progress),
        }

    def fall_back(self) -> int | None:
        """Make the last remembered state the checkpoint.

        Returns:
            Its step; that of the checkpoint that is there where nothing newer is remembered; else None.
        """
        if self._good is not None and self._writes:
            write_checkpoint(self.directory, self._identity, self._good)
        step = None if self._good is None else int(self._good["progress"]["step"])
        if step is None and (self.directory / CHECKPOINT_FILE).is_file():
            step = -1
        if step is not None and self._writes:
            write_whole(self.directory / DIVERGED_FILE, b"")
        return step

    def keep_best(self, model: nn.Module, phase: str, step: int, bits_per_byte: float) -> bool:
        """Keep a student if it is the best of its phase; an earlier phase's never counts against it.

        Returns:
            Whether it was kept.
        """
        if self.best is not None and self.best["phase"] == phase and self.best["bits"] <= bits_per_byte:
            return False
        self.best = {"phase": phase, "step": step, "bits": bits_per_byte}
        if self._writes:
            buffer = io.BytesIO()
            torch.save(model.state_dict(), buffer)
            write_whole(self.directory / BEST_FILE, buffer.getvalue())
        return True

    def best_state(self) -> Mapping[str, Tensor]:
        """The weights of the best student."""
        state: Mapping[str, Tensor] = torch.load(self.directory / BEST_FILE, weights_only=True)
        return state

    def forget(self) -> None:
        """Remove the work directory, once the artifact is written."""
        if self._writes:
            shutil.rmtree(self.directory, ignore_errors=True)
