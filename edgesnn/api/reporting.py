"""Pages and pictures of runs, and sites over folders of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesnn.errors import OutputError
from edgesnn.record.files import RunData, read_record, read_run, with_arrays
from edgesnn.record.model import RunRecord
from edgesnn.reports.comparing import compare
from edgesnn.reports.comparing.compare import BaseSide
from edgesnn.reports.comparing.result import Key, RunComparison
from edgesnn.reports.comparing.summary import key_of, summarise_run
from edgesnn.reports.html.charts.chip import read_mapping
from edgesnn.reports.html.folder import Row, SkippedRecord, read_folder, row_of, rows_of_sessions
from edgesnn.reports.html.run_page import run_page
from edgesnn.reports.html.site_pages import trends
from edgesnn.reports.html.sources import Source, source_of
from edgesnn.reports.inputs import read_base


@dataclass(frozen=True, slots=True)
class Report:
    """A run as a page.

    Attributes:
        head: The run.
        base: The single record it is set against, or None.
        comparison: The comparison, or None without a base.
        rows: Runs of the same series, oldest first, the run itself last.
        skipped: Records of the history that were not read.
        html: The page.
    """

    head: Source
    base: Source | None
    comparison: RunComparison | None
    rows: tuple[Row, ...]
    skipped: tuple[SkippedRecord, ...]
    html: str


def report_run(
    run: str | os.PathLike[str],
    page: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | None = None,
    history: str | os.PathLike[str] | None = None,
    mapping: str | os.PathLike[str] | None = None,
) -> Report:
    """Write a run, or a run against its base, as one offline page.

    Args:
        run: Its record.
        page: The page; its folder is made.
        base: A record, a folder of records, a baseline or a folder of baselines to compare with.
        history: A folder of records for the trends, beside the sessions of the base.
        mapping: A document of ``edgesnn map --json``.

    Returns:
        The report, written.

    Raises:
        UserError: A file is broken or of another version.
        UsageError: A path does not exist.
        OutputError: The page cannot be written.

    Examples:
        >>> report = edgesnn.report_run("run.json", "run.html", base="run.json")
        >>> report.html[:15]
        '<!doctype html>'
    """
    run, page = Path(run), Path(page)
    base = None if base is None else Path(base)
    read = with_arrays(read_record(run), run)
    chip = None if mapping is None else read_mapping(Path(mapping))
    # every record is read once, whatever it is needed for
    known = {run.resolve(): read}
    single = None
    if base is not None and base.suffix == ".json" and base.is_file():
        single = known.get(base.resolve()) or read_run(base)
        known[base.resolve()] = single
    sides = {} if base is None else read_base(base, known)
    comparison = None if base is None else compare.compare_runs(sides, [summarise_run(read, run.name)])
    rows, skipped = _history(run, read.record, sides, None if history is None else Path(history), known)
    head = source_of(read, run, page.parent)
    beside = None if single is None or base is None else source_of(single, base, page.parent)
    html = run_page(head, beside, comparison, mapping=chip, trends=trends(rows, tables=True))
    write_page(page, html)
    return Report(head, beside, comparison, tuple(rows), tuple(skipped), html)


def write_page(path: Path, text: str) -> None:
    """Write a page, its folder made.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"the page cannot be written to '{path}'", actual=error.strerror) from None


def _history(
    run: Path,
    record: RunRecord,
    sides: Mapping[Key, BaseSide],
    history: Path | None,
    known: Mapping[Path, RunData],
) -> tuple[list[Row], Sequence[SkippedRecord]]:
    key = key_of(record)
    found = rows_of_sessions(sides[key].sessions) if key in sides else []
    skipped: list[SkippedRecord] = []
    if history is not None:
        rows, skipped = read_folder(history, known=known)
        found += [row for row in rows if row.key == key and row.path.resolve() != run.resolve()]
    mine = row_of(run, record)
    # The same record may come from the base and from the history: a run is known by when it was made.
    unique = {(row.created, row.commit): row for row in found if row.created != mine.created}
    return [*sorted(unique.values(), key=lambda row: row.created), mine], skipped
