"""Values as people read them: numbers of four digits that matter, verdicts and kinds as pills.

A pill says its word; colour only helps.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from edgesnn.record.quantities import Kind, Quantity
from edgesnn.reports.html.markup import Safe, element, join

MINUS = "\N{MINUS SIGN}"
THIN = "\N{NARROW NO-BREAK SPACE}"
#: Units whose text is not what a reader expects.
_UNITS = {
    "uJ": "µJ",
    "share": "",
    "ratio": "",
    "choices": "",
    "spikes/neuron/timestep": "per neuron and step",
    "spikes/neuron/frame": "per neuron and frame",
    "operations/token": "per token",
    "updates/token": "per token",
    "operations/frame": "per frame",
    "updates/frame": "per frame",
}
_CLASSES = {
    "PASS": "good",
    "FAIL": "bad",
    "INVALID": "bad",
    "UNDECIDED": "open",
    "UNMEASURED": "open",
    "REPORTED": "quiet",
    "REGRESSION": "bad",
    "IMPROVEMENT": "good",
    "NO CHANGE": "quiet",
    "INCONCLUSIVE": "open",
    "INFORMATION": "quiet",
    "SIMULATED": "unreal",
    "ESTIMATED": "unreal",
    "ABSENT": "quiet",
}
_SIGNS = {"good": "✓", "bad": "✕", "open": "?", "quiet": "", "unreal": "≈"}


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


def quantity(found: Quantity | None) -> tuple[str, str]:
    """A quantity of a record as value with unit, and interval; None where the record has none."""
    if found is None or found.value is None:
        return "absent", ""
    return with_unit(found.value, found.unit), interval(found.lower, found.upper)


def tone(word: str) -> str:
    """The style class of a verdict, outcome or kind."""
    return _CLASSES.get(word.upper(), "quiet")


def badge(word: str) -> Safe:
    """A verdict, outcome or kind as a pill."""
    name = tone(word)
    sign = _SIGNS[name]
    mark = element("span", f"{sign} ", aria_hidden="true") if sign else None
    return element("span", mark, word, class_=f"pill {name}")


def with_kind(title: str, kind: Kind) -> str:
    """A title that says where its numbers come from, unless they were measured."""
    return title if kind is Kind.MEASURED else f"{title} ({kind})"


def kind_badge(kind: str) -> Safe | None:
    """Where a number comes from, unless it was measured."""
    return None if kind == Kind.MEASURED else badge(kind)


def value_with_interval(found: Quantity) -> Safe:
    """A quantity with its interval and, where it was not measured, its kind."""
    value, ends = quantity(found)
    kind = None if found.value is None else kind_badge(found.kind)
    return join(
        [
            element("span", value, class_="number"),
            [" ", element("span", ends, class_="ends")] if ends else None,
            [" ", kind] if kind is not None else None,
        ]
    )
