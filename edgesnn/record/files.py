"""Making, writing and reading run records: ``RUN.json`` and, beside it, ``RUN.npz``."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from edgesnn import __version__
from edgesnn.errors import OutputError, RecordError
from edgesnn.npz import arrays_from
from edgesnn.record.model import SCHEMA, Arrays, Provenance, RunRecord
from edgesnn.record.provenance import without_paths

AnyArray = npt.NDArray[np.generic]
_MAX_BYTES = 64 * 2**20
#: Most bytes of a run's arrays, packed and unpacked.
_MAX_ARRAY_BYTES = 2**30


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A record and its raw arrays.

    Attributes:
        record: The record.
        arrays: Raw arrays by name.
    """

    record: RunRecord
    arrays: Mapping[str, AnyArray] = field(default_factory=dict)


def make_run(document: Mapping[str, Any], arrays: Mapping[str, AnyArray], provenance: Provenance) -> Run:
    """Make a record from plain data.

    Args:
        document: Everything of the record but schema, versions, times of making, provenance and arrays.
        arrays: Raw arrays by name.
        provenance: Which software made it.

    Returns:
        The run, absolute paths in its texts shortened to their last part.

    Raises:
        RecordError: The data do not fit the schema.
    """
    complete = {
        **document,
        "schema": SCHEMA,
        "edgesnn_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "provenance": provenance.model_dump(mode="json"),
        "arrays": None,
    }
    try:
        return Run(RunRecord.model_validate(without_paths(complete)), dict(arrays))
    except ValidationError as error:
        raise _broken("the run", error) from None


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
            _replace(beside, data)
            digest = hashlib.sha256(data).hexdigest()
            entry = Arrays(file=beside.name, sha256=digest, names=sorted(run.arrays))
            record = record.model_copy(update={"arrays": entry})
        text = json.dumps(record.to_json(), indent=2, allow_nan=False) + "\n"
        _replace(path, text.encode())
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
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise RecordError(f"'{path}' is too large for a run record", actual=size, limit=_MAX_BYTES)
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"cannot read the run record '{path}'", actual=error.strerror) from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"'{path}' is not JSON", actual=str(error)) from None
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if schema != SCHEMA:
        raise RecordError(
            f"'{path}' is no run record of this version", actual=schema, limit=SCHEMA, remedy="profile again"
        )
    try:
        return RunRecord.model_validate_json(json.dumps(raw, allow_nan=True), strict=True)
    except ValidationError as error:
        raise _broken(f"'{path}'", error) from None


def read_run(path: Path) -> Run:
    """Read a record and its arrays.

    Raises:
        RecordError: The record is wrong, or its arrays are missing or were changed.
    """
    record = read_record(path)
    if record.arrays is None:
        return Run(record)
    beside = path.parent / record.arrays.file
    try:
        size = beside.stat().st_size
        if size > _MAX_ARRAY_BYTES:
            raise RecordError(
                f"'{beside.name}' is too large for a run's arrays", actual=size, limit=_MAX_ARRAY_BYTES
            )
        data = beside.read_bytes()
    except OSError as error:
        raise RecordError(
            f"the arrays of run record '{path}' are missing",
            actual=f"{beside.name}: {error.strerror}",
            remedy="keep the .npz beside the .json",
        ) from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != record.arrays.sha256:
        raise RecordError(
            f"'{beside.name}' was changed after the run", actual=digest, limit=record.arrays.sha256
        )
    try:
        arrays = arrays_from(io.BytesIO(data), _MAX_ARRAY_BYTES)
    except ValueError as error:
        raise RecordError(f"'{beside.name}' holds no arrays", actual=str(error)) from None
    if sorted(arrays) != record.arrays.names:
        raise RecordError(
            f"'{beside.name}' holds other arrays than its record says",
            actual=", ".join(sorted(arrays)),
            limit=", ".join(record.arrays.names),
        )
    return Run(record, arrays)


def _broken(what: str, error: ValidationError) -> RecordError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole record"
    return RecordError(f"{what} breaks the schema {SCHEMA} at '{where}'", actual=first["msg"])


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
