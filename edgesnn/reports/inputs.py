"""What a user names as base and head: records, folders of records, baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgesnn.errors import UsageError
from edgesnn.record.files import NO_RUNS, RunData, find_record, read_record, with_arrays
from edgesnn.reports.baseline import Baseline, is_baseline_folder, read_baseline, read_baselines
from edgesnn.reports.comparing.compare import BaseSide, base_sides
from edgesnn.reports.comparing.result import Key
from edgesnn.reports.comparing.summary import SummarisedRun, summarise_run
from edgesnn.reports.history import drifts


def read_sessions(paths: Sequence[Path], known: Mapping[Path, RunData] = NO_RUNS) -> list[SummarisedRun]:
    """Read runs.

    Args:
        paths: Records (``.json``), or folders: every record below them, other JSON files passed over.
        known: Runs that were read before, by resolved path of their records.

    Raises:
        UsageError: A path does not exist, or a folder holds no record.
        RecordError: A record or its arrays are broken, were edited, or are of another version.
    """
    for path in paths:
        if not path.exists():
            raise UsageError(f"there is no file '{path}'", remedy="edgesnn profile BUNDLE -o RUN.json")
    found: dict[Path, SummarisedRun] = {}
    for path in paths:
        files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        for file in files:
            if file not in found and (run := known.get(file.resolve()) or _read(file, path)) is not None:
                found[file] = summarise_run(run, file.name)
        if not any(file in found for file in files):
            raise UsageError(f"there is no run record in '{path}'")
    return list(found.values())


def _read(file: Path, named: Path) -> RunData | None:
    """A run, or None where a file of a folder is none."""
    record = read_record(file) if file == named else find_record(file)
    return None if record is None else with_arrays(record, file)


def read_base(path: Path, known: Mapping[Path, RunData] = NO_RUNS) -> dict[Key, BaseSide]:
    """Read the base of a comparison.

    Args:
        path: A record, a folder of records, a baseline (``.jsonl``) or a folder of baselines.
        known: Runs that were read before, by resolved path of their records.

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
    return base_sides(read_sessions([path], known))


def _side(baseline: Baseline) -> BaseSide:
    sessions = baseline.current() or baseline.sessions[-1:]
    notes = tuple(drift.sentence() for drift in drifts(baseline) if drift.worse)
    return BaseSide(sessions, (baseline.file,), notes)
