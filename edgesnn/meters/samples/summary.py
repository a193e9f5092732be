"""Statistics of a stream of any length in bounded memory: energy, charge, extremes, percentiles, losses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.meters.base import Block, Loss, SampleStatus
from edgesnn.meters.samples.accuracy import MeterAccuracy
from edgesnn.meters.samples.uncertainty import RangeSums, Uncertainty, uncertainty

FloatArray = npt.NDArray[np.float64]

#: The peak that is reported is the highest mean over this long: a maximum of raw samples would grow with
#: the sample rate.
PEAK_WINDOW_S = 1e-3
#: Percentiles come from a histogram with this many bins a decade: each is right within 0.6 %.
BINS_PER_DECADE = 200
_LOWEST_W, _DECADES = 1e-9, 13


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """What a stream amounts to. Suspect samples are left out, as are gaps: what happened then is not known.

    Attributes:
        samples: Samples that count.
        measured_s: Time they cover.
        missing_s: Time from the start of the stream to its last sample that no sample covers.
        suspect_s: Time of samples that were left out because a check failed near them.
        saturated: Samples at the limit of the instrument; the energy is then a lower bound.
        energy_j: Energy of the measured time, joules; None with `reason`.
        reason: Why there is no energy; None where there is.
        charge_c: Charge of the measured time, coulombs; None where the instrument gives power only.
        mean_w: Mean power of the measured time, watts.
        lowest_w: Lowest sample.
        highest_w: Highest sample.
        peak_w: Highest mean over `PEAK_WINDOW_S`; None when no stretch without a gap is that long.
        percentiles_w: Power by percentile (5, 50, 95, 99).
        marker_edges: Rising edges by number of the input.
        uncertainty: Of energy and charge.
    """

    samples: int
    measured_s: float
    missing_s: float
    suspect_s: float
    saturated: int
    energy_j: float | None
    reason: str | None
    charge_c: float | None
    mean_w: float | None
    lowest_w: float | None
    highest_w: float | None
    peak_w: float | None
    percentiles_w: dict[int, float]
    marker_edges: dict[int, int]
    uncertainty: Uncertainty | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        known = self.uncertainty
        return {
            "samples": self.samples,
            "measured_s": self.measured_s,
            "missing_s": self.missing_s,
            "suspect_s": self.suspect_s,
            "saturated_samples": self.saturated,
            "energy_j": self.energy_j,
            "energy_reason": self.reason,
            "charge_c": self.charge_c,
            "mean_power_w": self.mean_w,
            "lowest_power_w": self.lowest_w,
            "highest_power_w": self.highest_w,
            "peak_1ms_power_w": self.peak_w,
            "percentiles_power_w": {str(key): value for key, value in self.percentiles_w.items()},
            "marker_rising_edges": {str(key): value for key, value in self.marker_edges.items()},
            "uncertainty": None
            if known is None
            else {
                "coverage": "95 %",
                "energy_j": known.expanded_j,
                "charge_c": known.expanded_c,
                "basis": known.basis,
                "standard_parts_j": known.parts_j,
            },
        }


def loss_dict(loss: Loss) -> dict[str, Any]:
    """An account as plain data for ``--json``."""
    return {
        "received": loss.received,
        "missing": loss.missing,
        "suspected": loss.suspected,
        "fraction": loss.fraction,
        "discarded_bytes": loss.discarded_bytes,
        "undetectable_below": loss.undetectable,
        "reasons": list(loss.reasons),
    }


class Accumulator:
    """Adds up blocks.

    Args:
        accuracy: The instrument's.
        set_voltage_v: Volts where the instrument measures none.
    """

    def __init__(self, accuracy: MeterAccuracy, set_voltage_v: float | None) -> None:
        self._accuracy = accuracy
        self._set_voltage_v = set_voltage_v
        self._sums: dict[int, RangeSums] = {}
        self._came = self._samples = self._saturated = 0
        self._suspect_s = self._covered_s = self._end_s = 0.0
        self._shortest_s = math.inf
        self._lowest, self._highest = math.inf, -math.inf
        self._histogram = np.zeros(BINS_PER_DECADE * _DECADES + 2, np.int64)
        self._levels = 0
        self._edges: dict[int, int] = {}
        self._has_power = True
        self._has_charge = True
        self._peak = PeakMean(PEAK_WINDOW_S)

    @property
    def mean_w(self) -> float | None:
        """Mean power so far, watts."""
        total = sum(self._sums.values(), RangeSums())
        return total.energy_j / total.seconds if self._has_power and total.seconds else None

    def add(self, block: Block) -> None:
        """Take the next block of the stream."""
        if not len(block):
            return
        lengths = np.broadcast_to(np.asarray(block.duration_s, np.float64), len(block))
        self._covered_s += float(lengths.sum())
        self._shortest_s = min(self._shortest_s, float(lengths.min()))
        self._end_s = float(block.time_s[-1] + lengths[-1])
        self._markers(block)
        good = counted(block)
        self._suspect_s += float(lengths[~good].sum())
        self._saturated += int(np.count_nonzero(block.status[good] & SampleStatus.SATURATED))
        self._came += len(block)
        self._samples += int(good.sum())
        self._has_power &= knows_power(block, self._set_voltage_v)
        self._has_charge &= block.current_a is not None
        for index, sums in range_sums(block, lengths * good, self._set_voltage_v).items():
            self._sums[index] = self._sums.get(index, RangeSums()) + sums
        if self._has_power and good.any():
            watts = block.watts(self._set_voltage_v)
            self._extremes(watts[good])
            self._peak.add(block.time_s, lengths, watts, good)

    def result(self) -> StreamSummary:
        """What was added so far."""
        total = sum(self._sums.values(), RangeSums())
        has_power = self._has_power and self._samples > 0
        return StreamSummary(
            samples=self._samples,
            measured_s=total.seconds,
            missing_s=self._missing_s(),
            suspect_s=self._suspect_s,
            saturated=self._saturated,
            energy_j=total.energy_j if has_power else None,
            reason=self._why_no_energy(),
            charge_c=total.charge_c if self._has_charge and self._samples else None,
            mean_w=self.mean_w if has_power else None,
            lowest_w=self._lowest if has_power else None,
            highest_w=self._highest if has_power else None,
            peak_w=self._peak.highest_w if has_power else None,
            percentiles_w=self._percentiles() if has_power else {},
            marker_edges=dict(sorted(self._edges.items())),
            uncertainty=uncertainty(self._sums, self._accuracy) if self._samples else None,
        )

    def _why_no_energy(self) -> str | None:
        if not self._came:
            return "no sample came"
        if not self._samples:
            return f"no sample counts: all {self._came:,} failed a check"
        return None if self._has_power else "the meter gives no voltage: name it, ...?voltage=3.7"

    def _missing_s(self) -> float:
        """Time without a sample; what is below a thousandth of a sample is rounding."""
        hole = self._end_s - self._covered_s
        return hole if hole > 1e-3 * self._shortest_s else 0.0

    def _markers(self, block: Block) -> None:
        levels = np.concatenate([[self._levels], block.markers]).astype(np.uint8)
        rising = ~levels[:-1] & levels[1:]
        if rising.any():
            for bit in range(8):
                count = int(np.count_nonzero(rising & (1 << bit)))
                if count:
                    self._edges[bit] = self._edges.get(bit, 0) + count
        self._levels = int(levels[-1])

    def _extremes(self, watts: FloatArray) -> None:
        self._lowest = min(self._lowest, float(watts.min()))
        self._highest = max(self._highest, float(watts.max()))
        with np.errstate(divide="ignore", invalid="ignore"):
            place = np.log10(watts / _LOWEST_W) * BINS_PER_DECADE
        place = np.where(watts > _LOWEST_W, place, -1.0)
        bins = np.clip(np.floor(place) + 1, 0, self._histogram.size - 1).astype(np.int64)
        self._histogram += np.bincount(bins, minlength=self._histogram.size)

    def _percentiles(self) -> dict[int, float]:
        """The middle of the bin in which each percentile falls, never outside the extremes."""
        cumulated = np.cumsum(self._histogram)
        found = {}
        for percent in (5, 50, 95, 99):
            index = int(np.searchsorted(cumulated, percent / 100 * cumulated[-1]))
            middle = _LOWEST_W * 10 ** ((index - 0.5) / BINS_PER_DECADE) if index else 0.0
            found[percent] = min(max(middle, self._lowest), self._highest)
        return found


class PeakMean:
    """The highest mean power over a span, from a stream.

    The span slides from sample to sample and covers no gap and no sample that does not count.

    Args:
        window_s: Length of the span.

    Attributes:
        highest_w: The highest mean so far, watts; None when no stretch was long enough.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._ends = np.zeros(0)
        self._energy = np.zeros(0)
        self.highest_w: float | None = None

    def add(
        self, time_s: FloatArray, lengths: FloatArray, watts: FloatArray, good: npt.NDArray[np.bool_]
    ) -> None:
        """Take the next samples, ``[n]`` each."""
        begins_again = np.concatenate([[True], time_s[1:] - (time_s + lengths)[:-1] > 0.5 * lengths[1:]])
        if self._ends.size:
            begins_again[0] = abs(time_s[0] - self._ends[-1]) > 0.5 * lengths[0]
        begins_again[1:] |= ~good[:-1]
        for piece in np.split(np.arange(time_s.size), np.flatnonzero(begins_again)):
            if not piece.size:
                continue
            if begins_again[piece[0]]:
                self._ends, self._energy = np.array([time_s[piece[0]]]), np.zeros(1)
            kept = piece[good[piece]]
            if kept.size:
                self._stretch(time_s[kept] + lengths[kept], watts[kept] * lengths[kept])
            if kept.size < piece.size:
                self._ends, self._energy = np.zeros(0), np.zeros(0)

    def _stretch(self, ends: FloatArray, joules: FloatArray) -> None:
        if not self._ends.size:
            self._ends, self._energy = np.array([ends[0]]), np.zeros(1)
            ends, joules = ends[1:], joules[1:]
        all_ends = np.concatenate([self._ends, ends])
        energy = np.concatenate([self._energy, self._energy[-1] + np.cumsum(joules)])
        begins = all_ends - self._window_s
        inside = begins >= all_ends[0] - 1e-12
        if inside.any():
            spent = energy[inside] - np.interp(begins[inside], all_ends, energy)
            highest = float(spent.max()) / self._window_s
            self.highest_w = highest if self.highest_w is None else max(self.highest_w, highest)
        first = max(int(np.searchsorted(all_ends, all_ends[-1] - self._window_s)) - 1, 0)
        self._ends, self._energy = all_ends[first:], energy[first:] - energy[first]


def counted(block: Block) -> npt.NDArray[np.bool_]:
    """Which samples enter a result: no check failed near them, and they are numbers; bool ``[n]``."""
    good: npt.NDArray[np.bool_] = block.known() & ((block.status & SampleStatus.SUSPECT) == 0)
    return good


def knows_power(block: Block, set_voltage_v: float | None) -> bool:
    """Whether the power of a block is known."""
    return block.power_w is not None or block.voltage_v is not None or set_voltage_v is not None


def range_sums(block: Block, weights_s: FloatArray, set_voltage_v: float | None) -> dict[int, RangeSums]:
    """Energy, charge and time by range.

    Args:
        block: The samples.
        weights_s: How much of each sample counts, seconds, float64 ``[n]``.
        set_voltage_v: Volts where the instrument measures none.
    """
    count = len(block)
    ranges = np.zeros(count, np.int64) if block.range_index is None else block.range_index.astype(np.int64)
    nothing = np.zeros(count)
    power = block.watts(set_voltage_v) if knows_power(block, set_voltage_v) else nothing
    current = nothing if block.current_a is None else block.current_a.astype(np.float64)
    volts = block.voltage_v if block.voltage_v is not None else np.full(count, set_voltage_v or 0.0)
    size = int(ranges.max()) + 1 if count else 0
    totals = [
        np.bincount(ranges, weights=np.where(weights_s > 0, weights_s * values, 0.0), minlength=size)
        for values in (np.ones(count), power, current, np.abs(volts))
    ]
    return {
        index: RangeSums(*(float(total[index]) for total in totals))
        for index in range(size)
        if totals[0][index] > 0
    }
