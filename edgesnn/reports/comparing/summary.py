"""A run record reduced to what comparisons need: one `SummarisedRun`, from a record or from a baseline.

Counts as they are, times and energies as one value per measurement window, scores by document, and what
may have changed beside the key. A session is plain data: it is what a baseline keeps of a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from edgesnn.record.files import RunData
from edgesnn.record.model import RunRecord
from edgesnn.record.power import Power, PowerWindow
from edgesnn.record.quantities import MEGABYTE, QUANTITIES, Kind, Quantity
from edgesnn.record.timing import LatencyWindow
from edgesnn.reports.comparing.result import BudgetResult, Family, Key

#: Quantities that are counts: exact, the same in every run of the same program. Less is better.
COUNT_QUANTITIES = (
    "activity.synaptic_operations",
    "activity.synaptic_operations_dense",
    "activity.membrane_updates",
    "activity.footprint",
)
#: Prefix of quantities that a runner counts exactly, for example instructions per token.
COUNT_PREFIXES = ("instructions.", "cycles.")
#: Scores by document or, of a network that decides, by window of frames, and the array of a record behind
#: each.
DOCUMENT_ARRAYS = {
    **{
        name: f"accuracy_document_{name}"
        for name in ("bytes", "positions", "hits", "bits", "counted_hits", "teacher_hits")
    },
    "window_id": "accuracy_window_id",
    "window_hits": "accuracy_window_hits",
}
_NO_METER = "none"


@dataclass(frozen=True, slots=True)
class ExactCount:
    """An exact number.

    Attributes:
        value: The number.
        unit: Its unit.
        kind: Where it comes from.
        family: ``counts`` or ``bits``.
    """

    value: float
    unit: str
    kind: str
    family: Family


@dataclass(frozen=True, slots=True)
class RepeatedValues:
    """One value per repetition, in the order they were taken.

    Attributes:
        values: The values.
        unit: Their unit.
        kind: Where they come from.
        family: Its family.
        unit_of_n: What a repetition is: ``windows`` or ``processes``.
    """

    values: tuple[float, ...]
    unit: str
    kind: str
    family: Family
    unit_of_n: str = "windows"


@dataclass(frozen=True, slots=True)
class Shown:
    """A quantity that is shown beside the gates.

    Attributes:
        value: The number, or None.
        unit: Its unit.
        kind: Where it comes from.
        reason: Why it is absent.
    """

    value: float | None
    unit: str
    kind: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class SummarisedRun:
    """One run, reduced.

    Attributes:
        key: What it may be compared with.
        source: Name of the file it came from.
        created: When its record was made, ISO 8601, UTC.
        commit: Git commit, or None.
        program_hash: SHA-256 of the program.
        verdict: Verdict of the record.
        simulated: Whether device or meter are simulated.
        interleaving: Identity of the A/B session that it is half of, or None.
        identity: What may change without making runs incomparable: versions, hosts, firmware.
        meter_identity: Serial number and calibration of the meter; empty without one.
        counts: Exact numbers by name.
        outputs: Hash over all logits of a window, by its number of steps.
        series: Times, energies and memory by name.
        documents: Scores by document, ``[documents]`` each, or by window of frames, by name; empty where
            nothing was scored.
        quantities: Every quantity by name.
        budgets: Budgets with a limit.
    """

    key: Key
    source: str
    created: str
    commit: str | None
    program_hash: str
    verdict: str
    simulated: bool
    interleaving: str | None
    identity: Mapping[str, str]
    meter_identity: str
    counts: Mapping[str, ExactCount]
    outputs: Mapping[str, str]
    series: Mapping[str, RepeatedValues]
    quantities: Mapping[str, Shown]
    budgets: tuple[BudgetResult, ...]
    documents: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def summarise_run(run: RunData, source: str) -> SummarisedRun:
    """Reduce a run.

    Args:
        run: Record and arrays.
        source: Name to show for it.

    Raises:
        RecordError: Its arrays are missing or were changed.
    """
    record, arrays = run.record, run.whole().arrays
    return SummarisedRun(
        key=key_of(record),
        source=source,
        created=record.created,
        commit=record.provenance.git_commit,
        program_hash=record.model.program_hash,
        verdict=record.verdict.verdict,
        simulated=record.device.simulated
        or (record.power is not None and record.power.kind is Kind.SIMULATED),
        interleaving=None if record.interleaving is None else record.interleaving.id,
        identity=_identity(record),
        meter_identity=_meter_identity(record.power),
        counts=_counts(record),
        outputs={str(window.steps): window.output_sha256 for window in _windows(record)},
        series=_series(record, arrays),
        quantities={name: Shown(q.value, q.unit, q.kind, q.reason) for name, q in record.quantities.items()},
        budgets=_budgets(record),
        documents={
            name: tuple(np.asarray(arrays[array], np.float64).tolist())
            for name, array in DOCUMENT_ARRAYS.items()
            if array in arrays
        },
    )


def key_of(record: RunRecord) -> Key:
    """The comparability key of a record."""
    workload = json.dumps(record.profile.get("workload", {}), sort_keys=True, separators=(",", ":"))
    return Key(
        model=record.model.name,
        target=record.target,
        engine=record.device.engine,
        meter=_meter_type(record.power),
        profile=str(record.profile.get("name", "")),
        workload=hashlib.sha256(workload.encode()).hexdigest()[:12],
    )


def instrument(power: Power) -> Mapping[str, JsonValue]:
    """What a meter told of itself: name, model, serial number and whatever else its driver knows."""
    inner = power.meter.get("meter")
    return inner if isinstance(inner, dict) else power.meter


def _meter_type(power: Power | None) -> str:
    if power is None:
        return _NO_METER
    meter = instrument(power)
    name = str(meter.get("name") or meter.get("model") or "unknown").removeprefix("sim:")
    return f"sim:{name}" if meter.get("simulated") or power.kind is Kind.SIMULATED else name


def _meter_identity(power: Power | None) -> str:
    """What must be the same for a gain error to cancel in a ratio."""
    if power is None:
        return ""
    meter = instrument(power)
    told = {key: meter.get(key) for key in ("name", "model", "serial_number", "details")}
    told["calibration"] = power.meter.get("calibration")
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


def _identity(record: RunRecord) -> dict[str, str]:
    device, host, made, power = record.device, record.host, record.provenance, record.power
    meter = {} if power is None else instrument(power)
    found = {
        "program hash": record.model.program_hash,
        "edgesnn": record.edgesnn_version,
        "commit": made.git_commit,
        "uncommitted changes": made.git_dirty,
        "engine version": device.engine_version,
        "runner": device.runner,
        "device": device.device,
        "threads": device.threads,
        "T": record.model.timesteps,
        "context window": record.model.context_window,
        "vocabulary": record.model.vocab_size,
        "frames of a decision": None if record.model.frames is None else record.model.frames.decision_frames,
        "wake network": None if record.cascade is None else record.cascade.program_hash,
        "host": host.cpu,
        "system": host.system,
        "governor": host.before.governor,
        "python": made.python,
        "meter serial number": meter.get("serial_number"),
        "meter firmware": meter.get("firmware"),
        "alignment": None if power is None else power.rung,
    }
    found |= {f"package {name}": version for name, version in made.packages.items() if name != "edgesnn"}
    plain = {name: value for name, value in device.details.items() if isinstance(value, str | int | float)}
    found |= {f"device {name}": value for name, value in plain.items()}
    return {name: str(value) for name, value in found.items() if value is not None}


def _counts(record: RunRecord) -> dict[str, ExactCount]:
    found = {"size.model": ExactCount(record.device.model_bytes, "B", Kind.MEASURED, Family.COUNTS)}

    def add(name: str, quantity: Quantity | None, family: Family) -> None:
        if quantity is not None and quantity.value is not None:
            found[name] = ExactCount(quantity.value, quantity.unit, quantity.kind, family)

    add("parity.mismatches", record.quantities.get("parity.mismatches"), Family.BITS)
    if record.activity is not None and record.activity.work is not None:
        spikes = record.activity.work.spikes
        found["activity.spikes"] = ExactCount(spikes, "spikes", Kind.MEASURED, Family.COUNTS)
    for name, quantity in record.quantities.items():
        if name in COUNT_QUANTITIES or name.startswith(COUNT_PREFIXES):
            add(name, quantity, Family.COUNTS)
    return found


def _windows(record: RunRecord) -> Sequence[LatencyWindow]:
    return [] if record.latency is None else record.latency.windows


def _series(record: RunRecord, arrays: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, RepeatedValues]:
    kind = Kind.SIMULATED if record.device.simulated else Kind.MEASURED
    prefix = record.words.series
    medians = tuple(w.median_ms for w in _windows(record))
    found = {f"{prefix}.p50": RepeatedValues(medians, "ms", kind, Family.TIMES)}
    p95 = []
    for number, window in enumerate(_windows(record)):
        steps = arrays.get(f"window_{number:02d}_latencies_ms")
        if steps is not None:
            counted = np.asarray(steps[-window.counted_steps :], np.float64)
            p95.append(float(np.quantile(counted, 0.95, method="inverted_cdf")))
    found[f"{prefix}.p95"] = RepeatedValues(tuple(p95), "ms", kind, Family.TIMES)
    if (answers := record.generation) is not None:
        times = [1e3 * s / n for s, n in zip(answers.window_seconds, answers.runs, strict=True) if n]
        found["generation.total"] = RepeatedValues(tuple(times), "ms", kind, Family.TIMES)
    if (power := record.power) is not None:
        for name, values in _power_series(power.windows, record.words.energy).items():
            unit = QUANTITIES[name].unit
            found[name] = RepeatedValues(tuple(values), unit, power.kind, Family.ENERGIES)
    peaks = arrays.get("memory_peak_bytes")
    if peaks is not None:
        megabytes = tuple((np.asarray(peaks, np.float64) / MEGABYTE).tolist())
        found["memory.peak"] = RepeatedValues(megabytes, "MB", kind, Family.MEMORY, "processes")
    return {name: series for name, series in found.items() if series.values}


def _power_series(windows: Sequence[PowerWindow], energy: str) -> dict[str, list[float]]:
    """Valid windows of a metered session: mean, idle and dynamic power, energy of a step."""
    found: dict[str, list[float]] = {
        name: [] for name in ("power.mean", "power.idle", "power.dynamic", energy)
    }
    for window in windows:
        mean = window.mean_mw
        if window.invalid or mean is None:
            continue
        found["power.mean"].append(mean)
        if window.energy_uj is not None:
            found[energy].append(window.energy_uj / window.inferences)
        measured = [idle for idle in (window.idle_before_mw, window.idle_after_mw) if idle is not None]
        if measured:
            idle = sum(measured) / len(measured)
            found["power.idle"].append(idle)
            found["power.dynamic"].append(mean - idle)
    return found


def _budgets(record: RunRecord) -> tuple[BudgetResult, ...]:
    allowed = record.verdict.allow_unmeasured
    return tuple(
        BudgetResult(
            name=budget.name,
            subject=budget.subject,
            base=None,
            head=budget.quantity.value,
            unit=budget.quantity.unit,
            kind=budget.quantity.kind,
            side=budget.side,
            limit=budget.limit,
            required=budget.required,
            verdict=budget.verdict,
            excused=allowed and budget.verdict == "UNMEASURED",
            reason=budget.reason,
        )
        for budget in record.budgets
        if budget.limit is not None
    )
