"""The pages of a site: the index of all series by target, and the trends and runs of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesnn.record.budgets import budget_on
from edgesnn.record.quantities import QUANTITIES, Kind
from edgesnn.reports.comparing.result import Key
from edgesnn.reports.history import LONGEST, cuts
from edgesnn.reports.html.charts.envelope import of_series
from edgesnn.reports.html.charts.scales import Axis, span
from edgesnn.reports.html.charts.svg import envelope_marks, table
from edgesnn.reports.html.charts.trend import TrendPoint, trend_figure
from edgesnn.reports.html.folder import TRENDS, Row, SkippedRecord
from edgesnn.reports.html.markup import Child, Safe, SafeLink, element, near
from edgesnn.reports.html.page import Section, page
from edgesnn.reports.html.run_page import verdict_box
from edgesnn.reports.html.sources import relative
from edgesnn.reports.html.values import badge, interval, moment, number, with_kind, with_unit

#: What a site says of itself, for programs.
MARKER = "edgesnn-site.json"
#: Rows of one page: about 900 bytes each.
ROWS_PER_PAGE = 500
#: Targets of one page that get headings of their own; more stand in one table.
MOST_HEADINGS = 40
#: Smallest relative step that a trend marks.
LEAST_STEP = 0.03
_SPARK_POINTS = 60
_QUALITY = {"token": "accuracy.bits_per_byte", "frame": "accuracy.decisions"}


@dataclass(frozen=True, slots=True)
class RunSeries:
    """Runs that may be compared with each other.

    Attributes:
        key: What they share.
        rows: The runs, oldest first, at least one.
        name: File name of its page, without ending.
    """

    key: Key
    rows: list[Row]
    name: str

    @property
    def page(self) -> str:
        """Its page, from the folder of the site."""
        return f"series/{self.name}.html"


def index_pages(
    groups: list[RunSeries], skipped: list[SkippedRecord], folder: Path, output: Path
) -> list[tuple[str, str]]:
    """The index, over several pages where there are many series.

    Args:
        groups: Every series.
        skipped: Records that were not read.
        folder: Where the records are.
        output: The folder of the site.

    Returns:
        File names from that folder, and texts.
    """
    by_device = sorted(groups, key=lambda one: (one.key.target, one.key.text()))
    latest = max(groups, key=lambda one: one.rows[-1].created).rows[-1]
    failing = [one for one in by_device if one.rows[-1].verdict in ("FAIL", "INVALID")]
    runs = sum(len(one.rows) for one in groups)
    header = [
        element("p", "edgesnn runs", class_="eyebrow"),
        element(
            "h1",
            f"{runs:,} runs of {len(groups):,} series on {len({g.key.target for g in groups}):,} targets",
        ),
        verdict_box(
            "FAIL" if failing else "PASS",
            f"{len(failing):,} of {len(groups):,} series fail in their newest run."
            if failing
            else "No series fails in its newest run.",
            [one.key.text() for one in failing],
        ),
    ]
    chunks = [by_device[i : i + ROWS_PER_PAGE] for i in range(0, len(by_device), ROWS_PER_PAGE)]
    made = []
    for index, chunk in enumerate(chunks):
        sections = []
        for place, target in enumerate(dict.fromkeys(one.key.target for one in chunk)):
            mine = [one for one in chunk if one.key.target == target]
            sections.append(Section(f"target-{index}-{place}", target, _index_table(mine)))
        # A thousand targets: one table, since a thousand headings are no overview.
        if len(sections) > MOST_HEADINGS:
            sections = [Section("series", "Series by target", _index_table(chunk))]
        if index == 0:
            sections.append(Section("skipped", "Not read, and why", _skipped(skipped, folder, output)))
        sections.insert(0, Section("pages", "Pages", _pager("index", index, len(chunks))))
        made.append(
            (_numbered("index", index), page("edgesnn runs", header, sections, made=moment(latest.created)))
        )
    return made


def _index_table(series: Sequence[RunSeries]) -> Safe:
    rows = []
    for one in series:
        last = one.rows[-1]
        p95 = f"{last.words.summary}.p95"
        points = _points(one.rows, p95)
        link = near(one.page)
        assert link is not None
        key = one.key
        rows.append(
            [
                element("a", " · ".join((key.model, key.target, key.engine, key.profile)), href=link),
                [badge(last.verdict), " ", badge("SIMULATED") if last.simulated else None],
                f"{len(one.rows):,}",
                moment(last.created),
                _value(last, p95),
                _spark([p.value for p in points]),
                _value(last, "power.mean"),
                _value(last, "size.model"),
            ]
        )
    head = ("series", "newest", "runs", "made", "p95", "its trend", "power", "size")
    return table(head, rows, caption="newest run of every series")


def series_pages(one: RunSeries, run_pages: dict[Path, str], output: Path) -> list[tuple[str, str]]:
    """Trends of a series, and its runs with links to their records, over several pages where they are many.

    Args:
        one: The series.
        run_pages: Pages of single runs, by record, from the folder of the site.
        output: The folder of the site.

    Returns:
        File names from that folder, and texts.
    """
    last = one.rows[-1]
    figures = trends(one.rows) if len(one.rows) > 1 else []
    newest_first = one.rows[::-1]
    chunks = [newest_first[i : i + ROWS_PER_PAGE] for i in range(0, len(newest_first), ROWS_PER_PAGE)]
    made = []
    back = near("../index.html")
    assert back is not None
    for index, chunk in enumerate(chunks):
        sections = [
            Section("pages", "Pages", _pager(one.name, index, len(chunks))),
            Section("trends", "Trends", figures if index == 0 else None),
            Section("runs", "Runs, newest first", _runs_table(chunk, run_pages, output)),
        ]
        header = [
            element("p", "edgesnn series", class_="eyebrow"),
            element("h1", f"{one.key.model} on {one.key.target}"),
            verdict_box(last.verdict, f"The newest of {len(one.rows):,} runs, {moment(last.created)}.", []),
            element("p", badge("SIMULATED"), " Device or meter are simulated.", class_="loud")
            if last.simulated
            else None,
            element("p", " · ".join(f"{name} {value}" for name, value in one.key.parts()), class_="note"),
        ]
        title = f"{one.key.model} on {one.key.target}"
        text = page(title, header, sections, back=(back, "all series"), made=moment(last.created))
        made.append((f"series/{_numbered(one.name, index)}", text))
    return made


def _runs_table(rows: Sequence[Row], run_pages: dict[Path, str], output: Path) -> Safe:
    shown, words = [], rows[0].words
    quality = _QUALITY[words.step]
    columns = (f"{words.summary}.p95", "power.mean", words.energy, "size.model", quality)
    for row in rows:
        name = run_pages.get(row.path)
        own = None if name is None else near(f"../{name}")
        record = _link(row.path, output / "series")
        arrays = (
            None if row.arrays_file is None else _link(row.path.with_name(row.arrays_file), output / "series")
        )
        shown.append(
            [
                element("a", row.label, href=own) if own is not None else row.label,
                moment(row.created),
                badge(row.verdict),
                *(_value(row, column) for column in columns),
                [
                    element("a", "record", href=record) if record is not None else None,
                    [", ", element("a", "arrays", href=arrays)] if arrays is not None else None,
                ],
            ]
        )
    head = (
        "commit",
        "made",
        "verdict",
        "p95",
        "power",
        QUANTITIES[words.energy].title,
        "size",
        QUANTITIES[quality].title,
        "raw data",
    )
    return table(head, shown, caption="runs with their 95 % intervals")


def _skipped(skipped: Sequence[SkippedRecord], folder: Path, output: Path) -> Child:
    if not skipped:
        return None
    rows = []
    for one in skipped[:ROWS_PER_PAGE]:
        link = _link(one.path, output)
        name = one.path.relative_to(folder).as_posix()
        rows.append([element("a", name, href=link) if link is not None else name, one.reason])
    more = len(skipped) - len(rows)
    return [
        table(("file", "reason"), rows, caption="records that were not read"),
        element("p", f"and {more:,} more, in {MARKER}", class_="note") if more else None,
    ]


def _pager(stem: str, index: int, count: int) -> Child:
    if count < 2:
        return None
    links = []
    for other in range(count):
        link = near(_numbered(stem, other))
        assert link is not None
        current = "page" if other == index else None
        links.append([element("a", str(other + 1), href=link, aria_current=current), " "])
    return element("p", links, f"({ROWS_PER_PAGE} rows each, this is {index + 1} of {count})")


def _spark(values: Sequence[float]) -> Safe | None:
    """A trend as small as a word."""
    if len(values) < 2:
        return None
    few = of_series(values, _SPARK_POINTS)
    across = Axis(0.0, float(few.x[-1]) or 1.0, 2.0, 118.0)
    up = Axis(*span([float(few.low.min()), float(few.high.max())]), 20.0, 2.0)
    return element(
        "svg",
        envelope_marks(few, across, up, half=0.3),
        class_="spark",
        viewBox="0 0 120 22",
        role="img",
        aria_label=f"from {number(values[0])} to {number(values[-1])}, highest {number(max(values))}",
    )


def _steps(points: Sequence[TrendPoint]) -> list[int]:
    """Where the level of a trend changed, by the step detection of the baselines' history."""
    start = max(len(points) - LONGEST, 0)
    values = [p.value for p in points[start:]]
    if min(values) <= 0:
        return []
    logs = np.log(values)
    bounds = [0, *cuts(logs), len(logs)]
    return [
        start + at
        for before, at, after in zip(bounds, bounds[1:], bounds[2:], strict=False)
        if abs(float(logs[at:after].mean() - logs[before:at].mean())) >= math.log1p(LEAST_STEP)
    ]


def _points(rows: Sequence[Row], name: str) -> list[TrendPoint]:
    unit = _unit(rows, name)
    found = [row for row in rows if name in row.quantities and row.quantities[name].unit == unit]
    return [point for row in found if (point := row.point(name)) is not None]


def _unit(rows: Sequence[Row], name: str) -> str:
    """The unit of the newest run that has a quantity: a trend never mixes units."""
    return next((row.quantities[name].unit for row in reversed(rows) if row.point(name)), "")


def _value(row: Row, name: str) -> Safe | None:
    found = row.quantities.get(name)
    if found is None or found.value is None:
        return None
    ends = interval(found.lower, found.upper)
    return element(
        "span",
        with_unit(found.value, found.unit),
        [" ", element("span", ends, class_="ends short")] if ends else None,
        [" ", badge(found.kind)] if found.kind is not Kind.MEASURED else None,
        class_="number",
    )


def trends(rows: Sequence[Row], *, tables: bool = False) -> list[Safe]:
    """Every quantity of `TRENDS` over runs, changes of level marked; what never moved in one sentence.

    Args:
        rows: Runs of one series, oldest first.
        tables: Whether the numbers stand below each figure.
    """
    figures, constant = [], []
    for name in TRENDS:
        points = _points(rows, name)
        newest = next((row.quantities[name] for row in reversed(rows) if row.point(name)), None)
        if newest is None or len(points) < 2:
            continue
        title = QUANTITIES[name].title
        shown = with_kind(f"{title[0].upper()}{title[1:]}", newest.kind)
        budget = budget_on(name)
        if len({point.value for point in points}) == 1:
            constant.append(f"{shown}: {with_unit(points[0].value, newest.unit)}")
            continue
        found = trend_figure(
            f"trend-{name}",
            shown,
            newest.unit,
            points,
            limit=None if budget is None else rows[-1].limits.get(budget.name),
            steps=_steps(points),
            table=tables,
        )
        figures += [] if found is None else [found]
    told = (
        element("p", "The same in every run: ", "; ".join(constant), ".", class_="note") if constant else None
    )
    if not figures:
        return [] if told is None else [told]
    moved = element("p", "A dotted line marks where the level changed.", class_="note")
    return [element("div", figures, class_="trends"), moved, *([] if told is None else [told])]


def _numbered(stem: str, index: int) -> str:
    return f"{stem}.html" if index == 0 else f"{stem}-{index + 1}.html"


def _link(path: Path, folder: Path) -> SafeLink | None:
    found = relative(path, folder)
    return None if found is None else near(found)
