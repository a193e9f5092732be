"""Pages and pictures of runs, and sites over folders of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesnn.api.comparing import compare_paths
from edgesnn.errors import OutputError
from edgesnn.reports.comparison import RunComparison
from edgesnn.reports.html.folder import Row, SkippedRecord, read_folder, row_of, rows_of_sessions
from edgesnn.reports.html.mapping import read_mapping
from edgesnn.reports.html.run_page import run_page
from edgesnn.reports.html.site_pages import trends
from edgesnn.reports.html.sources import Source, load_source
from edgesnn.reports.inputs import read_base
from edgesnn.reports.summary import key_of


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
    """Make the page of a run.

    Args:
        run: Its record.
        page: Where the page will stand: its links start there.
        base: A record, a folder of records, a baseline or a folder of baselines to compare with.
        history: A folder of records for the trends, beside the sessions of the base.
        mapping: A document of ``edgesnn map --json``.

    Returns:
        The report; nothing is written.

    Raises:
        UserError: A file is broken or of another version.
        UsageError: A path does not exist.

    Examples:
        >>> report = edgesnn.report_run("run.json", "run.html", base="run.json")
        >>> report.html[:15]
        '<!doctype html>'
    """
    run, page = Path(run), Path(page)
    base = None if base is None else Path(base)
    history = None if history is None else Path(history)
    head = load_source(run, page.parent)
    chip = None if mapping is None else read_mapping(Path(mapping))
    comparison = None if base is None else compare_paths(base, [run])
    single = None if base is None or base.suffix != ".json" else load_source(base, page.parent)
    rows, skipped = _history(run, head, base, history)
    figures = trends(rows, tables=True)
    html = run_page(head, single, comparison, mapping=chip, trends=figures)
    return Report(head, single, comparison, tuple(rows), tuple(skipped), html)


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
    run: Path, head: Source, base: Path | None, history: Path | None
) -> tuple[list[Row], Sequence[SkippedRecord]]:
    key = key_of(head.document)
    found: list[Row] = []
    skipped: list[SkippedRecord] = []
    if base is not None:
        side = read_base(base).get(key)
        found += [] if side is None else rows_of_sessions(side.sessions)
    if history is not None:
        rows, skipped = read_folder(history)
        found += [row for row in rows if row.key == key and row.path.resolve() != run.resolve()]
    mine = row_of(run)
    # The same record may come from the base and from the history: a run is known by when it was made.
    unique = {(row.created, row.commit): row for row in found if row.created != mine.created}
    return [*sorted(unique.values(), key=lambda row: row.created), mine], skipped
