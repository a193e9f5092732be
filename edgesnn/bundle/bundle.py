"""Reading a bundle: nothing is trusted before its hash matched.

Refused: unknown schema versions, paths that leave the folder or pass through a link, files that are
missing, longer, shorter or other than the manifest says, and a program whose hash differs.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from edgesnn.bundle.manifest import SCHEMA, Manifest
from edgesnn.errors import BundleError
from edgesnn.npz import arrays_from
from edgesnn.program.program import Program
from edgesnn.program.snn_format import read_program
from edgesnn.v1_rule import refuse_v1, why_no_program

MANIFEST_NAME = "manifest.json"
PROGRAM_NAME = "program.snn"
TOKENIZER_NAME = "tokenizer.json"
EVAL_NAME = "eval.npz"
_MANIFEST_MAX_BYTES = 64 * 2**20
_EVAL_MAX_BYTES = 2**30
_CHUNK = 1 << 20
_LOGP = "teacher_native_logp"


@dataclass(frozen=True, slots=True, eq=False)
class EvalSlice:
    """Held-out text as token ids.

    Attributes:
        ids: int32 ``[tokens]``, documents one after another.
        doc_starts: int64 ``[documents + 1]``.
        doc_bytes: UTF-8 bytes of the scored text of each document, int64 ``[documents]``.
        positions: Places in ``ids`` where a native token of the teacher starts, ascending, never a document's
            first: int64 ``[p]``. Retention looks at these only; None without a teacher.
        teacher_top1: The teacher's best token at these places, int32 ``[p]``, or None.
        teacher_native_logp: Log-probability, in nats, that the teacher gave to the native token that starts
            there, float32 ``[p]``, or None.
    """

    ids: npt.NDArray[np.int32]
    doc_starts: npt.NDArray[np.int64]
    doc_bytes: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64] | None = None
    teacher_top1: npt.NDArray[np.int32] | None = None
    teacher_native_logp: npt.NDArray[np.float32] | None = None

    def first(self, tokens: int) -> EvalSlice:
        """The first documents, as many as hold at least this many tokens; all when there are fewer."""
        count = int(np.searchsorted(self.doc_starts, tokens, side="left"))
        count = min(max(count, 1), len(self.doc_bytes))
        end = int(self.doc_starts[count])
        part = EvalSlice(self.ids[:end], self.doc_starts[: count + 1], self.doc_bytes[:count])
        if self.positions is None or self.teacher_top1 is None:
            return part
        answers = int(np.searchsorted(self.positions, end))
        logp = self.teacher_native_logp
        return replace(
            part,
            positions=self.positions[:answers],
            teacher_top1=self.teacher_top1[:answers],
            teacher_native_logp=None if logp is None else logp[:answers],
        )

    def documents(self) -> list[npt.NDArray[np.int32]]:
        """The documents, each int32 ``[length]``."""
        return [self.ids[a:b] for a, b in zip(self.doc_starts[:-1], self.doc_starts[1:], strict=True)]


class Bundle:
    """One verified bundle: the integer program, the files of each format, tokenizer and held-out text.

    Args:
        path: The folder.

    Raises:
        BundleError: The folder is not a bundle or breaks one of its promises.
        ProgramFormatError: ``program.snn`` breaks its format.

    Attributes:
        path: The folder.
        manifest: Its manifest.

    Examples:
        >>> bundle = edgesnn.Bundle("bundle")
        >>> bundle.program().vocab_size
        4096
        >>> bundle.export_file("onnx", "step").name
        'student.step.onnx'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.manifest = _read_manifest(self.path)
        for name, entry in self.manifest.files.items():
            _verify(self.file(name), name, entry.sha256, entry.bytes)
        self._program: Program | None = None

    def __repr__(self) -> str:
        manifest = self.manifest
        size = sum(entry.bytes for entry in manifest.files.values()) / 1e6
        return (
            f"<Bundle '{self.name}' in {self.path}: program {manifest.program_hash[:12]}, "
            f"{size:.1f} MB in {len(manifest.files)} files, formats {', '.join(sorted(manifest.exports))}>"
        )

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.manifest.name

    def file(self, name: str) -> Path:
        """Path of a file that the manifest lists.

        Raises:
            BundleError: The manifest does not list it, or it is not a plain file inside the folder.
        """
        if name not in self.manifest.files:
            if name == TOKENIZER_NAME and self.reads_frames:
                self.program().require_text("this command")
            raise BundleError(
                f"bundle '{self.path}' has no file '{name}'",
                remedy="export the student again with --tokenizer FILE"
                if name == TOKENIZER_NAME
                else "export the bundle again with the format that makes it",
            )
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\\" in name or ":" in name:
            raise BundleError(f"manifest names a path outside the bundle: '{name}'")
        if not name.isprintable():
            raise BundleError("manifest names a file that no system can hold", actual=ascii(name))
        path = self.path / name
        if path.resolve() != self.path.resolve() / name:
            raise BundleError(f"file '{name}' of bundle '{self.path}' is a link")
        return path

    @property
    def without_program(self) -> str | None:
        """Why there is no integer program in this bundle, or None where there is one."""
        return why_no_program(self.manifest.student)

    @property
    def vocab_size(self) -> int:
        """Token ids of the student.

        Raises:
            BundleError: Neither program nor manifest says.
        """
        return self.program().vocab_size if self.without_program is None else self._fact("vocab_size")

    @property
    def context_window(self) -> int:
        """Tokens that one token sees at most; without a program, those of the longest training sequence.

        Raises:
            BundleError: Neither program nor manifest says.
        """
        return self.program().context_window if self.without_program is None else self._fact("max_length")

    def _fact(self, name: str) -> int:
        value = self.manifest.student.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise BundleError(
                f"'student.{name}' in the manifest of '{self.path}' is unusable",
                actual=repr(value),
                limit="a positive integer",
                remedy="export the student again",
            )
        return value

    def has_export(self, export: str) -> bool:
        """Whether a format was exported into this bundle."""
        return export in self.manifest.exports

    def export_file(self, export: str, role: str) -> Path:
        """Path of one exported file.

        Raises:
            BundleError: The bundle was exported without it.
        """
        entry = self.manifest.exports.get(export)
        if entry is None or role not in entry.files:
            raise BundleError(
                f"bundle '{self.path}' holds no {role} form of format '{export}'",
                actual=", ".join(sorted(self.manifest.exports)) or "no exports",
                remedy=f"edgesnn export ARTIFACT -o BUNDLE --format {export}",
            )
        return self.file(entry.files[role])

    def size_of(self, names: tuple[str, ...]) -> int:
        """Size in bytes of some of the bundle's files."""
        return sum(self.manifest.files[name].bytes for name in names)

    def program(self) -> Program:
        """The integer program, read once.

        Raises:
            ProgramFormatError: The file breaks its format.
            BundleError: Its hash is not the manifest's.
            CompileError: The student has none; the operations in the way are named.
        """
        refuse_v1(self.manifest.student, self.name)
        if self._program is None:
            stored = read_program(self.file(PROGRAM_NAME))
            if stored.hash != self.manifest.program_hash:
                raise BundleError(
                    f"{PROGRAM_NAME} of bundle '{self.path}' is another program than the manifest's",
                    actual=stored.hash,
                    limit=self.manifest.program_hash,
                )
            self._program = stored.program
        return self._program

    @property
    def reads_frames(self) -> bool:
        """Whether the program reads frames, not text."""
        return self.without_program is None and self.program().frames is not None

    def eval_slice(self) -> EvalSlice | None:
        """Held-out text for accuracy, or None when the student brought none.

        Raises:
            BundleError: The arrays do not fit together.
        """
        if EVAL_NAME not in self.manifest.files:
            return None
        return read_eval_slice(self.file(EVAL_NAME), self.vocab_size)


def read_eval_slice(path: Path, vocab_size: int) -> EvalSlice:
    """Read and check an ``eval.npz``.

    Args:
        path: The file.
        vocab_size: Token ids must lie below it.

    Returns:
        The evaluation slice.

    Raises:
        BundleError: The file is no such archive, or its arrays do not fit together.
    """
    names = ("ids", "doc_starts", "doc_bytes", "positions", "teacher_top1", _LOGP)
    arrays = _read_arrays(path, names)
    missing = [name for name in ("ids", "doc_starts", "doc_bytes") if name not in arrays]
    if missing:
        raise BundleError(f"'{path}' is not an evaluation slice: it lacks {', '.join(missing)}")
    for name, array in arrays.items():
        if array.dtype.kind not in ("f" if name == _LOGP else "bui"):
            numbers = "floating-point numbers" if name == _LOGP else "integers"
            raise BundleError(f"'{name}' of '{path}' holds no {numbers}", actual=array.dtype)
    ids, starts, sizes = arrays["ids"], arrays["doc_starts"], arrays["doc_bytes"]
    consistent = (
        ids.ndim == starts.ndim == sizes.ndim == 1
        and len(starts) == len(sizes) + 1
        and len(starts) > 1
        and starts[0] == 0
        and starts[-1] == len(ids)
        and bool((starts[1:] > starts[:-1]).all())
        and len(ids) > len(sizes)
        and bool((sizes >= 0).all())
        and bool(sizes.any())
    )
    if not consistent:
        raise BundleError(
            f"arrays of '{path}' do not fit together", remedy="train or export the student again"
        )
    if int(ids.min()) < 0 or int(ids.max()) >= vocab_size:
        raise BundleError(
            f"'{path}' holds token ids outside the vocabulary",
            actual=f"{int(ids.min())}..{int(ids.max())}",
            limit=f"0..{vocab_size - 1}",
        )
    scored = EvalSlice(ids.astype(np.int32), starts.astype(np.int64), sizes.astype(np.int64))
    places, best = arrays.get("positions"), arrays.get("teacher_top1")
    if places is None or best is None:
        return scored
    _check_answers(path, places, best, scored)
    logp = arrays.get(_LOGP)
    if logp is not None and (logp.shape != best.shape or not (np.isfinite(logp) & (logp < 1e-3)).all()):
        raise BundleError(
            f"'{_LOGP}' of '{path}' holds no log-probabilities of the teacher's answers",
            actual=f"shape {logp.shape}, largest {logp.max(initial=-np.inf)}",
            limit=f"shape {best.shape}, finite, at most 0 but for rounding",
            remedy="train the student again",
        )
    return replace(
        scored,
        positions=places.astype(np.int64),
        teacher_top1=best.astype(np.int32),
        teacher_native_logp=None if logp is None else logp.astype(np.float32),
    )


def _check_answers(
    path: Path, places: npt.NDArray[np.integer], best: npt.NDArray[np.integer], scored: EvalSlice
) -> None:
    """Refuse teacher's answers that do not fit the text.

    Raises:
        BundleError: They do not.
    """
    fitting = (
        places.ndim == 1
        and places.shape == best.shape
        and len(places) > 0
        and int(places[0]) >= 0
        and int(places[-1]) < len(scored.ids)
        and bool((np.diff(places.astype(np.int64)) > 0).all())
        and not np.isin(places, scored.doc_starts[:-1]).any()
    )
    if not fitting:
        raise BundleError(
            f"the teacher's answers in '{path}' do not fit its text",
            actual=f"{best.shape} answers at {places.shape} places",
            limit=f"ascending places below {len(scored.ids)}, none a document's first",
            remedy="train the student again",
        )


def _read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    """Some arrays of an npz archive, those that it has; pickles are refused, not run."""
    try:
        with path.open("rb") as stream:
            return arrays_from(stream, _EVAL_MAX_BYTES, names)
    except (ValueError, OSError) as error:
        raise BundleError(f"'{path}' is not an evaluation slice: {error}") from None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_NAME
    if not folder.is_dir():
        raise BundleError(f"bundle '{folder}' does not exist", remedy="edgesnn export ARTIFACT -o BUNDLE")
    if not path.is_file():
        raise BundleError(
            f"'{folder}' is not a bundle: it has no {MANIFEST_NAME}",
            remedy="edgesnn export ARTIFACT -o BUNDLE",
        )
    try:
        if path.stat().st_size > _MANIFEST_MAX_BYTES:
            raise BundleError(
                f"'{path}' is too large for a manifest", actual=path.stat().st_size, limit=_MANIFEST_MAX_BYTES
            )
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise BundleError(f"'{path}' is not JSON: {error}") from None
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if schema != SCHEMA:
        raise BundleError(
            f"'{path}' has an unknown schema",
            actual=schema,
            limit=SCHEMA,
            remedy="use a matching edgesnn version",
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"'{path}' breaks its schema at '{where}': {first['msg']}") from None


def _verify(path: Path, name: str, sha256: str, size: int) -> None:
    try:
        if not path.is_file():
            raise BundleError(f"file '{name}' of the bundle is missing", actual=path)
        actual_size = path.stat().st_size
        if actual_size != size:
            raise BundleError(
                f"file '{name}' has another size than the manifest says", actual=actual_size, limit=size
            )
        actual = file_sha256(path)
    except OSError as error:
        raise BundleError(f"file '{name}' of the bundle cannot be read: {error.strerror or error}") from None
    if actual != sha256:
        raise BundleError(
            f"file '{name}' was changed after the export", actual=actual, limit=sha256, remedy="export again"
        )
