"""Runs of a SIMULATED device as plain data: a session offset, windows around it, scores by document."""

from dataclasses import dataclass, replace

import numpy as np

from edgesnn.record.base import SCHEMA
from edgesnn.record.files import RunData
from edgesnn.record.model import Provenance, RunRecord
from edgesnn.reports.comparing.summary import summarise_run

WORKLOAD = {"windows": 5, "min_window_seconds": 0.5}
STATE = {
    "governor": None,
    "frequency_mhz": None,
    "temperature_c": None,
    "load_average_1min": 0.5,
    "memory_available_bytes": 10**9,
}
BUDGET_BYTES = 1_000_000


@dataclass(frozen=True)
class Device:
    """What a run is drawn from; relative standard deviations on the log scale.

    ``changed_*`` are what a build changes.
    """

    model: str = "student"
    target: str = "board"
    engine: str = "native"
    profile: str = "gate"
    windows: int = 5
    steps: int = 40
    latency_ms: float = 2.0
    power_mw: float = 80.0
    session_sd: float = 0.01
    window_sd: float = 0.005
    documents: int = 240
    mismatches: int = 0
    model_bytes: int = BUDGET_BYTES
    spikes: int = 5000
    accuracy_points: float = 0.0
    program: str = "ab"
    answers: str = "cd"
    simulated: bool = True
    interleaving: str | None = None


def quantity(value, unit, kind="MEASURED", reason=None):
    return {
        "value": value,
        "unit": unit,
        "kind": kind if value is not None else "ABSENT",
        "reason": reason,
        "how": None,
        "lower": None,
        "upper": None,
        "n": None,
        "effective_n": None,
    }


def scores(device, build):
    """Scores by document: the text and most answers are those of every build; ``build`` moves the rest."""
    text = np.random.default_rng(7)
    positions = text.integers(40, 120, device.documents)
    easy = text.beta(6, 8, device.documents)
    hits = text.binomial(positions, easy)
    own = np.random.default_rng([11, build])
    lost = own.binomial(positions, 0.02)
    found = own.binomial(positions, 0.02)
    moved = np.round(positions * device.accuracy_points / 100).astype(np.int64)
    if build:
        hits = hits - lost + found
    hits = np.clip(hits + moved, 0, positions)
    return {
        "accuracy_document_bytes": positions * 4,
        "accuracy_document_positions": positions,
        "accuracy_document_hits": hits,
        "accuracy_document_bits": 4.0 * (positions - hits) + 0.5 * positions,
    }


def draw(device, seed, build=0, created="2026-01-01T00:00:00+00:00"):
    """One session.

    Returns:
        The record as plain data, without schema and power, its power section, and its arrays.
    """
    rng = np.random.default_rng(seed)
    kind = "SIMULATED" if device.simulated else "MEASURED"
    offset, power_offset = rng.normal(0, device.session_sd, 2)
    arrays, windows = scores(device, build), []
    arrays["memory_peak_bytes"] = (5e7 * np.exp(rng.normal(0, 0.002, 3))).astype(np.int64)
    power = []
    for number in range(device.windows):
        own = rng.normal(0, device.window_sd)
        times = device.latency_ms * np.exp(offset + own + rng.gamma(2.0, 0.01, device.steps))
        arrays[f"window_{number:02d}_latencies_ms"] = times
        windows.append(
            {
                "offset_s": float(number),
                "seconds": float(times.sum() / 1e3),
                "steps": device.steps,
                "counted_steps": device.steps,
                "median_ms": float(np.median(times)),
                "mean_ms": float(times.mean()),
                "output_sha256": device.answers * 32,
            }
        )
        mean_mw = device.power_mw * float(np.exp(power_offset + rng.normal(0, device.window_sd)))
        power.append(
            {
                "mean_mw": mean_mw,
                "energy_uj": mean_mw * 1e3 * 10.0,
                "inferences": 5000,
                "idle_before_mw": 20.0 * float(np.exp(power_offset + rng.normal(0, device.window_sd))),
                "idle_after_mw": None,
                "start_s": 12.0 * number,
                "stop_s": 12.0 * number + 10.0,
                "edge_sd_s": None,
                "lap_s": 10.0,
                "peak_mw": None,
                "voltage_v": 3.3,
                "lost_share": 0.0,
                "output_sha256": device.answers * 32,
                "invalid": None,
            }
        )
    hits, positions = arrays["accuracy_document_hits"].sum(), arrays["accuracy_document_positions"].sum()
    size = quantity(device.model_bytes / 1e6, "MB")
    parity = quantity(float(device.mismatches), "logits")
    budgets = [
        _budget("size_mb", size, "<=", BUDGET_BYTES / 1e6, device.model_bytes <= BUDGET_BYTES),
        _budget("parity_mismatches", parity, "<=", 0.0, device.mismatches == 0),
    ]
    failed = [one["name"] for one in budgets if one["verdict"] == "FAIL"]
    document = {
        "started": created,
        "seconds": 3.5,
        "target": device.target,
        "model": {
            "name": device.model,
            "program_hash": device.program * 32,
            "timesteps": 4,
            "context_window": 9,
            "vocab_size": 257,
        },
        "device": {
            "runner": device.engine,
            "device": "paper board",
            "engine": device.engine,
            "engine_version": "1",
            "simulated": device.simulated,
            "clock_hz": 1e9,
            "threads": 1,
            "model_files": ["program.snn"],
            "model_bytes": device.model_bytes,
            "details": {},
        },
        "profile": {"name": device.profile, "workload": WORKLOAD},
        "verdict": {
            "verdict": "FAIL" if failed else "PASS",
            "exit_code": 3 if failed else 0,
            "reasons": failed,
            "allow_unmeasured": False,
            "invalid": None,
        },
        "budgets": budgets,
        "quantities": {
            "size.model": size,
            "parity.mismatches": parity,
            "activity.synaptic_operations": quantity(device.spikes * 12.5, "operations/token"),
            "accuracy.top1": quantity(float(hits / positions), "share"),
            "accuracy.bits_per_byte": quantity(2.0, "bits/byte"),
            "latency.p95": quantity(windows[0]["median_ms"], "ms", kind),
        },
        "not_measured": [],
        "latency": {
            "text": "paper",
            "clock": "device",
            "context": 9,
            "full_context": True,
            "autocorrelation_time": 1.0,
            "p99_note": None,
            "warm_up": {"steps": 9, "settled": True, "minimum_ms": 1.0, "typical_ms": 1.0},
            "drift": None,
            "first_token_form": None,
            "windows": windows,
        },
        "activity": None,
        "parity": None,
        "comparisons": [],
        "marks": [],
        "host": {
            "cpu": "paper CPU",
            "machine": "x86_64",
            "physical_cores": 2,
            "logical_cores": 2,
            "usable_cores": 2,
            "memory_bytes": 8 * 10**9,
            "system": "Linux 6",
            "before": STATE,
            "after": STATE,
        },
    }
    meter = {"name": "ppk2", "model": "PPK2", "serial_number": "1", "firmware": None, "simulated": True}
    section = {
        "kind": kind,
        "meter": {"meter": meter},
        "loss": {},
        "rung": "marker",
        "coarse": False,
        "clock": None,
        "windows": power,
        "uncertainty": {},
    }
    return document, section, arrays


def _budget(name, value, side, limit, holds):
    return {
        "name": name,
        "subject": name,
        "quantity": value,
        "side": side,
        "limit": limit,
        "required": True,
        "verdict": "PASS" if holds else "FAIL",
        "reason": None,
        "samples_needed": None,
    }


def provenance(commit="c0ffee"):
    return Provenance(
        command=["edgesnn", "profile", "b"],
        python="CPython 3.11",
        packages={"edgesnn": "0.1.0", "numpy": "2"},
        git_commit=commit * 6 + "abcd",
        git_dirty=False,
        git_reason=None,
    )


def run_of(device, seed, build=0, created="2026-01-01T00:00:00+00:00", metered=False):
    """A whole record, ready to be written."""
    document, power, arrays = draw(device, seed, build, created)
    whole = {
        **document,
        "schema": SCHEMA,
        "edgesnn_version": "0.1.0",
        "created": created,
        "provenance": provenance(),
        "power": power if metered else None,
        "interleaving": None if device.interleaving is None else _turns(device),
        "arrays": None,
    }
    return RunData(RunRecord.model_validate(whole), arrays)  # as it was read: names with paths in them stay


def _turns(device):
    ratio = {"value": 1.0, "lower": None, "upper": None, "degrees_of_freedom": None, "reason": "a test"}
    ratio |= {"windows_a": device.windows, "windows_b": device.windows}
    return {
        "id": device.interleaving,
        "role": "A",
        "order": "AB" * device.windows,
        "seed": 0,
        "other_name": device.model,
        "other_program_hash": device.program * 32,
        "median_ratio": ratio,
        "mean_ratio": ratio,
        "statement": "windows took turns",
        "drift": None,
        "outliers": [],
    }


def session_of(device, seed, build=0, created="2026-01-01T00:00:00+00:00", metered=True):
    """A session as comparisons see it, metered unless told otherwise."""
    return summarise_run(run_of(device, seed, build, created, metered), f"run-{seed}.json")


def changed(device, **what):
    """A device after a build changed something."""
    return replace(device, **what)
