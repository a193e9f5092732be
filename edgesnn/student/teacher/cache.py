"""What a teacher said about a text, kept on disk: memory-mapped, keyed, growing in chunks.

The folder holds ``manifest.json`` and one ``.npy`` per array. Arrays of the text are complete from the start;
arrays of the teacher's answers grow chunk by chunk, and only what the manifest counts as done is valid, so a
run that was killed or met a full disk leaves a usable cache and goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgesnn.errors import OutputError, TextError, TrainingError
from edgesnn.student.teacher.trimming import TrimmedVocabulary
from edgesnn.whole_files import make_folder, write_whole

SCHEMA = "edgesnn.teacher-cache/1"
MANIFEST_FILE = "manifest.json"
TRIMMING_FILE = "trimming.npz"
TOKENIZER_FILE = "tokenizer.json"

TEXT_ARRAYS = ("ids", "doc_starts", "doc_bytes", "positions")
SMALL_IDS = 1 << 16
"""Vocabularies up to this size need 16 bits per id."""


@dataclass(frozen=True, slots=True)
class CacheKey:
    """What a cache belongs to; another value in any field is another cache.

    Attributes:
        teacher: Name.
        teacher_files: SHA-256 by file name.
        text: SHA-256 of the documents.
        tokenizer: SHA-256 of the teacher's tokenizer.
        chat: SHA-256 of the chat format.
        trimming: SHA-256 of the student's vocabulary and map.
        k: Student tokens kept per position.
        tau: Temperature of ``tail_log_sum_tau``.
        max_length: Targets per segment.
        limit: Positions after which the text was cut, 0 for all of it.
        dtype: Type of the teacher's weights.
    """

    teacher: str
    teacher_files: dict[str, str]
    text: str
    tokenizer: str
    chat: str
    trimming: str
    k: int
    tau: float
    max_length: int
    limit: int
    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class CachedText:
    """The text of a cache.

    Attributes:
        ids: int32 ``[n]``, student ids of all segments.
        doc_starts: int64 ``[segments + 1]``; every segment is a context of its own.
        doc_bytes: int64 ``[segments]``, UTF-8 bytes of the ids from the second on.
        positions: int64 ``[m]``, ascending places in ``ids`` that the teacher predicts.
    """

    ids: NDArray[np.int32]
    doc_starts: NDArray[np.int64]
    doc_bytes: NDArray[np.int64]
    positions: NDArray[np.int64]


class TeacherCache:
    """One cache folder.

    Args:
        directory: The folder.
        manifest: Its manifest.

    Attributes:
        directory: The folder.
        manifest: Content of ``manifest.json``.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        self.directory = directory
        self.manifest = manifest

    @classmethod
    def create(cls, directory: Path, key: CacheKey, text: CachedText, trimmed: TrimmedVocabulary) -> Self:
        """Start a cache; what an unfinished start left is replaced.

        Raises:
            OutputError: The folder cannot be written.
        """
        make_folder(directory)
        total, k = len(text.positions), key.k
        id_type = "uint16" if trimmed.student_size <= SMALL_IDS else "uint32"
        arrays: dict[str, tuple[str, list[int]]] = {
            "topk_ids": (id_type, [total, k]),
            "topk_logp": ("float16", [total, k]),
            "tail_logp": ("float32", [total]),
            "tail_log_sum_tau": ("float32", [total]),
            "teacher_top1": (id_type, [total]),
            "native_logp": ("float32", [total]),
            "target_logp": ("float32", [total]),
        }
        try:
            for name in TEXT_ARRAYS:
                np.save(directory / f"{name}.npy", getattr(text, name))
            for name, (dtype, shape) in arrays.items():
                with (directory / f"{name}.npy").open("wb") as stream:
                    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": tuple(shape)}
                    np.lib.format.write_array_header_1_0(stream, header)
        except OSError as error:
            raise _cannot_write(directory, error, 0) from None
        write_whole(directory / TRIMMING_FILE, trimmed.to_bytes())
        write_whole(directory / TOKENIZER_FILE, trimmed.tokenizer_json().encode("utf-8"))
        manifest: dict[str, Any] = {
            "schema": SCHEMA,
            "key": asdict(key),
            "segments": len(text.doc_starts) - 1,
            "ids": len(text.ids),
            "student_vocab": trimmed.student_size,
            "positions": {"done": 0, "total": total},
            "arrays": {name: {"dtype": dtype, "shape": shape} for name, (dtype, shape) in arrays.items()},
            "text_crc32": {
                name: zlib.crc32((directory / f"{name}.npy").read_bytes()) for name in TEXT_ARRAYS
            },
            "chunks": [],
        }
        cache = cls(directory, manifest)
        cache._write_manifest()
        return cache

    @classmethod
    def open(cls, directory: Path, key: CacheKey | None = None, *, verify: bool = True) -> Self:
        """Open a cache, finished or not.

        Args:
            directory: The folder.
            key: What it must belong to; None takes any.
            verify: Compare every stored checksum (reads all of it once).

        Raises:
            TrainingError: There is none, it is damaged or truncated, or it belongs to something else.
        """
        path = directory / MANIFEST_FILE
        if not path.is_file():
            raise TrainingError(
                f"'{directory}' is no teacher cache",
                actual=f"no {MANIFEST_FILE}",
                remedy="run the teacher first",
            )
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            schema = manifest["schema"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _damaged(directory, f"{MANIFEST_FILE}: {type(error).__name__}: {error}") from None
        if schema != SCHEMA:
            raise TrainingError(f"'{directory}' has an unknown schema", actual=schema, limit=SCHEMA)
        cache = cls(directory, manifest)
        try:
            if key is not None:
                cache._check_key(key)
            cache._check_files()
            if verify:
                cache._check_sums()
        except (
            LookupError,
            ValueError,
            TypeError,
            AttributeError,
            ArithmeticError,
            EOFError,
            OSError,
        ) as error:
            raise _damaged(directory, f"{type(error).__name__}: {error}") from None
        return cache

    @property
    def done(self) -> int:
        """Positions that the teacher has answered."""
        return int(self.manifest["positions"]["done"])

    @property
    def total(self) -> int:
        """Positions in all."""
        return int(self.manifest["positions"]["total"])

    @property
    def complete(self) -> bool:
        """Whether every position is answered."""
        return self.done == self.total

    @cached_property
    def text(self) -> CachedText:
        """The text, memory-mapped."""
        return CachedText(*(np.load(self._path(name), mmap_mode="r") for name in TEXT_ARRAYS))

    @cached_property
    def trimmed(self) -> TrimmedVocabulary:
        """The student's vocabulary.

        Raises:
            TrainingError: The map is damaged.
        """
        try:
            return TrimmedVocabulary.from_bytes((self.directory / TRIMMING_FILE).read_bytes())
        except (OSError, TextError) as error:
            raise _damaged(self.directory, str(error)) from None

    def array(self, name: str) -> NDArray[Any]:
        """One array of the teacher's answers, memory-mapped, as far as it is done.

        ``topk_ids``, ``topk_logp`` ``[done, k]``; ``tail_logp``, ``tail_log_sum_tau``, ``teacher_top1``,
        ``native_logp``, ``target_logp`` ``[done]``. Row ``i`` belongs to ``text.positions[i]``.
        """
        entry = self.manifest["arrays"][name]
        shape = (self.done, *entry["shape"][1:])
        if self.done == 0:
            return np.empty(shape, entry["dtype"])
        path = self._path(name)
        return np.memmap(path, entry["dtype"], mode="r", offset=_header_size(path), shape=shape)

    def rows(self) -> NDArray[np.int32]:
        """Row of each place in ``text.ids``, -1 where the teacher has no answer (yet): int32 ``[n]``."""
        table = np.full(len(self.text.ids), -1, np.int32)
        table[self.text.positions[: self.done]] = np.arange(self.done, dtype=np.int32)
        return table

    def append(self, chunk: Mapping[str, NDArray[Any]]) -> None:
        """Add the answers to the next positions.

        Args:
            chunk: Every array, ``[rows, ...]``.

        Raises:
            TrainingError: It holds NaN or infinity.
            OutputError: The disk is full or cannot be written; what was done before is usable.
        """
        self._check_numbers(chunk)
        done, checksum = self.done, 0
        count = len(chunk["tail_logp"])
        try:
            for name, entry in sorted(self.manifest["arrays"].items()):
                content = np.ascontiguousarray(chunk[name], dtype=entry["dtype"]).tobytes()
                checksum = zlib.crc32(content, checksum)
                path = self._path(name)
                row = np.dtype(entry["dtype"]).itemsize * int(np.prod(entry["shape"][1:], dtype=np.int64))
                with path.open("r+b") as stream:
                    stream.seek(_header_size(path) + done * row)
                    stream.write(content)
                    stream.truncate()
                    stream.flush()
                    os.fsync(stream.fileno())
        except OSError as error:
            raise _cannot_write(self.directory, error, done) from None
        self.manifest["positions"]["done"] = done + count
        self.manifest["chunks"].append({"rows": count, "crc32": checksum})
        try:
            self._write_manifest()
        except OutputError:
            self.manifest["positions"]["done"] = done
            self.manifest["chunks"].pop()
            raise

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.npy"

    def _write_manifest(self) -> None:
        content = json.dumps(self.manifest, indent=1, sort_keys=True) + "\n"
        write_whole(self.directory / MANIFEST_FILE, content.encode("utf-8"))

    def _check_key(self, key: CacheKey) -> None:
        stored, asked = self.manifest["key"], asdict(key)
        differing = [name for name, value in asked.items() if stored.get(name) != value]
        if not differing:
            return
        shown = []
        for name in differing:
            a, b = stored.get(name), asked[name]
            short = not isinstance(b, dict) and len(str(b)) < 64
            shown.append(f"{name} ({a}, asked {b})" if short else name)
        raise TrainingError(
            f"the teacher cache '{self.directory}' belongs to another run",
            actual="differing: " + ", ".join(shown),
            remedy="give another cache folder, or delete this one",
        )

    def _check_numbers(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Refuse rows that are not numbers, new ones and those of an older cache.

        Raises:
            TrainingError: There is one.
        """
        broken = [name for name, values in rows.items() if not np.isfinite(values).all()]
        if broken:
            key = self.manifest["key"]
            raise TrainingError(
                f"the teacher '{key['teacher']}' does not answer with numbers in {key['dtype']}",
                actual=f"NaN or infinity in {', '.join(broken)} of '{self.directory}'",
                remedy="delete that cache and run again with --teacher-dtype float32 or bfloat16",
            )

    def _check_files(self) -> None:
        """Sizes of all arrays."""
        chunk_rows = sum(int(chunk["rows"]) for chunk in self.manifest["chunks"])
        if not 0 <= self.done <= self.total or chunk_rows != self.done:
            raise ValueError(f"{self.done} of {self.total} positions done in chunks of {chunk_rows}")
        sizes = {"ids": self.manifest["ids"], "positions": self.total}
        for name, length in sizes.items():
            if len(np.load(self._path(name), mmap_mode="r")) != length:
                raise ValueError(f"{name}.npy does not have {length} entries")
        for name, entry in self.manifest["arrays"].items():
            path = self._path(name)
            row = np.dtype(entry["dtype"]).itemsize * int(np.prod(entry["shape"][1:], dtype=np.int64))
            expected = _header_size(path) + self.done * row
            if path.stat().st_size < expected:
                raise ValueError(f"{name}.npy is truncated: {path.stat().st_size} of {expected} bytes")

    def _check_sums(self) -> None:
        """Checksums of all arrays."""
        for name, expected in self.manifest["text_crc32"].items():
            if zlib.crc32(self._path(name).read_bytes()) != expected:
                raise ValueError(f"{name}.npy was changed")
        arrays = [self.array(name) for name in sorted(self.manifest["arrays"])]
        first = 0
        for number, chunk in enumerate(self.manifest["chunks"]):
            last, checksum = first + int(chunk["rows"]), 0
            for array in arrays:
                checksum = zlib.crc32(array[first:last].tobytes(), checksum)
            self._check_numbers({name: self.array(name)[first:last] for name in self.manifest["arrays"]})
            if checksum != chunk["crc32"]:
                raise ValueError(f"chunk {number} was changed")
            first = last


def _header_size(path: Path) -> int:
    with path.open("rb") as stream:
        np.lib.format.read_magic(stream)
        np.lib.format.read_array_header_1_0(stream)
        return stream.tell()


def _damaged(directory: Path, why: str) -> TrainingError:
    return TrainingError(
        f"the teacher cache '{directory}' is damaged",
        actual=why[:300],
        remedy="delete it and run the teacher again",
    )


def _cannot_write(directory: Path, error: OSError, done: int) -> OutputError:
    return OutputError(
        f"cannot write the teacher cache '{directory}'",
        actual=error.strerror or str(error),
        remedy=f"free space and run again; the {done} positions done are usable as they are",
    )
