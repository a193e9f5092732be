"""Every run record below a folder, reduced to what trends show; what cannot be read, with its reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesnn.errors import RecordError
from edgesnn.record.files import read_record
from edgesnn.record.model import RunRecord
from edgesnn.record.quantities import Quantity
from edgesnn.reports.comparison import Key
from edgesnn.reports.html.trend import TrendPoint
from edgesnn.reports.summary import Shown, SummarisedRun, key_of

#: What a series shows over its runs: quantity, title, and the budget that limits it.
TRENDS = (
    ("latency.p95", "Generated token, p95", "latency_ms_p95"),
    ("latency.p50", "Generated token, median", None),
    ("first_token.p95", "First token, p95", "first_token_ms_p95"),
    ("power.mean", "Mean power", "power_mw"),
    ("energy.per_token", "Energy per token", None),
    ("energy_estimate.with_memory", "Energy per token from counts", None),
    ("memory.peak", "Peak memory", "memory_mb"),
    ("size.model", "Model files", "size_mb"),
    ("accuracy.bits_per_byte", "Bits per byte", "bits_per_byte"),
    ("accuracy.retention", "Retention", "retention"),
    ("activity.spike_rate", "Spike rate", "spike_rate"),
    ("activity.synaptic_operations", "Synaptic operations", "synaptic_operations"),
    ("parity.mismatches", "Mismatching logits", "parity_mismatches"),
)
_SCHEMA = b'"edgesnn.run/'
_OPENING = 4096
_QUICK_BYTES = 2**20


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
    folder: Path, *, without: Path | None = None, on_progress: Callable[[int], None] | None = None
) -> tuple[list[Row], list[SkippedRecord]]:
    """Read every run record below a folder, oldest first.

    Files that are no run record (no ``edgesnn.run`` near their beginning) are passed over in silence; run
    records that break the schema or are of another major version are told with the reason.

    Args:
        folder: The folder.
        without: A folder below it that is not entered.
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
        try:
            with path.open("rb") as stream:
                if _SCHEMA not in stream.read(_OPENING):
                    continue
            rows.append(row_of(path))
        except RecordError as error:
            skipped.append(SkippedRecord(path, error.sentence()))
        except OSError as error:
            skipped.append(SkippedRecord(path, error.strerror or str(error)))
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


def _read(path: Path) -> RunRecord:
    """A record, parsed once: a folder of ten thousand is why. What is wrong is said by the careful reader."""
    try:
        if path.stat().st_size < _QUICK_BYTES:
            return RunRecord.model_validate_json(path.read_bytes(), strict=True)
    except (OSError, ValueError):
        pass
    return read_record(path)


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
            {name: _quantity(one.quantities[name]) for name, _, _ in TRENDS if name in one.quantities},
            {budget.name: budget.limit for budget in one.budgets},
            None,
        )
        for one in sessions
    ]


def _quantity(shown: Shown) -> Quantity:
    return Quantity.model_construct(
        value=shown.value, unit=shown.unit, kind=shown.kind, reason=shown.reason, lower=None, upper=None
    )


def row_of(path: Path) -> Row:
    """Read one record as a row.

    Raises:
        RecordError: It cannot be read.
    """
    record = _read(path)
    names = {name for name, _, _ in TRENDS}
    power: Any = getattr(record, "power", None)
    profile = record.profile
    device = record.device
    return Row(
        path,
        key_of(
            {
                "profile": profile,
                "model": {"name": record.model.name},
                "target": record.target,
                "device": {"engine": device.engine},
                "power": None if power is None else power.model_dump(mode="json"),
            }
        ),
        record.created,
        record.provenance.git_commit,
        record.verdict.verdict,
        device.device,
        device.simulated or any(q.kind == "SIMULATED" for q in record.quantities.values()),
        {name: q for name, q in record.quantities.items() if name in names and q.value is not None},
        {budget.name: budget.limit for budget in record.budgets if budget.limit is not None},
        None if record.arrays is None else record.arrays.file,
    )
