"""Every quantity of a run by name: there with its interval, or absent with its reason."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgesnn.profiler.budgets.statistics import TimesSummary
from edgesnn.profiler.counts.activity import Activity
from edgesnn.profiler.counts.energy import ESTIMATES, EnergyReport
from edgesnn.profiler.counts.memory import Probe
from edgesnn.profiler.latency.spread import windows_median_throughput
from edgesnn.profiler.latency.steps import Latency
from edgesnn.profiler.results import Absent, AccuracyResult, Kind, ParityResult, Quantity, absent, present
from edgesnn.runners.base import DeviceInfo

Quantities = dict[str, Quantity]

MEGABYTE = 1e6
_SUMMARY_KEYS = ("min", "mean", "p50", "p90", "p95", "p99", "max")
_LATENCY_KEYS = (
    *(f"latency.{key}" for key in _SUMMARY_KEYS),
    *(f"forward.{key}" for key in _SUMMARY_KEYS),
    "breakdown.tokenise_share",
    "breakdown.text_decode",
    "breakdown.outside_steps",
)
_FIRST_TOKEN_KEYS = tuple(f"first_token.{key}" for key in _SUMMARY_KEYS)
_ACTIVITY_UNITS = {
    "spike_rate": "spikes/neuron/timestep",
    "activation_sparsity": "share",
    "connection_sparsity": "share",
    "synaptic_operations": "operations/token",
    "synaptic_operations_dense": "operations/token",
    "membrane_updates": "updates/token",
    "membrane_updates_dense": "updates/token",
    "footprint": "B",
}


def summary_quantities(prefix: str, summary: TimesSummary, how: str, kind: Kind) -> Quantities:
    """The rows of one latency summary, in milliseconds."""
    n = summary.n
    found = {
        f"{prefix}.min": present(summary.min_ms, "ms", how, kind, n=n),
        f"{prefix}.mean": present(summary.mean_ms, "ms", how, kind, n=n),
    }
    for p in summary.percentiles:
        found[f"{prefix}.p{round(p.q * 100)}"] = Quantity(
            p.value_ms,
            "ms",
            kind,
            summary.p99_note if round(p.q * 100) == 99 else None,
            how,
            p.lower_ms,
            p.upper_ms,
            n,
            p.effective_n,
        )
    found[f"{prefix}.max"] = present(summary.max_ms, "ms", how, kind, n=n)
    return found


def latency_quantities(latency: Latency | Absent, device: DeviceInfo) -> Quantities:
    """Latency, its breakdown, throughput, first token."""
    if isinstance(latency, Absent):
        keys = (*_LATENCY_KEYS, *_FIRST_TOKEN_KEYS)
        found = {key: absent("ms", latency.reason) for key in keys}
        found["throughput.generated"] = absent("tokens/s", latency.reason)
        found["throughput.windows_median"] = absent("tokens/s", latency.reason)
        return found | {"throughput.prompt": absent("tokens/s", latency.reason)}
    kind = Kind.SIMULATED if device.simulated else Kind.MEASURED
    clock = f"{latency.clock} clock"
    steps = f"{clock}, {len(latency.windows)} windows, context of at least {latency.context} tokens"
    found = summary_quantities(
        "latency", latency.per_token, f"tokenise share + forward + decode; {steps}", kind
    )
    found |= summary_quantities("forward", latency.forward, f"forward pass of one step; {steps}", kind)
    outside = float(np.mean([w.outside_ms_per_token for w in latency.windows]))
    decode = latency.decode.percentile(0.5)
    found["breakdown.tokenise_share"] = present(
        latency.tokenise_share_ms,
        "ms",
        "median time to tokenise the prompt over the generated tokens, host clock",
    )
    found["breakdown.text_decode"] = present(
        decode.value_ms,
        "ms",
        "median time to decode the last ids to text, host clock",
        interval=(decode.lower_ms, decode.upper_ms),
        n=latency.decode.n,
        effective_n=decode.effective_n,
    )
    found["breakdown.outside_steps"] = present(
        outside,
        "ms",
        "window less its steps, per step: transport, host loop, hashing the answers; no part of the latency",
        kind,
    )
    found["throughput.generated"] = present(
        latency.tokens_per_second,
        "tokens/s",
        f"one over the mean latency of a generated token; {clock}",
        kind,
    )
    found["throughput.windows_median"] = present(
        windows_median_throughput(latency.windows),
        "tokens/s",
        f"forward passes alone, median over {len(latency.windows)} windows; {clock}",
        kind,
        n=len(latency.windows),
    )
    first = latency.first_token
    if first is None:
        reason = "the profile asks for no first token (first_tokens = 0)"
        found |= {key: absent("ms", reason) for key in _FIRST_TOKEN_KEYS}
        return found | {"throughput.prompt": absent("tokens/s", reason)}
    how = f"tokenise + {first.form} of {first.prompt_tokens} tokens + decode; {clock}"
    found |= summary_quantities("first_token", first.total, how, kind)
    found["throughput.prompt"] = present(
        first.prompt_tokens_per_second,
        "tokens/s",
        f"prompt tokens over the median time of their forward pass ({first.form}); {clock}",
        kind,
    )
    return found


def memory_quantities(probes: Sequence[Probe] | Absent) -> Quantities:
    """Peak memory, load time and cold start of fresh processes."""
    units = {"peak": "MB", "baseline": "MB", "loaded": "MB", "load_time": "ms", "cold_start": "ms"}
    if isinstance(probes, Absent):
        return {f"memory.{key}": absent(unit, probes.reason) for key, unit in units.items()}
    n = len(probes)
    of = f"of {n} fresh process{'es' if n > 1 else ''}"
    median = {
        "baseline": float(np.median([p.baseline_bytes for p in probes])) / MEGABYTE,
        "loaded": float(np.median([p.loaded_bytes for p in probes])) / MEGABYTE,
        "load_time": float(np.median([p.load_ms for p in probes])),
        "cold_start": float(np.median([p.cold_start_ms for p in probes])),
    }
    hows = {
        "baseline": f"interpreter and libraries before the bundle is opened, median {of}",
        "loaded": f"resident set after opening the bundle, median {of}",
        "load_time": f"check hashes and open the runner, median {of}",
        "cold_start": f"spawn to first logits, page cache as it was, median {of}",
    }
    peak = max(p.peak_bytes for p in probes) / MEGABYTE
    found = {
        "memory.peak": present(
            peak, "MB", f"{probes[0].how}, {probes[0].tokens} tokens, largest {of}, libraries included", n=n
        )
    }
    return found | {
        f"memory.{key}": present(value, units[key], hows[key], n=n) for key, value in median.items()
    }


def activity_quantities(activity: Activity | Absent) -> Quantities:
    """Activity per token, counted on golden."""
    if isinstance(activity, Absent):
        return {f"activity.{key}": absent(unit, activity.reason) for key, unit in _ACTIVITY_UNITS.items()}
    values: dict[str, float] = {
        "spike_rate": activity.spike_rate,
        "activation_sparsity": activity.activation_sparsity,
        "connection_sparsity": activity.connection_sparsity,
        "synaptic_operations": activity.synaptic_operations,
        "synaptic_operations_dense": activity.synaptic_operations_dense,
        "membrane_updates": activity.membrane_updates,
        "membrane_updates_dense": activity.membrane_updates_dense,
        "footprint": float(activity.footprint_bytes),
    }
    how = f"counted on golden over {activity.tokens} tokens"
    return {f"activity.{key}": present(v, _ACTIVITY_UNITS[key], how) for key, v in values.items()}


def energy_quantities(energy: EnergyReport | Absent) -> Quantities:
    """The three estimated energies per token."""
    if isinstance(energy, Absent):
        return {f"energy_estimate.{key}": absent("uJ", energy.reason) for key in ESTIMATES}
    return {
        f"energy_estimate.{estimate.name}": present(
            estimate.total_uj, "uJ", f"{estimate.how}; table {energy.table.name}", Kind.ESTIMATED
        )
        for estimate in energy.estimates
    }


def accuracy_quantities(accuracy: AccuracyResult | Absent) -> Quantities:
    """Quality on held-out text."""
    units = {
        "bits_per_byte": "bits/byte",
        "teacher_bits_per_byte": "bits/byte",
        "top1": "share",
        "retention": "share",
    }
    if isinstance(accuracy, Absent):
        return {f"accuracy.{key}": absent(unit, accuracy.reason) for key, unit in units.items()}
    how = f"golden on {accuracy.text}: {accuracy.tokens} tokens of {accuracy.documents} documents"
    n = accuracy.documents
    found = {
        "accuracy.bits_per_byte": present(
            accuracy.bits_per_byte, "bits/byte", how, interval=accuracy.bits_per_byte_interval, n=n
        ),
        "accuracy.top1": present(accuracy.top1, "share", how, interval=accuracy.top1_interval, n=n),
    }
    if accuracy.teacher_bits_per_byte is None:
        reason = accuracy.teacher_reason or "the bundle says nothing of a teacher"
        found["accuracy.teacher_bits_per_byte"] = absent("bits/byte", reason)
    else:
        found["accuracy.teacher_bits_per_byte"] = present(
            accuracy.teacher_bits_per_byte,
            "bits/byte",
            f"the teacher over its native tokens, as stored in the bundle; {accuracy.text}",
            interval=accuracy.teacher_bits_per_byte_interval,
            n=n,
        )
    if accuracy.retention is None:
        reason = accuracy.retention_reason or "the bundle says nothing of a teacher"
        return found | {"accuracy.retention": absent("share", reason)}
    found["accuracy.retention"] = present(
        accuracy.retention,
        "share",
        f"top-1 over the teacher's, {how}",
        interval=accuracy.retention_interval,
        n=n,
    )
    return found


def parity_quantities(parity: ParityResult | Absent) -> Quantities:
    """Logits that differ from golden's."""
    if isinstance(parity, Absent):
        return {"parity.mismatches": absent("logits", parity.reason)}
    forms = ", ".join(sorted(parity.forms)) or "no form"
    how = f"{parity.logits_compared} logits of {parity.tokens} tokens against golden ({forms})"
    return {"parity.mismatches": present(float(parity.mismatches), "logits", how)}


def other_quantities(device: DeviceInfo) -> Quantities:
    """Size."""
    files = ", ".join(device.model_files) or "no files"
    return {
        "size.model": present(device.model_bytes / MEGABYTE, "MB", f"sum of {files}, in 10^6 bytes"),
    }
