"""A plot of power over time in characters: each column spans what was drawn in it, so no spike is lost.

A character of the block ``U+2800`` to ``U+28FF`` (braille) has two columns of four dots. Every column of dots
shows the band from the lowest to the highest power within it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgesnn.meters.base import Block

FloatArray = npt.NDArray[np.float64]

#: Bits of the dots of a braille character, left column then right, from the top down (Unicode, chapter 21.1).
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLANK = 0x2800
#: Round numbers for the top of the axis, in each decade.
_ROUND = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


class PowerEnvelope:
    """Lowest, highest and mean power of equal stretches of time, the newest of them.

    Args:
        columns: Stretches that are kept.
        span_s: Time that all of them cover.
    """

    def __init__(self, columns: int, span_s: float) -> None:
        self.columns = columns
        self.bin_s = span_s / columns
        self._newest = -1
        self.lowest = np.full(columns, np.nan)
        self.highest = np.full(columns, np.nan)
        self.markers = np.zeros(columns, np.uint8)

    @property
    def end_s(self) -> float:
        """End of the newest stretch on the meter's clock."""
        return (self._newest + 1) * self.bin_s

    def add(self, block: Block, watts: FloatArray) -> None:
        """Take samples.

        Args:
            block: The samples.
            watts: Their power, float64 ``[n]``.
        """
        if not watts.size:
            return
        first = np.floor(block.time_s / self.bin_s + 1e-9).astype(np.int64)
        self._roll(int(first[-1]))
        # a sample longer than a stretch fills all that it covers
        ends = block.time_s + block.duration_s
        last = np.ceil(ends / self.bin_s - 1e-9).astype(np.int64) - 1
        spans = np.maximum(last - first, 0) + 1
        if int(spans.max()) > 1:
            self._roll(int(last[-1]))
            offsets = np.arange(int(spans.sum())) - np.repeat(np.cumsum(spans) - spans, spans)
            places = np.repeat(first, spans) + offsets
            watts, marks = np.repeat(watts, spans), np.repeat(block.markers, spans)
        else:
            places, marks = first, block.markers
        index = places - (self._newest - self.columns + 1)
        kept = (index >= 0) & (index < self.columns)
        index, watts, marks = index[kept], watts[kept], marks[kept]
        if not index.size:
            return
        starts = np.flatnonzero(np.diff(index, prepend=-1))
        self.lowest[index[starts]] = np.fmin(self.lowest[index[starts]], np.minimum.reduceat(watts, starts))
        self.highest[index[starts]] = np.fmax(self.highest[index[starts]], np.maximum.reduceat(watts, starts))
        self.markers[index[starts]] |= np.bitwise_or.reduceat(marks, starts)

    def restart(self) -> None:
        """Begin again with another clock."""
        self._newest = -1
        self.lowest[:] = np.nan
        self.highest[:] = np.nan
        self.markers[:] = 0

    def _roll(self, newest: int) -> None:
        shift = newest - self._newest
        if shift <= 0:
            return
        for column, fill in ((self.lowest, np.nan), (self.highest, np.nan), (self.markers, 0)):
            kept = max(self.columns - shift, 0)
            column[:kept] = column[self.columns - kept :]
            column[kept:] = fill
        self._newest = newest


def axis_top(highest: float) -> float:
    """The round number at or above a value, for the top of the axis."""
    if not highest > 0:
        return 1e-3
    decade = 10.0 ** math.floor(math.log10(highest))
    return next(decade * one for one in _ROUND if decade * one >= highest * 0.999)


def plot(envelope: PowerEnvelope, rows: int, top: float) -> list[str]:
    """The band between lowest and highest as rows of braille, from the top down.

    Args:
        envelope: What to draw; two of its columns make one character.
        rows: Height in characters, four dots each.
        top: Power at the upper edge, watts.

    Returns:
        Strings of half as many characters as there are columns.
    """
    dots = rows * 4
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(envelope.highest)
        lower = np.where(known, np.clip(np.round(envelope.lowest / top * (dots - 1)), 0, dots - 1), dots)
        upper = np.where(known, np.clip(np.round(envelope.highest / top * (dots - 1)), 0, dots - 1), -1)
    level = np.arange(dots - 1, -1, -1)[:, None]
    lit = (level >= lower[None, :]) & (level <= upper[None, :])
    width = envelope.columns // 2
    codes = np.full((rows, width), _BLANK, np.int64)
    for side, bits in enumerate(_DOTS):
        for depth, bit in enumerate(bits):
            codes += lit[depth::4, side : 2 * width : 2] * bit
    return ["".join(map(chr, row)) for row in codes.tolist()]


def marker_row(envelope: PowerEnvelope, bit: int) -> str:
    """When a marker input was raised: one character for two columns."""
    raised = (envelope.markers >> bit & 1).astype(bool)
    width = envelope.columns // 2
    left, right = raised[0 : 2 * width : 2], raised[1 : 2 * width : 2]
    shapes = np.array(["·", "▐", "▌", "█"])
    return "".join(shapes[left * 2 + right])
