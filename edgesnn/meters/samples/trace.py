"""A stretch of samples in memory: energy and charge between two times, marker edges, peaks, percentiles.

A sample is the mean over its length, so a span that begins inside a sample takes that share of it. Time that
no sample covers is reported, never filled in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.errors import RecordingError, UsageError
from edgesnn.meters.base import Block, SampleStatus
from edgesnn.meters.files.format import columns_of, join
from edgesnn.meters.files.recording import RecordingSegment
from edgesnn.meters.samples.accuracy import MeterAccuracy
from edgesnn.meters.samples.summary import PeakMean, counted, knows_power, range_sums
from edgesnn.meters.samples.uncertainty import RangeSums, Uncertainty, uncertainty

FloatArray = npt.NDArray[np.float64]

#: Samples that a trace may hold: 5 minutes at 100 kS/s, about 1 GB.
MAX_SAMPLES = 30_000_000


@dataclass(frozen=True, slots=True)
class TraceInterval:
    """What was used between two times.

    Attributes:
        start_s: Beginning, on the meter's clock.
        stop_s: End.
        measured_s: Time that samples cover and that counts.
        missing_s: Time that no sample covers.
        suspect_s: Time whose samples failed a check; it does not count.
        saturated: Samples at the limit of the instrument; the energy is then a lower bound.
        energy_j: Energy of the measured time, joules; None without a voltage.
        charge_c: Charge of the measured time, coulombs; None where the instrument gives power only.
        uncertainty: Of both.
    """

    start_s: float
    stop_s: float
    measured_s: float
    missing_s: float
    suspect_s: float
    saturated: int
    energy_j: float | None
    charge_c: float | None
    uncertainty: Uncertainty

    @property
    def mean_w(self) -> float | None:
        """Mean power of the measured time, watts."""
        return self.energy_j / self.measured_s if self.energy_j is not None and self.measured_s else None

    @property
    def coverage(self) -> float:
        """Share of the span that was measured."""
        return self.measured_s / (self.stop_s - self.start_s)


@dataclass(frozen=True, slots=True)
class MarkerSpan:
    """A marker input that was raised and lowered again.

    Attributes:
        start_s: Start of the first sample with the level raised.
        stop_s: End of the last.
        edge_s: Length of a sample there: each edge is known to that.
    """

    start_s: float
    stop_s: float
    edge_s: float


class Trace:
    """Samples of one clock.

    Args:
        block: All of them, in order.
        accuracy: The instrument's.
        set_voltage_v: Volts where the instrument measured none.

    Raises:
        RecordingError: There is no sample.

    Examples:
        >>> trace = edgesnn.measure_power("sim:ppk2?voltage=3.7", 0.2)
        >>> first = trace.between(trace.start_s, trace.start_s + 0.1)
        >>> first.coverage > 0.5
        True
    """

    def __init__(self, block: Block, accuracy: MeterAccuracy, set_voltage_v: float | None) -> None:
        if not len(block):
            raise RecordingError("there is no sample in this trace")
        self.block = block
        self.accuracy = accuracy
        self.set_voltage_v = set_voltage_v
        self._lengths = np.broadcast_to(np.asarray(block.duration_s, np.float64), len(block))
        self._good = counted(block)

    @classmethod
    def of(cls, blocks: Iterable[Block], accuracy: MeterAccuracy, set_voltage_v: float | None) -> Trace:
        """A trace of several blocks.

        Raises:
            RecordingError: There is no sample, or there are more than `MAX_SAMPLES`.
        """
        kept: list[Block] = []
        samples = 0
        for block in blocks:
            if kept and columns_of(block) != columns_of(kept[0]):
                raise RecordingError(
                    "the trace changes what it measures",
                    actual=f"{', '.join(columns_of(block))} after {', '.join(columns_of(kept[0]))}",
                )
            kept.append(block)
            samples += len(block)
            if samples > MAX_SAMPLES:
                raise RecordingError(
                    "the trace has too many samples to hold in memory",
                    limit=f"{MAX_SAMPLES:,}",
                    remedy="take a shorter part of it",
                )
        if not kept:
            raise RecordingError("there is no sample in this trace")
        return cls(join(kept), accuracy, set_voltage_v)

    @classmethod
    def of_segment(
        cls, segment: RecordingSegment, start_s: float = 0.0, stop_s: float = float("inf")
    ) -> Trace:
        """A part of a recording; see `of`."""
        return cls.of(segment.blocks(start_s, stop_s), segment.accuracy, segment.info.settings.voltage_v)

    @property
    def start_s(self) -> float:
        """Start of the first sample."""
        return float(self.block.time_s[0])

    @property
    def stop_s(self) -> float:
        """End of the last sample."""
        return float(self.block.time_s[-1] + self._lengths[-1])

    def power_w(self) -> FloatArray:
        """Power of each sample, watts, float64 ``[n]``; see `Block.watts`."""
        return self.block.watts(self.set_voltage_v)

    def between(
        self, start_s: float | None = None, stop_s: float | None = None, *, edge_s: float = 0.0
    ) -> TraceInterval:
        """Energy and charge between two times of the meter's clock.

        Args:
            start_s: Beginning; the first sample's start by default.
            stop_s: End; the last sample's end by default.
            edge_s: How well both times are known (length of a sample at a marker's edge); 0 for exact.

        Raises:
            UsageError: The span is empty.
        """
        start = self.start_s if start_s is None else start_s
        stop = self.stop_s if stop_s is None else stop_s
        if not stop > start:
            raise UsageError(
                "a span of a trace must end after it begins", actual=f"{start:g} s to {stop:g} s"
            )
        first = self.block.time_s
        covered = np.minimum(first + self._lengths, stop) - np.maximum(first, start)
        covered = np.clip(covered, 0.0, self._lengths)
        weights = covered * self._good
        sums = range_sums(self.block, weights, self.set_voltage_v)
        total = sum(sums.values(), RangeSums())
        missing = (stop - start) - float(covered.sum())
        saturated = (self.block.status & SampleStatus.SATURATED) != 0
        return TraceInterval(
            start_s=start,
            stop_s=stop,
            measured_s=float(weights.sum()),
            # sums of many lengths: what is below a thousandth of a sample is rounding
            missing_s=missing if missing > 1e-3 * float(self._lengths.min()) else 0.0,
            suspect_s=float((covered * ~self._good).sum()),
            saturated=int(np.count_nonzero(saturated & (weights > 0))),
            energy_j=total.energy_j if knows_power(self.block, self.set_voltage_v) else None,
            charge_c=total.charge_c if self.block.current_a is not None else None,
            uncertainty=uncertainty(sums, self.accuracy, edge_s=edge_s),
        )

    def marker_spans(self, bit: int = 0) -> list[MarkerSpan]:
        """The spans in which a marker input was raised; one that is cut by the trace's ends is left out."""
        raised = (self.block.markers >> bit & 1).astype(np.int8)
        change = np.diff(raised)
        rises = np.flatnonzero(change == 1) + 1
        falls = np.flatnonzero(change == -1) + 1
        spans = []
        for rise, after in zip(rises, np.searchsorted(falls, rises, side="right"), strict=True):
            if after < falls.size:
                begin, last = int(rise), int(falls[after]) - 1
                stop = float(self.block.time_s[last] + self._lengths[last])
                spans.append(MarkerSpan(float(self.block.time_s[begin]), stop, float(self._lengths[begin])))
        return spans

    def percentiles_w(self, percents: Iterable[float]) -> list[float]:
        """Percentiles of the power of the samples that count, watts."""
        return [float(one) for one in np.percentile(self.power_w()[self._good], list(percents))]

    def peak_w(self, window_s: float = 1e-3) -> float | None:
        """Highest mean power over a span without a gap; None when no stretch is that long."""
        peak = PeakMean(window_s)
        peak.add(self.block.time_s, self._lengths, self.power_w(), self._good)
        return peak.highest_w
