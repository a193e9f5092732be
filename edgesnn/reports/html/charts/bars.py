"""Bar charts: spike rates by layer, estimated energies, the uncertainty budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgesnn.record.counts import Activity, Energy
from edgesnn.record.quantities import Kind
from edgesnn.reports.html.charts.scales import Axis
from edgesnn.reports.html.charts.svg import (
    Canvas,
    data_table,
    figure,
    horizontal_axis,
    legend,
    line,
    rect,
    text,
)
from edgesnn.reports.html.markup import Child, Safe
from edgesnn.reports.html.values import number, percent, unit, with_kind, with_unit

#: Published analysis: with memory traffic counted, spiking wins over a quantised dense network only below
#: about this spike rate (arXiv 2409.08290).
BREAK_EVEN_RATE = 0.06
#: Bars in one chart; more layers are told in its table.
MOST_BARS = 48
#: Colours of parts that an eye tells apart; the last one is grey, for what has none of its own.
COLOURS = 6
_OTHER = f"part-{COLOURS - 1}"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes:
        label: Its name.
        parts: Its parts from the left: style, value and hint of each.
        value: The text at its end.
        mark: A second value drawn as a tick (the base), or None.
    """

    label: str
    parts: tuple[tuple[str, float, str], ...]
    value: str
    mark: float | None = None


def draw_bars(
    bars: Sequence[Bar], width: float, title: str, *, lines: Sequence[tuple[float, str]] = ()
) -> tuple[Canvas, list[Child]]:
    """Horizontal bars from 0.

    Args:
        bars: The bars, from above.
        width: Width of the drawing.
        title: What the axis says.
        lines: Levels to mark, with their labels.
    """
    narrow = width < 600
    pitch = 34.0 if narrow else 24.0
    label_width = 8.0 if narrow else 210.0
    canvas = Canvas(
        width,
        (30.0 if lines else 10.0) + pitch * len(bars) + 38.0,
        left=label_width,
        top=26.0 if lines else 6.0,
        right=64.0,
    )
    longest = max((sum(value for _, value, _ in bar.parts) for bar in bars), default=0.0)
    longest = max(longest, *(bar.mark or 0.0 for bar in bars), *(level for level, _ in lines), 0.0)
    across = Axis(0.0, longest or 1.0, canvas.x0, canvas.x1)
    marks: list[Child] = []
    for level, label in lines:
        x = across(level)
        marks.append(line(x, canvas.y1 - 4, x, canvas.y0, "limit"))
        marks.append(text(x + 4, canvas.y1 - 8, label, "limit-text"))
    for index, bar in enumerate(bars):
        top = canvas.y1 + pitch * index + (15.0 if narrow else 3.0)
        height = 13.0 if narrow else pitch - 8.0
        x, label = canvas.x0, bar.label if len(bar.label) <= 34 else f"{bar.label[:16]}…{bar.label[-16:]}"
        if narrow:
            marks.append(text(canvas.x0, top - 3, label, "small name"))
        else:
            marks.append(text(canvas.x0 - 8, top + height - 4, label, anchor="end"))
        for style, value, hint in bar.parts:
            wide = across(value) - across(0.0)
            marks.append(rect(x, top, wide, height, style, hint=hint))
            x += wide
        if bar.mark is not None:
            at = across(bar.mark)
            marks.append(line(at, top - 2, at, top + height + 2, "base"))
            x = max(x, at)
        marks.append(text(x + 6, top + height - 3, bar.value, "small strong"))
    return canvas, [*marks, *horizontal_axis(canvas, across, title)]


_BREAK_EVEN = "below it spiking wins over a dense network once memory traffic counts (arXiv 2409.08290)"


def spike_figure(activity: Activity, base: Activity | None, step: str) -> Safe | None:
    """Spike rates by layer, the base's as ticks.

    Args:
        activity: Activity of the run.
        base: Activity of the base, or None.
        step: ``token`` or ``frame``.
    """
    layers = activity.layers
    if not layers:
        return None
    before = {} if base is None else {layer.name: layer.spike_rate for layer in base.layers}
    bars = [
        Bar(
            layer.name,
            (("bar", layer.spike_rate, f"{layer.name}: {percent(layer.spike_rate)}"),),
            percent(layer.spike_rate),
            before.get(layer.name),
        )
        for layer in layers[:MOST_BARS]
    ]
    rows = [
        (
            layer.name,
            f"{layer.neurons:,}",
            percent(layer.spike_rate, 2),
            percent(before[layer.name], 2) if layer.name in before else "absent",
            number(layer.spikes_per_token),
            f"{layer.silent_neurons:,}",
        )
        for layer in layers
    ]
    busiest = max(layers, key=lambda layer: layer.spike_rate)
    head = ("layer", "neurons", "spike rate", "base", f"spikes per {step}", "silent neurons")
    # what was published of the break-even is of several timesteps, and of values that fit into them
    known_limit, when = step == "token", "an inner timestep" if step == "token" else "a frame"
    more = "" if len(layers) <= MOST_BARS else f" The first {MOST_BARS} are drawn."
    return figure(
        "spike-rates",
        "Spike rate by layer",
        f"Share of neurons that spike in {when}, {len(layers)} layers; highest "
        f"{percent(busiest.spike_rate)} in {busiest.name}.{more}",
        lambda width: draw_bars(
            bars,
            width,
            f"spikes per neuron and {'timestep' if known_limit else step}",
            lines=((BREAK_EVEN_RATE, "about 6 %: break-even"),) if known_limit else (),
        ),
        legend(
            ("k-bar", "this run, counted on golden"),
            *([("k-base", "base")] if before else []),
            *([("k-limit", _BREAK_EVEN)] if known_limit else []),
        ),
        data_table(head, rows, what="spikes by layer"),
    )


def apart(parts: Sequence[str], stacks: Sequence[Mapping[str, float]]) -> tuple[list[str], list[str]]:
    """Parts that have a colour of their own, and the smallest ones, which share the last colour.

    Args:
        parts: All parts, in the order of the stack.
        stacks: Value by part, for each bar; a part is as large as its largest share of a bar.
    """
    if len(parts) <= COLOURS:
        return list(parts), []

    def share(part: str) -> float:
        return max(stack.get(part, 0.0) / (sum(stack.values()) or 1.0) for stack in stacks)

    own = set(sorted(parts, key=share, reverse=True)[: COLOURS - 1])
    return [part for part in parts if part in own], [part for part in parts if part not in own]


def _stacked(
    values: Mapping[str, float], styles: Mapping[str, str], rest: Sequence[str]
) -> tuple[tuple[str, float, str], ...]:
    """The parts of one bar: those with a colour of their own, then the others together."""
    shown = [
        (style, values[part], f"{part}: {with_unit(values[part], 'uJ')}")
        for part, style in styles.items()
        if part in values
    ]
    others = {part: values[part] for part in rest if part in values}
    if others:
        hint = ", ".join(f"{part} {with_unit(value, 'uJ')}" for part, value in others.items())
        shown.append(
            (_OTHER, sum(others.values()), f"together {with_unit(sum(others.values()), 'uJ')}: {hint}")
        )
    return tuple(shown)


def energy_figure(energy: Energy, step: str) -> Safe | None:
    """The estimated energies of a token or frame, part by part.

    Args:
        energy: The estimates.
        step: ``token`` or ``frame``.
    """
    estimates = [(one.name.replace("_", " "), one) for one in energy.estimates]
    parts = list(dict.fromkeys(part for _, one in estimates for part in one.parts_uj))
    if not parts:
        return None
    own, rest = apart(parts, [one.parts_uj for _, one in estimates])
    styles = {part: f"part-{index}" for index, part in enumerate(own)}
    bars = [
        Bar(name, _stacked(one.parts_uj, styles, rest), with_unit(one.total_uj, "uJ"))
        for name, one in estimates
    ]
    rows = [
        (part, *(number(one.parts_uj[part]) if part in one.parts_uj else "none" for _, one in estimates))
        for part in parts
    ]
    totals = ("total", *(number(one.total_uj) for _, one in estimates))
    head = ("part", *(f"{name} µJ" for name, _ in estimates))
    return figure(
        "energy-estimates",
        f"Energy of a {step} (ESTIMATED)",
        f"Estimated from counts by table {energy.table}: "
        + ", ".join(f"{name} {with_unit(one.total_uj, 'uJ')}" for name, one in estimates)
        + ".",
        lambda width: draw_bars(bars, width, f"µJ per {step}, ESTIMATED by table {energy.table[:60]}"),
        legend(
            *((f"k-{style}", part) for part, style in styles.items()),
            *([(f"k-{_OTHER}", f"the {len(rest)} smallest: {', '.join(rest)}")] if rest else []),
        ),
        data_table(head, [*rows, totals], what="parts of each estimate, ESTIMATED"),
    )


def uncertainty_figure(uncertainty: Mapping[str, Mapping[str, float | str]], kind: Kind) -> Safe | None:
    """What each source of error alone leaves of mean power, and the table for every quantity."""
    columns = list(
        dict.fromkeys(
            part for found in uncertainty.values() for part in found if part not in ("unit", "value")
        )
    )
    name = "power.mean" if "power.mean" in uncertainty else next(iter(uncertainty), None)
    if name is None or not columns:
        return None
    found = uncertainty[name]
    deviations = {part: value for part in columns if isinstance(value := found.get(part), int | float)}
    together = math.sqrt(sum(value**2 for value in deviations.values()))
    unit_name = str(found.get("unit", ""))
    bars = [
        Bar(part, (("bar", value, f"{part}: {with_unit(value, unit_name)}"),), with_unit(value, unit_name))
        for part, value in sorted(deviations.items(), key=lambda item: -item[1])
    ]
    bars.append(
        Bar(
            "together",
            (("bar quiet", together, "root of the sum of squares"),),
            with_unit(together, unit_name),
        )
    )
    rows = []
    for key, row in uncertainty.items():
        cells = [row.get(part) for part in columns]
        shown = (number(cell) if isinstance(cell, int | float) else "absent" for cell in cells)
        rows.append((key, unit(str(row.get("unit", ""))), *shown))
    largest = max(deviations, key=lambda part: deviations[part], default="none")
    return figure(
        "uncertainty-budget",
        with_kind(f"Uncertainty budget of {name}", kind),
        f"Standard uncertainty by component, each alone; the largest is {largest}, together "
        f"{with_unit(together, unit_name)}.",
        lambda width: draw_bars(bars, width, f"standard uncertainty, {unit(unit_name)}"),
        data_table(("quantity", "unit", *columns), rows, what="standard uncertainty by component"),
    )
