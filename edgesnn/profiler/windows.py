"""The windows of one session as they are finished: kept on disk, watched by a meter, told to the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgesnn.errors import UndecidedError
from edgesnn.profiler.budgets.judging import NO_METER
from edgesnn.profiler.budgets.profile import FramesProfile, Profile
from edgesnn.profiler.budgets.running import SoFar, so_far
from edgesnn.profiler.latency.frames import FrameSession
from edgesnn.profiler.latency.session import LatencySession
from edgesnn.profiler.latency.steps import MeasuredWindow
from edgesnn.profiler.power.evaluation import Lap, PowerResult
from edgesnn.profiler.power.metered import Watch, choose_rung, laps_of
from edgesnn.profiler.power.parts import SessionPart, evaluate_parts, joined_loss
from edgesnn.profiler.power.quantities import power_record
from edgesnn.profiler.results import Absent
from edgesnn.profiler.session_store import MeterView
from edgesnn.profiler.setting import Setting, Subject
from edgesnn.record.power import Power
from edgesnn.record.steps import FRAMES, TOKENS


class SessionWindows:
    """Keeps the windows of a session, with what the meter saw of them (`WindowKeeper` of `latency`).

    Args:
        subject: What is measured.
        profile: How long the meter watches idle stretches.
        setting: The meter and the store, where there are any.
        tell: Told after every window what all of them say.

    Attributes:
        watch: Puts every window between idle stretches; None without a meter.
        loss: Account of the stream, once `power` was asked for; None where no meter saw a window.

    Raises:
        UsageError: The store has windows of another meter.
    """

    def __init__(
        self,
        subject: Subject,
        profile: Profile | FramesProfile,
        setting: Setting,
        tell: Callable[[SoFar], None],
    ) -> None:
        self._device, self._tell = subject.device, tell
        self._words = FRAMES if isinstance(profile, FramesProfile) else TOKENS
        self._meter, self._store = setting.meter, setting.store
        self.watch: Watch | None = None
        self.loss: dict[str, Any] | None = None
        if self._meter is not None:
            if self._store is not None:
                self._store.check_meter(self._meter.info)
            rung = choose_rung(subject.runner, self._meter.capabilities, setting.feed is not None)
            idle_s = profile.workload.idle_seconds
            self.watch = Watch(subject.runner, self._meter, rung, idle_s, feed=setting.feed)
        self._earlier = [] if self._store is None else [one.window for one in self._store.windows]
        self._new: list[MeasuredWindow] = []

    def plan(self, steps: int) -> int:
        """Steps of every window: what an earlier part began with, else what is wanted now."""
        return steps if self._store is None else self._store.plan(steps)

    def finished(self) -> Sequence[MeasuredWindow]:
        """The windows of earlier parts."""
        return self._earlier

    def keep(self, window: MeasuredWindow) -> None:
        """Take a window that was just finished."""
        self._new.append(window)
        watch, meter = self.watch, self._meter
        if self._store is not None:
            view = None
            if watch is not None and meter is not None:
                syncs, receipts = tuple(meter.syncs), tuple(meter.receipts)
                view = MeterView(watch.spans[-1], self._laps(watch)[-1], watch.rung, syncs, receipts)
            self._store.add(window, view)
        simulated = self._device.simulated or (meter is not None and meter.simulated)
        spans = [] if watch is None else watch.spans
        lives = [] if meter is None else list(meter.lives)
        self._tell(so_far([*self._earlier, *self._new], spans, lives, simulated=simulated))

    def power(self, latency: LatencySession | FrameSession | Absent) -> tuple[PowerResult, Power] | Absent:
        """What the meter saw of all windows, and how a record keeps it; or why there is nothing.

        Args:
            latency: The times of the windows; without them nothing was watched.
        """
        parts = [] if self._store is None else list(self._store.parts)
        watch, meter = self.watch, self._meter
        if watch is None and not parts:
            return Absent(NO_METER)
        if isinstance(latency, Absent):
            return latency
        if watch is not None and meter is not None and self._new:
            stream = meter.finish(from_ns=watch.spans[0].idle_from_ns)
            laps = tuple(self._laps(watch))
            parts.append(SessionPart(stream, tuple(watch.spans), laps, watch.rung, meter.info, meter.loss))
        self.loss = joined_loss(parts)
        try:
            result = evaluate_parts(parts)
        except UndecidedError as error:
            return Absent(error.sentence())
        return result, power_record(result, parts[-1].info, self.loss, self._words)

    def interruptions(self) -> list[str]:
        """How the windows are spread over the parts of an interrupted session, as clauses for its marks."""
        store = self._store
        if store is None:
            return []
        earlier = {one.part for one in store.windows} - {store.part}
        if not earlier:
            return []
        kept = sum(one.part != store.part for one in store.windows)
        times = "once" if len(earlier) == 1 else f"{len(earlier)} times"
        count = len(self._earlier) + len(self._new)
        return [f"the session was interrupted {times}: {kept} of {count} windows are from before"]

    def _laps(self, watch: Watch) -> list[Lap]:
        """What the device says of the windows of this process."""
        return laps_of(self._new, watch, clock_hz=self._device.clock_hz)
