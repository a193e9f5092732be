"""Scoring text: bits per byte and top-1 of next-token logits, document by document.

A document is scored at every token but its first, from an empty context. Bits per byte divides by the UTF-8
bytes of the scored text, so students with different vocabularies compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]
#: Float logits ``[batch, length, vocab]`` of token ids ``[batch, length]``.
LogitFunction = Callable[[IntArray], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class DocumentScores:
    """Scores by document; all arrays ``[documents]``.

    Attributes:
        nats: Sum of negative log-likelihoods, float64.
        hits: Positions whose best token was right, int64.
        positions: Scored positions, int64.
        counted_hits: Hits among the positions that were asked for; ``hits`` where none were, int64.
        doc_bytes: UTF-8 bytes of the scored text, int64.
    """

    nats: npt.NDArray[np.float64]
    hits: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    counted_hits: npt.NDArray[np.int64]
    doc_bytes: npt.NDArray[np.int64]

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte over all documents."""
        return float(self.nats.sum() / np.log(2) / self.doc_bytes.sum())

    @property
    def top1(self) -> float:
        """Share of positions whose best token was right."""
        return float(self.hits.sum() / self.positions.sum())


def padded_batches(
    documents: Sequence[IntArray], batch: int
) -> Iterator[tuple[list[int], npt.NDArray[np.int64]]]:
    """Batches of documents of similar length, padded on the right with token 0.

    Right padding needs no mask: attention is causal.

    Args:
        documents: Token ids ``[length]`` each.
        batch: Documents per batch.

    Yields:
        Document numbers, and token ids int64 ``[batch, longest]``.
    """
    order = sorted(range(len(documents)), key=lambda i: len(documents[i]))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        ids = np.zeros((len(chosen), max(len(documents[i]) for i in chosen)), np.int64)
        for row, i in enumerate(chosen):
            ids[row, : len(documents[i])] = documents[i]
        yield chosen, ids


def score_documents(
    logits_of: LogitFunction,
    documents: Sequence[IntArray],
    doc_bytes: IntArray,
    *,
    batch: int = 8,
    counted: Sequence[npt.NDArray[np.bool_]] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> DocumentScores:
    """Score documents with a function that gives logits.

    Args:
        logits_of: Gives float logits.
        documents: Token ids ``[length]`` each.
        doc_bytes: UTF-8 bytes of the scored text of each document.
        batch: Documents run side by side.
        counted: Which scored positions ``counted_hits`` looks at, ``[length - 1]`` for each document; all of
            them by default.
        on_progress: Called with the number of documents finished so far.

    Returns:
        The scores by document.
    """
    nats = np.zeros(len(documents))
    hits = np.zeros(len(documents), np.int64)
    positions = np.zeros(len(documents), np.int64)
    counted_hits = np.zeros(len(documents), np.int64)
    done = 0
    for chosen, ids in padded_batches(documents, batch):
        logits = logits_of(ids)
        for row, i in enumerate(chosen):
            target = np.asarray(documents[i][1:], np.int64)
            nats[i], hits[i] = score_positions(logits[row, : len(target)], target)
            if counted is None:
                counted_hits[i] = hits[i]
            else:
                right = logits[row, : len(target)].argmax(axis=-1) == target
                counted_hits[i] = (right & counted[i]).sum()
            positions[i] = len(target)
        done += len(chosen)
        if on_progress is not None:
            on_progress(done)
    return DocumentScores(nats, hits, positions, counted_hits, np.asarray(doc_bytes, np.int64))


def score_positions(logits: npt.NDArray[np.floating], target: npt.NDArray[np.integer]) -> tuple[float, int]:
    """Negative log-likelihood in nats and number of right best tokens.

    Args:
        logits: ``[positions, vocab]``.
        target: Right tokens ``[positions]``.

    Returns:
        Sum of nats, and hits.
    """
    if len(target) == 0:
        return 0.0, 0
    top = logits.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(axis=-1, dtype=np.float64)) + top[:, 0]
    right = logits[np.arange(len(target)), target]
    return float((log_sum - right).sum()), int((logits.argmax(axis=-1) == target).sum())
