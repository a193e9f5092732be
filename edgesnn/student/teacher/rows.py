"""Reading a teacher cache while training: the rows of a batch, at the temperature of the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesnn.errors import TrainingError
from edgesnn.student.teacher.cache import TeacherCache
from edgesnn.student.teacher.trimming import TrimmedVocabulary
from edgesnn.student.training.distil_loss import TeacherRows, at_temperature

LEAST_LOGP = -60.0
"""Stands for minus infinity, whose product with a probability of 0 would not be 0."""


class CacheReader:
    """The teacher's distributions by place in the text.

    Args:
        folder: The cache; a part that the teacher has not answered yet has no rows.
        tau: Temperature of the loss.
        first: Place of the cache's first id among all ids of the training text.
        kept: int64, places in the cache's text that are in the training text; None for all of them.

    Raises:
        TrainingError: The folder is no cache, is damaged, or was made for another temperature.
    """

    def __init__(
        self, folder: Path, tau: float, first: int = 0, kept: NDArray[np.int64] | None = None
    ) -> None:
        self._first, self._kept = first, kept
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
        rows = self.cache.rows()
        self._row_of = rows if self._kept is None else rows[self._kept]
        self._ids, self._logp = self.cache.array("topk_ids"), self.cache.array("topk_logp")
        self._tail = self.cache.array("tail_logp" if self.tau == 1.0 else "tail_log_sum_tau")

    def rows_at(self, places: Tensor) -> TeacherRows | None:
        """The teacher's rows of a batch.

        Args:
            places: int64 ``[B, L]``, the place of every target in the training text, -1 where there is none.

        Returns:
            Rows at the temperature of the loss, or None where the cache has nothing for the batch.
        """
        flat = places.flatten().cpu().numpy() - self._first
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


class JoinedReaders:
    """Several caches over one training text, read as one.

    Args:
        readers: One for each, all made for one vocabulary and with one number of kept tokens.
    """

    def __init__(self, readers: Sequence[CacheReader]) -> None:
        self.readers = list(readers)

    @property
    def positions(self) -> int:
        """Positions that the teacher has answered."""
        return sum(reader.cache.done for reader in self.readers)

    @property
    def key(self) -> dict[str, Any]:
        """What the first cache belongs to; teacher and vocabulary are those of all."""
        key: dict[str, Any] = self.readers[0].cache.manifest["key"]
        return key

    @property
    def trimmed(self) -> TrimmedVocabulary:
        """The student's vocabulary."""
        return self.readers[0].cache.trimmed

    def refresh(self) -> None:
        """See what unfinished caches have got since."""
        for reader in self.readers:
            reader.refresh()

    def rows_at(self, places: Tensor) -> TeacherRows | None:
        """The teacher's rows of a batch, as `CacheReader.rows_at` gives them, in the order of the places."""
        found = [rows for reader in self.readers if (rows := reader.rows_at(places)) is not None]
        if len(found) < 2:
            return found[0] if found else None
        names = [field.name for field in fields(TeacherRows)]
        joined = {name: torch.cat([getattr(rows, name) for rows in found]) for name in names}
        order = joined["rows"].argsort()
        return TeacherRows(**{name: values[order] for name, values in joined.items()})
