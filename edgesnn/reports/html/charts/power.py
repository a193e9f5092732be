"""The power trace: envelope of the samples, windows shaded, idle levels, and the highest peak closer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgesnn.record.power import Power, PowerWindow
from edgesnn.record.quantities import Kind
from edgesnn.reports.comparing.summary import instrument
from edgesnn.reports.html.charts.envelope import SeriesEnvelope, reduce
from edgesnn.reports.html.charts.scales import Axis, span
from edgesnn.reports.html.charts.svg import (
    Canvas,
    data_table,
    envelope_marks,
    figure,
    horizontal_axis,
    legend,
    line,
    rect,
    text,
    vertical_axis,
)
from edgesnn.reports.html.markup import Child, Safe
from edgesnn.reports.html.sources import Source
from edgesnn.reports.html.values import number, percent, with_kind

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
    power = source.record.power
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
    windows = placed_windows(power)
    peak = int(trace.high.argmax())
    description = (
        f"Total power over {number(float(trace.x[-1] - origin))} seconds with {len(power.windows)} "
        f"measurement windows. Highest sample {number(float(trace.high[peak]))} milliwatts, lowest "
        f"{number(float(trace.low.min()))}."
    )

    def whole(width: float) -> tuple[Canvas, list[Child]]:
        return _draw(trace, windows, origin, limit_mw, Canvas(width, 300.0))

    figures = [
        figure(
            "power-trace",
            with_kind("Power over time", power.kind),
            description,
            whole,
            legend(
                ("k-head", "mean"),
                ("k-band", "lowest to highest sample: no spike is averaged away"),
                ("k-window", "measurement window"),
                ("k-idle", "idle level beside it"),
                *([("k-limit", "budget of mean power")] if limit_mw is not None else []),
            ),
            _windows_table(power.windows),
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
                with_kind("The highest peak, closer", power.kind),
                f"The stretch around {number(at - origin)} seconds, where the highest sample lies.",
                close,
            )
        )
    return figures


def power_rows(power: Power) -> list[tuple[str, str]]:
    """How power was taken: instrument, alignment, losses."""
    meter = instrument(power)
    device = " ".join(str(meter[key]) for key in ("name", "model", "serial_number") if meter.get(key))
    simulated = " SIMULATED" if power.kind is Kind.SIMULATED else ""
    coarse = " (coarse: no marker and no clock map)" if power.coarse else ""
    valid = sum(window.invalid is None for window in power.windows)
    lost = max((window.lost_share for window in power.windows), default=0.0)
    return [
        ("meter", f"{device or 'unnamed'}{simulated}"),
        ("windows found by", f"{power.rung}{coarse}"),
        ("windows", f"{valid} valid of {len(power.windows)}"),
        ("samples lost, worst window", percent(lost, 3)),
    ]


@dataclass(frozen=True, slots=True)
class PlacedWindow:
    """A measurement window that was found on the meter's clock.

    Attributes:
        start_s: Its start.
        stop_s: Its end.
        found: What the record says of it.
    """

    start_s: float
    stop_s: float
    found: PowerWindow


def placed_windows(power: Power) -> list[PlacedWindow]:
    """The windows of a metered session that have a place in its trace."""
    return [
        PlacedWindow(window.start_s, window.stop_s, window)
        for window in power.windows
        if window.start_s is not None and window.stop_s is not None
    ]


def _draw(
    trace: SeriesEnvelope,
    windows: Sequence[PlacedWindow],
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
        if window.stop_s > start and window.start_s < stop:
            marks.append(_window(canvas, across, window, origin, index))
    marks += envelope_marks(replace(few, x=few.x - origin), across, up)
    for index, window in enumerate(windows):
        before = windows[index - 1].stop_s if index else start
        after = windows[index + 1].start_s if index + 1 < len(windows) else stop
        marks += _idle(across, up, window, origin, (before, after))
    if limit_mw is not None and up.low < limit_mw < up.high:
        y = up(limit_mw)
        marks.append(line(canvas.x0, y, canvas.x1, y, "limit"))
        marks.append(text(canvas.x1 - 4, y - 5, f"budget {number(limit_mw)} mW", "limit-text", "end"))
    return canvas, [*marks, *horizontal_axis(canvas, across, "seconds")]


def _window(canvas: Canvas, across: Axis, window: PlacedWindow, origin: float, index: int) -> list[Child]:
    left, right = across(window.start_s - origin), across(window.stop_s - origin)
    invalid = window.found.invalid
    state = "valid" if invalid is None else f"INVALID: {invalid}"
    hint = f"window {index + 1}: mean {_value(window.found.mean_mw)} mW, {state}"
    class_ = "window" if invalid is None else "window invalid"
    label = text((left + right) / 2, canvas.y1 + 11, str(index + 1), "small", "middle")
    return [
        rect(left, canvas.y1, right - left, canvas.y0 - canvas.y1, class_, hint=hint),
        label if right - left > 14 else None,
    ]


def _idle(
    across: Axis, up: Axis, window: PlacedWindow, origin: float, free: tuple[float, float]
) -> list[Child]:
    """Idle levels, each drawn from the window to the middle of what is free on its side."""
    marks: list[Child] = []
    sides = (
        (window.found.idle_before_mw, (free[0] + window.start_s) / 2, window.start_s),
        (window.found.idle_after_mw, window.stop_s, (free[1] + window.stop_s) / 2),
    )
    for level, start, stop in sides:
        left, right = across(start - origin), across(stop - origin)
        if level is not None and right > left:
            marks.append(line(left, up(level), right, up(level), "idle"))
    return marks


def _windows_table(windows: Sequence[PowerWindow]) -> Safe:
    head = ("window", "from s", "to s", "mean mW", "energy µJ", "idle before mW", "idle after mW", "state")
    rows = []
    for index, w in enumerate(windows, 1):
        values = (w.start_s, w.stop_s, w.mean_mw, w.energy_uj, w.idle_before_mw, w.idle_after_mw)
        rows.append((str(index), *map(_value, values), w.invalid or "valid"))
    return data_table(head, rows, what="measurement windows")


def _value(value: float | None) -> str:
    return "absent" if value is None else number(value)
