"""Folders of ``edgesnn sample`` as training text: segments that have the teacher's rows already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgesnn.errors import TrainingError
from edgesnn.npz import array_from
from edgesnn.student.artifact.evaluate import EvalDocuments
from edgesnn.student.config import TrainConfig
from edgesnn.student.sampling.parts import ANSWERS_FILE, ROWS_FOLDER, WHOLE_FILE
from edgesnn.student.teacher.cache import TeacherCache
from edgesnn.student.text.data import split_held_out
from edgesnn.student.text.reading import ReadText, read_documents
from edgesnn.text.tokenizer import SPECIAL_TOKENS, USER

_USER = SPECIAL_TOKENS.index(USER)


@dataclass(slots=True, eq=False)
class SampledText:
    """One folder.

    Attributes:
        read: Its documents.
        cache: The teacher's rows.
        whole: bool, whether all of a segment's scored places have a row.
        held: int64, numbers of the segments that are held out.
    """

    read: ReadText
    cache: TeacherCache
    whole: NDArray[np.bool_]
    held: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def documents(self) -> list[list[int]]:
        """Numbers of the segments of each document, in the order of the documents."""
        text = self.cache.text
        begins = np.flatnonzero(np.asarray(text.ids)[text.doc_starts[:-1]] == _USER).tolist()
        return [list(range(a, b)) for a, b in zip(begins, [*begins[1:], len(text.doc_bytes)], strict=True)]

    def kept(self) -> list[NDArray[np.int64]]:
        """Places in the cache's text of each segment that is not held out."""
        starts = self.cache.text.doc_starts.tolist()
        numbers = np.setdiff1d(np.arange(len(starts) - 1), self.held)
        return [np.arange(starts[n], starts[n + 1]) for n in numbers]


def open_sampled(folder: Path, config: TrainConfig) -> SampledText:
    """Open a folder.

    Raises:
        TrainingError: It is none, is damaged, or its rows were made for another run than this.
    """
    if not (folder / ANSWERS_FILE).is_file():
        raise TrainingError(
            f"'{folder}' holds no sampled answers",
            actual=f"no {ANSWERS_FILE}",
            remedy="run 'edgesnn sample' first; it writes what it has when it ends or is interrupted",
        )
    cache = TeacherCache.open(folder / ROWS_FOLDER, verify=False)
    key = cache.manifest["key"]
    if key["max_length"] > config.max_length:
        raise TrainingError(
            f"the answers in '{folder}' were cut for longer sequences",
            actual=f"max-length {key['max_length']}",
            limit=f"{config.max_length}, of this run",
            remedy=f"give --max-length {key['max_length']}",
        )
    try:
        whole = array_from((folder / ROWS_FOLDER / WHOLE_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"the sampled answers in '{folder}' are damaged",
            actual=f"{WHOLE_FILE}: {error}",
            remedy="sample them again",
        ) from None
    return SampledText(read_documents(folder / ANSWERS_FILE), cache, whole)


def hold_out(sampled: Sequence[SampledText], tokens: int) -> EvalDocuments:
    """Hold out 5 % of the prompts, chosen by hash, with the teacher's answers to them.

    Held-out documents are those for which the teacher's distribution is known everywhere.

    Args:
        sampled: The folders; what is held out is taken from each.
        tokens: About so many positions at most.

    Raises:
        TrainingError: There is too little text.
    """
    pieces: list[EvalDocuments] = []
    _, chosen = split_held_out([d for answers in sampled for d in answers.read.documents])
    held = {document.group for document in chosen}
    count = 0
    for answers in sampled:
        numbers: list[int] = []
        for document, segments in zip(answers.read.documents, answers.documents(), strict=True):
            if document.group in held:
                numbers += segments
                if len(segments) == 1 and answers.whole[segments[0]] and count < tokens:
                    pieces.append(_scored(answers.cache, segments[0]))
                    count += len(pieces[-1].ids)
        answers.held = np.array(numbers, np.int64)
    if not pieces:
        raise TrainingError(
            "the sampled answers are too few to hold one out",
            remedy="sample more, or give a held-out file with --eval-path",
        )
    starts = np.cumsum([0, *(len(piece.ids) for piece in pieces)])
    arrays = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in _JOINED}
    places = [np.asarray(p.positions) + start for p, start in zip(pieces, starts, strict=False)]
    return EvalDocuments(doc_starts=starts.astype(np.int64), positions=np.concatenate(places), **arrays)


_JOINED = ("ids", "doc_bytes", "teacher_top1", "teacher_logp", "teacher_native_logp")


def _scored(cache: TeacherCache, segment: int) -> EvalDocuments:
    """A segment with the teacher's answers."""
    text = cache.text
    a, b = int(text.doc_starts[segment]), int(text.doc_starts[segment + 1])
    first, last = np.searchsorted(text.positions, [a, b])
    return EvalDocuments(
        np.asarray(text.ids[a:b]),
        np.array([0, b - a]),
        np.asarray(text.doc_bytes[segment : segment + 1]),
        np.asarray(text.positions[first:last]) - a,
        cache.array("teacher_top1")[first:last].astype(np.int32),
        np.asarray(cache.array("target_logp")[first:last]),
        np.asarray(cache.array("native_logp")[first:last]),
    )
