"""A session as plain data and arrays: what the run record is made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.bundle.bundle import Bundle
from edgesnn.profiler.budgets.statistics import Drift
from edgesnn.profiler.counts.activity import Activity
from edgesnn.profiler.counts.energy import EnergyReport
from edgesnn.profiler.latency.comparison import Comparison
from edgesnn.profiler.latency.generation import Generation
from edgesnn.profiler.latency.steps import Latency
from edgesnn.profiler.power.quantities import power_arrays, power_document
from edgesnn.profiler.results import Absent
from edgesnn.profiler.session import SessionResult
from edgesnn.record.quantities import Kind


def session_document(
    result: SessionResult, bundle: Bundle, comparisons: Sequence[Comparison] = ()
) -> dict[str, Any]:
    """A session as plain data in the shape of the run record, without provenance.

    Args:
        result: The session.
        bundle: The bundle that was profiled.
        comparisons: Other engines beside it.

    Returns:
        JSON-like data.
    """
    program, device = bundle.program(), result.setting.device
    latency = None if isinstance(result.latency, Absent) else result.latency
    return {
        "target": result.setting.target,
        "model": {
            "name": bundle.name,
            "program_hash": bundle.manifest.program_hash,
            "timesteps": program.timesteps,
            "context_window": program.context_window,
            "vocab_size": program.vocab_size,
        },
        "device": {
            "runner": result.runner,
            "device": device.device,
            "engine": device.engine,
            "engine_version": device.engine_version,
            "simulated": device.simulated,
            "clock_hz": device.clock_hz,
            "threads": result.setting.options.threads,
            "model_files": list(device.model_files),
            "model_bytes": device.model_bytes,
            "details": device.details,
        },
        "profile": result.profile.model_dump(mode="json", by_alias=True),
        "verdict": {**dataclasses.asdict(result.verdict), "invalid": result.invalid},
        "budgets": [
            {**dataclasses.asdict(budget), "quantity": budget.quantity.model_dump()}
            for budget in result.budgets
        ],
        "quantities": {name: q.model_dump() for name, q in result.quantities.items()},
        "not_measured": [
            {"name": name, "reason": q.reason or ""}
            for name, q in result.quantities.items()
            if q.kind is Kind.ABSENT
        ],
        "latency": None if latency is None else _latency(latency, result.text),
        "generation": _generation(result.generation) if isinstance(result.generation, Generation) else None,
        "activity": None if isinstance(result.activity, Absent) else _activity(result.activity, result.text),
        "energy": None if isinstance(result.energy, Absent) else _energy(result.energy),
        "power": None
        if isinstance(result.power, Absent) or result.meter is None
        else power_document(result.power, result.meter.info, result.meter.loss),
        "parity": None if isinstance(result.parity, Absent) else dataclasses.asdict(result.parity),
        "comparisons": [
            {
                **dataclasses.asdict(one),
                "p50": one.p50.model_dump(),
                "p95": one.p95.model_dump(),
                "ratio": one.ratio.model_dump(),
            }
            for one in comparisons
        ],
        "marks": list(result.marks),
        "host": {
            **dataclasses.asdict(result.host),
            "before": dataclasses.asdict(result.before),
            "after": dataclasses.asdict(result.after),
        },
        "started": result.started.isoformat(timespec="seconds"),
        "seconds": result.seconds,
    }


def session_arrays(result: SessionResult) -> dict[str, npt.NDArray[np.generic]]:
    """The raw times of a session, milliseconds unless the name says otherwise, and scores by document.

    ``window_NN_latencies_ms`` holds every step of one window, the first ``context - 1`` of them with a
    context that is not yet full. ``accuracy_document_*`` are `AccuracyResult.by_document`.
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    if not isinstance(result.memory, Absent):
        arrays["memory_peak_bytes"] = np.array([p.peak_bytes for p in result.memory], np.int64)
        arrays["memory_load_ms"] = np.array([p.load_ms for p in result.memory])
        arrays["memory_cold_start_ms"] = np.array([p.cold_start_ms for p in result.memory])
    if not isinstance(result.power, Absent):
        arrays |= power_arrays(result.power)
    generation = result.generation
    if isinstance(generation, Generation):
        arrays["generation_total_ms"] = generation.total_ms
        arrays["generation_first_ms"] = generation.first_ms
        arrays["generation_token_ms"] = generation.token_ms
    if not isinstance(result.accuracy, Absent):
        scores = result.accuracy.by_document
        arrays |= {f"accuracy_document_{name}": array for name, array in scores.items()}
    latency = result.latency
    if isinstance(latency, Absent):
        return arrays
    arrays["per_token_ms"] = latency.per_token_ms
    arrays["text_decode_ms"] = latency.decode_ms
    arrays["tokenise_prompt_ms"] = latency.encode_ms
    for number, window in enumerate(latency.windows):
        arrays[f"window_{number:02d}_latencies_ms"] = window.latencies_ms
    if latency.first_token is not None:
        arrays["first_token_ms"] = latency.first_token.total_ms
        arrays["first_token_forward_ms"] = latency.first_token.forward_ms
    return arrays


def _latency(latency: Latency, text: str) -> dict[str, Any]:
    origin = latency.windows[0].started_ns
    first = latency.first_token
    return {
        "text": text,
        "clock": latency.clock,
        "context": latency.context,
        "full_context": latency.full_context,
        "autocorrelation_time": latency.per_token.autocorrelation_time,
        "p99_note": latency.per_token.p99_note,
        "warm_up": dataclasses.asdict(latency.warm_up),
        "drift": _drift(latency.forward.drift),
        "first_token_form": None if first is None else first.form,
        "windows": [
            {
                "offset_s": (window.started_ns - origin) / 1e9,
                "seconds": window.seconds,
                "steps": len(window.latencies_ms),
                "counted_steps": len(window.counted_ms),
                "median_ms": float(np.median(window.counted_ms)),
                "mean_ms": float(window.counted_ms.mean()),
                "output_sha256": window.output_sha256,
            }
            for window in latency.windows
        ],
    }


def _generation(generation: Generation) -> dict[str, Any]:
    return {
        "form": generation.form,
        "prompt_tokens": generation.prompt_tokens,
        "generated_tokens": generation.generated_tokens,
        "runs": list(generation.windows),
        "window_seconds": list(generation.window_seconds),
        "output_sha256": generation.output_sha256,
    }


def _drift(drift: Drift | None) -> dict[str, Any] | None:
    return None if drift is None else dataclasses.asdict(drift)


def _activity(activity: Activity, text: str) -> dict[str, Any]:
    return {
        "kind": Kind.MEASURED,
        "how": "counted on golden, one sequence from an empty context",
        "text": text,
        "tokens": activity.tokens,
        "parameter_bytes": activity.parameter_bytes,
        "state_bytes": activity.state_bytes,
        "layers": [
            {
                "name": layer.name,
                "neurons": layer.neurons,
                "spikes_per_token": layer.spikes / activity.tokens,
                "spike_rate": layer.spike_rate,
                "membrane_updates_per_token": layer.membrane_updates / activity.tokens,
                "silent_neurons": layer.silent_neurons,
                "spikes": layer.spikes,
                "membrane_updates": layer.membrane_updates,
            }
            for layer in activity.layers
        ],
        "ops": [
            {
                "name": op.name,
                "op": op.op,
                "kind": op.kind,
                "dense": op.dense / activity.tokens,
                "effective": op.effective / activity.tokens,
                "accumulates": op.accumulates,
                "dense_total": op.dense,
                "effective_total": op.effective,
                "weight_bytes_total": op.weight_bytes,
            }
            for op in activity.ops
        ],
        "shifts": [dataclasses.asdict(shift) for shift in activity.shifts],
        "work": dataclasses.asdict(activity.work),
    }


def _energy(energy: EnergyReport) -> dict[str, Any]:
    return {
        "kind": Kind.ESTIMATED,
        "table": energy.table.name,
        "constants": {key: number.model_dump() for key, number in energy.table.numbers().items()},
        "estimates": [
            {**dataclasses.asdict(estimate), "total_uj": estimate.total_uj} for estimate in energy.estimates
        ],
        "statement": energy.statement,
    }
