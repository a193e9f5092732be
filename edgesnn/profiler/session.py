"""One profile of one runner: everything measured in turn, judged, and handed on as plain results."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import RunnerError
from edgesnn.profiler.activity import Activity, count_activity
from edgesnn.profiler.budgets import (
    BudgetSpec,
    BudgetVerdict,
    OverallVerdict,
    Side,
    judge_all,
    judge_interval,
    judge_percentile,
    judge_value,
    overall,
    simulation_decides_nothing,
    undecided,
)
from edgesnn.profiler.duty import duty_quantities
from edgesnn.profiler.energy import EnergyReport, report_energy
from edgesnn.profiler.generation import Generation, generation_quantities, measure_generation
from edgesnn.profiler.host import Host, HostState, disturbances, read_host, read_state
from edgesnn.profiler.latency import Latency, Progress, TakenWindows, TextCodec, measure_latency
from edgesnn.profiler.memory import Probe, probe_memory
from edgesnn.profiler.profile import Profile, Workload
from edgesnn.profiler.quantities import (
    MEGABYTE,
    Quantities,
    accuracy_quantities,
    activity_quantities,
    energy_quantities,
    latency_quantities,
    memory_quantities,
    other_quantities,
    parity_quantities,
    summary_quantities,
)
from edgesnn.profiler.results import Absent, AccuracyResult, Kind, ParityResult
from edgesnn.profiler.spread import window_marks
from edgesnn.runners.base import Capability, DeviceInfo, Runner, RunnerOptions

MemoryProbe = Callable[[], Probe]
_SEED = 20_240_601


@dataclass(frozen=True, slots=True)
class Setting:
    """What is profiled, as the caller resolved it.

    Attributes:
        target: The target, as the user named it.
        device: What `Runner.open` returned.
        options: What `Runner.open` was given.
        allow_unmeasured: Whether missing measurements are excused.
        memory_probe: Starts one fresh process; None starts it on this machine; Absent where that makes no
            sense, for example on a device behind a cable.
    """

    target: str
    device: DeviceInfo
    options: RunnerOptions = RunnerOptions()
    allow_unmeasured: bool = False
    memory_probe: MemoryProbe | Absent | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SessionResult:
    """Everything one session found.

    Attributes:
        setting: What was profiled.
        profile: What was asked.
        runner: Name of the runner.
        text: What the token ids were taken from.
        quantities: Every quantity by name.
        budgets: Every budget, judged, in the order of the profile.
        verdict: The whole run, judged.
        latency: The latency session, or why there is none.
        memory: The fresh processes, or why there are none.
        activity: Counts on golden, or why there are none.
        energy: Estimates from these counts, or why there are none.
        accuracy: Quality, or why it is missing.
        parity: Comparison with golden, or why there is none.
        host: This machine.
        before: Its state before.
        after: Its state after.
        marks: What may have moved the times: not warm, drift, a busy machine, governor, temperature.
        invalid: Why the run is invalid, or None.
        started: When it began, UTC.
        seconds: How long it took.
        generation: Whole answers, or why there are none; None where the workload asks for none.
    """

    setting: Setting
    profile: Profile
    runner: str
    text: str
    quantities: Quantities
    budgets: tuple[BudgetVerdict, ...]
    verdict: OverallVerdict
    latency: Latency | Absent
    memory: tuple[Probe, ...] | Absent
    activity: Activity | Absent
    energy: EnergyReport | Absent
    accuracy: AccuracyResult | Absent
    parity: ParityResult | Absent
    host: Host
    before: HostState
    after: HostState
    marks: tuple[str, ...]
    invalid: str | None
    started: datetime
    seconds: float
    generation: Generation | Absent | None = None


def run_session(
    runner: Runner,
    bundle: Bundle,
    profile: Profile,
    tokenizer: TextCodec,
    *,
    accuracy: AccuracyResult | Absent,
    parity: ParityResult | Absent,
    on_progress: Progress,
    setting: Setting,
    taken: TakenWindows | None = None,
) -> SessionResult:
    """Measure what a profile asks for and judge it.

    Args:
        runner: An open runner.
        bundle: The bundle it holds.
        profile: What to measure, and the limits.
        tokenizer: The bundle's tokenizer.
        accuracy: Quality, measured on golden, or why it is missing.
        parity: Comparison of this runner with golden, or why there is none.
        on_progress: Told what happens: stage, done, total.
        setting: What is profiled.
        taken: Measurement windows taken already, in turns with another program's.

    Returns:
        The result. A device that answers differently in two windows makes it invalid.

    Raises:
        RunnerError: The runner failed.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    workload, before = profile.workload, read_state()
    memory = _memory(runner, bundle, profile, setting, on_progress)
    ids, text = workload_ids(bundle)
    latency: Latency | Absent = Absent(f"runner '{runner.name}' cannot run one token at a time")
    if Capability.STEP in runner.capabilities:
        window = bundle.program().context_window
        latency = measure_latency(
            runner, workload, tokenizer, ids, context_window=window, on_progress=on_progress, taken=taken
        )
    generation: Generation | Absent | None = None
    if workload.kind != "token":
        generation = (
            latency
            if isinstance(latency, Absent)
            else _generation(runner, workload, tokenizer, ids, on_progress)
        )
    activity: Activity | Absent = Absent("the profile asks for no activity (activity_tokens = 0)")
    if workload.activity_tokens:
        on_progress("activity on golden", 0, 1)
        activity = count_activity(bundle.program(), np.resize(ids, workload.activity_tokens))
        on_progress("activity on golden", 1, 1)
    energy = activity if isinstance(activity, Absent) else report_energy(activity.work)
    after, host = read_state(), read_host()
    quantities: Quantities = {
        **latency_quantities(latency, setting.device),
        **memory_quantities(memory),
        **other_quantities(setting.device),
        **accuracy_quantities(accuracy),
        **parity_quantities(parity),
        **activity_quantities(activity),
        **energy_quantities(energy),
    }
    if generation is not None:
        kind = Kind.SIMULATED if setting.device.simulated else Kind.MEASURED
        quantities |= generation_quantities(generation, kind, summary_quantities)
        quantities |= duty_quantities(generation, workload, profile.cell, kind=kind)
    invalid = None if isinstance(latency, Absent) else latency.invalid
    if invalid is None and isinstance(generation, Generation):
        invalid = generation.invalid
    budgets = judge(profile, quantities, latency, memory)
    return SessionResult(
        setting=setting,
        profile=profile,
        runner=runner.name,
        text=text,
        quantities=quantities,
        budgets=budgets,
        verdict=overall(budgets, invalid, allow_unmeasured=setting.allow_unmeasured),
        latency=latency,
        memory=memory,
        activity=activity,
        energy=energy,
        accuracy=accuracy,
        parity=parity,
        host=host,
        before=before,
        after=after,
        marks=(*_marks(latency, workload), *disturbances(host, before, after)),
        invalid=invalid,
        started=started,
        seconds=time.perf_counter() - clock,
        generation=generation,
    )


def workload_ids(bundle: Bundle) -> tuple[npt.NDArray[np.int32], str]:
    """The token ids that a session runs, and what they are.

    Returns:
        The bundle's held-out text, or seeded random ids where it has none.
    """
    held_out = bundle.eval_slice()
    if held_out is not None:
        return held_out.ids, "held-out text of the bundle"
    generator = np.random.default_rng(_SEED)
    ids = generator.integers(0, bundle.program().vocab_size, 4096).astype(np.int32)
    return ids, f"random token ids (seed {_SEED}); the bundle has no held-out text"


def judge(
    profile: Profile, quantities: Quantities, latency: Latency | Absent, memory: tuple[Probe, ...] | Absent
) -> tuple[BudgetVerdict, ...]:
    """Judge every budget of a profile.

    Args:
        profile: The limits.
        quantities: Every quantity by name.
        latency: The times behind the percentiles.
        memory: The fresh processes.
    """
    limits = profile.budgets

    def spec(name: str, subject: str, side: Side = Side.BELOW) -> BudgetSpec:
        return BudgetSpec(name, subject, side, getattr(limits, name))

    prompt = profile.workload.prompt_tokens
    per_token = spec("latency_ms_p95", "one generated token with full context, p95")
    first_token = spec("first_token_ms_p95", f"prompt of {prompt} tokens to first token, p95")
    peaks = [] if isinstance(memory, Absent) else [p.peak_bytes / MEGABYTE for p in memory]
    documents = quantities["accuracy.top1"].n or 0
    retention = spec("retention", "top-1 of the student over the teacher's", Side.ABOVE)
    verdicts = (
        _judge_latency(per_token, quantities, latency),
        _judge_first_token(first_token, quantities, latency),
        judge_value(spec("power_mw", "mean power of continuous generation"), quantities["power.mean"]),
        judge_value(spec("size_mb", "model files the device needs"), quantities["size.model"]),
        judge_all(
            spec("memory_mb", "peak resident set of a fresh process"), quantities["memory.peak"], peaks
        ),
        judge_interval(retention, quantities["accuracy.retention"], n=documents, unit_of_n="documents"),
        judge_value(
            spec("parity_mismatches", "logits that differ from golden's", Side.AT_MOST),
            quantities["parity.mismatches"],
        ),
        judge_interval(
            spec("bits_per_byte", "cross entropy on held-out text"),
            quantities["accuracy.bits_per_byte"],
            n=documents,
            unit_of_n="documents",
        ),
        judge_interval(
            spec("top1", "next tokens that were right", Side.ABOVE),
            quantities["accuracy.top1"],
            n=documents,
            unit_of_n="documents",
        ),
        judge_value(
            spec("synaptic_operations", "effective synaptic operations per token", Side.AT_MOST),
            quantities["activity.synaptic_operations"],
        ),
        judge_value(
            spec("spike_rate", "spikes per neuron and inner timestep", Side.AT_MOST),
            quantities["activity.spike_rate"],
        ),
    )
    return tuple(simulation_decides_nothing(verdict) for verdict in verdicts)


def _judge_latency(spec: BudgetSpec, quantities: Quantities, latency: Latency | Absent) -> BudgetVerdict:
    quantity = quantities["latency.p95"]
    if isinstance(latency, Absent):
        return judge_value(spec, quantity)
    if latency.invalid is not None:
        return undecided(spec, quantity, latency.invalid)
    if not latency.full_context:
        reason = f"timed with a context of {latency.context} tokens, which is not the program's full one"
        return undecided(spec, quantity, reason)
    return judge_percentile(spec, quantity, latency.per_token_ms, 0.95)


def _judge_first_token(spec: BudgetSpec, quantities: Quantities, latency: Latency | Absent) -> BudgetVerdict:
    quantity = quantities["first_token.p95"]
    if isinstance(latency, Absent) or latency.first_token is None:
        return judge_value(spec, quantity)
    if latency.invalid is not None:
        return undecided(spec, quantity, latency.invalid)
    return judge_percentile(spec, quantity, latency.first_token.total_ms, 0.95)


def _memory(
    runner: Runner, bundle: Bundle, profile: Profile, setting: Setting, on_progress: Progress
) -> tuple[Probe, ...] | Absent:
    workload = profile.workload
    if isinstance(setting.memory_probe, Absent):
        return setting.memory_probe
    if workload.memory_probes == 0:
        return Absent("the profile asks for no memory probe (memory_probes = 0)")

    def fresh_process() -> Probe:
        return probe_memory(
            bundle.path,
            runner.name,
            setting.options,
            tokens=workload.memory_tokens,
            timeout_s=workload.memory_timeout_seconds,
        )

    probe = setting.memory_probe or fresh_process
    probes = []
    for number in range(workload.memory_probes):
        on_progress("fresh processes for memory", number, workload.memory_probes)
        try:
            probes.append(probe())
        except RunnerError as error:
            return Absent(error.what if error.actual is None else f"{error.what}: {error.actual}")
    on_progress("fresh processes for memory", workload.memory_probes, workload.memory_probes)
    return tuple(probes)


def _generation(
    runner: Runner,
    workload: Workload,
    tokenizer: TextCodec,
    ids: npt.NDArray[np.int32],
    on_progress: Progress,
) -> Generation | Absent:
    if Capability.LOGITS not in runner.capabilities:
        return Absent(f"runner '{runner.name}' gives no logits to choose a token by")
    return measure_generation(runner, workload, tokenizer, ids, on_progress=on_progress)


def _marks(latency: Latency | Absent, workload: Workload) -> list[str]:
    if isinstance(latency, Absent):
        return []
    found = [*window_marks(latency.windows, workload), *latency.marks]
    if not latency.warm_up.settled:
        found.append(f"the running minimum had not settled after {latency.warm_up.steps} warm-up steps")
    drift = latency.forward.drift
    if drift is not None and drift.drifted:
        found.append(
            f"the forward pass drifted: median {drift.first_ms:.3g} ms in the first quarter, "
            f"{drift.last_ms:.3g} ms in the last"
        )
    return found
