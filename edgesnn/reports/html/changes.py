"""Head against base: the verdict of a comparison, and every metric with its change and interval."""

from __future__ import annotations

import math
from collections.abc import Iterable

from edgesnn.reports.comparing.result import (
    ChangeScale,
    MetricResult,
    Outcome,
    RunComparison,
    TargetComparison,
)
from edgesnn.reports.html.charts.svg import line, rect, table
from edgesnn.reports.html.markup import Child, Safe, element, join
from edgesnn.reports.html.values import (
    badge,
    kind_badge,
    number,
    percent,
    signed_percent,
    tone,
    unit,
    with_unit,
)

#: Rows of one page; what changed comes first, so what is left out is what stayed the same.
MOST_ROWS = 1_200
#: Targets whose changes and notes are spelled out.
MOST_TARGETS = 60
_ORDER = (
    Outcome.REGRESSION,
    Outcome.INCONCLUSIVE,
    Outcome.IMPROVEMENT,
    Outcome.NO_CHANGE,
    Outcome.INFORMATION,
)
_POINT = 0.01


def change_text(metric: MetricResult) -> str:
    """The change of a metric with its interval, as people say it: percent, points, or a whole number."""
    if metric.change is None:
        return "unknown"

    def say(value: float) -> str:
        if metric.scale is ChangeScale.LOG_RATIO:
            return _ratio(value)
        return _signed(value / _POINT if points else value)

    points = metric.scale is ChangeScale.DIFFERENCE and metric.unit == "share"
    ends = ""
    if metric.lower is not None and metric.upper is not None:
        ends = f" [{say(metric.lower)}, {say(metric.upper)}]"
    name = "points" if points else "" if metric.scale is ChangeScale.LOG_RATIO else unit(metric.unit)
    return f"{say(metric.change)}{ends} {name}".strip()


def metrics_table(comparison: RunComparison) -> Safe | None:
    """Model x target x metric, what changed first; beyond `MOST_ROWS` it says how many are not shown."""
    pairs = [(target, metric) for target in comparison.targets for metric in target.metrics]
    if not pairs:
        return None
    pairs.sort(key=lambda pair: (_ORDER.index(pair[1].outcome), not pair[1].gates))
    several = len(comparison.targets) > 1
    head = ["metric", *(["model, target"] if several else []), "outcome", "change", "base → head", "why"]
    rows = [_row(target, metric, several) for target, metric in pairs[:MOST_ROWS]]
    hidden = sorted({metric.outcome.value for _, metric in pairs[MOST_ROWS:]})
    note = (
        element(
            "p",
            f"{len(pairs) - len(rows):,} more rows ({', '.join(hidden)}) are in the JSON of edgesnn compare.",
            class_="note",
        )
        if hidden
        else None
    )
    return join([table(head, rows, caption="every metric, what changed first"), note])


def target_notes(comparison: RunComparison) -> Child:
    """How each target was compared, what else changed, and what a reader should know."""
    parts: list[Child] = []
    for target in comparison.targets[:MOST_TARGETS]:
        rows = [(c.what, c.base or "absent", c.head or "absent") for c in target.changed[:100]]
        parts.append(
            element(
                "details",
                element("summary", badge(target.verdict.value), " ", target.key.text()),
                element("p", f"Variance of the base: {target.mode}. {target.mode_reason}"),
                [element("p", note, class_="note") for note in target.notes[:50]],
                table(("changed", "base", "head"), rows, caption="what differs beside the key")
                if rows
                else None,
                open=len(comparison.targets) == 1,
            )
        )
    if len(comparison.targets) > MOST_TARGETS:
        parts.append(
            element("p", f"{len(comparison.targets) - MOST_TARGETS:,} more targets are in the JSON.")
        )
    for lone in comparison.unmatched[:MOST_TARGETS]:
        parts.append(
            element(
                "p",
                element("strong", f"{lone.side} only: "),
                f"{lone.key.text()}: {lone.reason}",
                class_="note",
            )
        )
    return parts


def _row(target: TargetComparison, metric: MetricResult, several: bool) -> list[Child]:
    name: Child = [metric.name, " ", kind_badge(metric.kind)]
    where = f"{target.key.model}, {target.key.target}"
    gate = None if metric.gates else element("span", " not gating", class_="ends")
    statistics = (
        "" if metric.degrees_of_freedom is None else f"{metric.degrees_of_freedom:.1f} degrees of freedom"
    )
    needed = "" if metric.needed is None else f"about {metric.needed} {metric.unit_of_n} a side would decide"
    why = "; ".join(
        text for text in (metric.reason, needed, metric.method, statistics) if text not in ("", None, "none")
    )
    return [
        name,
        *([where] if several else []),
        [badge(metric.outcome.value), gate],
        [element("span", change_text(metric), class_="number"), _forest(metric)],
        element("span", _from_to(metric), class_="number"),
        element("span", why, class_="ends"),
    ]


def _from_to(metric: MetricResult) -> str:
    if metric.head is None:
        before = "absent" if metric.base is None else with_unit(metric.base, metric.unit)
        return f"{before} → absent"
    if metric.base == metric.head:
        return with_unit(metric.head, metric.unit)
    before = "absent" if metric.base is None else number(metric.base)
    return f"{before} → {with_unit(metric.head, metric.unit)}"


def _forest(metric: MetricResult) -> Safe | None:
    """The interval of a change on a line: the threshold shaded, no change in the middle."""
    if metric.change is None or metric.lower is None or metric.upper is None:
        return None
    reach = max(
        2.5 * metric.threshold,
        *(abs(end) for end in (metric.lower, metric.upper) if math.isfinite(end)),
        1e-9,
    )
    reach = min(reach, max(12 * metric.threshold, abs(metric.change) * 1.5, 1e-9))

    def x(value: float) -> float:
        return 60.0 + max(-1.0, min(1.0, value / reach)) * 56.0

    style = tone(metric.outcome.value)
    shaded = rect(x(-metric.threshold), 1.0, x(metric.threshold) - x(-metric.threshold), 16.0, "shade")
    dot = element("circle", cx=x(metric.change), cy=9.0, r=3.2, class_=f"mark {style}")
    return element(
        "svg",
        shaded,
        line(60.0, 0.0, 60.0, 18.0, "axis"),
        line(x(metric.lower), 9.0, x(metric.upper), 9.0, f"reach {style}"),
        dot,
        class_="forest",
        viewBox="0 0 120 18",
        role="img",
        aria_label=f"{change_text(metric)}, threshold {_threshold(metric)}",
    )


def _threshold(metric: MetricResult) -> str:
    if metric.scale is ChangeScale.LOG_RATIO:
        return percent(math.expm1(metric.threshold))
    if metric.unit == "share":
        return f"{number(metric.threshold / _POINT)} points"
    return with_unit(metric.threshold, metric.unit)


def outcome_counts(comparison: RunComparison) -> list[tuple[str, int]]:
    """How many metrics came out how, the worst first."""
    found: Iterable[Outcome] = [m.outcome for target in comparison.targets for m in target.metrics]
    listed = list(found)
    return [(outcome.value, listed.count(outcome)) for outcome in _ORDER if outcome in listed]


def _ratio(change: float) -> str:
    return signed_percent(math.expm1(min(change, 700.0)), 2)


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value)}"
