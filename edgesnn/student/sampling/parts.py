"""What a sampling run has on disk: one file a batch while it runs, text and rows when it ends.

A part appears whole or not at all, and says everything about its batch, so a run that was killed goes on
behind its last one and ends with the same files as one that was not.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesnn.errors import TrainingError
from edgesnn.npz import arrays_from
from edgesnn.student.sampling.decoding import SampledAnswer
from edgesnn.student.teacher.aggregate import Targets
from edgesnn.student.teacher.align import Aligner
from edgesnn.student.teacher.cache import MANIFEST_FILE, CachedText, CacheKey, TeacherCache
from edgesnn.student.teacher.passes import cache_arrays
from edgesnn.student.teacher.trimming import TrimmedVocabulary
from edgesnn.student.text.data import record_document
from edgesnn.whole_files import make_folder, write_whole

ANSWERS_FILE = "answers.jsonl"
ROWS_FOLDER = "rows"
WHOLE_FILE = "whole.npy"
"""In the folder of the rows: bool ``[segments]``, whether all of a segment's scored places have one."""

SETTINGS_FILE = "sample.json"
SCHEMA = "edgesnn.sample-folder/1"
_PARTS = "parts"
_PART_LIMIT = 1 << 32
_TARGETS = tuple(field.name for field in fields(Targets))
_TEXT = ("ids", "lengths", "doc_bytes", "positions", "whole")


@dataclass(frozen=True, slots=True)
class PartCount:
    """What a part holds.

    Attributes:
        answers: Answers.
        tokens: Tokens of the teacher in them, the end included.
        positions: Positions with a row of the teacher.
        cut: Answers that met the limit.
    """

    answers: int
    tokens: int
    positions: int
    cut: int

    @classmethod
    def sum(cls, parts: Iterable[PartCount]) -> PartCount:
        """What several parts hold."""
        parts = list(parts)
        return cls(*(sum(getattr(part, field.name) for part in parts) for field in fields(cls)))


class SampleFolder:
    """One run's folder.

    Args:
        directory: The folder.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answers, self.rows = directory / ANSWERS_FILE, directory / ROWS_FOLDER

    def claim(self, settings: dict[str, Any]) -> None:
        """Begin a run here, or go on with it.

        Raises:
            TrainingError: Another run's answers lie here.
            OutputError: The folder cannot be written.
        """
        if (self.directory / SETTINGS_FILE).is_file():
            stored = self.settings()
            differing = [name for name, value in settings.items() if stored.get(name) != value]
            if differing:
                raise TrainingError(
                    f"the answers in '{self.directory}' belong to another run",
                    actual="differing: " + ", ".join(differing),
                    remedy="name another folder, or delete this one",
                )
            return
        if self.answers.exists() or self.rows.exists():
            raise TrainingError(
                f"'{self.directory}' holds answers of an unknown run", remedy="name another folder"
            )
        self._write_settings(settings, None)

    def settings(self) -> dict[str, Any]:
        """What the run was told, nothing where there is none."""
        settings = self._described().get("settings")
        return settings if isinstance(settings, dict) else {}

    def made(self) -> PartCount | None:
        """What a finished run has made, None where it is not finished."""
        made = self._described().get("made")
        return PartCount(**made) if made else None

    def count(self, number: int) -> PartCount | None:
        """What a part holds, None where it is not there.

        Raises:
            TrainingError: It is damaged.
        """
        if not self._part(number).is_file():
            return None
        return PartCount(*(int(value) for value in self._read(number, ("counts",))["counts"]))

    def write(
        self,
        number: int,
        records: Sequence[tuple[str, str]],
        answers: Sequence[SampledAnswer],
        aligner: Aligner,
    ) -> PartCount:
        """Write a part.

        Args:
            number: Of the batch.
            records: Prompt and response of each answer.
            answers: The answers.
            aligner: Cuts them as training does.

        Raises:
            OutputError: The disk is full; older parts are as they were.
        """
        ids, lengths, doc_bytes, places, rows, whole = [], [], [], [], [], []
        length = 0
        for (prompt, response), answer in zip(records, answers, strict=True):
            for part, segment in enumerate(aligner.segments([record_document(prompt, response)])):
                if len(segment.student) < 2:
                    continue
                whole.append(False)
                if part == 0:
                    known, taken = _known(answer, segment.native, segment.rows)
                    places.append(length + segment.places[known])
                    rows.append(_rows(answer.targets, taken))
                    whole[-1] = bool(len(known)) and bool(known.all())
                ids.append(segment.student)
                lengths.append(len(segment.student))
                doc_bytes.append(segment.doc_bytes)
                length += len(segment.student)
        targets = Targets.join(rows)
        counts = PartCount(
            len(answers),
            sum(len(answer.tokens) + int(answer.ended) for answer in answers),
            len(targets.tail_logp),
            sum(not answer.ended for answer in answers),
        )
        lines = "".join(
            json.dumps({"prompt": prompt, "response": response}, ensure_ascii=False) + "\n"
            for prompt, response in records
        )
        buffer = io.BytesIO()
        np.savez(
            buffer,
            answers=np.frombuffer(lines.encode("utf-8"), np.uint8),
            counts=np.array([counts.answers, counts.tokens, counts.positions, counts.cut]),
            ids=np.concatenate(ids),
            lengths=np.array(lengths),
            doc_bytes=np.array(doc_bytes),
            positions=np.concatenate(places),
            whole=np.array(whole),
            **{field.name: getattr(targets, field.name) for field in fields(Targets)},
        )
        write_whole(self._part(number), buffer.getvalue())
        return counts

    def assemble(self, numbers: Sequence[int], key: CacheKey, trimmed: TrimmedVocabulary) -> None:
        """Make the text and the rows of the parts that are there.

        Args:
            numbers: Of the parts, in the order of the text.
            key: What the rows belong to.
            trimmed: The student's vocabulary.

        Raises:
            TrainingError: A part is damaged.
            OutputError: The disk is full; the parts are as they were.
        """
        if not numbers:
            return
        text: dict[str, list[NDArray[Any]]] = {name: [] for name in _TEXT}
        lines, length = [], 0
        for number in numbers:
            arrays = self._read(number, ("answers", *_TEXT))
            for name in _TEXT:
                text[name].append(arrays[name] + (length if name == "positions" else 0))
            length += len(arrays["ids"])
            lines.append(arrays["answers"].tobytes())
        joined = {name: np.concatenate(values) for name, values in text.items()}
        starts = np.zeros(len(joined["lengths"]) + 1, np.int64)
        np.cumsum(joined["lengths"], out=starts[1:])
        (self.rows / MANIFEST_FILE).unlink(missing_ok=True)
        cache = TeacherCache.create(
            self.rows,
            key,
            CachedText(joined["ids"], starts, joined["doc_bytes"], joined["positions"]),
            trimmed,
        )
        for number in numbers:
            cache.append(cache_arrays(Targets(**self._read(number, _TARGETS))))
        buffer = io.BytesIO()
        np.save(buffer, joined["whole"])
        write_whole(self.rows / WHOLE_FILE, buffer.getvalue())
        write_whole(self.answers, b"".join(lines))

    def finish(self, settings: dict[str, Any], made: PartCount) -> None:
        """Say that every prompt is answered, and remove the parts."""
        self._write_settings(settings, made)
        shutil.rmtree(self.directory / _PARTS, ignore_errors=True)

    def lines(self, numbers: Sequence[int]) -> Iterator[dict[str, str]]:
        """Records of some parts."""
        for number in numbers:
            text = self._read(number, ("answers",))["answers"].tobytes().decode("utf-8")
            for line in text.split("\n")[:-1]:
                yield json.loads(line)

    def _part(self, number: int) -> Path:
        return self.directory / _PARTS / f"{number:06d}.npz"

    def _read(self, number: int, names: Container[str] | None = None) -> dict[str, NDArray[Any]]:
        """Arrays of a part, checked against their checksums."""
        path = self._part(number)
        try:
            with path.open("rb") as stream:
                return arrays_from(stream, _PART_LIMIT, names)
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"the part '{path.name}' of '{self.directory}' is damaged",
                actual=str(error)[:160],
                remedy="delete it and run again: its prompts are asked again",
            ) from None

    def _described(self) -> dict[str, Any]:
        """Content of the folder's own account, nothing where it has none."""
        try:
            content = json.loads((self.directory / SETTINGS_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _write_settings(self, settings: dict[str, Any], made: PartCount | None) -> None:
        make_folder(self.directory)
        content = {"schema": SCHEMA, "settings": settings, "made": asdict(made) if made else None}
        write_whole(
            self.directory / SETTINGS_FILE, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()
        )


def sampled_teacher(folder: str) -> str:
    """Name of the teacher whose answers a folder holds.

    Raises:
        TrainingError: It is no folder of sampled answers.
    """
    described = SampleFolder(Path(folder)).settings()
    if "teacher" not in described:
        raise TrainingError(
            f"'{folder}' holds no sampled answers",
            actual=f"no {SETTINGS_FILE}",
            remedy="run 'edgesnn sample' first",
        )
    return str(described["teacher"])


def _known(
    answer: SampledAnswer, native: NDArray[np.int32], rows: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which scored places of a segment the answer has a distribution for, and its number in the answer.

    A teacher can spell a text in another way than its tokenizer does; behind the first such place it was
    asked about a context that training does not have.
    """
    shared = min(len(native), len(answer.native))
    differing = np.flatnonzero(native[:shared] != answer.native[:shared])
    same = int(differing[0]) if differing.size else shared
    known = (rows < same) & np.isin(rows, answer.places)
    return known, np.searchsorted(answer.places, rows[known])


def _rows(targets: Targets, taken: NDArray[np.int64]) -> Targets:
    return Targets(**{field.name: getattr(targets, field.name)[taken] for field in fields(Targets)})
