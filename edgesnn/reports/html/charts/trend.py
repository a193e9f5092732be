"""A quantity over runs: points with intervals, or an envelope where runs are more than pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from edgesnn.reports.html.charts.envelope import of_series
from edgesnn.reports.html.charts.scales import Axis, span
from edgesnn.reports.html.charts.svg import (
    Canvas,
    data_table,
    envelope_marks,
    figure,
    line,
    polyline,
    text,
    vertical_axis,
)
from edgesnn.reports.html.markup import Child, Safe, element
from edgesnn.reports.html.values import interval, number, unit, with_unit

#: Rows of the table behind a trend: the latest runs.
MOST_ROWS = 200


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """A quantity in one run.

    Attributes:
        created: When the record was made, ISO 8601.
        label: Short commit, or what names the run.
        value: The value.
        lower: Lower end of its interval, or None.
        upper: Upper end, or None.
        verdict: Verdict of the run.
    """

    created: str
    label: str
    value: float
    lower: float | None
    upper: float | None
    verdict: str


def trend_figure(
    identifier: str,
    title: str,
    unit_name: str,
    points: Sequence[TrendPoint],
    *,
    limit: float | None = None,
    steps: Sequence[int] = (),
    table: bool = True,
) -> Safe | None:
    """A quantity over runs, oldest left; nothing with fewer than two.

    Args:
        identifier: Unique on the page.
        title: What is shown.
        unit_name: Unit of the values.
        points: One for each run, by time.
        limit: Budget, or None.
        steps: Indices of points at which a step begins.
        table: Whether the numbers stand below.
    """
    if len(points) < 2:
        return None
    first, last = points[0], points[-1]
    rows = [
        (_day(p.created), p.label, number(p.value), interval(p.lower, p.upper), p.verdict)
        for p in reversed(points[-MOST_ROWS:])
    ]
    head = ("made", "commit", unit(unit_name) or "value", "95 % interval", "verdict")
    return figure(
        identifier,
        title,
        f"{len(points):,} runs from {_day(first.created)} to {_day(last.created)}; first "
        f"{with_unit(first.value, unit_name)}, last {with_unit(last.value, unit_name)}.",
        lambda width: _draw(points, unit_name, limit, frozenset(steps), width),
        data_table(head, rows, what=f"{title}, the latest {len(rows)}") if table else None,
    )


def _draw(
    points: Sequence[TrendPoint], unit_name: str, limit: float | None, steps: frozenset[int], width: float
) -> tuple[Canvas, list[Child]]:
    canvas = Canvas(width, 200.0)
    ends = [end for p in points for end in (p.value, p.lower, p.upper) if end is not None]
    highest = max(abs(end) for end in ends)
    if limit is not None and limit < 3 * highest:
        ends.append(limit)
    up = Axis(*span(ends), canvas.y0, canvas.y1)
    across = Axis(0.0, float(len(points) - 1), canvas.x0 + 6, canvas.x1 - 6)
    marks: list[Child] = [vertical_axis(canvas, up, unit(unit_name))]
    if limit is not None and up.low <= limit <= up.high:
        y = up(limit)
        marks.append(line(canvas.x0, y, canvas.x1, y, "limit"))
        marks.append(text(canvas.x1 - 4, y - 5, f"budget {number(limit)}", "limit-text", "end"))
    for index in sorted(steps):
        x = across(index - 0.5)
        marks.append(line(x, canvas.y1, x, canvas.y0, "step"))
    places = int(canvas.x1 - canvas.x0)
    if len(points) > places // 4:
        marks += envelope_marks(of_series([p.value for p in points], places // 2), across, up)
    else:
        marks += _few(points, unit_name, across, up)
    return canvas, [*marks, *_days(points, across, canvas)]


def _few(points: Sequence[TrendPoint], unit_name: str, across: Axis, up: Axis) -> list[Child]:
    marks: list[Child] = []
    for index, p in enumerate(points):
        x = across(index)
        if p.lower is not None and p.upper is not None:
            marks.append(line(x, up(p.lower), x, up(p.upper), "whisker"))
    marks.append(polyline([(across(i), up(p.value)) for i, p in enumerate(points)], "head"))
    for index, p in enumerate(points):
        shown = f"{with_unit(p.value, unit_name)} {interval(p.lower, p.upper)}".strip()
        hint = f"{p.label} {_day(p.created)}: {shown}, {p.verdict}"
        class_ = "dot" if p.verdict not in ("FAIL", "INVALID") else "dot bad"
        radius = 4.0 if index == len(points) - 1 else 2.6
        marks.append(
            element(
                "circle", element("title", hint), cx=across(index), cy=up(p.value), r=radius, class_=class_
            )
        )
    return marks


def _days(points: Sequence[TrendPoint], across: Axis, canvas: Canvas) -> list[Child]:
    """The axis of runs: evenly spaced, named by day at some places."""
    marks: list[Child] = [line(canvas.x0, canvas.y0, canvas.x1, canvas.y0, "axis")]
    count = min(len(points), 3 if canvas.narrow else 6)
    for place in range(count):
        index = round(place * (len(points) - 1) / max(count - 1, 1))
        anchor = "start" if place == 0 else "end" if place == count - 1 else "middle"
        marks.append(text(across(index), canvas.y0 + 16, _day(points[index].created), anchor=anchor))
    marks.append(text(canvas.x1, canvas.y0 + 32, "runs, oldest first", "title", "end"))
    return marks


def _day(created: str) -> str:
    try:
        return datetime.fromisoformat(created).astimezone(UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError):
        return created[:10]
