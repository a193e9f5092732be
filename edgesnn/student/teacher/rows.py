"""Reading a teacher cache while training: the rows of a batch, at the temperature of the loss."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgesnn.errors import TrainingError
from edgesnn.student.teacher.cache import TeacherCache
from edgesnn.student.training.distil_loss import TeacherRows, at_temperature

LEAST_LOGP = -60.0
"""Stands for minus infinity, whose product with a probability of 0 would not be 0."""


class CacheReader:
    """The teacher's distributions by place in the text.

    Args:
        folder: The cache; a part that the teacher has not answered yet has no rows.
        tau: Temperature of the loss.

    Raises:
        TrainingError: The folder is no cache, is damaged, or was made for another temperature.
    """

    def __init__(self, folder: Path, tau: float) -> None:
        self.cache = TeacherCache.open(folder)
        made_for = float(self.cache.manifest["key"]["tau"])
        if tau != 1.0 and not math.isclose(made_for, tau):
            raise TrainingError(
                f"the teacher cache '{folder.name}' was made for another temperature",
                actual=made_for,
                limit=tau,
                remedy=f"give --temperature {made_for:g}, or another --teacher-cache",
            )
        self.tau = tau
        self._folder = folder
        self._read()

    def refresh(self) -> None:
        """See what an unfinished cache has got since; a finished one stays as it is."""
        if not self.cache.complete:
            self.cache = TeacherCache.open(self._folder, verify=False)
            self._read()

    def _read(self) -> None:
        self._row_of = self.cache.rows()
        self._ids, self._logp = self.cache.array("topk_ids"), self.cache.array("topk_logp")
        self._tail = self.cache.array("tail_logp" if self.tau == 1.0 else "tail_log_sum_tau")

    def rows_at(self, places: Tensor) -> TeacherRows | None:
        """The teacher's rows of a batch.

        Args:
            places: int64 ``[B, L]``, the place of every target in the cached ids, -1 where there is none.

        Returns:
            Rows at the temperature of the loss, or None where the cache has nothing for the batch.
        """
        flat = places.flatten().cpu().numpy()
        known = (flat >= 0) & (flat < len(self._row_of))
        found = np.where(known, self._row_of[np.where(known, flat, 0)], -1)
        rows = np.flatnonzero(found >= 0)
        if rows.size == 0:
            return None
        chosen = found[rows]
        logp = torch.from_numpy(self._logp[chosen].astype(np.float32)).clamp_min_(LEAST_LOGP)
        tail = torch.from_numpy(self._tail[chosen].astype(np.float32)).clamp_min_(LEAST_LOGP)
        logp, tail = at_temperature(logp, tail, self.tau)
        ids = torch.from_numpy(self._ids[chosen].astype(np.int64))
        device = places.device
        return TeacherRows(
            torch.from_numpy(rows).to(device), ids.to(device), logp.to(device), tail.to(device)
        )
