"""The chip map: cores that a student takes, and how full the fullest one is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgesnn.reports.html.bars import Bar, draw_bars
from edgesnn.reports.html.markup import Child, Safe, element
from edgesnn.reports.html.numbers import number, percent
from edgesnn.reports.html.svg import Canvas, data_table, figure, legend, rect

#: Cells of the largest grid; a chip with more cores is drawn with several cores to a cell.
MOST_CELLS = 1024


def chip_figures(mapping: Mapping[str, Any]) -> list[Safe]:
    """Cores and limits of a document that ``edgesnn map --json`` printed.

    Args:
        mapping: The document (``edgesnn.map/1``).
    """
    chip = str(mapping["chip"]["name"])
    verdict = "fits" if mapping["fits"] else "does not fit"
    used, attention, there = (int(mapping[key]) for key in ("cores", "attention_cores", "cores_available"))
    rows = [
        (p["name"], p["kind"], *(f"{p[key]:,}" for key in ("neurons", "synapses", "synapse_bytes", "cores")))
        for p in mapping["populations"]
    ]
    rows += [
        (a["name"], "attention", f"{a['states']:,}", "", f"{a['state_bytes']:,}", f"{a['cores']:,}")
        for a in mapping["attentions"]
    ]
    head = ("population", "kind", "neurons", "synapses", "bytes", "cores")
    grid = figure(
        "chip-map",
        f"Cores on {chip}: {verdict} (ESTIMATED)",
        f"{used:,} of {there:,} cores hold {mapping['neurons']:,} neurons and {mapping['synapses']:,} "
        f"synapses; "
        f"attention takes {attention:,} more, estimated from its memory.",
        lambda width: _grid(used, attention, there, width),
        legend(
            ("k-bar", f"{used:,} cores of populations, placed {mapping['placement']}"),
            ("k-attention", f"{attention:,} for attention"),
            ("k-free", f"{max(there - used - attention, 0):,} free"),
        ),
        data_table(head, rows, what="populations"),
    )
    bars = [
        Bar(
            str(usage["what"]),
            (
                (
                    "bar" if usage["largest"] <= usage["limit"] else "bar over",
                    usage["largest"] / usage["limit"],
                    "",
                ),
            ),
            percent(usage["largest"] / usage["limit"], 0),
        )
        for usage in mapping["usage"]
        if usage["limit"]
    ]
    limits = [
        (u["what"], number(u["largest"]), number(u["limit"]), number(u["total"])) for u in mapping["usage"]
    ]
    full = figure(
        "chip-usage",
        "The fullest core against the chip's limits",
        "; ".join(f"{u['what']} {number(u['largest'])} of {number(u['limit'])}" for u in mapping["usage"])
        + ".",
        lambda width: draw_bars(bars, width, "share of the limit of one core", lines=((1.0, "limit"),)),
        data_table(("", "fullest core", "limit", "all cores"), limits, what="limits of a core"),
    )
    return [grid, full]


def violations(mapping: Mapping[str, Any]) -> Safe | None:
    """Every limit that is broken, or None."""
    broken = mapping["violations"]
    if not broken:
        return None
    return element(
        "ul",
        [
            element("li", f"{v['where']}: {v['what']}: {v['actual']}, limit {v['limit']}")
            for v in broken[:100]
        ],
        class_="bad-list",
    )


def _grid(used: int, attention: int, there: int, width: float) -> tuple[Canvas, list[Child]]:
    total = max(there, used + attention, 1)
    per_cell = math.ceil(total / MOST_CELLS)
    cells = math.ceil(total / per_cell)
    columns = min(cells, 24 if width < 600 else 40)
    size = min(26.0, (width - 8.0) / columns)
    canvas = Canvas(width, size * math.ceil(cells / columns) + 8.0)
    marks: list[Child] = []
    for cell in range(cells):
        core = cell * per_cell
        if core < used:
            class_ = "core used" if core < there else "core used over"
        elif core < used + attention:
            class_ = "core attention" if core < there else "core attention over"
        else:
            class_ = "core"
        row, column = divmod(cell, columns)
        marks.append(rect(4 + column * size, 4 + row * size, size - 3, size - 3, class_))
    return canvas, marks
