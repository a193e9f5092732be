"""The metrics of a run for TensorBoard, where its package is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgesnn.errors import missing_extra

FOLDER = "tensorboard"


class TensorBoardLog:
    """Scalars by step, in ``tensorboard`` below the output directory.

    Args:
        directory: Output directory.
        step: Lines after it belong to steps that will run again.

    Raises:
        MissingExtraError: The package is not installed.
    """

    def __init__(self, directory: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise missing_extra("tensorboard", "train", "--tensorboard") from None
        self._writer: Any = SummaryWriter(str(directory / FOLDER), purge_step=step + 1)

    def add(self, entry: dict[str, Any]) -> None:
        """Log every number of one line of ``train_log.jsonl``."""
        for name, value in entry.items():
            if name != "step" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, entry["step"])

    def close(self) -> None:
        """Write what is waiting."""
        self._writer.close()
