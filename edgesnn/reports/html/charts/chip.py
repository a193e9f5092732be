"""The chip map: what ``edgesnn map --json`` printed, checked, and drawn as cores and how full they are."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from edgesnn.errors import RecordError
from edgesnn.reports.html.charts.bars import Bar, draw_bars
from edgesnn.reports.html.charts.svg import Canvas, data_table, figure, legend, rect
from edgesnn.reports.html.markup import Child, Safe, element
from edgesnn.reports.html.values import number, percent

#: Cells of the largest grid; a chip with more cores is drawn with several cores to a cell.
MOST_CELLS = 1024
_MAX_BYTES = 16 * 2**20


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _Chip(_Part):
    name: str


class _Usage(_Part):
    what: str
    largest: NonNegativeInt
    limit: NonNegativeInt
    total: NonNegativeInt


class _Population(_Part):
    name: str
    kind: str
    neurons: NonNegativeInt
    synapses: NonNegativeInt
    synapse_bytes: NonNegativeInt
    cores: NonNegativeInt


class _Attention(_Part):
    name: str
    states: NonNegativeInt
    state_bytes: NonNegativeInt
    cores: NonNegativeInt


class _Violation(_Part):
    where: str
    what: str
    actual: str
    limit: str


class ChipMap(_Part):
    """What a page shows of a document that ``edgesnn map --json`` printed (``edgesnn.map/1``)."""

    schema_name: Literal["edgesnn.map/1"] = Field(alias="schema")
    program_hash: str
    chip: _Chip
    fits: bool
    placement: str
    neurons: NonNegativeInt
    synapses: NonNegativeInt
    cores: NonNegativeInt
    attention_cores: NonNegativeInt
    cores_available: NonNegativeInt
    usage: list[_Usage]
    populations: list[_Population]
    attentions: list[_Attention]
    violations: list[_Violation]


def read_mapping(path: Path) -> ChipMap:
    """Read a document of ``edgesnn map --json``.

    Args:
        path: The file.

    Returns:
        What a page shows of it.

    Raises:
        RecordError: It cannot be read, or is no such document.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise RecordError(f"'{path}' is too large for a chip map", limit=_MAX_BYTES)
        return ChipMap.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RecordError(f"cannot read the chip map '{path}'", actual=error.strerror) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole document"
        raise RecordError(
            f"'{path}' is no chip map at '{where}'",
            actual=first["msg"],
            remedy="make it with: edgesnn map --json",
        ) from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"'{path}' is not JSON", actual=str(error)) from None


def chip_figures(mapping: ChipMap) -> list[Safe]:
    """Cores and limits of a chip map."""
    verdict = "fits" if mapping.fits else "does not fit"
    used, attention, there = mapping.cores, mapping.attention_cores, mapping.cores_available
    rows = [
        (p.name, p.kind, *(f"{count:,}" for count in (p.neurons, p.synapses, p.synapse_bytes, p.cores)))
        for p in mapping.populations
    ]
    rows += [
        (a.name, "attention", f"{a.states:,}", "", f"{a.state_bytes:,}", f"{a.cores:,}")
        for a in mapping.attentions
    ]
    head = ("population", "kind", "neurons", "synapses", "bytes", "cores")
    grid = figure(
        "chip-map",
        f"Cores on {mapping.chip.name}: {verdict} (ESTIMATED)",
        f"{used:,} of {there:,} cores hold {mapping.neurons:,} neurons and {mapping.synapses:,} "
        f"synapses; attention takes {attention:,} more, estimated from its memory.",
        lambda width: _grid(used, attention, there, width),
        legend(
            ("k-bar", f"{used:,} cores of populations, placed {mapping.placement}"),
            ("k-attention", f"{attention:,} for attention"),
            ("k-free", f"{max(there - used - attention, 0):,} free"),
        ),
        data_table(head, rows, what="populations"),
    )
    bars = [
        Bar(
            u.what,
            (("bar" if u.largest <= u.limit else "bar over", u.largest / u.limit, ""),),
            percent(u.largest / u.limit, 0),
        )
        for u in mapping.usage
        if u.limit
    ]
    limits = [(u.what, number(u.largest), number(u.limit), number(u.total)) for u in mapping.usage]
    full = figure(
        "chip-usage",
        "The fullest core against the chip's limits",
        "; ".join(f"{u.what} {number(u.largest)} of {number(u.limit)}" for u in mapping.usage) + ".",
        lambda width: draw_bars(bars, width, "share of the limit of one core", lines=((1.0, "limit"),)),
        data_table(("", "fullest core", "limit", "all cores"), limits, what="limits of a core"),
    )
    return [grid, full]


def violations(mapping: ChipMap) -> Safe | None:
    """Every limit that is broken, or None."""
    broken = [f"{v.where}: {v.what}: {v.actual}, limit {v.limit}" for v in mapping.violations[:100]]
    return element("ul", [element("li", text) for text in broken], class_="bad-list") if broken else None


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
