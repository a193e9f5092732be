"""Small marks that pages share: verdicts, outcomes, kinds. Each says its word; colour only helps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgesnn.reports.html.markup import Safe, element, join
from edgesnn.reports.html.numbers import quantity as shown

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


def tone(word: str) -> str:
    """The style class of a verdict, outcome or kind."""
    return _CLASSES.get(word.upper(), "quiet")


def badge(word: str) -> Safe:
    """A verdict, outcome or kind as a pill."""
    name = tone(word)
    sign = _SIGNS[name]
    mark = element("span", f"{sign} ", aria_hidden="true") if sign else None
    return element("span", mark, word, class_=f"pill {name}")


def kind_badge(kind: str) -> Safe | None:
    """Where a number comes from, unless it was measured."""
    return None if kind == "MEASURED" else badge(kind)


def value_with_interval(found: Mapping[str, Any] | None) -> Safe:
    """A quantity with its interval and, where it was not measured, its kind."""
    value, ends = shown(found)
    kind = None if found is None or found["value"] is None else kind_badge(str(found["kind"]))
    return join(
        [
            element("span", value, class_="number"),
            [" ", element("span", ends, class_="ends")] if ends else None,
            [" ", kind] if kind is not None else None,
        ]
    )
