"""Making, writing and reading run records: ``RUN.json`` and, beside it, ``RUN.npz``."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from edgesnn.errors import OutputError, RecordError
from edgesnn.record.base import SCHEMA, refuse_misfits
from edgesnn.record.model import Arrays, RunRecord
from edgesnn.record.provenance import without_paths
from edgesnn.whole_files import replace_file

AnyArray = npt.NDArray[np.generic]
_MAX_BYTES = 64 * 2**20
#: What every record holds, of whatever version; a JSON writer may escape the slash.
_MARK = b'"edgesnn.run'
_OPENING_BYTES = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A record and its raw arrays.

    Attributes:
        record: The record.
        arrays: Raw arrays by name.
        arrays_error: Why arrays that the record names are not there; None when they are, or it names none.
    """

    record: RunRecord
    arrays: Mapping[str, AnyArray] = field(default_factory=dict)
    arrays_error: RecordError | None = None

    def whole(self) -> Run:
        """This run.

        Raises:
            RecordError: Its arrays are missing or were changed.
        """
        if self.arrays_error is not None:
            raise self.arrays_error
        return self


#: Runs that were read before, by resolved path of their records: none.
NO_RUNS: Mapping[Path, Run] = {}


def make_run(record: RunRecord, arrays: Mapping[str, AnyArray]) -> Run:
    """Join a record and its raw arrays.

    Args:
        record: The record.
        arrays: Raw arrays by name.

    Returns:
        The run, not written yet: absolute paths in its texts shortened to their last part.
    """
    return Run(RunRecord.model_validate(without_paths(record.to_json())), dict(arrays))


def write_run(run: Run, path: Path) -> Run:
    """Write ``RUN.json`` and ``RUN.npz`` beside it, each whole or not at all.

    Args:
        run: The run.
        path: Where the record goes; folders are made.

    Returns:
        The run as it stands on disk: its record names the arrays' file and hash.

    Raises:
        OutputError: The path cannot be written.
    """
    check_output(path)
    record = run.record
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if run.arrays:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, allow_pickle=False, **dict(run.arrays))
            data = buffer.getvalue()
            beside = path.with_suffix(".npz")
            replace_file(beside, data)
            digest = hashlib.sha256(data).hexdigest()
            entry = Arrays(file=beside.name, sha256=digest, names=sorted(run.arrays))
            record = record.model_copy(update={"arrays": entry})
        text = json.dumps(record.to_json(), indent=2, allow_nan=False) + "\n"
        replace_file(path, text.encode())
    except OSError as error:
        raise OutputError(
            f"the run record cannot be written to '{path}'",
            actual=error.strerror or str(error),
            remedy="choose another path with --output",
        ) from None
    return Run(record, run.arrays)


def check_output(path: Path) -> None:
    """Refuse a path before anything was measured for it.

    Raises:
        OutputError: It is no ``.json`` path, or a folder.
    """
    if path.suffix != ".json":
        raise OutputError(f"a run record is a .json file, not '{path.name}'", remedy=f"use {path.stem}.json")
    if path.is_dir():
        raise OutputError(f"'{path}' is a folder", remedy="name a file in it with --output")


def read_record(path: Path) -> RunRecord:
    """Read a record, strictly.

    Raises:
        RecordError: There is no such file, it is no run record, or breaks the schema.
    """
    return _validated(path, _content(path, "the run record "))


def find_record(path: Path) -> RunRecord | None:
    """Read a file that may be a run record: the one place that tells records from other files.

    Returns:
        The record, or None where the file does not say that it is one, of whatever version.

    Raises:
        RecordError: It cannot be read, or it is a run record that is broken or of another version.
    """
    data = _content(path)
    if _MARK not in data:
        return None
    try:
        return _validated(path, data)
    except RecordError:
        if _says_record(data):
            raise
        return None


def _content(path: Path, what: str = "") -> bytes:
    """A file, or of one that is too large for a record no more than tells that."""
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_BYTES + 1 if path.stat().st_size > _MAX_BYTES else -1)
    except OSError as error:
        raise RecordError(f"cannot read {what}'{path}'", actual=error.strerror) from None


def _validated(path: Path, data: bytes) -> RunRecord:
    if len(data) > _MAX_BYTES:
        raise RecordError(
            f"'{path}' is too large for a run record", actual=path.stat().st_size, limit=_MAX_BYTES
        )
    with suppress(ValidationError):
        return RunRecord.model_validate_json(data, strict=True)
    try:  # read once more only to say what is wrong: a site reads ten thousand records
        raw = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise RecordError(f"'{path}' is not JSON", actual=str(error)) from None
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if schema != SCHEMA:
        raise RecordError(
            f"'{path}' is no run record of this version", actual=schema, limit=SCHEMA, remedy="profile again"
        )
    with refuse_misfits(f"'{path}'"):
        return RunRecord.model_validate_json(data, strict=True)


def _says_record(data: bytes) -> bool:
    """Whether the document's own schema is a run record's; of what is cut or broken, whether it begins so."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        return _MARK in data[:_OPENING_BYTES]
    return isinstance(raw, dict) and str(raw.get("schema", "")).startswith("edgesnn.run/")


def read_run(path: Path) -> Run:
    """Read a record and its arrays.

    Raises:
        RecordError: The record is wrong, or its arrays are missing or were changed.
    """
    return with_arrays(read_record(path), path).whole()


def with_arrays(record: RunRecord, path: Path) -> Run:
    """Read the arrays of a record.

    Args:
        record: The record.
        path: Its file; the arrays stand beside it.

    Returns:
        The run; arrays that are missing or were changed are left out, with the error.
    """
    try:
        return Run(record, {} if record.arrays is None else _read_arrays(record.arrays, path))
    except RecordError as error:
        return Run(record, arrays_error=error)


def _read_arrays(entry: Arrays, path: Path) -> dict[str, AnyArray]:
    beside = path.parent / entry.file
    try:
        data = beside.read_bytes()
    except OSError as error:
        raise RecordError(
            f"the arrays of run record '{path}' are missing",
            actual=f"{beside.name}: {error.strerror}",
            remedy="keep the .npz beside the .json",
        ) from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry.sha256:
        raise RecordError(f"'{beside.name}' was changed after the run", actual=digest, limit=entry.sha256)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise RecordError(f"'{beside.name}' holds no arrays", actual=str(error)) from None
    if sorted(arrays) != entry.names:
        raise RecordError(
            f"'{beside.name}' holds other arrays than its record says",
            actual=", ".join(sorted(arrays)),
            limit=", ".join(entry.names),
        )
    return arrays
