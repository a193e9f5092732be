"""How good a student is on held-out documents: bits per byte, top-1 and what it kept of its teacher."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgesnn.errors import TrainingError
from edgesnn.student.text.batches import IGNORED, Corpus, segments_of

_MOST_NATS = 700.0
"""Largest exponent of a perplexity; exp(709) is the largest that float64 holds."""


@dataclass(frozen=True, slots=True)
class EvalDocuments:
    """Held-out documents; each is scored from a new context, from its second id on.

    Attributes:
        ids: int32 ``[n]``.
        doc_starts: int64 ``[m + 1]``.
        doc_bytes: int64 ``[m]``, UTF-8 bytes of the scored ids of each document.
        positions: int64 ``[p]``, ascending places in ``ids`` where a native token of the teacher starts; None
            without a teacher, as the following.
        teacher_top1: int32 ``[p]``, the teacher's best student token there.
        teacher_logp: float32 ``[p]``, the teacher's log-probability of the id that stands there.
        teacher_native_logp: float32 ``[p]``, of the native token that starts there.
    """

    ids: NDArray[np.int32]
    doc_starts: NDArray[np.int64]
    doc_bytes: NDArray[np.int64]
    positions: NDArray[np.int64] | None = None
    teacher_top1: NDArray[np.int32] | None = None
    teacher_logp: NDArray[np.float32] | None = None
    teacher_native_logp: NDArray[np.float32] | None = None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays by name, those that are there: the content of ``eval.npz``."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in named.items() if array is not None}

    def first(self, documents: int) -> EvalDocuments:
        """The first documents, without the teacher."""
        count = min(documents, len(self.doc_bytes))
        end = int(self.doc_starts[count])
        return EvalDocuments(self.ids[:end], self.doc_starts[: count + 1], self.doc_bytes[:count])


@dataclass(frozen=True, slots=True)
class Retention:
    """Student against teacher at the positions where the teacher predicted.

    Attributes:
        positions: How many.
        student_top1: Share where the student's best token stands in the text.
        teacher_top1: The same of the teacher.
        agreement: Share where both have the same best token.
    """

    positions: int
    student_top1: float
    teacher_top1: float
    agreement: float

    @property
    def retention(self) -> float | None:
        """Student's top-1 over the teacher's; None where the teacher was never right."""
        return self.student_top1 / self.teacher_top1 if self.teacher_top1 else None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Quality over a slice.

    Attributes:
        nats: Sum over the scored ids.
        bits_per_byte: None where the slice has no bytes.
        top1: Share of the scored ids that were the best one.
        tokens: Scored ids.
        documents: Documents.
        against_teacher: None without a teacher.
        native_tokens: Native tokens that the teacher's tokenizer writes the text in; None without a teacher.
    """

    nats: float
    bits_per_byte: float | None
    top1: float
    tokens: int
    documents: int
    against_teacher: Retention | None = None
    native_tokens: int | None = None

    @property
    def perplexity(self) -> float | None:
        """Exponential of the nats per native token; None without a teacher."""
        return math.exp(min(self.nats / self.native_tokens, _MOST_NATS)) if self.native_tokens else None

    @property
    def own_perplexity(self) -> float:
        """Exponential of the nats per token of the student's own vocabulary."""
        return math.exp(min(self.nats / self.tokens, _MOST_NATS))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for metadata.json."""
        plain = {
            "bits_per_byte": self.bits_per_byte,
            "perplexity": self.perplexity,
            "own_perplexity": self.own_perplexity,
            "top1": self.top1,
            "tokens": self.tokens,
            "documents": self.documents,
        }
        if self.against_teacher is None:
            return plain
        return plain | {"retention": self.against_teacher.retention, **asdict(self.against_teacher)}


def make_slice(corpus: Corpus, byte_lengths: list[int], tokens: int) -> EvalDocuments:
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
    return EvalDocuments(
        np.concatenate(kept), starts, np.array([table[ids[1:]].sum() for ids in kept], np.int64)
    )


@torch.no_grad()
def evaluate(model: nn.Module, held_out: EvalDocuments, batch_size: int = 16) -> Evaluation:
    """Score a student in evaluation mode.

    Documents of similar length share a batch; right padding needs no mask because the student is causal.
    """
    bounds = list(zip(held_out.doc_starts[:-1].tolist(), held_out.doc_starts[1:].tolist(), strict=True))
    bounds.sort(key=lambda bound: bound[1] - bound[0])
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    nats = 0.0
    best = np.full(len(held_out.ids), -1, np.int64)
    hits = 0
    for first in range(0, len(bounds), batch_size):
        part = bounds[first : first + batch_size]
        ids, targets = _pad(held_out.ids, part)
        logits = model(ids.to(device)).float().cpu()
        losses = nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        nats += float(losses)
        top = logits.argmax(-1)
        hits += int(((top == targets) & (targets != IGNORED)).sum())
        for row, (a, b) in enumerate(part):
            best[a + 1 : b] = top[row, : b - a - 1].numpy()
    model.train(was_training)
    size = int(held_out.doc_bytes.sum())
    bits = nats / math.log(2) / size if size else None
    scored = len(held_out.ids) - len(bounds)
    against = _against_teacher(held_out, best)
    native = None if held_out.positions is None else len(held_out.positions)
    return Evaluation(nats, bits, hits / scored, scored, len(bounds), against, native)


def _against_teacher(held_out: EvalDocuments, best: NDArray[np.int64]) -> Retention | None:
    """Compare the student's best token of every place with the teacher's."""
    places, said = held_out.positions, held_out.teacher_top1
    if places is None or said is None or len(places) == 0:
        return None
    right, mine = held_out.ids[places], best[places]
    return Retention(
        len(places),
        float((mine == right).mean()),
        float((said == right).mean()),
        float((mine == said).mean()),
    )


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
