"""Where a measurement window lies on the meter's clock: the alignment ladder.

From the best rung to the worst, and the one that was used stands in the record:

1. `Rung.MARKER`: the device raises a line that the meter samples with the current; at most one sample an
edge.
2. `Rung.CLOCK_MAP`: the meter's clock is mapped to the host's by readings before and after.
3. `Rung.PREAMBLE`: the device plays a coded load, which cross-correlation finds in the power trace.
4. `Rung.HOST`: host timestamps of what arrived; marked coarse.

All times are seconds of the meter's clock unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.errors import UndecidedError

FloatArray = npt.NDArray[np.float64]

#: Barker's code of length 13: every side peak of its autocorrelation is at most 1/13 of the main one.
#: Source: R. H. Barker, Group synchronizing of binary digital systems, 1953.
BARKER_13 = (1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 1, 0, 1)
#: A preamble is believed when its correlation peak is this many times the second highest. Source: the ladder
#: of docs/measurement.md.
LEAST_PEAK_RATIO = 2.0
#: Fewest meter samples in one chip of a preamble.
LEAST_CHIP_SAMPLES = 4
#: Two crystals differ by this many parts per million, standard deviation, before anything was read. ASSUMED:
#: twice what either is sold with.
RATE_PPM = 200.0
#: What the chips that a host times with its sleeps are late, in all: a standard deviation. It counts where
#: the first edge of a preamble cannot be told. ASSUMED: a sleep of 20 ms ends within a millisecond.
SLEEP_SD_S = 1e-3


@dataclass(frozen=True, slots=True)
class ClockInterval:
    """A stretch of the meter's clock with what is unknown about its edges.

    Attributes:
        start_s: Start.
        stop_s: End.
        edge_sd_s: Standard deviation of each edge, the two being independent.
        common_sd_s: Standard deviation of a shift that both edges share; it moves the window, not its length.
    """

    start_s: float
    stop_s: float
    edge_sd_s: float
    common_sd_s: float = 0.0

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.stop_s - self.start_s


@dataclass(frozen=True, slots=True)
class ClockMap:
    """``meter_s = offset_s + rate * host_s``, fitted on readings of both clocks.

    Attributes:
        offset_s: Meter time at host time 0.
        rate: Meter seconds in a host second.
        sd_s: Standard deviation of a mapped time: half the round trip taken as a rectangular bound, and the
            scatter about the line.
        drift_ppm: ``rate - 1`` in parts per million.
        readings: Readings behind it.
    """

    offset_s: float
    rate: float
    sd_s: float
    drift_ppm: float
    readings: int

    def meter_s(self, host_s: float) -> float:
        """Map a host time."""
        return self.offset_s + self.rate * host_s


def fit_clock(
    meter_s: Sequence[float], host_before_s: Sequence[float], host_after_s: Sequence[float]
) -> ClockMap:
    """Fit the map on readings taken before and after (and perhaps during) the windows.

    Of the readings in each half of the time only those whose round trip is at most twice the shortest one
    are used, as NTP does: queueing makes a round trip longer, never shorter. Where they lie too close to
    tell the rate, it is drawn towards 1 by what crystals keep (`RATE_PPM`).

    Args:
        meter_s: The meter's clock, one value a reading.
        host_before_s: Host time before each exchange.
        host_after_s: Host time after it.

    Raises:
        UndecidedError: There are fewer than two readings, or they lie at one time: no rate can be told.
    """
    meter = np.asarray(meter_s, np.float64)
    before, after = np.asarray(host_before_s, np.float64), np.asarray(host_after_s, np.float64)
    if meter.size < 2 or np.ptp(before) <= 0:
        raise UndecidedError(
            "the clocks of meter and host cannot be compared",
            actual=f"{meter.size} readings",
            limit="two or more, at different times",
            remedy="read the meter's clock before and after the windows",
        )
    trip, host = after - before, (before + after) / 2
    late = host > (host.min() + host.max()) / 2
    use = np.zeros(meter.size, bool)
    for half in (late, ~late):
        if half.any():
            use |= half & (trip <= 2 * trip[half].min())
    x, y = host[use], meter[use]
    origin = x.mean()
    spread = float(((x - origin) ** 2).sum())
    if use.sum() < 2 or spread <= 0:
        raise UndecidedError("the clocks of meter and host cannot be compared", limit="two good readings")
    slope = float(((x - origin) * (y - y.mean())).sum() / spread)
    bound = float(trip[use].max()) / 2
    # over seconds a long round trip tells less of the rate than that both clocks are crystals
    slope_variance = bound**2 / 3 / spread
    prior_variance = (RATE_PPM * 1e-6) ** 2
    rate = 1 + (slope - 1) * prior_variance / (prior_variance + slope_variance)
    offset = float(y.mean() - rate * origin)
    residual = y - (offset + rate * x)
    scatter = float(np.sqrt((residual**2).sum() / max(1, use.sum() - 2)))
    return ClockMap(
        offset, rate, float(np.hypot(bound / np.sqrt(3.0), scatter)), (rate - 1) * 1e6, int(use.sum())
    )


def from_clock(clock: ClockMap, host_start_s: float, host_stop_s: float) -> ClockInterval:
    """A window between two host times, on the meter's clock."""
    # an error of the offset moves both edges; only the part that differs between them changes the length
    return ClockInterval(
        clock.meter_s(host_start_s),
        clock.meter_s(host_stop_s),
        clock.sd_s / np.sqrt(2.0),
        clock.sd_s / np.sqrt(2.0),
    )


@dataclass(frozen=True, slots=True)
class Preamble:
    """A coded load as it was found in a power trace.

    Attributes:
        start_s: Start of its first chip.
        peak_ratio: Correlation peak over the second highest peak that is more than a chip away.
        contrast: Height of the correlation peak, -1..1; 1 is a perfect copy.
        sd_s: Standard deviation of the start.
        rise_s: How long the load took to its new power at the first edge; the load lags by up to half of it.
    """

    start_s: float
    peak_ratio: float
    contrast: float
    sd_s: float
    rise_s: float = 0.0

    @property
    def believed(self) -> bool:
        """Whether the peak stands out."""
        return self.peak_ratio >= LEAST_PEAK_RATIO and self.contrast > 0


def find_preamble(
    time_s: FloatArray,
    power_w: FloatArray,
    chips: Sequence[int],
    chip_s: float,
    duration_s: float,
) -> Preamble:
    """Find a coded load by normalised cross-correlation, then its first edge.

    The trace is taken on an even grid of one sample; the template is the chips as boxes. The lag is
    refined by a parabola through the peak and its neighbours. A host that sleeps from chip to chip is late at
    each, so the whole code says less of its start than its first edge, which was timed. That edge is taken
    where the trace shows one; else `SLEEP_SD_S` counts.

    Args:
        time_s: Start of each sample, even up to gaps, float64 ``[n]``.
        power_w: Mean power of each sample, float64 ``[n]``.
        chips: 1 is busy, 0 is idle.
        chip_s: Length of a chip.
        duration_s: Length of a sample.

    Raises:
        UndecidedError: A chip is shorter than four samples, or the trace is shorter than the pattern.
    """
    per_chip = chip_s / duration_s
    if per_chip < LEAST_CHIP_SAMPLES:
        raise UndecidedError(
            "the meter is too slow for the preamble",
            actual=f"{per_chip:.3g} samples a chip",
            limit=f"{LEAST_CHIP_SAMPLES}",
            remedy="play longer chips",
        )
    grid = np.arange(time_s[0], time_s[-1] + duration_s / 2, duration_s)
    trace = np.interp(grid, time_s, power_w)
    edges = np.arange(round(len(chips) * per_chip)) / per_chip
    template = np.asarray(chips, np.float64)[np.minimum(edges.astype(int), len(chips) - 1)]
    length = template.size
    if trace.size < length + 2:
        raise UndecidedError(
            "the trace is shorter than the preamble", actual=f"{trace.size} samples", limit=f"{length + 2}"
        )
    score = _normalised(trace, template)
    best = int(np.argmax(score))
    away = np.abs(np.arange(score.size) - best) > per_chip
    second = float(score[away].max()) if away.any() else 0.0
    shift = 0.0
    if 0 < best < score.size - 1:
        a, b, c = score[best - 1], score[best], score[best + 1]
        curve = a - 2 * b + c
        shift = 0.0 if curve >= 0 else float(0.5 * (a - c) / curve)
    ratio = float(score[best]) / second if second > 0 else np.inf
    start, grid_sd = float(grid[best] + shift * duration_s), duration_s / np.sqrt(12.0)
    edge = _first_edge(grid, trace, start, chip_s, duration_s)
    if edge is None:
        return Preamble(start, ratio, float(score[best]), float(np.hypot(grid_sd, SLEEP_SD_S)))
    at, rise, noise = edge
    return Preamble(at, ratio, float(score[best]), float(np.hypot(grid_sd, noise)), rise)


def _first_edge(
    time_s: FloatArray, power_w: FloatArray, start_s: float, chip_s: float, duration_s: float
) -> tuple[float, float, float] | None:
    """The middle of the rise from idle to the first busy chip near a time.

    Where the power first crosses the middle between the two levels, the step is placed so that the energy of
    a quarter of a chip on either side is that of the trace: right to a fraction of a sample.

    Args:
        time_s: Starts of the samples, evenly spaced, float64 ``[n]``.
        power_w: Power, float64 ``[n]``.
        start_s: Where the first chip begins, to a quarter of a chip or so.
        chip_s: Length of a chip.
        duration_s: Length of a sample.

    Returns:
        The time, the length of the rise, and the standard deviation that the noise gives the time; None where
        no such edge stands out.
    """
    at_s = start_s
    for _ in range(2):  # once around where the code says, once around the crossing itself
        since = time_s - at_s
        before = power_w[(since >= -0.7 * chip_s) & (since + duration_s <= -0.3 * chip_s)]
        after = power_w[(since >= 0.3 * chip_s) & (since + duration_s <= 1.3 * chip_s)]
        near = np.flatnonzero(np.abs(since) < 0.5 * chip_s)
        if not (before.size and after.size and near.size):
            return None
        low, high = float(before.mean()), float(after.mean())
        step, noise = high - low, float(max(before.std(), after.std()))
        if step < 0.5 * float(np.ptp(np.percentile(power_w, [5, 95]))) or noise > step / 6:
            return None
        # the last sample below the middle: what came before the idle chip does not count
        below = near[power_w[near] <= (low + high) / 2]
        if not below.size:
            return None
        crossing = int(below[-1]) + 1
        at_s = float(time_s[min(crossing, time_s.size - 1)])
    reach = max(2, round(chip_s / 4 / duration_s))
    first, last = crossing - reach, crossing + reach
    if first < 0 or last >= time_s.size:
        return None
    share = (power_w[first : last + 1] - low) / step
    at = float(time_s[last]) + duration_s - float(share.sum()) * duration_s
    # a straight rise of length r and the step in its middle differ by an area of r/4
    ideal = np.clip((time_s[first : last + 1] + duration_s - at) / duration_s, 0.0, 1.0)
    rise = 4 * float(np.abs(share - ideal).sum()) * duration_s
    return at, min(rise, 2 * reach * duration_s), noise / step * duration_s * float(np.sqrt(share.size))


def _normalised(trace: FloatArray, template: FloatArray) -> FloatArray:
    """Pearson's correlation of the template with every stretch of the trace, float64 ``[n - m + 1]``."""
    from scipy.signal import fftconvolve

    m = template.size
    centred = template - template.mean()
    trace = trace - trace.mean()
    product = fftconvolve(trace, centred[::-1], mode="valid")
    ones = np.concatenate([[0.0], np.cumsum(trace)])
    squares = np.concatenate([[0.0], np.cumsum(trace**2)])
    total = ones[m:] - ones[:-m]
    energy = np.maximum(squares[m:] - squares[:-m] - total**2 / m, 0.0)
    scale = np.sqrt(energy * float((centred**2).sum()))
    floor = 1e-9 * max(1e-30, float(scale.max()))
    return np.asarray(np.where(scale > floor, product / np.maximum(scale, floor), 0.0), np.float64)


def from_preambles(
    first: Preamble, last: Preamble, host_between_s: float, host_offset_s: float, host_s: float
) -> ClockInterval:
    """A window between two preambles, whose distance on the host's clock gives the drift.

    Args:
        first: The preamble before the window.
        last: The one after it.
        host_between_s: Host time from the start of the first to the start of the last.
        host_offset_s: Host time from the start of the first to the start of the window.
        host_s: Host length of the window.
    """
    rate = (last.start_s - first.start_s) / host_between_s
    start = first.start_s + rate * host_offset_s
    sd = float(np.hypot(first.sd_s, last.sd_s)) / np.sqrt(2.0)
    # both preambles lag alike: that moves the window and does not change its length
    lag = max(first.rise_s, last.rise_s) / 2 / np.sqrt(3.0)
    return ClockInterval(start, start + rate * host_s, sd, float(np.hypot(sd, lag)))


@dataclass(frozen=True, slots=True)
class LapCheck:
    """Whether the device's own lap time agrees with the aligned window.

    Attributes:
        aligned_s: Length of the aligned window.
        lap_s: What the device says it took.
        sd_s: Standard deviation of their difference.
        agrees: Whether they differ by at most three of them.
    """

    aligned_s: float
    lap_s: float
    sd_s: float
    agrees: bool

    @property
    def reason(self) -> str | None:
        """Why the window is invalid, or None."""
        if self.agrees:
            return None
        return (
            f"the aligned window lasts {self.aligned_s:.6g} s, the device says {self.lap_s:.6g} s: "
            f"apart by {abs(self.aligned_s - self.lap_s) / self.sd_s:.1f} standard deviations, 3 are allowed"
        )


def check_lap(window: ClockInterval, lap_s: float, lap_sd_s: float, clock_ppm: float) -> LapCheck:
    """Compare an aligned window with the device's lap time.

    Args:
        window: The aligned window.
        lap_s: The device's lap time.
        lap_sd_s: Its standard deviation, for example the tick over ``sqrt(12)``.
        clock_ppm: Standard deviation of the ratio of the two clocks, parts per million.
    """
    sd = float(np.sqrt(2 * window.edge_sd_s**2 + lap_sd_s**2 + (clock_ppm * 1e-6 * window.seconds) ** 2))
    return LapCheck(window.seconds, lap_s, sd, abs(window.seconds - lap_s) <= 3 * sd)
