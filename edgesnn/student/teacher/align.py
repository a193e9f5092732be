"""One text twice: as the teacher reads it and as the student does, cut into the same segments.

A segment is a context of its own for both. Student and teacher see the same text before every position; what
the chat format adds (system text, turn markers) the student has in its three special tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesnn.errors import TrainingError
from edgesnn.student.teacher.loading import Teacher
from edgesnn.student.teacher.trimming import TrimmedVocabulary
from edgesnn.student.text.data import Document
from edgesnn.text.tokenizer import ASSISTANT, END_OF_TEXT, SPECIAL_TOKENS, USER, TextTokenizer

_END, _USER, _ASSISTANT = (SPECIAL_TOKENS.index(token) for token in (END_OF_TEXT, USER, ASSISTANT))

_BLOCK = 2048
"""Documents tokenised at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class ContextSegment:
    """One context.

    Attributes:
        student: int32, student ids.
        native: int32, native ids with the chat format around them.
        places: int64 ``[m]``, places in ``student`` that the teacher predicts, ascending.
        rows: int64 ``[m]``, places in ``native`` of the same tokens; the distribution comes from one before.
        prompt_end: Index among the ``m`` of the token that ends the prompt, -1 where there is none.
        doc_bytes: UTF-8 bytes of the student ids from the second on.
    """

    student: NDArray[np.int32]
    native: NDArray[np.int32]
    places: NDArray[np.int64]
    rows: NDArray[np.int64]
    prompt_end: int
    doc_bytes: int


@dataclass(slots=True)
class _Builder:
    """Grows both sides of a segment together."""

    student: list[NDArray[np.int32]]
    native: list[NDArray[np.int32]]
    places: list[NDArray[np.int64]]
    rows: list[NDArray[np.int64]]
    student_length: int = 0
    native_length: int = 0
    scored: int = 0
    prompt_end: int = -1

    @classmethod
    def empty(cls) -> _Builder:
        """Nothing yet."""
        return cls([], [], [], [])

    def glue(self, student: Sequence[int], native: Sequence[int]) -> None:
        """Add ids that are not scored."""
        self.add(np.asarray(student, np.int32), np.asarray(native, np.int32), np.empty(0, np.int64), 0)

    def add(
        self,
        student: NDArray[np.int32],
        native: NDArray[np.int32],
        starts: NDArray[np.int64],
        scored: int,
    ) -> None:
        """Add ids; the first ``scored`` native ones begin at ``starts`` of the student's."""
        self.places.append(starts[:scored] + self.student_length)
        self.rows.append(np.arange(scored) + self.native_length)
        self.student.append(student)
        self.native.append(native)
        self.student_length += len(student)
        self.native_length += len(native)
        self.scored += scored

    def finish(self, byte_lengths: NDArray[np.int64]) -> ContextSegment:
        """The segment."""
        student = np.concatenate(self.student)
        return ContextSegment(
            student,
            np.concatenate(self.native),
            np.concatenate(self.places),
            np.concatenate(self.rows),
            self.prompt_end,
            int(byte_lengths[student[1:]].sum()),
        )


class Aligner:
    """Makes segments out of documents.

    Args:
        teacher: Whose tokenisation and chat format the native side has.
        trimmed: The student's vocabulary.
        max_length: Targets per segment; it has at most ``max_length + 1`` student ids.

    Raises:
        TrainingError: ``max_length`` leaves no room for text, or the teacher's context is too short for it.
    """

    def __init__(self, teacher: Teacher, trimmed: TrimmedVocabulary, max_length: int) -> None:
        self._teacher = teacher
        self._trimmed = trimmed
        self._max_length = max_length
        self._byte_lengths = np.asarray(trimmed.tokenizer.byte_lengths(), np.int64)
        self._longest = int(np.diff(trimmed.offsets).max())
        chat = teacher.chat
        needed = max_length + len(chat.before) + len(chat.between) + 2
        if needed > teacher.context:
            raise TrainingError(
                f"the context of the teacher '{teacher.name}' is too short",
                actual=f"{teacher.context} tokens",
                limit=f"{needed} for max-length {max_length} and the chat format",
                remedy="lower --max-length",
            )
        self.unspellable = 0

    def segments(self, documents: Sequence[Document]) -> Iterator[ContextSegment]:
        """Segments of the documents, in their order.

        A document that the teacher's tokenizer cannot spell (bytes that its vocabulary lacks, or text that it
        normalises) yields student ids without places; ``unspellable`` counts them.
        """
        for first in range(0, len(documents), _BLOCK):
            block = documents[first : first + _BLOCK]
            plain = [part for document in block for part in document.plain]
            native = iter(_encode(self._teacher.tokenizer, plain))
            student = iter(_encode(self._trimmed.tokenizer, plain))
            for document in block:
                pairs = [(next(native), next(student)) for _ in document.plain]
                yield from self._document(document, pairs)

    def _document(
        self, document: Document, pairs: list[tuple[NDArray[np.int32], NDArray[np.int32]]]
    ) -> Iterator[ContextSegment]:
        spelt = [self._trimmed.spell(native) for native, _ in pairs]
        aligned = all(
            np.array_equal(ids, student) for (ids, _), (_, student) in zip(spelt, pairs, strict=True)
        )
        if not aligned:
            self.unspellable += 1
            yield from self._unaligned(document, [student for _, student in pairs])
            return
        parts = [(native, *s) for (native, _), s in zip(pairs, spelt, strict=True)]
        if document.parts and document.parts[0] == _USER:
            yield from self._record(parts[0], parts[1], broken_off(document.plain[1]))
        else:
            yield from self._text(parts[0], 0)

    def _record(self, prompt: _Part, response: _Part, open_end: bool) -> Iterator[ContextSegment]:
        """``<|user|>prompt<|assistant|>response<|endoftext|>``.

        What does not fit goes on as plain text. An answer with an open end is not ended.
        """
        chat = self._teacher.chat
        builder = _Builder.empty()
        builder.glue([_USER], chat.before)
        room = self._max_length
        taken = self._take(builder, prompt, 0, room - 1)
        if taken < len(prompt[0]):  # the prompt alone is too long: the answer would not know what was asked
            yield builder.finish(self._byte_lengths)
            return
        scored = int(chat.turn_closes)
        if scored:
            builder.prompt_end = builder.scored
        builder.add(
            np.array([_ASSISTANT], np.int32),
            np.array(chat.between, np.int32),
            np.zeros(1, np.int64),
            scored,
        )
        taken = self._take(builder, response, 0, room - builder.student_length + 1)
        finished = taken == len(response[0]) and (open_end or self._end(builder, chat.turn_end))
        yield builder.finish(self._byte_lengths)
        if not finished:
            yield from self._text(response, taken, open_end)

    def _text(self, part: _Part, taken: int, open_end: bool = False) -> Iterator[ContextSegment]:
        """``<|endoftext|>text<|endoftext|>``, over as many segments as it needs."""
        chat = self._teacher.chat
        finished = False
        while not finished:
            builder = _Builder.empty()
            builder.glue([_END], chat.text_start)
            taken = self._take(builder, part, taken, self._max_length)
            finished = taken == len(part[0]) and (open_end or self._end(builder, chat.text_end))
            yield builder.finish(self._byte_lengths)

    def _take(self, builder: _Builder, part: _Part, first: int, room: int) -> int:
        """Add native tokens from ``first`` on while their spelling fits; where the next one begins."""
        native, student, starts = part
        if first == len(native):
            return first
        ends = np.append(starts[1:], len(student))
        offset = int(starts[first])
        last = first + int(np.searchsorted(ends[first:] - offset, room, side="right"))
        if last == first and room >= self._max_length:
            raise TrainingError(
                "max-length is too short for one token of the teacher",
                actual=self._max_length,
                limit=f"at least {self._longest} to be safe",
                remedy="raise --max-length",
            )
        if last > first:
            stop = int(ends[last - 1])
            builder.add(student[offset:stop], native[first:last], starts[first:last] - offset, last - first)
        return last

    def _end(self, builder: _Builder, native: int) -> bool:
        """Close a text if there is room for the token that does it."""
        if builder.student_length > self._max_length:
            return False
        ids = np.array([native], np.int32)
        builder.add(np.array([_END], np.int32), ids, np.zeros(1, np.int64), 1)
        return True

    def _unaligned(self, document: Document, parts: list[NDArray[np.int32]]) -> Iterator[ContextSegment]:
        """Student ids alone."""
        encoded = iter(parts)
        pieces = [np.array([p], np.int32) if isinstance(p, int) else next(encoded) for p in document.parts]
        if document.parts and document.parts[0] != _USER:
            pieces.insert(0, np.array([_END], np.int32))
        ids = np.concatenate(pieces)
        nothing = np.empty(0, np.int64)
        for first in range(0, max(len(ids) - 1, 1), self._max_length):
            cut = ids[first : first + self._max_length + 1]
            yield ContextSegment(
                cut, np.empty(0, np.int32), nothing, nothing, -1, int(self._byte_lengths[cut[1:]].sum())
            )


_Part = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]
"""Native ids of a text, its student ids, and where each native token begins in them."""


def broken_off(answer: str) -> bool:
    """Whether a sampled answer stops in mid-sentence, as one does that met its sampler's limit.

    To end it would teach students to stop anywhere, and would charge the teacher for not having stopped.
    """
    return answer.rstrip()[-1:].isalnum() or answer.rstrip().endswith((",", ";", "-", "(", "–", "/"))


def _encode(tokenizer: TextTokenizer, texts: Sequence[str]) -> list[NDArray[np.int32]]:
    """Ids of texts in which nothing is a special token."""
    specials = tokenizer.specials()
    risky = [any(token in text for token in specials) for text in texts]
    fast = iter(tokenizer.encode_batch([text for text, r in zip(texts, risky, strict=True) if not r]))
    return [
        np.asarray(tokenizer.encode_plain(text) if r else next(fast), np.int32)
        for text, r in zip(texts, risky, strict=True)
    ]
