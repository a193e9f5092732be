"""The frame of every chart: axes, captions, and a wide and a narrow drawing of the same data.

Text in a scaled drawing shrinks with it. So each chart is drawn twice, for a screen and for a phone, and the
style sheet shows one of them. Colours are classes: the style sheet has a light and a dark set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgesnn.reports.html.charts.envelope import SeriesEnvelope
from edgesnn.reports.html.charts.scales import Axis
from edgesnn.reports.html.markup import Child, Safe, compact, element
from edgesnn.reports.html.values import number

WIDE, NARROW = 880.0, 372.0


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where a chart may draw.

    Attributes:
        width: Whole width, pixels.
        height: Whole height.
        left: Space for the labels of the vertical axis.
        right: Space at the right.
        top: Space above.
        bottom: Space for the labels of the horizontal axis.
    """

    width: float
    height: float
    left: float = 56.0
    right: float = 14.0
    top: float = 16.0
    bottom: float = 38.0

    @property
    def narrow(self) -> bool:
        """Whether this is the drawing for a phone."""
        return self.width < 600

    @property
    def x0(self) -> float:
        """Left end of the plot."""
        return self.left

    @property
    def x1(self) -> float:
        """Right end of the plot."""
        return self.width - self.right

    @property
    def y0(self) -> float:
        """Lower end of the plot."""
        return self.height - self.bottom

    @property
    def y1(self) -> float:
        """Upper end of the plot."""
        return self.top


Drawing = Callable[[float], tuple[Canvas, list[Child]]]


def figure(identifier: str, title: str, description: str, draw: Drawing, *below: Child) -> Safe:
    """A chart with its caption, its description for those who cannot see it, and what belongs below it.

    Args:
        identifier: Unique on the page.
        title: What is shown.
        description: The same as the chart says, in one or two sentences.
        draw: Draws for a width and returns the canvas and its content.
        *below: Legend, table of the data.
    """
    drawings = []
    for name, width in (("wide", WIDE), ("narrow", NARROW)):
        canvas, content = draw(width)
        labels = f"{identifier}-{name}-t", f"{identifier}-{name}-d"
        drawings.append(
            element(
                "svg",
                element("title", title, id=labels[0]),
                element("desc", description, id=labels[1]),
                content,
                class_=name,
                viewBox=f"0 0 {compact(canvas.width)} {compact(canvas.height)}",
                role="img",
                aria_labelledby=" ".join(labels),
            )
        )
    return element("figure", element("figcaption", title), drawings, *below, id=identifier)


def table(head: Sequence[Child], rows: Sequence[Sequence[Child]], *, caption: str | None = None) -> Safe:
    """A table whose first column names its rows; wide ones scroll in their own frame."""
    body = [
        element("tr", element("th", row[0], scope="row"), [element("td", cell) for cell in row[1:]])
        for row in rows
    ]
    return element(
        "div",
        element(
            "table",
            element("caption", caption) if caption else None,
            element("thead", element("tr", [element("th", cell, scope="col") for cell in head])),
            element("tbody", body),
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption or "table",
    )


def data_table(head: Sequence[Child], rows: Sequence[Sequence[Child]], *, what: str) -> Safe:
    """The numbers behind a chart, folded away."""
    return element("details", element("summary", f"The numbers: {what}"), table(head, rows, caption=what))


def legend(*entries: tuple[str, str]) -> Safe:
    """What the marks mean: class and text of each."""
    return element(
        "ul",
        [
            element("li", element("span", class_=f"key {name}", aria_hidden="true"), text)
            for name, text in entries
        ],
        class_="legend",
    )


def text(x: float, y: float, content: str, class_: str = "", anchor: str = "start") -> Safe:
    """A label."""
    return element(
        "text", content, x=x, y=y, class_=class_ or None, text_anchor=None if anchor == "start" else anchor
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Safe:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def rect(x: float, y: float, width: float, height: float, class_: str, *, hint: str | None = None) -> Safe:
    """A rectangle; the hint shows when the pointer rests on it."""
    inside = element("title", hint) if hint else None
    return element(
        "rect", inside, x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), rx=1.5, class_=class_
    )


def polyline(points: Sequence[tuple[float, float]], class_: str) -> Safe:
    """An open line through points."""
    return element("path", d=path(points), class_=class_)


def path(points: Sequence[tuple[float, float]]) -> str:
    """The path through points, with one decimal each."""
    return "M" + "L".join([f"{x:.1f},{y:.1f}" for x, y in points]) if points else ""


def envelope_marks(few: SeriesEnvelope, across: Axis, up: Axis, *, half: float = 0.4) -> list[Child]:
    """Lowest to highest of every stretch as a band, and the means as a line; nothing across a gap.

    Args:
        few: The series.
        across: Axis of its places.
        up: Axis of its values.
        half: What the band gets above and below, pixels: a flat stretch stays visible.
    """
    starts = [0, *(int(i) for i in few.gap.nonzero()[0] if i > 0)]
    outlines, means = [], []
    for piece in (slice(a, b) for a, b in zip(starts, [*starts[1:], len(few)], strict=True)):
        xs = [across(float(x)) for x in few.x[piece]]
        upper = [(x, up(float(v)) - half) for x, v in zip(xs, few.high[piece], strict=True)]
        lower = [(x, up(float(v)) + half) for x, v in zip(xs, few.low[piece], strict=True)]
        outlines.append(path([*upper, *reversed(lower)]) + "Z")
        means.append(polyline([(x, up(float(v))) for x, v in zip(xs, few.mean[piece], strict=True)], "head"))
    return [element("path", d="".join(outlines), class_="band"), *means]


def horizontal_axis(
    canvas: Canvas, scale: Axis, title: str, labels: Callable[[float], str] = number
) -> list[Child]:
    """Ticks below the plot and the axis' title."""
    marks: list[Child] = [line(canvas.x0, canvas.y0, canvas.x1, canvas.y0, "axis")]
    for value in scale.ticks(4 if canvas.narrow else 9):
        x = scale(value)
        marks.append(line(x, canvas.y0, x, canvas.y0 + 4, "axis"))
        anchor = "end" if x > canvas.width - 20 else "middle"
        marks.append(text(min(x, canvas.width - 2), canvas.y0 + 16, labels(value), anchor=anchor))
    marks.append(text(canvas.x1, canvas.y0 + 32, title, "title", "end"))
    return marks


def vertical_axis(
    canvas: Canvas, scale: Axis, title: str, labels: Callable[[float], str] = number, most: int = 5
) -> list[Child]:
    """Grid lines with their values, and the axis' title above."""
    marks: list[Child] = []
    for value in scale.ticks(most):
        y = scale(value)
        marks.append(line(canvas.x0, y, canvas.x1, y, "grid"))
        marks.append(text(canvas.x0 - 6, y + 4, labels(value), anchor="end"))
    marks.append(text(2, 11, title, "title"))
    return marks
