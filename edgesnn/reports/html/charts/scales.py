"""From values to places: linear and logarithmic axes with round ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Smallest value that a logarithmic axis shows.
_LEAST_LOG = 1e-100


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Attributes:
        low: Value at `start`.
        high: Value at `stop`; above `low`.
        start: Place of `low`, pixels.
        stop: Place of `high`, pixels.
        log: Whether equal distances are equal ratios; then `low` is positive.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; values outside stay at the ends."""
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.stop - self.start)

    def ticks(self, most: int) -> list[float]:
        """Round values between the ends.

        Args:
            most: About how many.
        """
        return _log_ticks(self.low, self.high, most) if self.log else _ticks(self.low, self.high, most)


def span(
    values: list[float], *, zero: bool = False, log: bool = False, room: float = 0.06
) -> tuple[float, float]:
    """Ends of an axis that shows all values.

    Args:
        values: What is shown; what is not finite is passed over.
        zero: Whether the axis begins at 0.
        log: Whether it will be logarithmic; values below 1e-100 are then passed over.
        room: Share of the span that stays free at each end.

    Returns:
        Ends that differ, positive where `log` asks for it.
    """
    # a logarithmic axis has no place for what underflows when it is divided
    least = _LEAST_LOG if log else -math.inf
    shown = [value for value in values if math.isfinite(value) and value >= least]
    if not shown:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = min(shown), max(shown)
    if log:
        ratio = max(high / low, 1.05)
        return low / ratio**room, high * ratio**room
    if zero:
        low = min(low, 0.0)
    width = (high - low) or abs(high) * 0.1 or 1.0
    return (low if zero and low == 0 else low - room * width), high + room * width


def _ticks(low: float, high: float, most: int) -> list[float]:
    raw = (high - low) / max(most, 1)
    if not math.isfinite(raw) or raw <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) if abs(step) > 1e-9 else index * step for index in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [m * 10.0**power for power in range(first, last + 1) for m in steps]
        found = [value for value in found if low * 0.999 <= value <= high * 1.001]
        if len(found) <= most:
            break
    else:
        found = found[:: math.ceil(len(found) / most)]
    return found if len(found) >= 2 else _ticks(low, high, most)
