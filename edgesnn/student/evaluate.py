"""How good a student is on held-out documents: bits per byte and top-1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgesnn.errors import TrainingError
from edgesnn.student.batches import IGNORED, Corpus, segments_of


@dataclass(frozen=True, slots=True)
class EvalSlice:
    """Held-out documents; each is scored from a new context, from its second id on.

    Attributes:
        ids: int32 ``[n]``.
        doc_starts: int64 ``[m + 1]``.
        doc_bytes: int64 ``[m]``, UTF-8 bytes of the scored ids of each document.
    """

    ids: NDArray[np.int32]
    doc_starts: NDArray[np.int64]
    doc_bytes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Quality over a slice."""

    bits_per_byte: float | None
    top1: float
    tokens: int
    documents: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data for metadata.json; ``tokens`` counts the scored ones."""
        return {
            "bits_per_byte": self.bits_per_byte,
            "top1": self.top1,
            "tokens": self.tokens,
            "documents": self.documents,
        }


def make_slice(corpus: Corpus, byte_lengths: list[int], tokens: int) -> EvalSlice:
    """Take whole segments from the front of a corpus until enough ids are scored.

    Args:
        corpus: The held-out segments.
        byte_lengths: Bytes per id of the vocabulary.
        tokens: How many scored ids are enough.

    Raises:
        TrainingError: No segment has two ids, so nothing could be scored.
    """
    table = np.asarray(byte_lengths, np.int64)
    kept: list[NDArray[np.int32]] = []
    total = 0
    for ids in segments_of(corpus):
        if len(ids) < 2:
            continue
        kept.append(ids)
        total += len(ids) - 1
        if total >= tokens:
            break
    if not kept:
        raise TrainingError("the held-out text is too short to score", actual=f"{len(corpus.ids)} tokens")
    starts = np.zeros(len(kept) + 1, np.int64)
    np.cumsum([len(ids) for ids in kept], out=starts[1:])
    return EvalSlice(np.concatenate(kept), starts, np.array([table[ids[1:]].sum() for ids in kept], np.int64))


@torch.no_grad()
def evaluate(model: nn.Module, held_out: EvalSlice, batch_size: int = 16) -> Evaluation:
    """Score a student in evaluation mode.

    Documents of similar length share a batch; right padding needs no mask because the student is causal.
    """
    bounds = list(zip(held_out.doc_starts[:-1].tolist(), held_out.doc_starts[1:].tolist(), strict=True))
    bounds.sort(key=lambda bound: bound[1] - bound[0])
    was_training = model.training
    model.eval()
    nats, hits, scored = 0.0, 0, 0
    for first in range(0, len(bounds), batch_size):
        part = bounds[first : first + batch_size]
        ids, targets = _pad(held_out.ids, part)
        logits = model(ids)
        losses = nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        mask = targets != IGNORED
        nats += float(losses)
        hits += int(((logits.argmax(-1) == targets) & mask).sum())
        scored += int(mask.sum())
    model.train(was_training)
    size = int(held_out.doc_bytes.sum())
    return Evaluation(nats / math.log(2) / size if size else None, hits / scored, scored, len(bounds))


def _pad(ids: NDArray[np.int32], bounds: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Inputs and targets of some documents as rows."""
    length = max(b - a for a, b in bounds) - 1
    inputs = torch.zeros(len(bounds), length, dtype=torch.int64)
    targets = torch.full((len(bounds), length), IGNORED, dtype=torch.int64)
    for row, (a, b) in enumerate(bounds):
        document = torch.from_numpy(ids[a:b].astype(np.int64))
        inputs[row, : b - a - 1] = document[:-1]
        targets[row, : b - a - 1] = document[1:]
    return inputs, targets
