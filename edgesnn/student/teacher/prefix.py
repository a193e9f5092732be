"""What all segments of a batch begin with, run once: in a chat format the system text."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgesnn.student.teacher.align import ContextSegment
from edgesnn.student.teacher.loading import Teacher

SHORTEST = 8
"""A shorter common begin is not worth its bookkeeping."""


class SharedPrefix:
    """Keys and values of common beginnings, kept for the next batch.

    Teachers whose state is more than keys and values of every token (recurrent layers, sliding windows) run
    every segment whole.

    Args:
        teacher: The teacher.

    Attributes:
        begin: int32, native ids with which every question begins.
        usable: Whether its keys and values can be kept.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self._kept: tuple[bytes, Any] | None = None
        # the chat format's begin, less one token, so that something is left to predict the first position
        self.begin = np.array(teacher.chat.before[:-1], np.int32)
        self.usable = len(self.begin) >= SHORTEST and self._splits()

    def length(self, segments: Sequence[ContextSegment]) -> int:
        """Native ids that all segments begin with and that need not be run for each."""
        return len(self.begin) if all(self.begins(segment) for segment in segments) else 0

    def begins(self, segment: ContextSegment) -> bool:
        """Whether a segment begins with the chat format and can share it."""
        return self.usable and np.array_equal(segment.native[: len(self.begin)], self.begin)

    def states(self, prefix: NDArray[np.int32], rows: int) -> dict[str, Any]:
        """Arguments that let the teacher go on behind a prefix in every row of a batch."""
        key = prefix.tobytes()
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, self._run(prefix))
        past = copy.deepcopy(self._kept[1])
        past.batch_repeat_interleave(rows)
        return {"past_key_values": past, "use_cache": True}

    @torch.no_grad()
    def _run(self, prefix: NDArray[np.int32]) -> Any:
        ids = torch.from_numpy(prefix.astype(np.int64))[None].to(self._teacher.device)
        return self._teacher.model.base_model(input_ids=ids, use_cache=True).past_key_values  # type: ignore[operator]

    def _splits(self) -> bool:
        """Whether the teacher keeps plain keys and values of every token, and nothing else."""
        probe = np.array(self._teacher.chat.before[:1], np.int32)
        try:
            past = self._run(probe)
        except (AttributeError, IndexError, TypeError, ValueError, RuntimeError):
            return False  # its state has another name, or its own cache does not take it (BART)
        layers = getattr(past, "layers", [])
        plain = bool(layers) and all(type(layer).__name__ == "DynamicLayer" for layer in layers)
        return plain and hasattr(past, "batch_repeat_interleave")
