"""Power and energy of the windows of a metered session.

Every window is found on the meter's clock by the alignment ladder (`edgesnn.profiler.power.alignment`),
integrated with fractional edges (`edgesnn.meters.samples.trace`), held against the device's own lap time and
against the losses of the stream. A window that fails a check is invalid, with its reason; it is neither
shortened nor repaired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.errors import UndecidedError
from edgesnn.meters.base import ClockPair
from edgesnn.meters.samples.summary import range_sums
from edgesnn.meters.samples.trace import Trace
from edgesnn.profiler.power.alignment import (
    BARKER_13,
    ClockInterval,
    ClockMap,
    check_lap,
    find_preamble,
    fit_clock,
    from_clock,
    from_preambles,
)
from edgesnn.profiler.power.excerpt import excerpt
from edgesnn.profiler.power.uncertainty import TRIALS, PowerBudget, WindowSample, propagate
from edgesnn.record.power import Rung

FloatArray = npt.NDArray[np.float64]

#: A window that lost more than this share of its samples is invalid. Source: docs/measurement.md.
MOST_LOST = 1e-3
#: The part of an idle stretch that is left out on each side: the load still settles there.
IDLE_TRIM = 0.1
#: Jitter of host timestamps that no clock backs up: scheduling and USB, taken as a standard deviation.
HOST_SD_S = 0.02
#: Error of a host's clock against true time, parts per million, standard deviation. ASSUMED: crystals are
#: bought to 50 ppm, half of that is typical.
HOST_CLOCK_PPM = 25.0
SEED = 20_261_122
_NOTHING = "the meter gave no power for it"


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


@dataclass(frozen=True, slots=True)
class Lap:
    """What the device says of one window.

    Attributes:
        start_ns: Start by the host's clock, ``time.monotonic_ns``.
        stop_ns: End.
        seconds: Length by the device's clock (the host's where it has none).
        resolution_s: One tick of that clock.
        inferences: Inferences in it.
        output_sha256: Hash of everything it answered.
    """

    start_ns: int
    stop_ns: int
    seconds: float
    resolution_s: float
    inferences: int
    output_sha256: str


@dataclass(frozen=True, slots=True)
class MeteredWindow:
    """One measurement window.

    Attributes:
        interval: Where it lies on the meter's clock; None when it was not found.
        lap: What the device says of it.
        mean_w: Mean power; None when it was not found or holds no sample.
        energy_j: Energy.
        peak_w: Highest mean over 1 ms.
        idle_before_w: Mean power of the idle stretch before it.
        idle_after_w: Of the one after it.
        voltage_v: Mean voltage, measured or set.
        lost_share: Share of its time that no good sample covers.
        invalid: Why it does not count, or None.
        sample: What it contributes to the result, or None when it is invalid.
    """

    interval: ClockInterval | None
    lap: Lap
    mean_w: float | None
    energy_j: float | None
    peak_w: float | None
    idle_before_w: float | None
    idle_after_w: float | None
    voltage_v: float | None
    lost_share: float
    invalid: str | None
    sample: WindowSample | None


@dataclass(frozen=True, slots=True, eq=False)
class PowerResult:
    """A metered session.

    Attributes:
        rung: How the windows were found.
        clock: The map between the clocks, where the meter has one.
        windows: All windows, the invalid ones too.
        budget: Power and energy of the valid ones; None when there are none.
        trace: Every sample.
    """

    rung: Rung
    clock: ClockMap | None
    windows: tuple[MeteredWindow, ...]
    budget: PowerBudget | None
    trace: Trace

    @property
    def valid(self) -> tuple[MeteredWindow, ...]:
        """The windows that count."""
        return tuple(window for window in self.windows if window.invalid is None)

    @property
    def peak_w(self) -> float | None:
        """Highest 1 ms mean in any valid window."""
        peaks = [window.peak_w for window in self.valid if window.peak_w is not None]
        return max(peaks) if peaks else None


@dataclass(frozen=True, slots=True, eq=False)
class MeterStream:
    """What a meter gave during a session.

    Attributes:
        trace: Every sample.
        syncs: Readings of its clock.
        receipts: Meter time of the newest sample and host time of its receipt, seconds, float64 ``[n, 2]``.
        marker_bit: The input that the device raises.
        marker_pulses: Whether a pulse at the start and one at the end mark a window, instead of a level.
    """

    trace: Trace
    syncs: Sequence[ClockPair]
    receipts: FloatArray
    marker_bit: int = 0
    marker_pulses: bool = False


def evaluate(
    stream: MeterStream,
    spans: Sequence[HostSpan],
    laps: Sequence[Lap],
    rung: Rung,
    *,
    seed: int = SEED,
    trials: int = TRIALS,
) -> PowerResult:
    """Find the windows, integrate and propagate.

    Args:
        stream: What the meter gave.
        spans: Host times around every window.
        laps: What the device says of every window, in the same order.
        rung: How the windows are to be found.
        seed: Of the uncertainty's draws.
        trials: How many.

    Raises:
        UndecidedError: The windows cannot be found on this rung.
    """
    trace = stream.trace
    clock = _clock(stream, rung)
    intervals = _intervals(stream, spans, laps, rung, clock)
    windows = tuple(
        _window(trace, interval, span, lap, clock)
        for interval, span, lap in zip(intervals, spans, laps, strict=True)
    )
    samples = [window.sample for window in windows if window.sample is not None]
    budget = propagate(samples, trace.accuracy, seed=seed, trials=trials) if samples else None
    return PowerResult(rung, clock, windows, budget, trace)


def _clock(stream: MeterStream, rung: Rung) -> ClockMap:
    """The meter's clock against the host's: by its readings, else by the receipts."""
    pairs = stream.syncs
    if len(pairs) >= 2:
        return fit_clock(
            [pair.meter_s for pair in pairs],
            [pair.host_before_ns / 1e9 for pair in pairs],
            [pair.host_after_ns / 1e9 for pair in pairs],
        )
    if rung is Rung.CLOCK_MAP:
        raise UndecidedError("the meter's clock was not read", remedy="use a meter with a clock or a marker")
    meter, host = stream.receipts[:, 0], stream.receipts[:, 1]
    if meter.size < 2:
        raise UndecidedError("too little came from the meter", actual=f"{meter.size} blocks", limit="2")
    # a receipt is late, never early: the least delay is the best guess of the offset
    offset = float((meter - host).max())
    return ClockMap(offset, 1.0, HOST_SD_S, 0.0, int(meter.size))


def _intervals(
    stream: MeterStream, spans: Sequence[HostSpan], laps: Sequence[Lap], rung: Rung, clock: ClockMap
) -> list[ClockInterval | str]:
    """Every window on the meter's clock, or why it was not found."""
    if rung is Rung.MARKER:
        return _marked(stream, laps)
    if rung is Rung.PREAMBLE:
        return [_preambled(stream.trace, span, lap, clock) for span, lap in zip(spans, laps, strict=True)]
    return [from_clock(clock, lap.start_ns / 1e9, lap.stop_ns / 1e9) for lap in laps]


def _marked(stream: MeterStream, laps: Sequence[Lap]) -> list[ClockInterval | str]:
    found = stream.trace.marker_spans(stream.marker_bit)
    each = 2 if stream.marker_pulses else 1
    if len(found) != each * len(laps):
        reason = (
            f"the marker input {stream.marker_bit} was raised {len(found)} times for {len(laps)} windows, "
            f"{each * len(laps)} were expected; check its wire and its level"
        )
        return [reason] * len(laps)
    if stream.marker_pulses:  # the edge lies anywhere in the sample of its pulse
        return [
            ClockInterval(
                (a.start_s + a.stop_s) / 2,
                (b.start_s + b.stop_s) / 2,
                max(a.edge_s, b.edge_s) / np.sqrt(12.0),
            )
            for a, b in zip(found[::2], found[1::2], strict=True)
        ]
    # an edge lies anywhere in the sample before the one that shows it
    return [
        ClockInterval(one.start_s - one.edge_s / 2, one.stop_s - one.edge_s / 2, one.edge_s / np.sqrt(12.0))
        for one in found
    ]


def _preambled(trace: Trace, span: HostSpan, lap: Lap, clock: ClockMap) -> ClockInterval | str:
    if span.first_preamble_ns is None or span.last_preamble_ns is None:
        return "no preamble was played around this window"
    found = []
    lengths = np.broadcast_to(np.asarray(trace.block.duration_s, np.float64), len(trace.block))
    duration = float(np.median(lengths))
    power = trace.power_w()
    for began_ns, end_ns in (
        (span.first_preamble_ns, lap.start_ns),
        (span.last_preamble_ns, span.rest_from_ns),
    ):
        chip = (end_ns - began_ns) / 1e9 / (len(BARKER_13) + 1)
        # the level before the code must be seen too: its first edge is what gives the time
        slack = 4 * clock.sd_s + duration + 1.2 * chip
        low = clock.meter_s(began_ns / 1e9) - slack
        high = clock.meter_s(end_ns / 1e9) + slack
        inside = (trace.block.time_s >= low) & (trace.block.time_s <= high)
        if not inside.any():
            return "the meter gave nothing while the preamble was played"
        try:
            preamble = find_preamble(trace.block.time_s[inside], power[inside], BARKER_13, chip, duration)
        except UndecidedError as error:
            return error.what
        if not preamble.believed:
            return f"the preamble does not stand out: peak ratio {preamble.peak_ratio:.2g}, 2 is the least"
        found.append(preamble)
    between = (span.last_preamble_ns - span.first_preamble_ns) / 1e9
    offset = (lap.start_ns - span.first_preamble_ns) / 1e9
    return from_preambles(found[0], found[1], between, offset, (lap.stop_ns - lap.start_ns) / 1e9)


def _not_found(lap: Lap, reason: str) -> MeteredWindow:
    return MeteredWindow(None, lap, None, None, None, None, None, None, 1.0, reason, None)


def _window(
    trace: Trace, interval: ClockInterval | str, span: HostSpan, lap: Lap, clock: ClockMap
) -> MeteredWindow:
    if isinstance(interval, str):
        return _not_found(lap, interval)
    near = excerpt(trace, interval.start_s, interval.stop_s)
    if near is None:
        return _not_found(lap, _NOTHING)
    part = near.between(interval.start_s, interval.stop_s)
    lost = 1.0 - part.coverage
    before = _idle(trace, clock, span.idle_from_ns, span.idle_until_ns)
    after = _idle(trace, clock, span.rest_from_ns, span.rest_until_ns)
    lap_check = check_lap(
        interval, lap.seconds, lap.resolution_s, float(np.hypot(trace.accuracy.clock_ppm, HOST_CLOCK_PPM))
    )
    reasons = []
    if part.mean_w is None:
        reasons.append(_NOTHING)
    if lost > MOST_LOST:
        reasons.append(f"{lost:.2%} of it has no good sample, {MOST_LOST:.1%} is allowed")
    if part.saturated:
        reasons.append(f"{part.saturated} samples were at the limit of the instrument")
    if lap_check.reason is not None:
        reasons.append(lap_check.reason)
    invalid = "; ".join(reasons) or None
    idles = [value for value in (before, after) if value is not None]
    idle = float(np.mean(idles)) if len(idles) == 2 else None
    voltage = _voltage(near)
    sample = None
    if invalid is None and part.mean_w is not None:
        sample = _sample(near, interval, part.mean_w, idle, inferences=lap.inferences, voltage=voltage)
    return MeteredWindow(
        interval,
        lap,
        part.mean_w,
        part.energy_j,
        near.peak_w() if part.measured_s else None,
        before,
        after,
        voltage,
        lost,
        invalid,
        sample,
    )


def _idle(trace: Trace, clock: ClockMap, from_ns: int, until_ns: int) -> float | None:
    trim = IDLE_TRIM * (until_ns - from_ns)
    start, stop = clock.meter_s((from_ns + trim) / 1e9), clock.meter_s((until_ns - trim) / 1e9)
    start, stop = max(start, trace.start_s), min(stop, trace.stop_s)
    if not stop > start:
        return None
    near = excerpt(trace, start, stop)
    if near is None:
        return None
    part = near.between(start, stop)
    return part.mean_w if part.coverage > 1 - MOST_LOST else None


def _voltage(near: Trace) -> float | None:
    measured = near.block.voltage_v
    return near.set_voltage_v if measured is None else float(measured.mean())


def _sample(
    near: Trace,
    interval: ClockInterval,
    mean_w: float,
    idle_w: float | None,
    *,
    inferences: int,
    voltage: float | None,
) -> WindowSample:
    lengths = np.asarray(near.block.duration_s, np.float64)
    sums = range_sums(near.block, lengths, near.set_voltage_v)
    last = len(near.accuracy.ranges) - 1
    charge, seconds = np.zeros(last + 1), np.zeros(last + 1)
    for index, one in sums.items():
        charge[min(index, last)] += abs(one.energy_j)
        seconds[min(index, last)] += one.seconds
    return WindowSample(
        mean_w=mean_w,
        idle_w=idle_w,
        seconds=interval.seconds,
        inferences=inferences,
        voltage_v=voltage if voltage else 1.0,
        current_share=charge / charge.sum() if charge.sum() else seconds / seconds.sum(),
        time_share=seconds / seconds.sum(),
        edge_sd_s=interval.edge_sd_s,
        common_sd_s=interval.common_sd_s,
    )
