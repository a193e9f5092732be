"""Token ids of documents, and the order in which training meets them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesnn.student.text.data import Document
from edgesnn.text.tokenizer import SPECIAL_TOKENS, TextTokenizer

IGNORED = -100
"""Target of a padding position."""

LOOK_AHEAD = 64
"""Segments among which packing looks for one that fits."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences that each start a new context.

    Attributes:
        ids: int64 ``[B, L]``.
        targets: int64 ``[B, L]``, the next token, ``IGNORED`` at padding.
        positions: int64 ``[B, L]``, place of each id in the corpus, -1 at padding.
        places: int64 ``[B, L]``, place of each target in the text (`Corpus.origins`), -1 where there is none;
            a cache of teacher outputs is looked up with it.
        segments: int32 ``[B, L]``, number of each id's segment in its row, -1 at padding: contexts are as
            separate as in a deployed student.
    """

    ids: Tensor
    targets: Tensor
    positions: Tensor
    places: Tensor
    segments: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        return Batch(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents as one stream of ids, cut into segments that fit a sequence.

    Attributes:
        ids: int32 ``[n]``.
        starts: int64 ``[m + 1]``, bounds of the segments in ``ids``.
        origins: int64 ``[n]``, place of each id in the documents written one after another.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    origins: NDArray[np.int64]

    @property
    def segments(self) -> int:
        """Number of segments."""
        return len(self.starts) - 1


def encode_documents(documents: Sequence[Document], tokenizer: TextTokenizer) -> list[list[int]]:
    """Token ids of each document; plain parts cannot produce special tokens."""
    special = [tokenizer.token_id(token) for token in SPECIAL_TOKENS]
    plain = [part for document in documents for part in document.plain]
    risky = [any(token in part for token in SPECIAL_TOKENS) for part in plain]
    fast = iter(tokenizer.encode_batch([part for part, r in zip(plain, risky, strict=True) if not r]))
    encoded = iter(
        [tokenizer.encode_plain(part) if r else next(fast) for part, r in zip(plain, risky, strict=True)]
    )
    result = []
    for document in documents:
        ids: list[int] = []
        for part in document.parts:
            ids.extend([special[part]] if isinstance(part, int) else next(encoded))
        result.append(ids)
    return result


def make_corpus(encoded: Sequence[Sequence[int]], max_length: int) -> Corpus:
    """Cut documents into segments of at most ``max_length + 1`` ids.

    A segment that continues a document begins with the last id of the one before it, which is then an input
    only, so every id but a document's first is a target exactly once.
    """
    pieces, begins, place = [], [], 0
    for ids in encoded:
        for start in range(0, max(len(ids) - 1, 1), max_length):
            pieces.append(ids[start : start + max_length + 1])
            begins.append(place + start)
        place += len(ids)
    starts = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum([len(piece) for piece in pieces], out=starts[1:])
    flat = np.fromiter((i for piece in pieces for i in piece), np.int32, int(starts[-1]))
    origins = np.arange(len(flat)) + np.repeat(np.array(begins, np.int64) - starts[:-1], np.diff(starts))
    return Corpus(flat, starts, origins)


def pack_epoch(corpus: Corpus, room: int, seed: int, epoch: int) -> list[list[int]]:
    """Shuffle the segments and fill sequences of ``room`` ids with whole ones.

    Every sequence begins at the begin of a segment, as a deployed student begins a context. The largest of
    the next ``LOOK_AHEAD`` segments that fits comes next.

    Returns:
        Segment numbers of each sequence.
    """
    lengths = np.diff(corpus.starts)
    order = iter(np.random.default_rng([seed, epoch]).permutation(corpus.segments).tolist())
    waiting = list(islice(order, LOOK_AHEAD))
    sequences: list[list[int]] = []
    while waiting:
        sequence, left = [waiting[0]], room - int(lengths[waiting[0]])
        waiting.pop(0)
        while True:
            waiting.extend(islice(order, LOOK_AHEAD - len(waiting)))
            fitting = [segment for segment in waiting if lengths[segment] <= left]
            if not fitting:
                break
            best = max(fitting, key=lambda segment: int(lengths[segment]))
            waiting.remove(best)
            sequence.append(best)
            left -= int(lengths[best])
        sequences.append(sequence)
    return sequences


class BatchStream:
    """Endless batches in an order that (seed, epoch, cursor) decides, so a checkpoint can continue it.

    Args:
        corpus: The training segments.
        max_length: Positions per sequence.
        batch_size: Sequences per batch.
        seed: Seed of the shuffling.
        pad_id: Id at padding positions.
    """

    def __init__(self, corpus: Corpus, max_length: int, batch_size: int, seed: int, pad_id: int = 0) -> None:
        self._corpus = corpus
        self._length = max_length
        self._batch_size = batch_size
        self._seed = seed
        self._pad_id = pad_id
        self._first = np.zeros(len(corpus.ids), bool)
        self._first[corpus.starts[:-1]] = True
        self.epoch = 0
        self.cursor = 0
        self._sequences = self._pack()

    def _pack(self) -> list[list[int]]:
        return pack_epoch(self._corpus, self._length + 1, self._seed, self.epoch)

    def state(self) -> dict[str, int]:
        """Where the stream stands."""
        return {"epoch": self.epoch, "cursor": self.cursor}

    def restore(self, state: dict[str, int]) -> None:
        """Go to where ``state`` was taken."""
        self.epoch, self.cursor = state["epoch"], state["cursor"]
        self._sequences = self._pack()

    def next_batch(self, rank: int = 0, count: int = 1) -> Batch:
        """The next batch; a new epoch begins in the middle of one where the segments run out.

        Args:
            rank: Number of this process; each takes its own ``batch_size`` sequences.
            count: Number of processes.
        """
        rows: list[list[int]] = []
        while len(rows) < self._batch_size * count:
            if self.cursor == len(self._sequences):
                self.epoch += 1
                self.cursor = 0
                self._sequences = self._pack()
            rows.append(self._sequences[self.cursor])
            self.cursor += 1
        return self._assemble(rows[rank::count])

    def _assemble(self, rows: list[list[int]]) -> Batch:
        ids = np.full((len(rows), self._length + 1), self._pad_id, np.int64)
        positions = np.full(ids.shape, -1, np.int64)
        numbers = np.full(ids.shape, -1, np.int32)
        starts = self._corpus.starts
        for row, segments in enumerate(rows):
            at = 0
            for number, segment in enumerate(segments):
                a, b = int(starts[segment]), int(starts[segment + 1])
                ids[row, at : at + b - a] = self._corpus.ids[a:b]
                positions[row, at : at + b - a] = np.arange(a, b)
                numbers[row, at : at + b - a] = number
                at += b - a
        targets = np.where(positions[:, 1:] >= 0, ids[:, 1:], IGNORED)
        # a segment's first id stands behind another segment's text: no target, and nothing the teacher said
        follows = (positions[:, 1:] >= 0) & ~self._first[positions[:, 1:]]
        targets = np.where(follows, targets, IGNORED)
        places = np.where(follows, self._corpus.origins[positions[:, 1:]], -1)
        return Batch(
            torch.from_numpy(ids[:, :-1].copy()),
            torch.from_numpy(targets),
            torch.from_numpy(positions[:, :-1].copy()),
            torch.from_numpy(places),
            torch.from_numpy(numbers[:, :-1].copy()),
        )


def log_unigram(corpus: Corpus, vocab_size: int) -> Tensor:
    """float32 ``[V]`` log-frequencies of the corpus, every id counted once more than it occurs."""
    counts = torch.bincount(torch.from_numpy(corpus.ids.astype(np.int64)), minlength=vocab_size)
    return torch.log((counts + 1).float() / float(counts.sum() + vocab_size))


def segments_of(corpus: Corpus) -> Iterator[NDArray[np.int32]]:
    """The ids of each segment in order."""
    for a, b in zip(corpus.starts, corpus.starts[1:], strict=False):
        yield corpus.ids[int(a) : int(b)]
