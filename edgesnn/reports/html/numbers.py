"""Numbers as people read them: four digits that matter, the same everywhere on a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

MINUS = "\N{MINUS SIGN}"
THIN = "\N{NARROW NO-BREAK SPACE}"
#: Units whose text is not what a reader expects.
_UNITS = {
    "uJ": "µJ",
    "share": "",
    "ratio": "",
    "spikes/neuron/timestep": "per neuron and step",
    "operations/token": "per token",
    "updates/token": "per token",
}


def number(value: float) -> str:
    """A number with four significant digits, whole numbers in full.

    Args:
        value: Any float, also one that is not finite.
    """
    if not math.isfinite(value):
        return "not finite"
    if value == int(value) and abs(value) < 1e15:
        text = f"{int(value):,}"
    elif abs(value) >= 10_000 and abs(value) < 1e15:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.4g}"
        mantissa, exponent, power = text.partition("e")
        if exponent:
            text = f"{mantissa}e{int(power)}"
    return text.replace("-", MINUS)


def unit(name: str) -> str:
    """A unit as it is shown; empty where the number says it all."""
    return _UNITS.get(name, name)


def with_unit(value: float, name: str) -> str:
    """A number and its unit."""
    shown = unit(name)
    return f"{number(value)}{THIN}{shown}" if shown else number(value)


def interval(lower: float | None, upper: float | None) -> str:
    """The ends of an interval; ``?`` where the sample cannot give one; empty without both."""
    if lower is None and upper is None:
        return ""
    low = "?" if lower is None else number(lower)
    high = "?" if upper is None else number(upper)
    return f"[{low}, {high}]"


def percent(share: float, digits: int = 1) -> str:
    """A share as percent."""
    return f"{share * 100:.{digits}f}{THIN}%".replace("-", MINUS)


def signed_percent(share: float, digits: int = 1) -> str:
    """A change as percent, with its sign."""
    return f"{share * 100:+.{digits}f}{THIN}%".replace("-", MINUS)


def limit(side: str, value: float, name: str) -> str:
    """A budget's limit with the side on which values must lie."""
    return f"{'≤' if side == '<=' else side}{THIN}{with_unit(value, name)}"


def moment(created: str) -> str:
    """A time of a record, to the minute; what is no ISO time stays as it is."""
    try:
        return datetime.fromisoformat(created).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError):
        return created


def quantity(found: Mapping[str, Any] | None) -> tuple[str, str]:
    """A quantity of a record as value with unit, and interval.

    Args:
        found: ``{value, unit, lower, upper}``; None where the record has none.
    """
    if found is None or found.get("value") is None:
        return "absent", ""
    return (
        with_unit(float(found["value"]), str(found["unit"])),
        interval(found.get("lower"), found.get("upper")),
    )
