"""Static pictures for Markdown, where no page can stand: PNG through matplotlib (extra ``report``)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgesnn.errors import OutputError, RecordError, missing_extra
from edgesnn.record.files import RunData
from edgesnn.record.quantities import Kind
from edgesnn.reports.html.charts.envelope import of_series, reduce
from edgesnn.reports.html.charts.power import placed_windows
from edgesnn.reports.html.sources import Source
from edgesnn.reports.html.values import number, with_kind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MILLI = 1e3
_POINTS = 700
#: Of one picture, inches and dots per inch.
_WIDTH, _HEIGHT, _DPI = 8.8, 3.0, 110
_INK, _HEAD, _BAND, _BASE, _WINDOW, _LIMIT = "#17202b", "#0b7d85", "#7cc4c8", "#a1480c", "#eaf1f5", "#b3261e"


def draw_run(run: RunData, base: RunData | None = None) -> Figure:
    """Draw what the run has, one picture above the other: latency, power, spike rates.

    Args:
        run: The run.
        base: What it is set against, or None.

    Returns:
        The figure; a notebook shows it, with or without pyplot.

    Raises:
        MissingExtraError: matplotlib is not installed.
        RecordError: The run has nothing of that.
    """
    head, behind = Source(run), None if base is None else Source(base)
    figure = _figure()
    drawn = []
    for draw in _DRAWINGS.values():
        axes = _axes(figure)
        if draw(axes, head, behind):
            drawn.append(axes)
        else:
            axes.remove()
    if not drawn:
        raise RecordError(f"the run {head.name} holds nothing to draw", remedy="keep its .npz beside it")
    figure.set_size_inches(_WIDTH, _HEIGHT * len(drawn))
    grid = figure.add_gridspec(len(drawn), 1)
    for row, axes in enumerate(drawn):
        axes.set_subplotspec(grid[row, 0])

    def png() -> bytes:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=_DPI)
        return buffer.getvalue()

    # A figure without pyplot shows as text in a notebook that never imported pyplot; with this it is drawn.
    setattr(figure, "_repr_png_", png)  # noqa: B010 - matplotlib's class does not declare it
    return figure


def write_pictures(folder: Path, head: Source, base: Source | None) -> list[Path]:
    """Draw what the run has: ``latency.png``, ``power.png``, ``spikes.png``.

    Args:
        folder: Where they go; it is made.
        head: The run.
        base: What it is set against, or None.

    Returns:
        The files.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in _DRAWINGS.items():
            figure = _figure()
            if draw(_axes(figure), head, base):
                path = folder / f"{name}.png"
                figure.savefig(path, dpi=_DPI, metadata={"Software": None})
                written.append(path)
    except OSError as error:
        raise OutputError(f"the pictures cannot be written to '{folder}'", actual=error.strerror) from None
    return written


def _figure() -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_extra("matplotlib", "report", "drawing pictures") from None
    return Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")


def _axes(figure: Figure) -> Any:
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _latency(axes: Any, head: Source, base: Source | None) -> bool:
    words = head.record.words
    mine = head.numbers(words.times)
    if mine is None or not len(mine := mine[np.isfinite(mine) & (mine > 0)]):
        return False
    theirs = None if base is None else base.numbers(words.times)
    theirs = None if theirs is None else theirs[np.isfinite(theirs) & (theirs > 0)]
    everything = mine if theirs is None else np.concatenate([mine, theirs])
    high = min(float(everything.max()), float(np.quantile(everything, 0.99)) * 1.25)
    edges = np.geomspace(float(everything.min()) * 0.99, high * 1.01, 80)
    axes.hist(mine, edges, weights=np.full(len(mine), 100 / len(mine)), color=_HEAD, label="this run")
    if theirs is not None and len(theirs):
        weights = np.full(len(theirs), 100 / len(theirs))
        axes.hist(theirs, edges, weights=weights, histtype="step", color=_BASE, linewidth=1.6, label="base")
    slower = int((mine > edges[-1]).sum())
    axes.set_xlabel(
        f"ms per {words.subject}; {slower:,} of {len(mine):,} are slower, up to {number(float(mine.max()))}"
    )
    axes.set_ylabel(f"% of {words.step}s")
    if high > 5 * everything.min():  # the bins grow with the time: so does the axis where they differ much
        axes.set_xscale("log")
    p95 = head.quantity(f"{words.summary}.p95")
    kind = Kind.MEASURED if p95 is None or p95.kind is Kind.ABSENT else p95.kind
    axes.set_title(with_kind("Latency", kind), loc="left", color=_INK)
    axes.legend(frameon=False)
    return True


def _power(axes: Any, head: Source, _: Source | None) -> bool:
    rows = head.rows("power_time_s", "power_min_w", "power_mean_w", "power_max_w")
    power = head.record.power
    if rows is None or power is None:
        return False
    few = reduce(rows[0], rows[1], rows[2], rows[3], _POINTS)
    if len(few) < 2:
        return False
    origin = few.x[0]
    for window in placed_windows(power):
        axes.axvspan(window.start_s - origin, window.stop_s - origin, color=_WINDOW)
    axes.fill_between(
        few.x - origin, few.low * MILLI, few.high * MILLI, color=_BAND, label="lowest to highest sample"
    )
    axes.plot(few.x - origin, few.mean * MILLI, color=_HEAD, linewidth=1.1, label="mean")
    if (budget := head.limit("power_mw")) is not None:
        axes.axhline(budget, color=_LIMIT, linestyle="--", linewidth=1.1, label=f"budget {number(budget)} mW")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds")
    axes.set_ylabel("mW")
    axes.set_title(with_kind("Power, windows shaded", power.kind), loc="left", color=_INK)
    axes.legend(frameon=False, ncols=3, loc="upper right")
    return True


def _spikes(axes: Any, head: Source, base: Source | None) -> bool:
    activity = head.record.activity
    if activity is None or not activity.layers:
        return False
    rates = of_series([100 * layer.spike_rate for layer in activity.layers], _POINTS)
    axes.bar(rates.x, rates.high, color=_HEAD, label="this run")
    before = None if base is None else base.record.activity
    if before is not None and len(before.layers) == len(activity.layers):
        values = [100 * layer.spike_rate for layer in before.layers]
        axes.plot(range(len(values)), values, "_", color=_BASE, markersize=16, label="base")
    framed = head.record.model.frames is not None
    if not framed:  # what was published of the break-even is of several timesteps
        limit = "about 6 %: break-even with a dense network"
        axes.axhline(6, color=_LIMIT, linestyle="--", linewidth=1.1, label=limit)
    axes.set_xlabel("LIF layer, from input to output")
    axes.set_ylabel(f"% of neurons and {'frames' if framed else 'steps'}")
    axes.set_title("Spike rate by layer", loc="left", color=_INK)
    axes.legend(frameon=False)
    return True


_DRAWINGS = {"latency": _latency, "power": _power, "spikes": _spikes}
