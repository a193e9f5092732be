"""One profile of one runner: everything measured in turn, judged, and handed on as parts of a record."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from edgesnn.errors import EdgesnnError, InternalError
from edgesnn.profiler.budgets.judging import overall
from edgesnn.profiler.budgets.profile import FramesProfile, Profile
from edgesnn.profiler.budgets.running import SoFar, running_verdicts
from edgesnn.profiler.budgets.verdicts import judge
from edgesnn.profiler.budgets.workload import SteppedWorkload
from edgesnn.profiler.counts.activity import ActivityCounts, count_activity
from edgesnn.profiler.counts.energy import report_energy
from edgesnn.profiler.counts.host import disturbances, read_host, read_state
from edgesnn.profiler.counts.memory import Probe, probe_memory
from edgesnn.profiler.frame_steps import FrameSteps
from edgesnn.profiler.latency.spread import window_marks
from edgesnn.profiler.latency.steps import Progress
from edgesnn.profiler.power.cascade import wake_network
from edgesnn.profiler.power.evaluation import PowerResult
from edgesnn.profiler.power.quantities import power_arrays, power_quantities
from edgesnn.profiler.quality.decisions import DecisionAccuracy
from edgesnn.profiler.quantities import (
    COUNTS_INSTRUCTIONS,
    activity_quantities,
    energy_quantities,
    instruction_counts,
    instruction_quantities,
    memory_quantities,
    parity_quantities,
    size_quantities,
)
from edgesnn.profiler.results import Absent, AccuracyResult
from edgesnn.profiler.setting import Setting, Subject, repeated
from edgesnn.profiler.steps import SessionSteps, TimedSession
from edgesnn.profiler.token_steps import TokenSteps
from edgesnn.profiler.windows import SessionWindows
from edgesnn.record.cascade import WakeNetwork
from edgesnn.record.counts import Activity, Energy
from edgesnn.record.model import Host, Parity
from edgesnn.record.power import Power
from edgesnn.record.quantities import Kind, Quantities
from edgesnn.record.steps import StepWords
from edgesnn.record.timing import Generation, Latency
from edgesnn.record.verdicts import Budget, Verdict
from edgesnn.runners.base import DeviceInfo


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
            scores by document (``accuracy_document_*`` are `AccuracyResult.by_document`) or by window
            (`DecisionAccuracy.arrays`).
        wake: The wake network in front, where there is one.
        timed: The times that `latency` records.
        metered: The distributions behind `power`.
        words: What a step is called.
        decision_frames: Frames of a decision; None of text, and where nobody says.
    """

    subject: Subject
    profile: Profile | FramesProfile
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
    wake: WakeNetwork | None
    timed: TimedSession | Absent
    metered: PowerResult | Absent
    words: StepWords
    decision_frames: int | None


def run_session(
    subject: Subject,
    profile: Profile | FramesProfile,
    setting: Setting,
    *,
    accuracy: AccuracyResult | DecisionAccuracy | Absent,
    parity: Parity | Absent,
    on_progress: Progress,
) -> SessionResult:
    """Measure what a profile asks for and judge it.

    Args:
        subject: What is measured.
        profile: What to measure, and the limits; of the kind that the bundle is.
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
    before, device = read_state(), subject.device
    emulated = device.instruction_ns is not None
    steps = _steps(subject, profile, setting, accuracy, on_progress)
    measure = _Measurements(subject, profile.workload, setting, steps, on_progress)
    memory = measure.memory()
    known: Quantities = {
        **memory_quantities(memory, steps.words),
        **size_quantities(device),
        **steps.quality(),
        **parity_quantities(parity, steps.words),
    }

    def tell(now: SoFar) -> None:
        if setting.on_running is not None and not emulated:
            setting.on_running(running_verdicts(_while_running(profile, known, memory, steps), now))

    windows = SessionWindows(subject, profile, setting, tell)
    stepped = steps.time(windows)
    timed = Absent(COUNTS_INSTRUCTIONS) if emulated else stepped
    metered = windows.power(timed)
    power, power_part = (metered, None) if isinstance(metered, Absent) else metered
    simulated = device.simulated or (power_part is not None and power_part.kind is Kind.SIMULATED)
    beside = steps.beside(timed, power, simulated=simulated)
    activity = measure.activity()
    energy = activity if isinstance(activity, Absent) else report_energy(activity.work)
    host = read_host(before, read_state())
    quantities: Quantities = {
        **steps.times(timed),
        **instruction_quantities(stepped, device, steps.words),
        **known,
        **power_quantities(power, steps.words, simulated=simulated),
        **activity_quantities(activity, steps.words),
        **energy_quantities(energy),
        **beside,
    }
    invalid = (None if isinstance(stepped, Absent) else stepped.invalid) or steps.invalid()
    budgets = judge(profile, quantities, timed, memory, power)
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
        latency=None if isinstance(timed, Absent) else timed.record(steps.text),
        generation=steps.generation,
        activity=None if isinstance(activity, Absent) else activity.record(steps.text),
        energy=None if isinstance(energy, Absent) else energy,
        power=power_part,
        parity=None if isinstance(parity, Absent) else parity,
        host=host,
        marks=[*_marks(timed, profile.workload), *windows.interruptions(), *disturbances(host)],
        started=started,
        seconds=time.perf_counter() - clock,
        arrays=_arrays(memory, power, timed) | steps.arrays() | _counted(stepped, device, steps.words),
        wake=None
        if setting.wake is None or setting.cascade is None
        else wake_network(setting.wake, setting.cascade),
        timed=timed,
        metered=power,
        words=steps.words,
        decision_frames=steps.decision_frames if isinstance(steps, FrameSteps) else None,
    )


def _steps(
    subject: Subject,
    profile: Profile | FramesProfile,
    setting: Setting,
    accuracy: AccuracyResult | DecisionAccuracy | Absent,
    on_progress: Progress,
) -> SessionSteps:
    """What a session takes its steps of.

    Raises:
        InternalError: Profile and accuracy are of two kinds.
    """
    if isinstance(profile, FramesProfile) and not isinstance(accuracy, AccuracyResult):
        return FrameSteps(subject, profile, setting, accuracy, on_progress)
    if isinstance(profile, Profile) and not isinstance(accuracy, DecisionAccuracy):
        return TokenSteps(subject, profile, setting, accuracy, on_progress)
    raise InternalError("profile and accuracy are of two kinds of networks", remedy="this is a bug")


def _while_running(
    profile: Profile | FramesProfile,
    known: Quantities,
    memory: Sequence[Probe] | Absent,
    steps: SessionSteps,
) -> list[Budget]:
    """The budgets, judged on everything that is known before the windows."""
    missing = Absent("the windows are still running")
    quantities = {
        **steps.times(missing),
        **power_quantities(missing, steps.words, simulated=False),
        **activity_quantities(missing, steps.words),
        **known,
    }
    return judge(profile, quantities, missing, memory, missing)


@dataclass(frozen=True, slots=True, eq=False)
class _Measurements:
    """The single measurements of a session, each on its own."""

    subject: Subject
    workload: SteppedWorkload
    setting: Setting
    steps: SessionSteps
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
            tokens=self.workload.memory_steps,
            timeout_s=self.workload.memory_timeout_seconds,
        )

    def activity(self) -> ActivityCounts | Absent:
        steps = self.workload.activity_steps
        if not steps:
            return Absent(f"the profile asks for no activity (activity_{self.steps.words.step}s = 0)")
        reason = self.subject.bundle.without_program
        if reason is not None:
            return Absent(reason)
        self.on_progress("activity on golden", 0, 1)
        found = count_activity(self.subject.bundle.program(), repeated(self.steps.given, steps))
        self.on_progress("activity on golden", 1, 1)
        return found


def _undelivered(setting: Setting, windows: SessionWindows, quantities: Quantities) -> str | None:
    """Why a meter that was asked for gave no power; None where it did, or none was asked for."""
    mean = quantities["power.mean"]
    if (setting.meter is None and windows.loss is None) or mean.value is not None:
        return None
    reasons = [] if windows.loss is None else windows.loss["reasons"][:2]
    return "; ".join([f"the meter was asked for and gave no power: {mean.reason}", *reasons])


def _marks(latency: TimedSession | Absent, workload: SteppedWorkload) -> list[str]:
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


def _counted(
    stepped: TimedSession | Absent, device: DeviceInfo, words: StepWords
) -> dict[str, npt.NDArray[np.generic]]:
    """Instructions of every step, where the device counts them."""
    if device.instruction_ns is None or isinstance(stepped, Absent):
        return {}
    return {f"instructions_per_{words.step}": np.rint(instruction_counts(stepped, device.instruction_ns))}


def _arrays(
    memory: Sequence[Probe] | Absent,
    power: PowerResult | Absent,
    latency: TimedSession | Absent,
) -> dict[str, npt.NDArray[np.generic]]:
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    if not isinstance(memory, Absent):
        arrays["memory_peak_bytes"] = np.array([p.peak_bytes for p in memory], np.int64)
        arrays["memory_load_ms"] = np.array([p.load_ms for p in memory])
        arrays["memory_cold_start_ms"] = np.array([p.cold_start_ms for p in memory])
    if not isinstance(power, Absent):
        arrays |= power_arrays(power)
    return arrays if isinstance(latency, Absent) else arrays | latency.arrays()
