"""Every run record below a folder, reduced to what trends show; what cannot be read, with its reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesnn.errors import RecordError
from edgesnn.record.files import NO_RUNS, RunData, find_record
from edgesnn.record.model import RunRecord
from edgesnn.record.quantities import Kind, Quantity, present
from edgesnn.record.steps import FRAMES, TOKENS, StepWords
from edgesnn.reports.comparing.result import Key
from edgesnn.reports.comparing.summary import SummarisedRun, key_of
from edgesnn.reports.html.charts.trend import TrendPoint

#: Quantities that a series shows over its runs.
TRENDS = (
    "latency.p95",
    "latency.p50",
    "first_token.p95",
    "frame.p95",
    "frame.p50",
    "decision.p95",
    "power.mean",
    "duty.power",
    "cascade.power",
    "energy.per_token",
    "energy.per_frame",
    "energy_estimate.with_memory",
    "memory.peak",
    "size.model",
    "accuracy.bits_per_byte",
    "accuracy.retention",
    "accuracy.decisions",
    "accuracy.points_below_float",
    "activity.spike_rate",
    "activity.synaptic_operations",
    "parity.mismatches",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One run of a folder.

    Attributes:
        path: Its record.
        key: What it may be compared with.
        created: When it was made, ISO 8601.
        commit: Git commit, or None.
        verdict: Its verdict.
        device: What executed.
        simulated: Whether device or meter are simulated.
        quantities: Those of `TRENDS` that it has, by name.
        limits: Limits of its profile by budget.
        arrays_file: Name of the file of its raw arrays, or None.
    """

    path: Path
    key: Key
    created: str
    commit: str | None
    verdict: str
    device: str
    simulated: bool
    quantities: dict[str, Quantity]
    limits: dict[str, float]
    arrays_file: str | None

    @property
    def words(self) -> StepWords:
        """What a step of this run is called."""
        return FRAMES if any(name.startswith("frame.") for name in self.quantities) else TOKENS

    @property
    def label(self) -> str:
        """Short commit, or the file's name."""
        return self.commit[:10] if self.commit else self.path.stem

    def point(self, name: str) -> TrendPoint | None:
        """One quantity as a point of a trend, or None where it is absent."""
        found = self.quantities.get(name)
        if found is None or found.value is None:
            return None
        return TrendPoint(self.created, self.label, found.value, found.lower, found.upper, self.verdict)


@dataclass(frozen=True, slots=True)
class SkippedRecord:
    """A record that was not taken.

    Attributes:
        path: The file.
        reason: Why.
    """

    path: Path
    reason: str


def read_folder(
    folder: Path,
    *,
    without: Path | None = None,
    known: Mapping[Path, RunData] = NO_RUNS,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[list[Row], list[SkippedRecord]]:
    """Read every run record below a folder, oldest first.

    Files that do not say that they are run records are passed over in silence; run records that break the
    schema or are of another major version are told with the reason.

    Args:
        folder: The folder.
        without: A folder below it that is not entered.
        known: Runs that were read before, by resolved path of their records.
        on_progress: Called with the number of files that were looked at.

    Raises:
        RecordError: There is no such folder.
    """
    if not folder.is_dir():
        raise RecordError(f"there is no folder '{folder}'")
    rows: list[Row] = []
    skipped: list[SkippedRecord] = []
    for count, path in enumerate(_json_files(folder, without), 1):
        if on_progress is not None:
            on_progress(count)
        run = known.get(path.resolve()) if known else None
        try:
            record = find_record(path) if run is None else run.record
        except RecordError as error:
            skipped.append(SkippedRecord(path, error.sentence()))
            continue
        if record is not None:
            rows.append(row_of(path, record))
    rows.sort(key=lambda row: (row.created, str(row.path)))
    return rows, skipped


def _json_files(folder: Path, without: Path | None) -> Iterator[Path]:
    passed = None if without is None else without.resolve()
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (Path(root) / name).resolve() != passed
        )
        for name in sorted(files):
            if name.endswith(".json"):
                yield Path(root) / name


def rows_of_sessions(sessions: Sequence[SummarisedRun]) -> list[Row]:
    """Sessions of a baseline as rows; their quantities have no intervals there."""
    return [
        Row(
            Path(one.source),
            one.key,
            one.created,
            one.commit,
            one.verdict,
            one.identity.get("device", ""),
            one.simulated,
            {
                name: present(found.value, found.unit, "kept by the baseline", Kind(found.kind))
                for name, found in one.quantities.items()
                if name in TRENDS and found.value is not None
            },
            {budget.name: budget.limit for budget in one.budgets},
            None,
        )
        for one in sessions
    ]


def row_of(path: Path, record: RunRecord) -> Row:
    """A record as a row."""
    device, quantities = record.device, record.quantities
    return Row(
        path,
        key_of(record),
        record.created,
        record.provenance.git_commit,
        record.verdict.verdict,
        device.device,
        device.simulated or any(found.kind is Kind.SIMULATED for found in quantities.values()),
        {name: found for name, found in quantities.items() if name in TRENDS and found.value is not None},
        {budget.name: budget.limit for budget in record.budgets if budget.limit is not None},
        None if record.arrays is None else record.arrays.file,
    )
