"""One profile of one runner: everything measured in turn, judged, and handed on as parts of a record."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from edgesnn.errors import EdgesnnError
from edgesnn.profiler.budgets.judging import overall
from edgesnn.profiler.budgets.profile import Profile, Workload
from edgesnn.profiler.budgets.running import SoFar, running_verdicts
from edgesnn.profiler.budgets.verdicts import judge
from edgesnn.profiler.counts.activity import ActivityCounts, count_activity
from edgesnn.profiler.counts.energy import report_energy
from edgesnn.profiler.counts.host import disturbances, read_host, read_state
from edgesnn.profiler.counts.memory import Probe, probe_memory
from edgesnn.profiler.latency.generation import GenerationSession, measure_generation
from edgesnn.profiler.latency.session import LatencySession, measure_latency
from edgesnn.profiler.latency.spread import window_marks
from edgesnn.profiler.latency.steps import Progress
from edgesnn.profiler.power.duty import RunPower, duty_quantities
from edgesnn.profiler.power.evaluation import PowerResult
from edgesnn.profiler.power.quantities import power_arrays, power_quantities
from edgesnn.profiler.quantities import (
    COUNTS_INSTRUCTIONS,
    accuracy_quantities,
    activity_quantities,
    energy_quantities,
    generation_quantities,
    instruction_counts,
    instruction_quantities,
    latency_quantities,
    memory_quantities,
    parity_quantities,
    size_quantities,
)
from edgesnn.profiler.results import Absent, AccuracyResult
from edgesnn.profiler.setting import Setting, Subject, workload_ids
from edgesnn.profiler.windows import SessionWindows
from edgesnn.record.counts import Activity, Energy
from edgesnn.record.model import Host, Parity
from edgesnn.record.power import Power
from edgesnn.record.quantities import Kind, Quantities
from edgesnn.record.timing import Generation, Latency
from edgesnn.record.verdicts import Budget, Verdict
from edgesnn.runners.base import Capability, DeviceInfo


@dataclass(frozen=True, slots=True, eq=False)
class SessionResult:
    """Everything one session found, as the parts of a record; why a part is missing say the quantities.

    Attributes:
        subject: What was profiled.
        profile: What was asked.
        quantities: Every quantity by name.
        budgets: Every budget, judged, in the order of the profile.
        verdict: The whole run, judged.
        latency: How the times were taken; None where the runner cannot run one token at a time.
        generation: How whole answers were timed, where they were asked for.
        activity: Counts on golden.
        energy: Estimates from these counts.
        power: The metered session.
        parity: Comparison with golden.
        host: This machine.
        marks: What may have moved the times: not warm, drift, a busy machine, governor, temperature.
        started: When it began, UTC.
        seconds: How long it took.
        arrays: The raw arrays: times in milliseconds unless the name says otherwise, the trace of the power,
            scores by document (``accuracy_document_*`` are `AccuracyResult.by_document`).
    """

    subject: Subject
    profile: Profile
    quantities: Quantities
    budgets: list[Budget]
    verdict: Verdict
    latency: Latency | None
    generation: Generation | None
    activity: Activity | None
    energy: Energy | None
    power: Power | None
    parity: Parity | None
    host: Host
    marks: list[str]
    started: datetime
    seconds: float
    arrays: Mapping[str, npt.NDArray[np.generic]]


def run_session(
    subject: Subject,
    profile: Profile,
    setting: Setting,
    *,
    accuracy: AccuracyResult | Absent,
    parity: Parity | Absent,
    on_progress: Progress,
) -> SessionResult:
    """Measure what a profile asks for and judge it.

    Args:
        subject: What is measured.
        profile: What to measure, and the limits.
        setting: How.
        accuracy: Quality, measured on golden, or why it is missing.
        parity: Comparison of this runner with golden, or why there is none.
        on_progress: Told what happens: stage, done, total.

    Returns:
        The result. A device that answers differently in two windows makes it invalid.

    Raises:
        RunnerError: The runner failed.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    workload, before, device = profile.workload, read_state(), subject.device
    emulated = device.instruction_ns is not None
    if emulated:
        workload = workload.model_copy(update={"first_tokens": 0})
    ids, text = workload_ids(subject.bundle)
    measure = _Measurements(subject, workload, setting, ids, on_progress)
    memory = measure.memory()
    known: Quantities = {
        **memory_quantities(memory),
        **size_quantities(device),
        **accuracy_quantities(accuracy),
        **parity_quantities(parity),
    }

    def tell(now: SoFar) -> None:
        if setting.on_running is not None and not emulated:
            setting.on_running(running_verdicts(_while_running(profile, known, memory, subject), now))

    windows = SessionWindows(subject, profile, setting, tell)
    stepped = measure.latency(windows)
    latency = Absent(COUNTS_INSTRUCTIONS) if emulated else stepped
    generation = measure.generation(latency)
    metered = windows.power(latency)
    power, power_part = (metered, None) if isinstance(metered, Absent) else metered
    activity = measure.activity()
    energy = activity if isinstance(activity, Absent) else report_energy(activity.work)
    host = read_host(before, read_state())
    simulated = device.simulated or (power_part is not None and power_part.kind is Kind.SIMULATED)
    quantities: Quantities = {
        **latency_quantities(latency, device),
        **instruction_quantities(stepped, device),
        **known,
        **power_quantities(power, simulated=simulated),
        **activity_quantities(activity),
        **energy_quantities(energy),
    }
    if generation is not None:
        kind = Kind.SIMULATED if device.simulated else Kind.MEASURED
        quantities |= generation_quantities(generation, kind)
        runs = _power_of_runs(generation, power, simulated=simulated)
        quantities |= duty_quantities(generation, workload, profile.cell, runs, kind=kind)
    sessions = [one for one in (stepped, generation) if isinstance(one, LatencySession | GenerationSession)]
    invalid = next((one.invalid for one in sessions if one.invalid is not None), None)
    budgets = judge(profile, quantities, latency, memory, power)
    return SessionResult(
        subject=subject,
        profile=profile,
        quantities=quantities,
        budgets=budgets,
        verdict=overall(
            budgets,
            invalid,
            allow_unmeasured=setting.allow_unmeasured,
            undelivered=_undelivered(setting, windows, quantities),
        ),
        latency=None if isinstance(latency, Absent) else latency.record(text),
        generation=generation.record if isinstance(generation, GenerationSession) else None,
        activity=None if isinstance(activity, Absent) else activity.record(text),
        energy=None if isinstance(energy, Absent) else energy,
        power=power_part,
        parity=None if isinstance(parity, Absent) else parity,
        host=host,
        marks=[*_marks(latency, workload), *windows.interruptions(), *disturbances(host)],
        started=started,
        seconds=time.perf_counter() - clock,
        arrays=_arrays(memory, power, generation, accuracy, latency) | _counted(stepped, device),
    )


def _while_running(
    profile: Profile, known: Quantities, memory: Sequence[Probe] | Absent, subject: Subject
) -> list[Budget]:
    """The budgets, judged on everything that is known before the windows."""
    missing = Absent("the windows are still running")
    quantities = {
        **latency_quantities(missing, subject.device),
        **power_quantities(missing, simulated=False),
        **activity_quantities(missing),
        **known,
    }
    return judge(profile, quantities, missing, memory, missing)


@dataclass(frozen=True, slots=True, eq=False)
class _Measurements:
    """The single measurements of a session, each on its own."""

    subject: Subject
    workload: Workload
    setting: Setting
    ids: npt.NDArray[np.int32]
    on_progress: Progress

    def memory(self) -> Sequence[Probe] | Absent:
        workload, probe = self.workload, self.setting.memory_probe
        if isinstance(probe, Absent):
            return probe
        if workload.memory_probes == 0:
            return Absent("the profile asks for no memory probe (memory_probes = 0)")
        probes = []
        for number in range(workload.memory_probes):
            self.on_progress("fresh processes for memory", number, workload.memory_probes)
            try:
                probes.append(self._fresh_process() if probe is None else probe())
            except EdgesnnError as error:
                return Absent(error.what if error.actual is None else f"{error.what}: {error.actual}")
        self.on_progress("fresh processes for memory", workload.memory_probes, workload.memory_probes)
        return probes

    def _fresh_process(self) -> Probe:
        return probe_memory(
            self.subject.bundle.path,
            self.subject.runner.name,
            self.subject.options,
            tokens=self.workload.memory_tokens,
            timeout_s=self.workload.memory_timeout_seconds,
        )

    def latency(self, windows: SessionWindows) -> LatencySession | Absent:
        subject, runner = self.subject, self.subject.runner
        if Capability.STEP not in runner.capabilities:
            return Absent(f"runner '{runner.name}' cannot run one token at a time")
        return measure_latency(
            runner,
            self.workload,
            subject.tokenizer,
            self.ids,
            context_window=subject.bundle.context_window,
            on_progress=self.on_progress,
            around=None if windows.watch is None else windows.watch.window,
            keeper=windows,
            taken=self.setting.taken,
        )

    def generation(self, latency: LatencySession | Absent) -> GenerationSession | Absent | None:
        runner, tokenizer = self.subject.runner, self.subject.tokenizer
        if self.workload.kind == "token":
            return None
        if isinstance(latency, Absent):
            return latency
        if Capability.LOGITS not in runner.capabilities:
            return Absent(f"runner '{runner.name}' gives no logits to choose a token by")
        return measure_generation(runner, self.workload, tokenizer, self.ids, on_progress=self.on_progress)

    def activity(self) -> ActivityCounts | Absent:
        tokens = self.workload.activity_tokens
        if not tokens:
            return Absent("the profile asks for no activity (activity_tokens = 0)")
        reason = self.subject.bundle.without_program
        if reason is not None:
            return Absent(reason)
        self.on_progress("activity on golden", 0, 1)
        found = count_activity(self.subject.bundle.program(), np.resize(self.ids, tokens))
        self.on_progress("activity on golden", 1, 1)
        return found


def _undelivered(setting: Setting, windows: SessionWindows, quantities: Quantities) -> str | None:
    """Why a meter that was asked for gave no power; None where it did, or none was asked for."""
    mean = quantities["power.mean"]
    if (setting.meter is None and windows.loss is None) or mean.value is not None:
        return None
    reasons = [] if windows.loss is None else windows.loss["reasons"][:2]
    return "; ".join([f"the meter was asked for and gave no power: {mean.reason}", *reasons])


def _power_of_runs(
    generation: GenerationSession | Absent, power: PowerResult | Absent, *, simulated: bool
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


def _marks(latency: LatencySession | Absent, workload: Workload) -> list[str]:
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


def _counted(stepped: LatencySession | Absent, device: DeviceInfo) -> dict[str, npt.NDArray[np.generic]]:
    """Instructions of every step, where the device counts them."""
    if device.instruction_ns is None or isinstance(stepped, Absent):
        return {}
    return {"instructions_per_token": np.rint(instruction_counts(stepped, device.instruction_ns))}


def _arrays(
    memory: Sequence[Probe] | Absent,
    power: PowerResult | Absent,
    generation: GenerationSession | Absent | None,
    accuracy: AccuracyResult | Absent,
    latency: LatencySession | Absent,
) -> dict[str, npt.NDArray[np.generic]]:
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    if not isinstance(memory, Absent):
        arrays["memory_peak_bytes"] = np.array([p.peak_bytes for p in memory], np.int64)
        arrays["memory_load_ms"] = np.array([p.load_ms for p in memory])
        arrays["memory_cold_start_ms"] = np.array([p.cold_start_ms for p in memory])
    if not isinstance(power, Absent):
        arrays |= power_arrays(power)
    if isinstance(generation, GenerationSession):
        arrays |= generation.arrays()
    if not isinstance(accuracy, Absent):
        arrays |= {f"accuracy_document_{name}": array for name, array in accuracy.by_document.items()}
    return arrays if isinstance(latency, Absent) else arrays | latency.arrays()
