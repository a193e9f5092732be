"""Windows with a meter beside them: idle, marker or preamble, window, the same again, idle.

The same windows give latency and energy. What is done around a window depends on the alignment rung that runner and
meter allow (`choose_rung`); what was measured is worked out afterwards by `edgesnn.profiler.power`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from edgesnn.meters.base import Capability as MeterCapability
from edgesnn.profiler.alignment import BARKER_13, Rung
from edgesnn.profiler.meter_process import MeterProcess
from edgesnn.runners.base import Capability, Chip, Runner

#: Idle time at the start of the stream and at its end, so that no window touches them.
MARGIN_S = 0.2
#: Shortest chip of a preamble: the host's sleep is right to about a millisecond.
LEAST_CHIP_S = 0.02


class LoadFeed(Protocol):
    """A simulated device under test: what its twin of a meter draws from now on."""

    def busy(self) -> None:
        """The device works; the marker is raised."""
        ...

    def rest(self) -> None:
        """The device is idle; the marker is lowered."""
        ...


@dataclass(frozen=True, slots=True)
class HostSpan:
    """Host times around one window, ``time.monotonic_ns``.

    Attributes:
        idle_from_ns: Start of the idle stretch before the window.
        idle_until_ns: Its end.
        first_preamble_ns: Start of the preamble before the window, or None.
        start_ns: Start of the window.
        stop_ns: Its end.
        last_preamble_ns: Start of the preamble after it, or None.
        rest_from_ns: Start of the idle stretch after it.
        rest_until_ns: Its end.
    """

    idle_from_ns: int
    idle_until_ns: int
    first_preamble_ns: int | None
    start_ns: int
    stop_ns: int
    last_preamble_ns: int | None
    rest_from_ns: int
    rest_until_ns: int


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
        if self.feed is not None:
            self.feed.busy()
        start = time.monotonic_ns()
        try:
            yield
        finally:
            stop = time.monotonic_ns()
            if self.feed is not None:
                self.feed.rest()
        last = self._preamble()
        rest_from = time.monotonic_ns()
        self.runner.idle(self.idle_s)
        rest_until = time.monotonic_ns()
        self.meter.check()
        self.spans.append(HostSpan(idle_from, idle_until, first, start, stop, last, rest_from, rest_until))

    def _preamble(self) -> int | None:
        if self.rung is not Rung.PREAMBLE:
            return None
        began = time.monotonic_ns()
        self.runner.play(tuple(Chip(bool(chip), self.chip_s) for chip in BARKER_13))
        self.runner.idle(self.chip_s)
        return began
