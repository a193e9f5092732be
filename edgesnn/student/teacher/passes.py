"""Running a teacher over a text once, in chunks that a killed run goes on from."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgesnn.errors import TrainingError
from edgesnn.student.teacher.aggregate import Aggregator, Targets
from edgesnn.student.teacher.align import Aligner, ContextSegment
from edgesnn.student.teacher.cache import MANIFEST_FILE, CachedText, CacheKey, TeacherCache
from edgesnn.student.teacher.loading import Teacher
from edgesnn.student.teacher.prefix import SharedPrefix
from edgesnn.student.teacher.readout import ChosenReadout
from edgesnn.student.teacher.soundness import not_numbers_error
from edgesnn.student.teacher.trimming import TrimmedVocabulary
from edgesnn.student.text.data import Document, documents_digest
from edgesnn.text.tokenizer import ASSISTANT, SPECIAL_TOKENS


@dataclass(frozen=True, slots=True)
class PassSettings:
    """How a teacher is run.

    Attributes:
        k: Student tokens kept per position.
        tau: Temperature of the distillation.
        max_length: Targets per segment; the student's ``max_length``.
        limit: Stop after about this many positions, at the end of a segment; 0 for the whole text.
        chunk_positions: Positions between two writes to disk.
        batch_tokens: Native tokens per batch, padding included.
    """

    k: int = 64
    tau: float = 2.0
    max_length: int = 256
    limit: int = 0
    chunk_positions: int = 8192
    batch_tokens: int = 2048


@dataclass(frozen=True, slots=True)
class PassProgress:
    """Where a pass stands.

    Attributes:
        done: Positions answered.
        total: Positions in all.
        positions_per_s: Mean of this process.
        tokens_per_s: Native tokens, chat format included, padding not.
        seconds_left: Estimate.
    """

    done: int
    total: int
    positions_per_s: float
    tokens_per_s: float
    seconds_left: float


OnPass = Callable[[PassProgress], None]


def run_teacher(
    teacher: Teacher,
    trimmed: TrimmedVocabulary,
    documents: Sequence[Document],
    directory: Path,
    settings: PassSettings,
    *,
    on_progress: OnPass | None = None,
) -> TeacherCache:
    """Make a cache, or finish one that was interrupted.

    Args:
        teacher: The teacher.
        trimmed: The student's vocabulary, made from this teacher's tokenizer.
        documents: The text, in the order in which it is answered.
        directory: The cache folder.
        settings: How to run.
        on_progress: Called after every chunk.

    Returns:
        The complete cache.

    Raises:
        TrainingError: The folder's cache belongs to something else or is damaged, the text is empty, or
            memory ran out.
        OutputError: The disk is full; the cache is usable as far as it got.
    """
    k = min(settings.k, trimmed.student_size)
    key = cache_key(teacher, trimmed, documents, settings, k)
    existing = TeacherCache.open(directory, key) if (directory / MANIFEST_FILE).is_file() else None
    if existing is not None and existing.complete:
        return existing
    segments = plan(teacher, trimmed, documents, settings)
    cache = existing or TeacherCache.create(directory, key, cached_text(segments), trimmed)
    started, first, tokens = time.monotonic(), cache.done, 0
    with TeacherPass(teacher, trimmed, k=k, tau=settings.tau, batch_tokens=settings.batch_tokens) as answer:
        for chunk in chunks(segments, settings.chunk_positions, cache.done):
            targets = answer(chunk)
            cache.append(cache_arrays(targets))
            tokens += sum(len(segment.native) for segment in chunk)
            if on_progress is not None:
                seconds = max(time.monotonic() - started, 1e-9)
                rate = (cache.done - first) / seconds
                left = (cache.total - cache.done) / rate if rate else 0.0
                on_progress(PassProgress(cache.done, cache.total, rate, tokens / seconds, left))
    return cache


def plan(
    teacher: Teacher, trimmed: TrimmedVocabulary, documents: Sequence[Document], settings: PassSettings
) -> list[ContextSegment]:
    """The segments of a text, up to the limit.

    Raises:
        TrainingError: Nothing in it can be predicted.
    """
    segments, positions = [], 0
    for segment in Aligner(teacher, trimmed, settings.max_length).segments(documents):
        if len(segment.student) < 2:
            continue
        segments.append(segment)
        positions += len(segment.places)
        if settings.limit and positions >= settings.limit:
            break
    if positions == 0:
        raise TrainingError(
            "the text gives the teacher nothing to predict",
            actual=f"{len(documents)} documents",
            remedy="give more text, or text that the teacher's tokenizer can spell",
        )
    return segments


def chunks(segments: Sequence[ContextSegment], size: int, done: int = 0) -> Iterator[list[ContextSegment]]:
    """Consecutive segments of at least ``size`` positions together, without those that are done."""
    chunk: list[ContextSegment] = []
    skipped = count = 0
    for segment in segments:
        places = len(segment.places)
        if places == 0:
            continue
        if skipped < done:
            skipped += places
            continue
        chunk.append(segment)
        count += places
        if count >= size:
            yield chunk
            chunk, count = [], 0
    if chunk:
        yield chunk


class TeacherPass:
    """A teacher made ready for answering; as a context it leaves the teacher as it was.

    Hidden states are read out only where a position is scored; what all segments of a batch begin with (the
    system text) is run once.

    Args:
        teacher: The teacher.
        trimmed: The student's vocabulary.
        k: Student tokens kept.
        tau: Temperature.
        batch_tokens: Native tokens per batch, padding included.
    """

    def __init__(
        self, teacher: Teacher, trimmed: TrimmedVocabulary, *, k: int, tau: float, batch_tokens: int = 2048
    ) -> None:
        self._teacher = teacher
        self._budget = batch_tokens
        self._aggregate = Aggregator(
            trimmed.first_piece,
            teacher.vocab_size,
            trimmed.student_size,
            k=k,
            tau=tau,
            turn_end=teacher.chat.turn_end,
            prompt_end=SPECIAL_TOKENS.index(ASSISTANT),
            device=teacher.device,
        )
        self._prefix = SharedPrefix(teacher)
        self._readout = ChosenReadout(teacher)

    def __enter__(self) -> TeacherPass:
        self._readout.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._readout.__exit__(*exception)

    def __call__(self, segments: Sequence[ContextSegment]) -> Targets:
        """Answer segments; the positions of the result are in the order of the segments."""
        records = [self._prefix.begins(segment) for segment in segments]
        order = sorted(range(len(segments)), key=lambda i: (records[i], len(segments[i].native)))
        answers: list[Targets | None] = [None] * len(segments)
        for batch in _batches(segments, order, self._budget):
            part = self.answer([segments[i] for i in batch])
            at = 0
            for i in batch:
                count = len(segments[i].places)
                answers[i] = part.slice(at, at + count)
                at += count
        return Targets.join([answer for answer in answers if answer is not None])

    @torch.no_grad()
    def answer(self, segments: Sequence[ContextSegment]) -> Targets:
        """Answer one batch."""
        shared = self._prefix.length(segments)
        width = max(len(segment.native) for segment in segments) - shared
        ids = np.full((len(segments), width), self._teacher.chat.text_end, np.int64)
        for row, segment in enumerate(segments):
            ids[row, : len(segment.native) - shared] = segment.native[shared:]
        flat = np.concatenate(
            [row * width + segment.rows - 1 - shared for row, segment in enumerate(segments)]
        )
        prompt_end = np.concatenate(
            [np.arange(len(segment.places)) == segment.prompt_end for segment in segments]
        )
        device = self._teacher.device
        try:
            past = self._prefix.states(segments[0].native[:shared], len(segments)) if shared else {}
            rows, index = torch.from_numpy(ids).to(device), torch.from_numpy(flat).to(device)
            logits, _ = self._readout(rows, index, **(past or {"use_cache": False}))
            targets = self._aggregate(
                logits,
                torch.from_numpy(np.concatenate([s.native[s.rows] for s in segments]).astype(np.int64)).to(
                    device
                ),
                torch.from_numpy(np.concatenate([s.student[s.places] for s in segments]).astype(np.int64)).to(
                    device
                ),
                torch.from_numpy(prompt_end).to(device),
            )
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise TrainingError(
                "out of memory in the teacher pass",
                actual=f"{ids.shape[0]} x {ids.shape[1]} tokens in a batch: {str(error)[:120]}",
                remedy="lower batch_tokens, or give a smaller teacher",
            ) from None
        if np.isnan(
            targets.native_logp
        ).any():  # one NaN or infinity among the logits makes its whole row NaN
            raise not_numbers_error(
                self._teacher.name, self._teacher.dtype, f"in a batch of {len(flat)} positions"
            )
        return targets


def _batches(segments: Sequence[ContextSegment], order: list[int], budget: int) -> Iterator[list[int]]:
    """Segments of similar length, so many that padding included they stay within the budget."""
    batch: list[int] = []
    longest = 0
    for i in order:
        longest = max(longest, len(segments[i].native))
        if batch and (len(batch) + 1) * longest > budget:
            yield batch
            batch, longest = [], len(segments[i].native)
        batch.append(i)
    if batch:
        yield batch


def cache_arrays(targets: Targets) -> dict[str, NDArray[Any]]:
    """Targets under the names that a cache has for them."""
    arrays = {field.name: getattr(targets, field.name) for field in fields(Targets)}
    return {**arrays, "teacher_top1": targets.topk_ids[:, 0]}


def cached_text(segments: Sequence[ContextSegment]) -> CachedText:
    """Segments one after another."""
    starts = np.zeros(len(segments) + 1, np.int64)
    np.cumsum([len(segment.student) for segment in segments], out=starts[1:])
    return CachedText(
        np.concatenate([segment.student for segment in segments]).astype(np.int32),
        starts,
        np.array([segment.doc_bytes for segment in segments], np.int64),
        np.concatenate([s.places + start for s, start in zip(segments, starts[:-1], strict=True)]),
    )


def cache_key(
    teacher: Teacher,
    trimmed: TrimmedVocabulary,
    documents: Sequence[Document],
    settings: PassSettings,
    k: int,
) -> CacheKey:
    """What a cache of a text belongs to."""
    chat = json.dumps(asdict(teacher.chat), sort_keys=True)
    return CacheKey(
        teacher=teacher.name,
        teacher_files=teacher.files,
        text=documents_digest(documents),
        tokenizer=hashlib.sha256(teacher.tokenizer_json.encode("utf-8")).hexdigest(),
        chat=hashlib.sha256(chat.encode()).hexdigest(),
        trimming=trimmed.sha256,
        k=k,
        tau=settings.tau,
        max_length=settings.max_length,
        limit=settings.limit,
        dtype=str(teacher.dtype).removeprefix("torch."),
    )
