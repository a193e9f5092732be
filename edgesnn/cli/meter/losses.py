"""Why samples are missing, in few lines: a stream that stutters says the same thing a thousand times."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

#: More lines than this would scroll away what they stand above.
MOST_LINES = 8
_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?"
_FIGURE = re.compile(_NUMBER)
#: When it happened: in front (``0.12300 s: ...``) or at the end (``... near 0.123 s``).
_WHEN = re.compile(rf"^({_NUMBER}) s: |\s(?:near|before|at) ({_NUMBER}) s(?=$|[:,])")


@dataclass
class _Group:
    """What happened in one way: how often, when, and the figures that were told each time."""

    text: str
    times_s: list[float] = field(default_factory=list)
    figures: list[list[str]] = field(default_factory=list)
    count: int = 0

    def add(self, when_s: float | None, figures: list[str]) -> None:
        self.count += 1
        self.times_s += [] if when_s is None else [when_s]
        self.figures.append(figures)

    def line(self) -> str:
        columns = iter(zip(*self.figures, strict=True))
        reason = re.sub("\0", lambda _: _range(next(columns)), self.text)
        first, last = (min(self.times_s), max(self.times_s)) if self.times_s else (None, None)
        if self.count == 1:
            return reason if first is None else f"{first:.6g} s: {reason}"
        when = "" if first is None else f" from {first:.6g} s to {last:.6g} s"
        return f"{self.count:,} times{when}: {reason}"


def grouped(reasons: Iterable[str], most: int = MOST_LINES) -> list[str]:
    """Reasons of lost samples, those alike in one line: how often, first and last time, what happened.

    Args:
        reasons: One sentence for each time, in order.
        most: Lines at most; the last one counts what they leave out.

    Returns:
        The lines, in the order in which each began.
    """
    groups: dict[str, _Group] = {}
    for reason in reasons:
        found = _WHEN.search(reason)
        when_s = _value(found[1] or found[2]) if found else None
        rest = reason if found is None else reason[: found.start()] + reason[found.end() :]
        text = _FIGURE.sub("\0", rest)
        groups.setdefault(text, _Group(text)).add(when_s, _FIGURE.findall(rest))
    return _shortened([*groups.values()], most)


def _shortened(groups: Sequence[_Group], most: int) -> list[str]:
    if len(groups) <= most:
        return [one.line() for one in groups]
    often = sorted(groups, key=lambda one: -one.count)[: most - 1]
    left = [one for one in groups if one not in often]
    lines = [one.line() for one in groups if one in often]
    return [
        *lines,
        f"{sum(one.count for one in left):,} more of {len(left)} other kinds; --json has them all",
    ]


def _range(told: Sequence[str]) -> str:
    """One figure, or the lowest and the highest of several."""
    low, high = min(told, key=_value), max(told, key=_value)
    return low if low == high else f"{low} to {high}"


def _value(figure: str) -> float:
    return float(figure.replace(",", ""))
