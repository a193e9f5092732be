"""Every quantity of a run by name: there with its interval, or absent with its reason."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgesnn.profiler.budgets.statistics import FloatArray, Percentile, TimesSummary
from edgesnn.profiler.counts.activity import ActivityCounts
from edgesnn.profiler.counts.memory import Probe
from edgesnn.profiler.latency.frames import FrameSession
from edgesnn.profiler.latency.generation import GenerationSession
from edgesnn.profiler.latency.session import LatencySession
from edgesnn.profiler.latency.spread import windows_median_throughput
from edgesnn.profiler.results import Absent, AccuracyResult
from edgesnn.record.counts import Energy
from edgesnn.record.model import Parity
from edgesnn.record.quantities import (
    GROUPS,
    MEGABYTE,
    SUMMARY_KEYS,
    Kind,
    Quantities,
    Quantity,
    QuantityGroup,
    absent,
    known,
    missing,
    per_frame,
    present,
)
from edgesnn.record.steps import FRAMES, StepWords
from edgesnn.runners.base import DeviceInfo

_TIMES = (
    *(f"latency.{key}" for key in SUMMARY_KEYS),
    *(f"forward.{key}" for key in SUMMARY_KEYS),
    "breakdown.tokenise_share",
    "breakdown.text_decode",
    "breakdown.outside_steps",
)
_FIRST_TOKEN = tuple(f"first_token.{key}" for key in SUMMARY_KEYS)
_THROUGHPUT = ("throughput.generated", "throughput.windows_median", "throughput.prompt")
_MEMORY = tuple(f"memory.{key}" for key in ("peak", "baseline", "loaded", "load_time", "cold_start"))
_ACCURACY = tuple(
    f"accuracy.{key}"
    for key in (
        "bits_per_byte",
        "teacher_bits_per_byte",
        "perplexity",
        "teacher_perplexity",
        "own_perplexity",
        "top1",
        "teacher_top1",
        "retention",
    )
)
#: Why an emulated device has no times.
COUNTS_INSTRUCTIONS = "the device is emulated: its clock counts instructions and tells no time of hardware"
#: Why a perplexity per native token is missing.
NO_NATIVE_TOKENS = "nobody counted the tokens of a teacher's tokenizer on this text; see that per own token"
_ACTIVITY = (
    "activity.spike_rate",
    "activity.activation_sparsity",
    "activity.connection_sparsity",
    "activity.synaptic_operations",
    "activity.synaptic_operations_dense",
    "activity.membrane_updates",
    "activity.membrane_updates_dense",
    "activity.footprint",
)


def percentile_quantity(
    found: Percentile, n: int, how: str, kind: Kind = Kind.MEASURED, reason: str | None = None
) -> Quantity:
    """A percentile of times, in milliseconds, with its interval.

    Args:
        found: The percentile.
        n: Times behind it.
        how: How they were taken.
        kind: Where they come from.
        reason: What it cannot say.
    """
    interval = (found.lower_ms, found.upper_ms)
    return present(
        found.value_ms,
        "ms",
        how,
        kind,
        interval=interval,
        n=n,
        effective_n=found.effective_n,
        reason=reason,
    )


def summary_quantities(prefix: str, summary: TimesSummary, how: str, kind: Kind) -> Quantities:
    """The rows of one latency summary, in milliseconds."""
    n = summary.n
    found = {
        f"{prefix}.min": present(summary.min_ms, "ms", how, kind, n=n),
        f"{prefix}.mean": present(summary.mean_ms, "ms", how, kind, n=n),
    }
    for p in summary.percentiles:
        key = f"p{round(p.q * 100)}"
        reason = summary.p99_note if key == "p99" else None
        found[f"{prefix}.{key}"] = percentile_quantity(p, n, how, kind, reason)
    found[f"{prefix}.max"] = present(summary.max_ms, "ms", how, kind, n=n)
    return found


def instruction_quantities(
    latency: LatencySession | FrameSession | Absent, device: DeviceInfo, words: StepWords
) -> Quantities:
    """What an emulator counted; nothing where the device's clock tells time, or nothing was run."""
    if device.instruction_ns is None or isinstance(latency, Absent):
        return {}
    counts = instruction_counts(latency, device.instruction_ns)
    tick = 1e9 / device.clock_hz / device.instruction_ns
    how = (
        f"emulated, {device.instruction_ns:g} ns of its clock an instruction, to {tick:.4g} instructions; "
        f"{len(latency.windows)} windows"
    )
    if isinstance(latency, LatencySession):
        how += f", context of at least {latency.context} tokens"
    values = {f"per_{words.step}": np.median(counts), "least": counts.min(), "most": counts.max()}
    found = {
        (name := f"instructions.{key}"): known(name, float(value), how, Kind.SIMULATED, n=len(counts))
        for key, value in values.items()
    }
    return per_frame(found) if words is FRAMES else found


def instruction_counts(latency: LatencySession | FrameSession, instruction_ns: float) -> FloatArray:
    """Instructions of every counted step, ``[n]``."""
    return np.concatenate([window.counted_ms for window in latency.windows]) * 1e6 / instruction_ns


def latency_quantities(latency: LatencySession | Absent, device: DeviceInfo) -> Quantities:
    """Latency, its breakdown, throughput, first token."""
    if isinstance(latency, Absent):
        return missing((*_TIMES, *_FIRST_TOKEN, *_THROUGHPUT), latency.reason)
    kind = Kind.SIMULATED if device.simulated else Kind.MEASURED
    clock = f"{latency.clock} clock"
    steps = f"{clock}, {len(latency.windows)} windows, context of at least {latency.context} tokens"
    found = summary_quantities(
        "latency", latency.per_token, f"tokenise share + forward + decode; {steps}", kind
    )
    found |= summary_quantities("forward", latency.forward, f"forward pass of one step; {steps}", kind)

    def add(name: str, value: float, how: str, kind: Kind = kind, n: int | None = None) -> None:
        found[name] = known(name, value, how, kind, n=n)

    add(
        "breakdown.tokenise_share",
        latency.tokenise_share_ms,
        "median time to tokenise the prompt over the generated tokens, host clock",
        Kind.MEASURED,
    )
    found["breakdown.text_decode"] = percentile_quantity(
        latency.decode.percentile(0.5),
        latency.decode.n,
        "median time to decode the last ids to text, host clock",
    )
    add(
        "breakdown.outside_steps",
        float(np.mean([w.outside_ms_per_token for w in latency.windows])),
        "window less its steps, per step: transport, host loop, hashing the answers; no part of the latency",
    )
    add(
        "throughput.generated",
        latency.tokens_per_second,
        f"one over the mean latency of a generated token; {clock}",
    )
    add(
        "throughput.windows_median",
        windows_median_throughput(latency.windows),
        f"forward passes alone, median over {len(latency.windows)} windows; {clock}",
        n=len(latency.windows),
    )
    first = latency.first_token
    if first is None:
        reason = "the profile asks for no first token (first_tokens = 0)"
        return found | missing((*_FIRST_TOKEN, "throughput.prompt"), reason)
    how = f"tokenise + {first.form} of {first.prompt_tokens} tokens + decode; {clock}"
    found |= summary_quantities("first_token", first.total, how, kind)
    add(
        "throughput.prompt",
        first.prompt_tokens_per_second,
        f"prompt tokens over the median time of their forward pass ({first.form}); {clock}",
    )
    return found


def generation_quantities(generation: GenerationSession | Absent, kind: Kind) -> Quantities:
    """The rows of timed answers.

    Args:
        generation: The answers, or why there are none.
        kind: Where the times come from.
    """
    if isinstance(generation, Absent):
        return missing((one.name for one in GROUPS[QuantityGroup.ANSWERS]), generation.reason)
    how = generation.record
    asked = (
        f"{how.prompt_tokens} tokens read ({how.form}), "
        f"{how.generated_tokens} generated, {len(how.runs)} windows of runs"
    )
    parts = {
        "total": (generation.total, "from a prompt's text to the last token's"),
        "first": (generation.first, "from a prompt's text to the first token's"),
        "token": (generation.token, "one later token, forward + text decode"),
    }
    found: Quantities = {}
    for part, (summary, what) in parts.items():
        if summary is None:
            found |= missing([f"generation.{part}.p50"], "a run generates a single token")
        else:
            found |= summary_quantities(f"generation.{part}", summary, f"{what}; {asked}", kind)
    rate = 1000.0 * how.generated_tokens / generation.total.mean_ms
    what = f"generated tokens over the mean time of a run, reading included; {asked}"
    return found | {"generation.throughput": known("generation.throughput", rate, what, kind)}


def memory_quantities(probes: Sequence[Probe] | Absent, words: StepWords) -> Quantities:
    """Peak memory, load time and cold start of fresh processes."""
    if isinstance(probes, Absent):
        return missing(_MEMORY, probes.reason)
    n = len(probes)
    of = f"of {n} fresh process{'es' if n > 1 else ''}"
    peak = max(p.peak_bytes for p in probes) / MEGABYTE
    rows: dict[str, tuple[float, str]] = {
        "memory.peak": (
            peak,
            f"{probes[0].how}, {probes[0].tokens} {words.step}s, largest {of}, libraries included",
        ),
        "memory.baseline": (
            float(np.median([p.baseline_bytes for p in probes])) / MEGABYTE,
            f"interpreter and libraries before the bundle is opened, median {of}",
        ),
        "memory.loaded": (
            float(np.median([p.loaded_bytes for p in probes])) / MEGABYTE,
            f"resident set after opening the bundle, median {of}",
        ),
        "memory.load_time": (
            float(np.median([p.load_ms for p in probes])),
            f"check hashes and open the runner, median {of}",
        ),
        "memory.cold_start": (
            float(np.median([p.cold_start_ms for p in probes])),
            f"spawn to first {words.outputs}, page cache as it was, median {of}",
        ),
    }
    return {name: known(name, value, how, n=n) for name, (value, how) in rows.items()}


def activity_quantities(activity: ActivityCounts | Absent, words: StepWords) -> Quantities:
    """Activity per step, counted on golden."""
    found = _activity(activity, words)
    return per_frame(found) if words is FRAMES else found


def _activity(activity: ActivityCounts | Absent, words: StepWords) -> Quantities:
    if isinstance(activity, Absent):
        return missing(_ACTIVITY, activity.reason)
    values = (
        activity.spike_rate,
        activity.activation_sparsity,
        activity.connection_sparsity,
        activity.synaptic_operations,
        activity.synaptic_operations_dense,
        activity.membrane_updates,
        activity.membrane_updates_dense,
        float(activity.footprint_bytes),
    )
    how = f"counted on golden over {activity.work.tokens} {words.step}s"
    return {name: known(name, value, how) for name, value in zip(_ACTIVITY, values, strict=True)}


def energy_quantities(energy: Energy | Absent) -> Quantities:
    """The three estimated energies of a step."""
    if isinstance(energy, Absent):
        return missing((one.name for one in GROUPS[QuantityGroup.ENERGY]), energy.reason)
    return {
        (name := f"energy_estimate.{estimate.name}"): known(
            name, estimate.total_uj, f"{estimate.how}; table {energy.table}", Kind.ESTIMATED
        )
        for estimate in energy.estimates
    }


def accuracy_quantities(accuracy: AccuracyResult | Absent) -> Quantities:
    """Quality on held-out text."""
    if isinstance(accuracy, Absent):
        return missing(_ACCURACY, accuracy.reason)
    how = f"golden on {accuracy.text}: {accuracy.tokens} tokens of {accuracy.documents} documents"
    found: Quantities = {}

    def add(
        key: str, value: float | None, how: str, interval: tuple[float, float] | None, why: str | None = None
    ) -> None:
        name = f"accuracy.{key}"
        if value is None:
            found.update(missing([name], why or "the bundle says nothing of a teacher"))
        else:
            doubt = accuracy.teacher_doubt if key in ("retention", "teacher_top1") else None
            found[name] = known(name, value, how, interval=interval, n=accuracy.documents, reason=doubt)

    add("bits_per_byte", accuracy.bits_per_byte, how, accuracy.bits_per_byte_interval)
    add("top1", accuracy.top1, how, accuracy.top1_interval)
    add(
        "teacher_bits_per_byte",
        accuracy.teacher_bits_per_byte,
        f"the teacher over its native tokens, as stored in the bundle; {accuracy.text}",
        accuracy.teacher_bits_per_byte_interval,
        accuracy.teacher_reason,
    )
    native = f"{accuracy.native_tokens} tokens of the teacher's tokenizer, {accuracy.text}"
    add(
        "perplexity",
        accuracy.perplexity,
        f"exp(nats of the text / native tokens): golden on {native}",
        accuracy.perplexity_interval,
        NO_NATIVE_TOKENS,
    )
    add(
        "teacher_perplexity",
        accuracy.teacher_perplexity,
        f"exp(its nats / native tokens), as stored in the bundle: {native}",
        accuracy.teacher_perplexity_interval,
        accuracy.teacher_reason,
    )
    add(
        "own_perplexity",
        accuracy.own_perplexity,
        f"exp(nats / own tokens): {how}",
        accuracy.own_perplexity_interval,
    )
    add(
        "teacher_top1",
        accuracy.teacher_top1,
        f"the teacher where its native tokens start, as stored in the bundle; {accuracy.text}",
        None,
        accuracy.retention_reason,
    )
    add(
        "retention",
        accuracy.retention,
        f"top-1 over the teacher's, {how}",
        accuracy.retention_interval,
        accuracy.retention_reason,
    )
    return found


def parity_quantities(parity: Parity | Absent, words: StepWords) -> Quantities:
    """Logits or outputs that differ from golden's."""
    name = "parity.mismatches"
    if isinstance(parity, Absent):
        return {name: absent(words.outputs, parity.reason)}
    forms = ", ".join(sorted(parity.forms)) or "no form"
    compared = f"{parity.logits_compared} {words.outputs} of {parity.tokens} {words.step}s"
    how = f"{compared} against golden ({forms})"
    return {name: present(float(parity.mismatches), words.outputs, how)}


def size_quantities(device: DeviceInfo) -> Quantities:
    """Size of the files that the device needs."""
    files = ", ".join(device.model_files) or "no files"
    name = "size.model"
    return {name: known(name, device.model_bytes / MEGABYTE, f"sum of {files}, in 10^6 bytes")}
