"""A reference model beside the student: scored on the same documents, timed on the same context.

Any causal language model with a byte-level BPE tokenizer can be the reference. Its vocabulary differs from
the student's, so two figures are used that do not depend on it: bits per UTF-8 byte of the same text, and
top-1 of the next *student* token at the places where a token of the reference and one of the student begin
at the same byte. Each token of the reference gives its probability to the first piece that the student's
vocabulary spells it with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesnn.errors import TextError, UserError
from edgesnn.text.causality import not_numbers
from edgesnn.text.tokenizer import TextTokenizer

FloatArray = npt.NDArray[np.float64]
#: Steps that are not timed, after the context is read.
WARMUP_STEPS = 3
NO_PIECE = -1


class CausalModel(Protocol):
    """A causal language model in this process.

    Attributes:
        tokenizer: Its native tokenizer.
        vocab_size: Columns of its logits.
        before: Native ids in front of a prompt.
        between: Native ids between a prompt and its answer.
        text_start: Native ids in front of plain text; empty where it has none.
        context: Longest sequence it was made for.
        cached: Whether `step` keeps keys and values, instead of reading the whole context again.
    """

    tokenizer: TextTokenizer
    vocab_size: int
    before: tuple[int, ...]
    between: tuple[int, ...]
    text_start: tuple[int, ...]
    context: int
    cached: bool

    def logits(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Logits ``[len(ids), vocab_size]`` of a whole sequence."""
        ...

    def begin(self, ids: Sequence[int]) -> None:
        """Read a context; `step` continues it."""
        ...

    def step(self, token: int) -> None:
        """Run one token on, so that its logits are there."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """One document as the reference reads it.

    Attributes:
        native: Native ids.
        rows: Places in `native` that are scored; never the first.
        text_bytes: UTF-8 bytes of the scored tokens.
        shared_rows: Those of `rows` whose token begins where a student token begins.
        places: Places in the student's document of these, never the first.
    """

    native: list[int]
    rows: list[int]
    text_bytes: int
    shared_rows: list[int]
    places: list[int]


@dataclass(slots=True)
class ReferenceScores:
    """Scores by document, in the order of the documents that could be aligned.

    Attributes:
        documents: Numbers of these documents.
        nats: Sum of negative log-likelihoods.
        tokens: Scored native tokens.
        text_bytes: UTF-8 bytes of them.
        own_hits: Native tokens whose best guess was right.
        hits: Shared places where the best student token was right.
        places: Places in each student's document.
        skipped: Documents that the reference's tokenizer cannot spell, or that exceed its context.
    """

    documents: list[int] = field(default_factory=list)
    nats: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    text_bytes: list[int] = field(default_factory=list)
    own_hits: list[int] = field(default_factory=list)
    hits: list[int] = field(default_factory=list)
    places: list[list[int]] = field(default_factory=list)
    skipped: int = 0


def first_pieces(native: TextTokenizer, student: TextTokenizer, size: int) -> npt.NDArray[np.int64]:
    """The student token that each native token's spelling begins with.

    Args:
        native: The reference's tokenizer.
        student: The student's.
        size: Columns of the reference's logits.

    Returns:
        int64 ``[size]``, `NO_PIECE` where there is none: special tokens, spare columns.
    """
    found = np.full(size, NO_PIECE, np.int64)
    for number, piece in enumerate(native.first_pieces_in(student)[:size]):
        if piece is not None:
            found[number] = piece
    return found


def align(ids: Sequence[int], student: TextTokenizer, model: CausalModel) -> Aligned | None:
    """Write a student's document in the reference's tokens.

    Args:
        ids: Student ids; runs of text between special tokens are spelt apart.
        student: The student's tokenizer.
        model: The reference.

    Returns:
        The document, or None where the reference cannot spell it byte for byte.
    """
    pieces, native_pieces = student.token_bytes(), model.tokenizer.token_bytes()
    runs = list(_runs(ids, pieces))
    dialogue = len(runs) == 2
    native: list[int] = []
    rows: list[int] = []
    shared: list[int] = []
    places: list[int] = []
    size = 0
    for number, (first, last) in enumerate(runs):
        content = b"".join(pieces[i] for i in ids[first:last])
        try:
            spelt = model.tokenizer.encode(content.decode("utf-8"))
        except UnicodeDecodeError:
            return None
        if b"".join(native_pieces[i] for i in spelt) != content:
            return None
        if number:
            native.extend(model.between)
        else:
            native.extend(model.before if dialogue else model.text_start)
        starts = dict(zip(_starts([pieces[i] for i in ids[first:last]]), range(first, last), strict=True))
        for token, at in zip(spelt, _starts([native_pieces[i] for i in spelt]), strict=True):
            if native:
                rows.append(len(native))
                size += len(native_pieces[token])
                if starts.get(at, 0) > 0:
                    shared.append(len(native))
                    places.append(starts[at])
            native.append(token)
    return Aligned(native, rows, size, shared, places) if rows else None


def score_reference(
    model: CausalModel,
    documents: Sequence[Sequence[int]],
    student: TextTokenizer,
    on_progress: Callable[[int], None],
) -> ReferenceScores:
    """Score a reference on a student's documents.

    Args:
        model: The reference.
        documents: Student ids of each document.
        student: The student's tokenizer.
        on_progress: Given the number of documents done.

    Raises:
        TextError: None of the documents can be spelt.
        UserError: Its logits are not numbers.
    """
    found = ReferenceScores()
    pieces = first_pieces(model.tokenizer, student, model.vocab_size)
    known = pieces != NO_PIECE
    for number, ids in enumerate(documents):
        on_progress(number)
        aligned = align(ids, student, model)
        if aligned is None or len(aligned.native) > model.context:
            found.skipped += 1
            continue
        logits = model.logits(aligned.native)[np.array(aligned.rows) - 1].astype(np.float64)
        if not_numbers(logits):
            raise UserError(
                "the reference does not answer with numbers",
                actual=f"NaN or infinity in document {number} of the held-out text",
                remedy="its files may be damaged: fetch them again, or name another reference",
            )
        logits -= logits.max(axis=1, keepdims=True)
        probabilities = np.exp(logits)
        total = probabilities.sum(axis=1)
        targets = np.array([aligned.native[row] for row in aligned.rows])
        own = logits[np.arange(len(targets)), targets] - np.log(total)
        is_shared = np.isin(aligned.rows, aligned.shared_rows)
        best = [
            int(np.bincount(pieces[known], row[known], student.vocab_size).argmax())
            for row in probabilities[is_shared]
        ]
        found.documents.append(number)
        found.nats.append(-float(own.sum()))
        found.tokens.append(len(targets))
        found.text_bytes.append(aligned.text_bytes)
        found.own_hits.append(int((logits.argmax(axis=1) == targets).sum()))
        found.hits.append(sum(one == ids[place] for one, place in zip(best, aligned.places, strict=True)))
        found.places.append(aligned.places)
    on_progress(len(documents))
    if not found.documents:
        raise TextError(
            "the reference cannot read the held-out text",
            actual=f"{found.skipped} documents that its tokenizer does not spell byte for byte",
        )
    return found


def time_steps(model: CausalModel, ids: Sequence[int], *, context: int, steps: int) -> FloatArray:
    """Time single tokens after a full context.

    Args:
        model: The reference.
        ids: Native ids, repeated as often as needed.
        context: Tokens that the first timed step has seen, itself included.
        steps: Timed steps.

    Returns:
        Milliseconds ``[steps]``, host clock.
    """
    text = np.resize(np.array(ids), context + steps + WARMUP_STEPS).tolist()
    lead = max(1, context - 1 - WARMUP_STEPS)
    model.begin(text[:lead])
    times = np.empty(steps)
    for number, token in enumerate(text[lead : lead + WARMUP_STEPS + steps]):
        before = time.perf_counter_ns()
        model.step(token)
        if number >= WARMUP_STEPS:
            times[number - WARMUP_STEPS] = (time.perf_counter_ns() - before) / 1e6
    return times


def _runs(ids: Sequence[int], pieces: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Where text stands between special tokens, as first and last place."""
    first = None
    for place, token in enumerate(ids):
        if pieces[token]:
            first = place if first is None else first
        elif first is not None:
            yield first, place
            first = None
    if first is not None:
        yield first, len(ids)


def _starts(parts: Sequence[bytes]) -> list[int]:
    """Byte at which each part begins."""
    lengths = [len(part) for part in parts]
    return [sum(lengths[:number]) for number in range(len(lengths))]
