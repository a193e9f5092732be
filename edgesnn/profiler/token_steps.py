"""A session of a language model: tokens, prompts, whole answers, quality on text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgesnn.errors import InternalError
from edgesnn.profiler.budgets.profile import Profile
from edgesnn.profiler.latency.frames import FrameSession
from edgesnn.profiler.latency.generation import GenerationSession, measure_generation
from edgesnn.profiler.latency.session import LatencySession, TextCodec, measure_latency
from edgesnn.profiler.latency.steps import Progress
from edgesnn.profiler.power.cascade import cascade_quantities
from edgesnn.profiler.power.duty import RunPower, duty_quantities
from edgesnn.profiler.power.evaluation import PowerResult
from edgesnn.profiler.quantities import accuracy_quantities, generation_quantities, latency_quantities
from edgesnn.profiler.results import Absent, AccuracyResult
from edgesnn.profiler.setting import Setting, Subject, workload_ids
from edgesnn.profiler.steps import SessionSteps, TimedSession
from edgesnn.profiler.windows import SessionWindows
from edgesnn.record.quantities import Kind, Quantities
from edgesnn.record.steps import TOKENS
from edgesnn.record.timing import Generation
from edgesnn.runners.base import Capability


class TokenSteps(SessionSteps):
    """The steps of a language model (`SessionSteps`).

    Args:
        subject: What is measured.
        profile: What to measure.
        setting: How.
        accuracy: Quality on golden, or why it is missing.
        on_progress: Told what happens.

    Attributes:
        answers: The whole answers, once `beside` was asked; None where the profile asks for none.
    """

    words = TOKENS

    def __init__(
        self,
        subject: Subject,
        profile: Profile,
        setting: Setting,
        accuracy: AccuracyResult | Absent,
        on_progress: Progress,
    ) -> None:
        self._subject, self._setting, self._progress = subject, setting, on_progress
        self._accuracy, self._cell, self._workload = accuracy, profile.cell, profile.workload
        if subject.device.instruction_ns is not None:  # an emulator: a first token would tell no time
            self._workload = self._workload.model_copy(update={"first_tokens": 0})
        self.given, self.text = workload_ids(subject.bundle)
        self.answers: GenerationSession | Absent | None = None

    @property
    def generation(self) -> Generation | None:
        return self.answers.record if isinstance(self.answers, GenerationSession) else None

    def quality(self) -> Quantities:
        return accuracy_quantities(self._accuracy)

    def time(self, windows: SessionWindows) -> LatencySession | Absent:
        runner = self._subject.runner
        if Capability.STEP not in runner.capabilities:
            return Absent(f"runner '{runner.name}' cannot run one token at a time")
        return measure_latency(
            runner,
            self._workload,
            self._tokenizer(),
            self.given,
            context_window=self._subject.bundle.context_window,
            on_progress=self._progress,
            around=None if windows.watch is None else windows.watch.window,
            keeper=windows,
            taken=self._setting.taken,
        )

    def times(self, timed: TimedSession | Absent) -> Quantities:
        return latency_quantities(_tokens(timed), self._subject.device)

    def beside(
        self, timed: TimedSession | Absent, power: PowerResult | Absent, *, simulated: bool
    ) -> Quantities:
        self.answers = answers = self._generate(timed)
        if answers is None:
            return {}
        kind = Kind.SIMULATED if self._subject.device.simulated else Kind.MEASURED
        runs = _power_of_runs(answers, power, simulated=simulated)
        duty = duty_quantities(answers, self._workload, self._cell, runs, kind=kind)
        return generation_quantities(answers, kind) | duty | self._cascade(power, simulated=simulated)

    def _cascade(self, power: PowerResult | Absent, *, simulated: bool) -> Quantities:
        wake, cascade = self._setting.wake, self._setting.cascade
        if wake is None or cascade is None:
            return {}
        return cascade_quantities(wake, cascade, self.answers, power, self._cell, simulated=simulated)

    def invalid(self) -> str | None:
        return self.answers.invalid if isinstance(self.answers, GenerationSession) else None

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        found: dict[str, npt.NDArray[np.generic]] = {}
        if isinstance(self.answers, GenerationSession):
            found |= self.answers.arrays()
        if not isinstance(self._accuracy, Absent):
            found |= {f"accuracy_document_{name}": one for name, one in self._accuracy.by_document.items()}
        return found

    def _generate(self, timed: TimedSession | Absent) -> GenerationSession | Absent | None:
        runner = self._subject.runner
        if self._workload.kind == "token":
            return None
        if isinstance(timed, Absent):
            return timed
        if Capability.LOGITS not in runner.capabilities:
            return Absent(f"runner '{runner.name}' gives no logits to choose a token by")
        return measure_generation(
            runner, self._workload, self._tokenizer(), self.given, on_progress=self._progress
        )

    def _tokenizer(self) -> TextCodec:
        tokenizer = self._subject.tokenizer
        if tokenizer is None:
            raise InternalError("a language model is profiled without its tokenizer", remedy="this is a bug")
        return tokenizer


def _tokens(timed: TimedSession | Absent) -> LatencySession | Absent:
    if isinstance(timed, FrameSession):
        raise InternalError("frames were timed as tokens", remedy="this is a bug")
    return timed


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
