"""Latency: how the times of head and base are spread, and how they ran over time."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgesnn.record.quantities import SUMMARIES
from edgesnn.reports.html.charts.envelope import of_series
from edgesnn.reports.html.charts.scales import Axis, span
from edgesnn.reports.html.charts.svg import (
    Canvas,
    data_table,
    envelope_marks,
    figure,
    horizontal_axis,
    legend,
    line,
    polyline,
    rect,
    text,
    vertical_axis,
)
from edgesnn.reports.html.markup import Child, Safe
from edgesnn.reports.html.sources import Source
from edgesnn.reports.html.values import number, percent
from edgesnn.reports.html.values import quantity as shown

FloatArray = npt.NDArray[np.float64]
BINS = 72
#: An occupied bin is at least this high, pixels: one slow step among a million stays visible.
LEAST_HEIGHT = 2.0
_PERCENTILES = ("p50", "p95", "p99")
_TABLE = ("min", "p50", "p90", "p95", "p99", "max")


def latency_figures(head: Source, base: Source | None, limit_ms: float | None) -> list[Safe]:
    """Histogram of a token or frame, head against base, and the steps over time; nothing without times.

    Args:
        head: The run.
        base: What it is set against, or None.
        limit_ms: Budget of the p95, or None.
    """
    times = head.record.words.times
    mine = head.numbers(times)
    if mine is None:
        return []
    theirs = None if base is None else base.numbers(times)
    return [_histogram(head, base, mine, theirs, limit_ms), *_timeline(head)]


def _histogram(
    head: Source, base: Source | None, mine: FloatArray, theirs: FloatArray | None, limit_ms: float | None
) -> Safe:
    sides = [v[np.isfinite(v) & (v > 0)] for v in (mine, theirs) if v is not None]
    ends = _ends(np.concatenate(sides))
    words = head.record.words
    edges = np.geomspace(*ends, BINS + 1)
    heights = [np.histogram(v, edges)[0] / max(len(v), 1) for v in sides]
    slower = [v[v > ends[1]] for v in sides]
    highest = max(float(h.max()) for h in heights) or 1.0

    def draw(width: float) -> tuple[Canvas, list[Child]]:
        tail = any(len(v) for v in slower)
        canvas = Canvas(width, 270.0, top=34.0, right=76.0 if tail else 14.0)
        across = Axis(*ends, canvas.x0, canvas.x1, log=True)
        up = Axis(0.0, highest * 1.05, canvas.y0, canvas.y1)
        places = [across(float(edge)) for edge in edges]
        marks: list[Child] = [
            vertical_axis(canvas, up, f"share of {words.step}s", lambda v: percent(v, 0), most=4)
        ]
        for index, share in enumerate(heights[0]):
            if share > 0:
                top = min(up(float(share)), canvas.y0 - LEAST_HEIGHT)
                ms = f"{number(float(edges[index]))} to {number(float(edges[index + 1]))} ms"
                left, wide = places[index], places[index + 1] - places[index] - 0.6
                marks.append(rect(left, top, wide, canvas.y0 - top, "bar", hint=f"{ms}: {percent(share, 3)}"))
        if len(heights) > 1:
            marks.append(_steps(heights[1], places, up, canvas))
        marks += _percentile_marks(head, across, canvas)
        if limit_ms is not None and across.low < limit_ms < across.high:
            x = across(limit_ms)
            marks.append(line(x, canvas.y1, x, canvas.y0, "limit"))
            marks.append(text(x - 4, canvas.y1 + 11, f"budget {number(limit_ms)}", "limit-text", "end"))
        if tail:
            marks += _tail(slower, [len(v) for v in sides], up, canvas, words.step)
        return canvas, [*marks, *horizontal_axis(canvas, across, "ms, logarithmic")]

    names = [("this run", head)] + ([("base", base)] if base is not None else [])
    rows = [
        (f"{what}, {name}", *(_cell(source, f"{key}.{column}") for column in _TABLE))
        for key, what in SUMMARIES.items()
        for name, source in names
        if (found := source.quantity(f"{key}.p50")) is not None and found.value is not None
    ]
    against = "" if theirs is None else f", against {len(theirs):,} of the base"
    return figure(
        "latency-histogram",
        f"How long a {words.subject} takes",
        f"Histogram of {len(mine):,} {words.step}s{against}; "
        f"median {shown(head.quantity(f'{words.summary}.p50'))[0]}, "
        f"slowest {number(float(mine.max()))} ms.",
        draw,
        legend(
            ("k-bar", "this run"),
            *([("k-base", "base")] if theirs is not None else []),
            ("k-percentile", "percentiles of this run with their 95 % intervals"),
            *([("k-limit", "budget of the p95")] if limit_ms is not None else []),
        ),
        data_table(("", *(f"{column} ms" for column in _TABLE)), rows, what="percentiles, 95 % intervals"),
    )


def _ends(times_ms: FloatArray) -> tuple[float, float]:
    """Ends of the histogram: everything, or the bulk where a few steps are far slower than the rest."""
    if not len(times_ms):
        return span([], log=True)
    low, high = float(times_ms.min()), float(times_ms.max())
    bulk = float(np.quantile(times_ms, 0.99)) * 1.25
    return span([low, bulk if high > 1.6 * bulk else high], log=True, room=0.02)


def _tail(slower: list[FloatArray], counts: list[int], up: Axis, canvas: Canvas, step: str) -> list[Child]:
    """Steps beyond the axis as one bar beside it: how many, and how slow the slowest was."""
    left, right = canvas.x1 + 18, canvas.width - 10
    marks: list[Child] = [line(left - 6, canvas.y0, right + 6, canvas.y0, "axis")]
    wide = (right - left) / len(slower)
    for index, (times, count) in enumerate(zip(slower, counts, strict=True)):
        if not len(times):
            continue
        top = min(up(len(times) / count), canvas.y0 - LEAST_HEIGHT)
        longest = number(float(times.max()))
        hint = f"{len(times):,} of {count:,} {step}s are slower; the slowest took {longest} ms"
        style = "tail-base" if index else "bar"
        marks.append(rect(left + index * wide, top, wide - 1, canvas.y0 - top, style, hint=hint))
        marks.append(text(left + (index + 0.5) * wide, top - 4, f"{len(times):,}", "small strong", "middle"))
    slowest = max(float(times.max()) for times in slower if len(times))
    middle = (left + right) / 2
    marks.append(text(middle, canvas.y0 + 16, "slower, to", "small", "middle"))
    marks.append(text(middle, canvas.y0 + 29, f"{number(slowest)} ms", "small strong", "middle"))
    return marks


def _percentile_marks(head: Source, across: Axis, canvas: Canvas) -> list[Child]:
    marks: list[Child] = []
    last = -math.inf
    for name in _PERCENTILES:
        found = head.quantity(f"{head.record.words.summary}.{name}")
        value = None if found is None else found.value
        if found is None or value is None or not 0 < value <= across.high:
            continue
        x = across(value)
        low = value if found.lower is None else found.lower
        high = value if found.upper is None else found.upper
        marks.append(
            rect(across(low), canvas.y1, across(high) - across(low), canvas.y0 - canvas.y1, "interval")
        )
        marks.append(line(x, canvas.y1 - 2, x, canvas.y0, "percentile"))
        level = canvas.y1 - (6 if x - last > 34 else 19)
        marks.append(text(x, level, name, "small strong", "middle"))
        last = x
    return marks


def _steps(heights: FloatArray, places: list[float], up: Axis, canvas: Canvas) -> Safe:
    """The outline of the base's histogram."""
    points = [(places[0], canvas.y0)]
    for index, share in enumerate(heights):
        top = canvas.y0 if share == 0 else min(up(float(share)), canvas.y0 - LEAST_HEIGHT)
        points += [(places[index], top), (places[index + 1], top)]
    return polyline([*points, (places[-1], canvas.y0)], "base")


def _timeline(head: Source) -> list[Safe]:
    windows = head.windows_ms()
    steps = sum(len(window) for window in windows)
    if steps < 2:
        return []
    joined = np.concatenate(windows)
    bounds = np.cumsum([0, *(len(window) for window in windows)])
    usable = joined[np.isfinite(joined) & (joined > 0)]
    if not len(usable):
        return []
    ends = span([float(usable.min()), float(usable.max())], log=True, room=0.04)
    framed = head.record.model.frames is not None

    def draw(width: float) -> tuple[Canvas, list[Child]]:
        canvas = Canvas(width, 190.0)
        across = Axis(0.0, float(steps), canvas.x0, canvas.x1)
        up = Axis(*ends, canvas.y0, canvas.y1, log=True)
        marks: list[Child] = [vertical_axis(canvas, up, "ms, logarithmic")]
        for index, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
            left, right = across(float(start)), across(float(stop))
            if index % 2 == 0:
                marks.append(rect(left, canvas.y1, right - left, canvas.y0 - canvas.y1, "window"))
            if right - left > 14:
                marks.append(text((left + right) / 2, canvas.y1 + 11, str(index + 1), "small", "middle"))
        few = of_series(joined, int(canvas.x1 - canvas.x0))
        marks += envelope_marks(few, across, up)
        return canvas, [
            *marks,
            *horizontal_axis(canvas, across, head.record.words.step if framed else "step"),
        ]

    return [
        figure(
            "latency-time",
            f"Every {'frame' if framed else 'step'} of every window",
            f"{steps:,} forward passes in {len(windows)} windows; fastest {number(float(usable.min()))} ms, "
            f"slowest {number(float(usable.max()))} ms. Each column shows fastest, mean and slowest.",
            draw,
            legend(("k-head", "mean"), ("k-band", "fastest to slowest: no spike is averaged away")),
            _windows_table(head),
        )
    ]


def _windows_table(head: Source) -> Safe | None:
    latency = head.record.latency
    if latency is None:
        return None
    rows = [
        (str(i), f"{w.counted_steps:,}", number(w.seconds), number(w.median_ms), number(w.mean_ms))
        for i, w in enumerate(latency.windows, 1)
    ]
    counted = "frames" if latency.full_context is None else "steps with full context"
    names = ("window", counted, "seconds", "median ms", "mean ms")
    return data_table(names, rows, what="measurement windows")


def _cell(source: Source, name: str) -> str:
    found = source.quantity(name)
    value, ends = shown(found)
    return f"{value} {ends}".strip()
