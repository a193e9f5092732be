"""Comparing runs, and keeping baselines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from edgesnn.record.files import RunData
from edgesnn.reports.baseline import append_sessions, refuse_unfit, start_level
from edgesnn.reports.comparing import compare
from edgesnn.reports.comparing.result import Key, RunComparison
from edgesnn.reports.comparing.summary import SummarisedRun, summarise_run
from edgesnn.reports.comparing.thresholds import parse_thresholds
from edgesnn.reports.inputs import read_base, read_sessions


def compare_runs(
    base: RunData | str | os.PathLike[str],
    heads: RunData | str | os.PathLike[str] | Sequence[RunData | str | os.PathLike[str]],
    *,
    thresholds: Sequence[str] = (),
    strict: bool = False,
    counts_only: bool = False,
) -> RunComparison:
    """Compare runs with a base.

    Args:
        base: A run, its record, a folder of records, a baseline file or a folder of baselines.
        heads: Runs, their records or folders of records, or one of them.
        thresholds: As a user types them, for example ``times=3%``.
        strict: Whether what is inconclusive, or has no counterpart, fails.
        counts_only: Whether times, energies and memory are information only.

    Returns:
        The comparison; its ``exit_code`` is 0, 3 or 6.

    Raises:
        UserError: A file is broken, was edited, or is of another version.
        UsageError: A path does not exist, or a threshold names nothing.

    Examples:
        >>> run = edgesnn.read_run("run.json")
        >>> edgesnn.compare_runs("run.json", run, thresholds=["times=3%"]).verdict.value
        'NO CHANGE'
    """
    sides = compare.base_sides(_sessions(base)) if isinstance(base, RunData) else read_base(Path(base))
    sessions = _sessions(heads)
    every = [*sessions, *(one for side in sides.values() for one in side.sessions)]
    known = {name for one in every for name in (*one.quantities, *one.series, *one.counts)}
    limits = parse_thresholds(thresholds, known)
    return compare.compare_runs(sides, sessions, thresholds=limits, strict=strict, counts_only=counts_only)


def update_baselines(
    folder: str | os.PathLike[str],
    runs: RunData | str | os.PathLike[str] | Sequence[RunData | str | os.PathLike[str]],
    *,
    new_level: str | None = None,
    force: bool = False,
) -> tuple[list[Path], int, list[Key]]:
    """Add runs to the baselines of a folder.

    Args:
        folder: Folder of the baselines; it is made.
        runs: Runs, their records or folders of records, or one of them.
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
        >>> files, known, keys = edgesnn.update_baselines("baselines", "run.json")
        >>> len(files), known
        (1, 0)
    """
    folder, sessions = Path(folder), _sessions(runs)
    refuse_unfit(sessions, force=force)
    keys = list(dict.fromkeys(session.key for session in sessions))
    if new_level is not None:
        start_level(folder, keys, datetime.now(UTC).isoformat(timespec="seconds"), new_level)
    grown, known = append_sessions(folder, sessions)
    return grown, known, keys


def _sessions(
    given: RunData | str | os.PathLike[str] | Sequence[RunData | str | os.PathLike[str]],
) -> list[SummarisedRun]:
    """Runs as comparisons see them, those that were named by a path read."""
    several = [given] if isinstance(given, RunData | str | os.PathLike) else given
    held = [summarise_run(one, one.record.model.name) for one in several if isinstance(one, RunData)]
    named = [Path(one) for one in several if not isinstance(one, RunData)]
    return [*held, *(read_sessions(named) if named else [])]
