"""A run record reduced to what comparisons need: one `SummarisedRun`, from a record or from a baseline.

Counts as they are, times and energies as one value per measurement window, scores by document, and what
may have changed beside the key. A session is plain data: it is what a baseline keeps of a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.record.files import Run
from edgesnn.reports.comparison import BudgetResult, Family, Key

#: Quantities that are counts: exact, the same in every run of the same program. Less is better.
COUNT_QUANTITIES = (
    "activity.synaptic_operations",
    "activity.synaptic_operations_dense",
    "activity.membrane_updates",
    "activity.footprint",
)
#: Prefix of quantities that a runner counts exactly, for example instructions per token.
COUNT_PREFIXES = ("instructions.", "cycles.")
#: Arrays of a record that hold scores by document, without their prefix.
DOCUMENT_ARRAYS = ("bytes", "positions", "hits", "bits", "counted_hits", "teacher_hits")
_DOCUMENT_PREFIX = "accuracy_document_"
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
        documents: Scores by document, ``[documents]`` each, by name; empty where nothing was scored.
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


def summarise_run(run: Run, source: str) -> SummarisedRun:
    """Reduce a run.

    Args:
        run: Record and arrays.
        source: Name to show for it.
    """
    return summarise(run.record.to_json(), run.arrays, source)


def summarise(
    document: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[np.generic]], source: str
) -> SummarisedRun:
    """Reduce a record given as plain data.

    Args:
        document: The record as JSON-like data; its sections ``power``, ``generation`` and ``interleaving``
            may be missing.
        arrays: Its raw arrays by name.
        source: Name to show for it.
    """
    power = document.get("power")
    device, verdict = document["device"], document["verdict"]
    interleaving = document.get("interleaving") or {}
    return SummarisedRun(
        key=key_of(document),
        source=source,
        created=document["created"],
        commit=document["provenance"]["git_commit"],
        program_hash=document["model"]["program_hash"],
        verdict=verdict["verdict"],
        simulated=bool(device["simulated"]) or bool(power and power["kind"] == "SIMULATED"),
        interleaving=interleaving.get("id"),
        identity=_identity(document),
        meter_identity=_meter_identity(power),
        counts=_counts(document),
        outputs=_outputs(document),
        series=_series(document, arrays),
        quantities={
            name: Shown(q["value"], q["unit"], q["kind"], q["reason"])
            for name, q in document["quantities"].items()
        },
        budgets=_budgets(document),
        documents={
            name: tuple(np.asarray(arrays[_DOCUMENT_PREFIX + name], np.float64).tolist())
            for name in DOCUMENT_ARRAYS
            if _DOCUMENT_PREFIX + name in arrays
        },
    )


def key_of(document: Mapping[str, Any]) -> Key:
    """The comparability key of a record."""
    profile = document["profile"]
    workload = json.dumps(profile.get("workload", {}), sort_keys=True, separators=(",", ":"))
    return Key(
        model=document["model"]["name"],
        target=document["target"],
        engine=document["device"]["engine"],
        meter=_meter_type(document.get("power")),
        profile=str(profile.get("name", "")),
        workload=hashlib.sha256(workload.encode()).hexdigest()[:12],
    )


def _meter(power: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The instrument of a metered session; empty without one."""
    described: Mapping[str, Any] = (power or {}).get("meter") or {}
    inner = described.get("meter")
    return inner if isinstance(inner, Mapping) else described


def _meter_type(power: Mapping[str, Any] | None) -> str:
    if not power:
        return _NO_METER
    meter = _meter(power)
    name = str(meter.get("name") or meter.get("model") or "unknown").removeprefix("sim:")
    return f"sim:{name}" if meter.get("simulated") or power.get("kind") == "SIMULATED" else name


def _meter_identity(power: Mapping[str, Any] | None) -> str:
    """What must be the same for a gain error to cancel in a ratio."""
    if not power:
        return ""
    meter = _meter(power)
    told = {key: meter.get(key) for key in ("name", "model", "serial_number", "details")}
    told["calibration"] = (power.get("meter") or {}).get("calibration")
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _identity(document: Mapping[str, Any]) -> dict[str, str]:
    device, host, made = document["device"], document["host"], document["provenance"]
    meter = _meter(document.get("power"))
    found = {
        "program hash": document["model"]["program_hash"],
        "edgesnn": document["edgesnn_version"],
        "commit": made["git_commit"],
        "uncommitted changes": made["git_dirty"],
        "engine version": device["engine_version"],
        "runner": device["runner"],
        "device": device["device"],
        "threads": device["threads"],
        "T": document["model"]["timesteps"],
        "context window": document["model"]["context_window"],
        "vocabulary": document["model"]["vocab_size"],
        "host": host["cpu"],
        "system": host["system"],
        "governor": host["before"]["governor"],
        "python": made["python"],
        "meter serial number": meter.get("serial_number"),
        "meter firmware": meter.get("firmware"),
        "alignment": (document.get("power") or {}).get("rung"),
    }
    found |= {f"package {name}": version for name, version in made["packages"].items() if name != "edgesnn"}
    for name, value in device["details"].items():
        if isinstance(value, str | int | float):
            found[f"device {name}"] = value
    return {name: str(value) for name, value in found.items() if value is not None}


def _counts(document: Mapping[str, Any]) -> dict[str, ExactCount]:
    device, quantities = document["device"], document["quantities"]
    found = {"size.model": ExactCount(device["model_bytes"], "B", "MEASURED", Family.COUNTS)}
    parity = quantities.get("parity.mismatches")
    if parity is not None and parity["value"] is not None:
        found["parity.mismatches"] = ExactCount(parity["value"], parity["unit"], parity["kind"], Family.BITS)
    work = (document.get("activity") or {}).get("work")
    if work is not None:
        found["activity.spikes"] = ExactCount(work["spikes"], "spikes", "MEASURED", Family.COUNTS)
    for name, quantity in quantities.items():
        counted = name in COUNT_QUANTITIES or name.startswith(COUNT_PREFIXES)
        if counted and quantity["value"] is not None:
            found[name] = ExactCount(quantity["value"], quantity["unit"], quantity["kind"], Family.COUNTS)
    return found


def _outputs(document: Mapping[str, Any]) -> dict[str, str]:
    """Hashes over the logits of windows: the same program over as many steps must give the same hash."""
    windows = (document.get("latency") or {}).get("windows") or []
    return {str(window["steps"]): window["output_sha256"] for window in windows}


def _series(
    document: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[np.generic]]
) -> dict[str, RepeatedValues]:
    kind = "SIMULATED" if document["device"]["simulated"] else "MEASURED"
    found: dict[str, RepeatedValues] = {}

    def add(name: str, series: RepeatedValues) -> None:
        if series.values:
            found[name] = series

    windows = (document.get("latency") or {}).get("windows") or []
    add("forward.p50", RepeatedValues(tuple(w["median_ms"] for w in windows), "ms", kind, Family.TIMES))
    p95 = []
    for number, window in enumerate(windows):
        steps = arrays.get(f"window_{number:02d}_latencies_ms")
        if steps is not None:
            counted = np.asarray(steps[-window["counted_steps"] :], np.float64)
            p95.append(float(np.quantile(counted, 0.95, method="inverted_cdf")))
    add("forward.p95", RepeatedValues(tuple(p95), "ms", kind, Family.TIMES))
    answers = document.get("generation")
    if answers:
        times = [1e3 * s / n for s, n in zip(answers["window_seconds"], answers["runs"], strict=True) if n]
        add("generation.total", RepeatedValues(tuple(times), "ms", kind, Family.TIMES))
    power = document.get("power") or {"kind": kind}
    for name, (values, unit) in _power_series(power).items():
        add(name, RepeatedValues(tuple(values), unit, power["kind"], Family.ENERGIES))
    peaks = arrays.get("memory_peak_bytes")
    if peaks is not None:
        megabytes = tuple((np.asarray(peaks, np.float64) / 1e6).tolist())
        add("memory.peak", RepeatedValues(megabytes, "MB", kind, Family.MEMORY, "processes"))
    return found


def _power_series(power: Mapping[str, Any]) -> dict[str, tuple[list[float], str]]:
    """Valid windows of a metered session: mean, idle and dynamic power, energy per token."""
    found: dict[str, tuple[list[float], str]] = {
        "power.mean": ([], "mW"),
        "power.idle": ([], "mW"),
        "power.dynamic": ([], "mW"),
        "energy.per_token": ([], "uJ"),
    }
    for window in power.get("windows") or []:
        mean, energy, tokens = window.get("mean_mw"), window.get("energy_uj"), window.get("inferences")
        if window.get("invalid") or mean is None:
            continue
        found["power.mean"][0].append(mean)
        if energy is not None and tokens:
            found["energy.per_token"][0].append(energy / tokens)
        idles = [window.get("idle_before_mw"), window.get("idle_after_mw")]
        measured = [idle for idle in idles if idle is not None]
        if measured:
            idle = sum(measured) / len(measured)
            found["power.idle"][0].append(idle)
            found["power.dynamic"][0].append(mean - idle)
    return found


def _budgets(document: Mapping[str, Any]) -> tuple[BudgetResult, ...]:
    allowed = bool(document["verdict"]["allow_unmeasured"])
    return tuple(
        BudgetResult(
            name=budget["name"],
            subject=budget["subject"],
            base=None,
            head=budget["quantity"]["value"],
            unit=budget["quantity"]["unit"],
            kind=budget["quantity"]["kind"],
            side=budget["side"],
            limit=budget["limit"],
            required=budget["required"],
            verdict=budget["verdict"],
            excused=allowed and budget["verdict"] == "UNMEASURED",
            reason=budget["reason"],
        )
        for budget in document["budgets"]
        if budget["limit"] is not None
    )
