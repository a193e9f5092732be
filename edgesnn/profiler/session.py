"""One profile of one runner: everything measured in turn, judged, and handed on as plain results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import RunnerError, UndecidedError
from edgesnn.profiler.budgets.judging import (
    NO_METER,
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
from edgesnn.profiler.budgets.profile import Profile, Workload
from edgesnn.profiler.budgets.running import OnRunning, SoFar, running_verdicts, so_far
from edgesnn.profiler.counts.activity import Activity, count_activity
from edgesnn.profiler.counts.energy import EnergyReport, report_energy
from edgesnn.profiler.counts.host import Host, HostState, disturbances, read_host, read_state
from edgesnn.profiler.counts.memory import Probe, probe_memory
from edgesnn.profiler.latency.generation import Generation, generation_quantities, measure_generation
from edgesnn.profiler.latency.spread import window_marks
from edgesnn.profiler.latency.steps import (
    Latency,
    MeasuredWindow,
    Progress,
    TakenWindows,
    TextCodec,
    measure_latency,
)
from edgesnn.profiler.power.duty import RunPower, duty_quantities
from edgesnn.profiler.power.evaluation import Lap, PowerResult
from edgesnn.profiler.power.meter_process import MeterProcess
from edgesnn.profiler.power.metered import LoadFeed, Watch, choose_rung, laps_of
from edgesnn.profiler.power.parts import SessionPart, evaluate_parts, joined_loss
from edgesnn.profiler.power.quantities import judge_power, power_quantities
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
from edgesnn.profiler.session_store import Seen, SessionStore
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
        meter: The meter that streams beside the windows, or None.
        feed: Tells a simulated meter what the device under test draws; None for an instrument.
        store: Keeps finished windows on disk, and has those of an interrupted session; None keeps none.
        on_running: Told after every window how the budgets stand; None tells nobody.
        memory_probe: Starts one fresh process; None starts it on this machine; Absent where that makes no
            sense, for example on a device behind a cable.
    """

    target: str
    device: DeviceInfo
    options: RunnerOptions = RunnerOptions()
    allow_unmeasured: bool = False
    meter: MeterProcess | None = None
    feed: LoadFeed | None = None
    store: SessionStore | None = None
    on_running: OnRunning | None = None
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
        power: The metered session, or why there is none.
        parity: Comparison with golden, or why there is none.
        host: This machine.
        before: Its state before.
        after: Its state after.
        marks: What may have moved the times: not warm, drift, a busy machine, governor, temperature.
        invalid: Why the run is invalid, or None.
        started: When it began, UTC.
        seconds: How long it took.
        meter: The meter and the account of its stream; None where none streamed.
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
    power: PowerResult | Absent
    parity: ParityResult | Absent
    host: Host
    before: HostState
    after: HostState
    marks: tuple[str, ...]
    invalid: str | None
    started: datetime
    seconds: float
    meter: MeterAccount | None = None
    generation: Generation | Absent | None = None


@dataclass(frozen=True, slots=True)
class MeterAccount:
    """The meter of a session.

    Attributes:
        info: What is known of it (``began`` of `edgesnn.meters.serve`).
        loss: The account of its stream, over all parts of the session.
    """

    info: dict[str, Any]
    loss: dict[str, Any]


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
    watch = _watch(runner, profile, setting)
    known: Quantities = {
        **memory_quantities(memory),
        **other_quantities(setting.device),
        **accuracy_quantities(accuracy),
        **parity_quantities(parity),
    }
    keeper = _Windows(watch, setting, lambda now: _tell_running(profile, known, memory, setting, now))
    if Capability.STEP in runner.capabilities:
        window = bundle.program().context_window
        latency = measure_latency(
            runner,
            workload,
            tokenizer,
            ids,
            context_window=window,
            on_progress=on_progress,
            around=None if watch is None else watch.window,
            keeper=keeper,
            taken=taken,
        )
    generation: Generation | Absent | None = None
    if workload.kind != "token":
        generation = (
            latency
            if isinstance(latency, Absent)
            else _generation(runner, workload, tokenizer, ids, on_progress)
        )
    power, meter = _power(watch, keeper, latency, setting)
    activity: Activity | Absent = Absent("the profile asks for no activity (activity_tokens = 0)")
    if workload.activity_tokens:
        on_progress("activity on golden", 0, 1)
        activity = count_activity(bundle.program(), np.resize(ids, workload.activity_tokens))
        on_progress("activity on golden", 1, 1)
    energy = activity if isinstance(activity, Absent) else report_energy(activity.work)
    after, host = read_state(), read_host()
    quantities: Quantities = {
        **latency_quantities(latency, setting.device),
        **known,
        **power_quantities(power, simulated=_simulated(setting, meter)),
        **activity_quantities(activity),
        **energy_quantities(energy),
    }
    if generation is not None:
        kind = Kind.SIMULATED if setting.device.simulated else Kind.MEASURED
        quantities |= generation_quantities(generation, kind, summary_quantities)
        runs = _power_of_runs(generation, power, simulated=_simulated(setting, meter))
        quantities |= duty_quantities(generation, workload, profile.cell, runs, kind=kind)
    invalid = None if isinstance(latency, Absent) else latency.invalid
    if invalid is None and isinstance(generation, Generation):
        invalid = generation.invalid
    budgets = judge(profile, quantities, latency, memory, power)
    return SessionResult(
        setting=setting,
        profile=profile,
        runner=runner.name,
        text=text,
        quantities=quantities,
        budgets=budgets,
        verdict=overall(
            budgets,
            invalid,
            allow_unmeasured=setting.allow_unmeasured,
            undelivered=_undelivered(setting, meter, quantities),
        ),
        latency=latency,
        memory=memory,
        activity=activity,
        energy=energy,
        accuracy=accuracy,
        power=power,
        parity=parity,
        host=host,
        before=before,
        after=after,
        marks=(
            *_marks(latency, workload),
            *_interruptions(setting, latency),
            *disturbances(host, before, after),
        ),
        invalid=invalid,
        started=started,
        seconds=time.perf_counter() - clock,
        meter=meter,
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
    profile: Profile,
    quantities: Quantities,
    latency: Latency | Absent,
    memory: tuple[Probe, ...] | Absent,
    power: PowerResult | Absent,
) -> tuple[BudgetVerdict, ...]:
    """Judge every budget of a profile.

    Args:
        profile: The limits.
        quantities: Every quantity by name.
        latency: The times behind the percentiles.
        memory: The fresh processes.
        power: The metered session.
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
        judge_power(spec("power_mw", "mean power of continuous generation"), quantities["power.mean"], power),
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


class _Windows:
    """Keeps the windows of a session, with what the meter saw of them; see `Keeper` of `latency`."""

    def __init__(self, watch: Watch | None, setting: Setting, tell: Callable[[SoFar], None]) -> None:
        self._watch, self._setting, self._tell = watch, setting, tell
        self._store = setting.store
        self._earlier = [] if self._store is None else [one.window for one in self._store.windows]
        self.new: list[MeasuredWindow] = []

    def plan(self, steps: int) -> int:
        return steps if self._store is None else self._store.plan(steps)

    def finished(self) -> Sequence[MeasuredWindow]:
        return self._earlier

    def keep(self, window: MeasuredWindow) -> None:
        self.new.append(window)
        watch, meter = self._watch, self._setting.meter
        if self._store is not None:
            seen = None
            if watch is not None and meter is not None:
                syncs, receipts = tuple(meter.syncs), tuple(meter.receipts)
                seen = Seen(watch.spans[-1], self.laps()[-1], watch.rung, syncs, receipts)
            self._store.add(window, seen)
        simulated = self._setting.device.simulated or (meter is not None and meter.simulated)
        spans = [] if watch is None else watch.spans
        lives = [] if meter is None else list(meter.lives)
        self._tell(so_far([*self._earlier, *self.new], spans, lives, simulated=simulated))

    def laps(self) -> list[Lap]:
        """What the device says of the windows of this process."""
        assert self._watch is not None
        return laps_of(self.new, self._watch, clock_hz=self._setting.device.clock_hz)


def _tell_running(
    profile: Profile,
    known: Quantities,
    memory: tuple[Probe, ...] | Absent,
    setting: Setting,
    now: SoFar,
) -> None:
    if setting.on_running is None:
        return
    missing = Absent("the windows are still running")
    quantities = {
        **latency_quantities(missing, setting.device),
        **power_quantities(missing, simulated=False),
        **activity_quantities(missing),
        **known,
    }
    budgets = judge(profile, quantities, missing, memory, missing)
    setting.on_running(running_verdicts(budgets, now))


def _watch(runner: Runner, profile: Profile, setting: Setting) -> Watch | None:
    if setting.meter is None:
        return None
    if setting.store is not None:
        setting.store.check_meter(setting.meter.info)
    rung = choose_rung(runner, setting.meter.capabilities, setting.feed is not None)
    return Watch(runner, setting.meter, rung, profile.workload.idle_seconds, feed=setting.feed)


def _power(
    watch: Watch | None, keeper: _Windows, latency: Latency | Absent, setting: Setting
) -> tuple[PowerResult | Absent, MeterAccount | None]:
    parts = [] if setting.store is None else list(setting.store.parts)
    if watch is None and not parts:
        return Absent(NO_METER), None
    if isinstance(latency, Absent):
        return Absent(latency.reason), None
    if watch is not None and setting.meter is not None and keeper.new:
        stream = setting.meter.finish(from_ns=watch.spans[0].idle_from_ns)
        spans, laps = tuple(watch.spans), tuple(keeper.laps())
        parts.append(SessionPart(stream, spans, laps, watch.rung, setting.meter.info, setting.meter.loss))
    account = MeterAccount(parts[-1].info, joined_loss(parts))
    try:
        return evaluate_parts(parts), account
    except UndecidedError as error:
        return Absent(error.sentence()), account


def _undelivered(setting: Setting, meter: MeterAccount | None, quantities: Quantities) -> str | None:
    """Why a meter that was asked for gave no power; None where it did, or none was asked for."""
    mean = quantities["power.mean"]
    if (setting.meter is None and meter is None) or mean.value is not None:
        return None
    reasons = [] if meter is None else meter.loss["reasons"][:2]
    return "; ".join([f"the meter was asked for and gave no power: {mean.reason}", *reasons])


def _power_of_runs(
    generation: Generation | Absent, power: PowerResult | Absent, *, simulated: bool
) -> RunPower | None:
    """What one answer takes: the mean power of the windows for as long as an answer lasts."""
    if isinstance(generation, Absent) or isinstance(power, Absent) or power.budget is None:
        return None
    if power.budget.idle_w is None:
        return None
    return RunPower(
        energy_uj=power.budget.active_w.value * float(generation.total_ms.mean()) * 1e3,
        idle_mw=power.budget.idle_w.value * 1e3,
        kind=Kind.SIMULATED if simulated else Kind.MEASURED,
        how="mean power of the windows for the time of an answer",
    )


def _interruptions(setting: Setting, latency: Latency | Absent) -> list[str]:
    """How the windows are spread over the parts of an interrupted session."""
    if setting.store is None or isinstance(latency, Absent):
        return []
    earlier = {one.part for one in setting.store.windows} - {setting.store.part}
    if not earlier:
        return []
    kept = sum(one.part != setting.store.part for one in setting.store.windows)
    times = "once" if len(earlier) == 1 else f"{len(earlier)} times"
    return [f"the session was interrupted {times}: {kept} of {len(latency.windows)} windows are from before"]


def _simulated(setting: Setting, meter: MeterAccount | None) -> bool:
    return setting.device.simulated or (meter is not None and bool(meter.info["meter"]["simulated"]))


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
