"""Comparing runs, and keeping baselines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from edgesnn.reports.baseline import append_sessions, refuse_unfit, start_level
from edgesnn.reports.compare import compare_runs
from edgesnn.reports.comparison import Key, RunComparison
from edgesnn.reports.inputs import read_base, read_sessions
from edgesnn.reports.thresholds import parse_thresholds


def compare_paths(
    base: str | os.PathLike[str],
    heads: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    thresholds: Sequence[str] = (),
    strict: bool = False,
    counts_only: bool = False,
) -> RunComparison:
    """Compare runs with a base.

    Args:
        base: A record, a folder of records, a baseline file or a folder of baselines.
        heads: Records or folders of records, or one of them.
        thresholds: As a user types them, for example ``times=3%``.
        strict: Whether what is inconclusive, or has no counterpart, fails.
        counts_only: Whether times, energies and memory are information only.

    Returns:
        The comparison; its ``exit_code`` is 0, 3 or 6.

    Raises:
        UserError: A file is broken, was edited, or is of another version.
        UsageError: A path does not exist, or a threshold names nothing.

    Examples:
        >>> edgesnn.compare_paths("run.json", ["run.json"], thresholds=["times=3%"]).verdict.value
        'NO CHANGE'
    """
    sides, sessions = read_base(Path(base)), read_sessions(_paths(heads))
    every = [*sessions, *(one for side in sides.values() for one in side.sessions)]
    known = {name for one in every for name in (*one.quantities, *one.series, *one.counts)}
    limits = parse_thresholds(thresholds, known)
    return compare_runs(sides, sessions, thresholds=limits, strict=strict, counts_only=counts_only)


def update_baselines(
    folder: str | os.PathLike[str],
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    new_level: str | None = None,
    force: bool = False,
) -> tuple[list[Path], int, list[Key]]:
    """Add runs to the baselines of a folder.

    Args:
        folder: Folder of the baselines; it is made.
        runs: Records or folders of records, or one of them.
        new_level: Why times and energies changed on purpose: earlier sessions stay in the history and are no
            base any more.
        force: Whether runs that failed a required budget are taken.

    Returns:
        Files that grew, how many runs were there already, and the keys of all runs.

    Raises:
        UserError: A run cannot be a baseline, or a file is broken.
        UsageError: A path does not exist.
        OutputError: The folder cannot be written.

    Examples:
        >>> files, known, keys = edgesnn.update_baselines("baselines", ["run.json"])
        >>> len(files), known
        (1, 0)
    """
    folder, sessions = Path(folder), read_sessions(_paths(runs))
    refuse_unfit(sessions, force=force)
    keys = list(dict.fromkeys(session.key for session in sessions))
    if new_level is not None:
        start_level(folder, keys, datetime.now(UTC).isoformat(timespec="seconds"), new_level)
    grown, known = append_sessions(folder, sessions)
    return grown, known, keys


def _paths(given: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    return [Path(given)] if isinstance(given, str | os.PathLike) else [Path(one) for one in given]
