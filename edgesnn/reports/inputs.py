"""What a user names as base and head: records, folders of records, baselines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgesnn.errors import RecordError, UsageError
from edgesnn.record.files import read_run
from edgesnn.reports.baseline import Baseline, is_baseline_folder, read_baseline, read_baselines
from edgesnn.reports.compare import BaseSide, base_sides
from edgesnn.reports.comparison import Key
from edgesnn.reports.history import drifts
from edgesnn.reports.summary import SummarisedRun, summarise_run

_SCHEMA = "edgesnn.run/"
_HEAD_BYTES = 4096


def read_sessions(paths: Sequence[Path]) -> list[SummarisedRun]:
    """Read runs.

    Args:
        paths: Records (``.json``), or folders: every record below them, other JSON files passed over.

    Raises:
        UsageError: A path does not exist, or a folder holds no record.
        RecordError: A record or its arrays are broken, were edited, or are of another version.
    """
    found = []
    for path in paths:
        if path.is_dir():
            records = [file for file in sorted(path.rglob("*.json")) if _is_record(file)]
            if not records:
                raise UsageError(f"there is no run record in '{path}'")
            found += records
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"there is no file '{path}'", remedy="edgesnn profile BUNDLE -o RUN.json")
    return [summarise_run(read_run(path), path.name) for path in dict.fromkeys(found)]


def read_base(path: Path) -> dict[Key, BaseSide]:
    """Read the base of a comparison.

    Args:
        path: A record, a folder of records, a baseline (``.jsonl``) or a folder of baselines.

    Raises:
        UsageError: It does not exist or holds nothing.
        RecordError: Something in it is broken, was edited, or is of another version.
    """
    if is_baseline_folder(path):
        return {key: _side(baseline) for key, baseline in read_baselines(path).items() if baseline.sessions}
    if path.suffix == ".jsonl" and path.is_file():
        baseline = read_baseline(path)
        return {baseline.key: _side(baseline)} if baseline.sessions else {}
    if (path.is_dir() and not any(path.rglob("*.json"))) or not (path.exists() or path.suffix):
        raise UsageError(
            f"'{path}' holds no baseline yet", remedy=f"edgesnn baseline update RUN.json --baselines {path}"
        )
    return base_sides(read_sessions([path]))


def _side(baseline: Baseline) -> BaseSide:
    sessions = baseline.current() or baseline.sessions[-1:]
    notes = tuple(drift.sentence() for drift in drifts(baseline) if drift.worse)
    return BaseSide(sessions, (baseline.file,), notes)


def _is_record(path: Path) -> bool:
    """Whether a JSON file says that it is a run record, of whatever version."""
    try:
        with path.open(encoding="utf-8") as stream:
            if _SCHEMA in stream.read(_HEAD_BYTES):
                return True
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, OSError):
            raise RecordError(f"cannot read '{path}'", actual=error.strerror) from None
        return False
    return isinstance(raw, dict) and str(raw.get("schema", "")).startswith(_SCHEMA)
