"""Windows with a meter beside them: idle, marker or preamble, window, the same again, idle.

The same windows give latency and energy. What is done around a window depends on the alignment rung that
runner and meter allow (`choose_rung`); what was measured is worked out afterwards by
`edgesnn.profiler.power.evaluation`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from edgesnn.errors import MeterError
from edgesnn.meters.base import MeterCapability
from edgesnn.profiler.latency.steps import MeasuredWindow
from edgesnn.profiler.power.alignment import BARKER_13
from edgesnn.profiler.power.evaluation import HostSpan, Lap
from edgesnn.profiler.power.meter_process import MeterProcess
from edgesnn.record.power import Rung
from edgesnn.runners.base import Capability, LoadChip, Runner

#: Shortest chip of a preamble: the host's sleep is right to about a millisecond.
LEAST_CHIP_S = 0.02


class LoadFeed(Protocol):
    """A simulated device under test: what its twin of a meter draws from now on."""

    def busy(self) -> int:
        """The device works and the marker is raised; from when on, ``time.monotonic_ns``."""
        ...

    def rest(self) -> int:
        """The device is idle and the marker is lowered; from when on."""
        ...


def choose_rung(runner: Runner, meter: frozenset[MeterCapability], fed: bool) -> Rung:
    """The best rung that runner and meter allow.

    Args:
        runner: What runs the windows.
        meter: What the meter can do.
        fed: Whether the meter is a twin whose load and marker we feed.
    """
    if MeterCapability.MARKER_INPUT in meter and (fed or Capability.MARKER in runner.capabilities):
        return Rung.MARKER
    if MeterCapability.SAMPLE_CLOCK in meter:
        return Rung.CLOCK_MAP
    if Capability.PATTERN in runner.capabilities:
        return Rung.PREAMBLE
    return Rung.HOST


@dataclass(slots=True)
class Watch:
    """Puts every window between idle stretches while a meter streams.

    Attributes:
        runner: What runs the windows.
        meter: The running meter.
        rung: How the windows will be found again.
        idle_s: Length of each idle stretch.
        chip_s: Length of a chip of the preamble.
        feed: The simulated device under test, or None for a real one.
        spans: What was done so far, one entry a window.
    """

    runner: Runner
    meter: MeterProcess
    rung: Rung
    idle_s: float
    chip_s: float = LEAST_CHIP_S
    feed: LoadFeed | None = None
    spans: list[HostSpan] = field(default_factory=list)

    @contextmanager
    def window(self) -> Iterator[None]:
        """Around one window of the runner.

        Raises:
            MeterError: The meter failed.
        """
        self.meter.check()
        idle_from = time.monotonic_ns()
        self.runner.idle(self.idle_s)
        idle_until = time.monotonic_ns()
        first = self._preamble()
        start = time.monotonic_ns() if self.feed is None else self._fed(self.feed.busy)
        stop = start
        try:
            yield
        finally:
            stop = time.monotonic_ns() if self.feed is None else self._fed(self.feed.rest)
        if self.rung is Rung.PREAMBLE:  # idle before the code: its first edge is what gives the time
            self.runner.idle(self.chip_s)
        last = self._preamble()
        rest_from = time.monotonic_ns()
        self.runner.idle(self.idle_s)
        rest_until = time.monotonic_ns()
        self.meter.check()
        self.spans.append(HostSpan(idle_from, idle_until, first, start, stop, last, rest_from, rest_until))

    def _fed(self, change: Callable[[], int]) -> int:
        try:
            return change()
        except MeterError as error:  # the twin is gone; why, its meter knows
            raise self.meter.explain(error) from None

    def _preamble(self) -> int | None:
        if self.rung is not Rung.PREAMBLE:
            return None
        began = time.monotonic_ns()
        self.runner.play(tuple(LoadChip(bool(chip), self.chip_s) for chip in BARKER_13))
        self.runner.idle(self.chip_s)
        return began


#: A simulated device works from one line of its feed to the next, whose times are exact: one tick of the
#: host.
FEED_TICK_S = 1e-6


def laps_of(windows: Sequence[MeasuredWindow], watch: Watch, *, clock_hz: float) -> list[Lap]:
    """What the device says of every window.

    Args:
        windows: As the runner measured them, those that this watch saw.
        watch: What was done around them.
        clock_hz: Of the clock behind their times.
    """
    # both clocks are the same one on Linux; elsewhere this is their distance now
    shift_ns = time.monotonic_ns() - time.perf_counter_ns()
    laps = []
    for window, span in zip(windows, watch.spans, strict=True):
        start, stop, tick = window.started_ns + shift_ns, window.ended_ns + shift_ns, 1.0 / clock_hz
        if watch.feed is not None:  # what the twin draws begins and ends with the feed
            start, stop, tick = span.start_ns, span.stop_ns, FEED_TICK_S
        laps.append(
            Lap(
                start_ns=start,
                stop_ns=stop,
                seconds=(stop - start) / 1e9,
                resolution_s=tick,
                inferences=len(window.latencies_ms),
                output_sha256=window.output_sha256,
            )
        )
    return laps
