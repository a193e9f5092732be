"""Long series in few points: lowest, mean and highest of every stretch, so that no spike disappears."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SeriesEnvelope:
    """A series as stretches.

    Attributes:
        x: Where each stretch begins, float64 ``[n]``, rising.
        low: Lowest value, float64 ``[n]``.
        mean: Mean value, float64 ``[n]``.
        high: Highest value, float64 ``[n]``.
        gap: Whether nothing is known between the stretch before and this one, bool ``[n]``.
    """

    x: FloatArray
    low: FloatArray
    mean: FloatArray
    high: FloatArray
    gap: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        """How many stretches."""
        return len(self.x)

    def between(self, start: float, stop: float) -> SeriesEnvelope:
        """The stretches that begin in ``[start, stop)``."""
        inside = (self.x >= start) & (self.x < stop)
        return SeriesEnvelope(
            self.x[inside], self.low[inside], self.mean[inside], self.high[inside], self.gap[inside]
        )


def of_series(values: npt.ArrayLike, points: int) -> SeriesEnvelope:
    """The envelope of equally spaced values, over their index.

    Args:
        values: Float ``[n]``.
        points: Most stretches.
    """
    flat = np.asarray(values, np.float64)
    return reduce(np.arange(len(flat), dtype=np.float64), flat, flat, flat, points)


def reduce(
    x: npt.ArrayLike, low: npt.ArrayLike, mean: npt.ArrayLike, high: npt.ArrayLike, points: int
) -> SeriesEnvelope:
    """An envelope in fewer stretches.

    Args:
        x: Where each value stands, ``[n]``, rising.
        low: Lowest values, ``[n]``.
        mean: Mean values, ``[n]``.
        high: Highest values, ``[n]``.
        points: Most stretches.

    Returns:
        At most `points` stretches of equal width in `x`; values that are not finite are left out.
    """
    series = [np.asarray(part, np.float64) for part in (x, low, mean, high)]
    keep = np.logical_and.reduce([np.isfinite(part) for part in series])
    at, lows, means, highs = (part[keep] for part in series)
    if len(at) == 0:
        empty = np.zeros(0)
        return SeriesEnvelope(empty, empty, empty, empty, np.zeros(0, np.bool_))
    steps = np.diff(at)
    usual = float(np.median(steps)) if len(steps) else 0.0
    lost = np.concatenate([[False], steps > 3 * usual])
    if len(at) <= points:
        return SeriesEnvelope(at, lows, means, highs, lost)
    place = np.minimum(((at - at[0]) / (at[-1] - at[0]) * points).astype(np.int64), points - 1)
    first = np.flatnonzero(np.concatenate([[True], np.diff(place) > 0]))
    counts = np.diff(np.append(first, len(at)))
    return SeriesEnvelope(
        at[first],
        np.minimum.reduceat(lows, first),
        np.add.reduceat(means, first) / counts,
        np.maximum.reduceat(highs, first),
        np.logical_or.reduceat(lost, first),
    )
