"""Synthetic run records for pages: plain documents with latency, power and activity, and their arrays."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np

from edgesnn.record.files import RunData
from edgesnn.record.model import RunRecord
from edgesnn.reports.html.sources import Source

PROGRAM = "ab" * 32
WINDOWS = 5
LAYERS = (("blocks.0.attn.lif_in", 0.21, 0), ("blocks.0.mlp.lif_up", 0.08, 3), ("readout.lif", 0.05, 1))
IDLE_W, ACTIVE_W = 0.021, 0.068
SPIKE_W = 0.391


def quantity(value, unit, kind="MEASURED", *, lower=None, upper=None, n=None, reason=None):
    return {
        "value": value,
        "unit": unit,
        "kind": kind,
        "reason": reason,
        "how": None if value is None else "synthetic",
        "lower": lower,
        "upper": upper,
        "n": n,
        "effective_n": None,
    }


def document(
    *,
    model="pocket",
    target="cpu",
    engine="native",
    created="2026-03-01T10:00:00+00:00",
    commit="0123456789abcdef0123456789abcdef01234567",
    p95_ms=8.0,
    verdict="PASS",
    power=False,
    limit_mw=100.0,
):
    """A record as JSON-like data; `power` adds the metered session."""
    quantities = {
        "latency.p50": quantity(p95_ms * 0.8, "ms", lower=p95_ms * 0.78, upper=p95_ms * 0.83, n=1000),
        "latency.p95": quantity(p95_ms, "ms", lower=p95_ms * 0.96, upper=p95_ms * 1.05, n=1000),
        "latency.max": quantity(p95_ms * 4, "ms", n=1000),
        "size.model": quantity(0.56608, "MB"),
        "activity.spike_rate": quantity(0.12, "spikes/neuron/timestep"),
        "activity.synaptic_operations": quantity(480_804.25, "operations/token"),
        "activity.synaptic_operations_dense": quantity(1_371_488.0, "operations/token"),
        "energy_estimate.with_memory": quantity(8.67, "uJ", "ESTIMATED"),
        "power.mean": quantity(68.2, "mW", "SIMULATED", lower=65.9, upper=70.6, n=WINDOWS)
        if power
        else quantity(None, "mW", "ABSENT", reason="no meter was given"),
        "accuracy.retention": quantity(None, "share", "ABSENT", reason="no teacher to compare with"),
    }
    budgets = [
        _budget("latency_ms_p95", "one generated token, p95", quantities["latency.p95"], 50.0, "PASS"),
        _budget(
            "power_mw",
            "mean total power",
            quantities["power.mean"],
            limit_mw,
            "PASS" if power else "UNMEASURED",
        ),
        _budget(
            "retention",
            "top-1 over the teacher's",
            quantities["accuracy.retention"],
            0.85,
            "UNMEASURED",
            side=">",
        ),
    ]
    found = {
        "schema": "edgesnn.run/1",
        "edgesnn_version": "0.1.0",
        "created": created,
        "started": created,
        "seconds": 12.5,
        "target": target,
        "model": {
            "name": model,
            "program_hash": PROGRAM,
            "timesteps": 4,
            "context_window": 128,
            "vocab_size": 4096,
        },
        "device": {
            "runner": engine,
            "device": "a processor",
            "engine": engine,
            "engine_version": "1.0",
            "simulated": False,
            "clock_hz": 1e9,
            "threads": 1,
            "model_files": ["program.snn"],
            "model_bytes": 566080,
            "details": {"kernels": "portable"},
        },
        "profile": {"name": "smartglass"},
        "verdict": {
            "verdict": verdict,
            "exit_code": {"PASS": 0, "FAIL": 3}.get(verdict, 6),
            "reasons": [],
            "allow_unmeasured": False,
            "invalid": None,
        },
        "budgets": budgets,
        "quantities": quantities,
        "not_measured": [
            {"name": name, "reason": q["reason"]} for name, q in quantities.items() if q["kind"] == "ABSENT"
        ],
        "latency": _latency(),
        "activity": _activity(),
        "energy": _energy(),
        "parity": {
            "target": target,
            "mismatches": 0,
            "logits_compared": 409_600,
            "tokens": 100,
            "forms": {"step": 0},
            "worst_layer": None,
            "largest_difference": 0,
            "text": "held-out text",
            "seconds": 1.0,
        },
        "comparisons": [],
        "marks": ["the machine was busy before the run"],
        "host": {
            "cpu": "a processor",
            "machine": "x86_64",
            "physical_cores": 2,
            "logical_cores": 2,
            "usable_cores": 2,
            "memory_bytes": 8_000_000_000,
            "system": "Linux",
            "before": _state(),
            "after": _state(),
        },
        "provenance": {
            "command": ["edgesnn", "profile", "bundle"],
            "python": "CPython 3.11.7",
            "packages": {"edgesnn": "0.1.0"},
            "git_commit": commit,
            "git_dirty": False,
            "git_reason": None,
        },
        "arrays": None,
    }
    return {**found, "power": _power()} if power else found


def arrays(seed=0, *, p95_ms=8.0, power=False):
    """Times of 1,000 tokens in windows and, with `power`, the envelope of a trace with one spike."""
    rng = np.random.default_rng(seed)
    times = p95_ms * 0.8 * np.exp(rng.normal(0, 0.08, 1000))
    times[617] = p95_ms * 4
    found = {"per_token_ms": times}
    for index, part in enumerate(np.split(times, WINDOWS)):
        found[f"window_{index:02d}_latencies_ms"] = part
    if power:
        found |= power_trace(rng)
    return found


def power_trace(rng):
    """20,000 stretches of 4 ms: idle, five windows, one spike of a single stretch."""
    time_s = np.arange(20_000) * 0.004
    mean = np.full(20_000, IDLE_W)
    for start, stop in spans():
        mean[(time_s >= start) & (time_s < stop)] = ACTIVE_W
    mean = mean * (1 + rng.normal(0, 0.02, 20_000))
    low, high = mean * 0.9, mean * (1.1 + np.abs(rng.normal(0, 0.05, 20_000)))
    high[11_111] = SPIKE_W
    return {"power_time_s": time_s, "power_min_w": low, "power_mean_w": mean, "power_max_w": high}


def spans():
    """Start and stop of every window, seconds."""
    return [(4.0 + 15.0 * index, 15.0 + 15.0 * index) for index in range(WINDOWS)]


def run(found, raw=None):
    """A plain document and its arrays as a run."""
    return RunData(RunRecord.model_validate_json(json.dumps(found), strict=True), raw or {})


def source(**options):
    """A record with its arrays, as pages take it."""
    power, p95_ms = options.get("power", False), options.get("p95_ms", 8.0)
    raw = arrays(power=power, p95_ms=p95_ms)
    return Source(run(document(**options), raw), "run.json", "run.npz")


def write_record(folder: Path, name: str, found: dict, raw: dict | None = None) -> Path:
    """A record and its arrays as files, whole."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    if raw:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **raw)
        path.with_suffix(".npz").write_bytes(buffer.getvalue())
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        found = {**found, "arrays": {"file": f"{name}.npz", "sha256": digest, "names": sorted(raw)}}
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def _budget(name, subject, found, limit, verdict, *, side="<"):
    return {
        "name": name,
        "subject": subject,
        "quantity": found,
        "side": side,
        "limit": limit,
        "required": True,
        "verdict": verdict,
        "reason": None,
        "samples_needed": None,
    }


def _state():
    return {
        "governor": None,
        "frequency_mhz": None,
        "temperature_c": None,
        "load_average_1min": 0.5,
        "memory_available_bytes": 4_000_000_000,
    }


def _latency():
    windows = [
        {
            "offset_s": 2.0 * index,
            "seconds": 1.6,
            "steps": 200,
            "counted_steps": 73,
            "median_ms": 6.4,
            "mean_ms": 6.5,
            "output_sha256": PROGRAM,
        }
        for index in range(WINDOWS)
    ]
    return {
        "text": "held-out text",
        "clock": "host",
        "context": 128,
        "full_context": True,
        "autocorrelation_time": 2.0,
        "p99_note": None,
        "warm_up": {"steps": 16, "settled": True, "minimum_ms": 6.0, "typical_ms": 6.4},
        "drift": None,
        "first_token_form": None,
        "windows": windows,
    }


def _activity():
    layers = [
        {
            "name": name,
            "neurons": 128,
            "spikes_per_token": 128 * 4 * rate,
            "spike_rate": rate,
            "membrane_updates_per_token": 500.0,
            "silent_neurons": silent,
            "spikes": round(100 * 512 * rate),
            "membrane_updates": 50_000,
        }
        for name, rate, silent in LAYERS
    ]
    return {
        "kind": "MEASURED",
        "how": "counted on golden",
        "text": "held-out text",
        "tokens": 100,
        "parameter_bytes": 559_104,
        "state_bytes": 109_568,
        "layers": layers,
        "ops": [],
        "shifts": [],
        "work": None,
    }


def _energy():
    names = {"synaptic_operations": 0.1, "with_memory": 8.67, "dense_network": 6.72}
    return {
        "kind": "ESTIMATED",
        "table": "horowitz-45nm",
        "constants": {},
        "estimates": [
            {
                "name": name,
                "how": "synthetic",
                "total_uj": total,
                "parts_uj": {"adds": total * 0.3, "weights": total * 0.7},
            }
            for name, total in names.items()
        ],
        "statement": "a synthetic statement",
    }


def _power():
    windows = [
        {
            "start_s": start,
            "stop_s": stop,
            "edge_sd_s": 1e-4,
            "lap_s": stop - start,
            "inferences": 1375,
            "mean_mw": ACTIVE_W * 1e3,
            "energy_uj": ACTIVE_W * (stop - start) * 1e6,
            "peak_mw": 80.0,
            "idle_before_mw": IDLE_W * 1e3,
            "idle_after_mw": IDLE_W * 1e3,
            "voltage_v": 3.3,
            "lost_share": 0.0,
            "output_sha256": PROGRAM,
            "invalid": "0.3 % of its samples were lost" if index == 2 else None,
        }
        for index, (start, stop) in enumerate(spans())
    ]
    return {
        "kind": "SIMULATED",
        "meter": {"meter": {"name": "ppk2", "model": "PPK2", "serial_number": None, "simulated": True}},
        "loss": {},
        "rung": "marker",
        "coarse": False,
        "clock": None,
        "windows": windows,
        "uncertainty": {
            "power.mean": {
                "unit": "mW",
                "gain": 1.1,
                "voltage": 0.3,
                "offset": 0.2,
                "edges": 0.01,
                "clock": 0.002,
                "repeatability": 0.4,
            },
            "energy.per_token": {
                "unit": "uJ",
                "gain": 8.9,
                "voltage": 2.4,
                "offset": 1.6,
                "edges": 0.08,
                "clock": 0.016,
                "repeatability": 3.2,
            },
        },
    }
