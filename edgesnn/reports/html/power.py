"""The power trace: envelope of the samples, windows shaded, idle levels, and the highest peak closer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgesnn.reports.html.envelope import SeriesEnvelope, reduce
from edgesnn.reports.html.markup import Child, Safe, element
from edgesnn.reports.html.numbers import number, percent
from edgesnn.reports.html.scales import Axis, span
from edgesnn.reports.html.sources import Source
from edgesnn.reports.html.svg import (
    Canvas,
    data_table,
    figure,
    horizontal_axis,
    legend,
    line,
    path,
    polyline,
    rect,
    text,
    vertical_axis,
)

MILLI = 1e3
#: Half the time that the close look at the highest peak shows, at least, seconds.
CLOSE_S = 0.05
_ARRAYS = ("power_time_s", "power_min_w", "power_mean_w", "power_max_w")


def power_figures(source: Source, limit_mw: float | None) -> list[Safe]:
    """The whole trace and the stretch around its highest peak; nothing without a trace.

    Args:
        source: The run.
        limit_mw: Budget of mean power, or None.
    """
    power = source.document.get("power")
    rows = source.rows(*_ARRAYS)
    if power is None or rows is None or len(rows[0]) < 2:
        return []
    time_s, low, mean, high = rows
    order = time_s.argsort(kind="stable")
    trace = reduce(
        time_s[order], low[order] * MILLI, mean[order] * MILLI, high[order] * MILLI, 2 * len(order)
    )
    if len(trace) < 2:
        return []
    origin = float(trace.x[0])
    windows = [w for w in power["windows"] if w["start_s"] is not None and w["stop_s"] is not None]
    kind = "" if power["kind"] == "MEASURED" else f" ({power['kind']})"
    peak = int(trace.high.argmax())
    description = (
        f"Total power over {number(float(trace.x[-1] - origin))} seconds with {len(power['windows'])} "
        f"measurement windows. Highest sample {number(float(trace.high[peak]))} milliwatts, lowest "
        f"{number(float(trace.low.min()))}."
    )

    def whole(width: float) -> tuple[Canvas, list[Child]]:
        return _draw(trace, windows, origin, limit_mw, Canvas(width, 300.0))

    figures = [
        figure(
            "power-trace",
            f"Power over time{kind}",
            description,
            whole,
            legend(
                ("k-head", "mean"),
                ("k-band", "lowest to highest sample: no spike is averaged away"),
                ("k-window", "measurement window"),
                ("k-idle", "idle level beside it"),
                *([("k-limit", "budget of mean power")] if limit_mw is not None else []),
            ),
            _windows_table(power["windows"]),
        )
    ]
    half = max(CLOSE_S, 60 * float(trace.x[-1] - origin) / len(trace))
    at = float(trace.x[peak])
    near = trace.between(at - half, at + half)
    if 8 <= len(near) < 0.6 * len(trace):

        def close(width: float) -> tuple[Canvas, list[Child]]:
            return _draw(near, windows, origin, limit_mw, Canvas(width, 200.0))

        figures.append(
            figure(
                "power-peak",
                f"The highest peak, closer{kind}",
                f"The stretch around {number(at - origin)} seconds, where the highest sample lies.",
                close,
            )
        )
    return figures


def power_rows(power: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How power was taken: instrument, alignment, losses."""
    meter = power["meter"]
    inner = meter.get("meter") if isinstance(meter.get("meter"), Mapping) else meter
    device = " ".join(str(inner[key]) for key in ("name", "model", "serial_number") if inner.get(key))
    rows = [("meter", f"{device or 'unnamed'}{' SIMULATED' if power['kind'] == 'SIMULATED' else ''}")]
    coarse = " (coarse: no marker and no clock map)" if power.get("coarse") else ""
    rows.append(("windows found by", f"{power['rung']}{coarse}"))
    valid = sum(window["invalid"] is None for window in power["windows"])
    rows.append(("windows", f"{valid} valid of {len(power['windows'])}"))
    lost = max(
        (float(window["lost_share"]) for window in power["windows"] if "lost_share" in window), default=0.0
    )
    rows.append(("samples lost, worst window", percent(lost, 3)))
    return rows


def _draw(
    trace: SeriesEnvelope,
    windows: Sequence[Mapping[str, Any]],
    origin: float,
    limit_mw: float | None,
    canvas: Canvas,
) -> tuple[Canvas, list[Child]]:
    start, stop = float(trace.x[0]), float(trace.x[-1])
    few = reduce(trace.x, trace.low, trace.mean, trace.high, int(canvas.x1 - canvas.x0))
    across = Axis(start - origin, stop - origin, canvas.x0, canvas.x1)
    shown = [float(few.low.min()), float(few.high.max())]
    if limit_mw is not None and limit_mw < 2 * shown[1]:
        shown.append(limit_mw)
    up = Axis(*span(shown, zero=True), canvas.y0, canvas.y1)
    marks: list[Child] = [vertical_axis(canvas, up, "mW")]
    for index, window in enumerate(windows):
        if window["stop_s"] > start and window["start_s"] < stop:
            marks.append(_window(canvas, across, window, origin, index))
    marks.append(_band(few, across, up, origin))
    marks += _means(few, across, up, origin)
    for index, window in enumerate(windows):
        before = windows[index - 1]["stop_s"] if index else start
        after = windows[index + 1]["start_s"] if index + 1 < len(windows) else stop
        marks += _idle(across, up, window, origin, (before, after))
    if limit_mw is not None and up.low < limit_mw < up.high:
        y = up(limit_mw)
        marks.append(line(canvas.x0, y, canvas.x1, y, "limit"))
        marks.append(text(canvas.x1 - 4, y - 5, f"budget {number(limit_mw)} mW", "limit-text", "end"))
    return canvas, [*marks, *horizontal_axis(canvas, across, "seconds")]


def _window(
    canvas: Canvas, across: Axis, window: Mapping[str, Any], origin: float, index: int
) -> list[Child]:
    left, right = across(window["start_s"] - origin), across(window["stop_s"] - origin)
    state = "valid" if window["invalid"] is None else f"INVALID: {window['invalid']}"
    hint = f"window {index + 1}: mean {_value(window['mean_mw'])} mW, {state}"
    class_ = "window" if window["invalid"] is None else "window invalid"
    label = text((left + right) / 2, canvas.y1 + 11, str(index + 1), "small", "middle")
    return [
        rect(left, canvas.y1, right - left, canvas.y0 - canvas.y1, class_, hint=hint),
        label if right - left > 14 else None,
    ]


def _segments(trace: SeriesEnvelope) -> list[slice]:
    """Stretches without a gap."""
    starts = [0, *(int(i) for i in trace.gap.nonzero()[0] if i > 0)]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(trace)], strict=True)]


def _band(trace: SeriesEnvelope, across: Axis, up: Axis, origin: float) -> Safe:
    parts = []
    for piece in _segments(trace):
        xs = [across(float(x) - origin) for x in trace.x[piece]]
        upper = [up(float(v)) - 0.4 for v in trace.high[piece]]  # a flat stretch stays visible
        lower = [up(float(v)) + 0.4 for v in trace.low[piece]]
        outline = [*zip(xs, upper, strict=True), *zip(reversed(xs), reversed(lower), strict=True)]
        parts.append(path(outline) + "Z")
    return element("path", d="".join(parts), class_="band")


def _means(trace: SeriesEnvelope, across: Axis, up: Axis, origin: float) -> list[Child]:
    return [
        polyline(
            [
                (across(float(x) - origin), up(float(v)))
                for x, v in zip(trace.x[p], trace.mean[p], strict=True)
            ],
            "head",
        )
        for p in _segments(trace)
    ]


def _idle(
    across: Axis, up: Axis, window: Mapping[str, Any], origin: float, free: tuple[float, float]
) -> list[Child]:
    """Idle levels, each drawn from the window to the middle of what is free on its side."""
    marks: list[Child] = []
    sides = (
        (window["idle_before_mw"], (free[0] + window["start_s"]) / 2, window["start_s"]),
        (window["idle_after_mw"], window["stop_s"], (free[1] + window["stop_s"]) / 2),
    )
    for level, start, stop in sides:
        left, right = across(start - origin), across(stop - origin)
        if level is not None and right > left:
            marks.append(line(left, up(level), right, up(level), "idle"))
    return marks


def _windows_table(windows: Sequence[Mapping[str, Any]]) -> Safe:
    head = ("window", "from s", "to s", "mean mW", "energy µJ", "idle before mW", "idle after mW", "state")
    keys = ("start_s", "stop_s", "mean_mw", "energy_uj", "idle_before_mw", "idle_after_mw")
    rows = [
        (str(index + 1), *(_value(window[key]) for key in keys), window["invalid"] or "valid")
        for index, window in enumerate(windows)
    ]
    return data_table(head, rows, what="measurement windows")


def _value(value: float | None) -> str:
    return "absent" if value is None else number(value)
