"""A static site over a folder of runs: index, trends of every series, pages of the newest runs.

Ten thousand runs are not ten thousand pages: every run is a row with a link to its record, and the newest of
each series get pages of their own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesnn.errors import OutputError, RecordError
from edgesnn.reports.comparing.result import Key
from edgesnn.reports.html.folder import Row, SkippedRecord, read_folder
from edgesnn.reports.html.markup import near
from edgesnn.reports.html.run_page import run_page
from edgesnn.reports.html.site_pages import MARKER, RunSeries, index_pages, series_pages
from edgesnn.reports.html.sources import load_source
from edgesnn.whole_files import replace_file

SCHEMA = "edgesnn.site/1"
#: Pages of single runs in the whole site, whatever `newest` says.
MOST_RUN_PAGES = 200
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Site:
    """What was written.

    Attributes:
        index: The first page.
        runs: Runs that were taken.
        series: Series they fall into.
        pages: Pages written.
        skipped: Records that were not taken.
    """

    index: Path
    runs: int
    series: int
    pages: int
    skipped: tuple[SkippedRecord, ...]


def write_site(
    folder: Path,
    output: Path,
    *,
    newest: int = 3,
    on_progress: Tell | None = None,
) -> Site:
    """Write a site over every run record below a folder.

    Args:
        folder: Where the records are; it is searched to its depth.
        output: Where the site goes; a site that stands there is replaced. It may lie inside `folder`.
        newest: Runs of each series that get pages of their own.
        on_progress: Called with stage, done and total (0: unknown).

    Returns:
        What was written.

    Raises:
        RecordError: There is no such folder, or no run record in it.
        OutputError: The output is a folder that holds something else, or cannot be written.
    """
    tell = on_progress or (lambda stage, done, total: None)
    _check_output(output)
    rows, skipped = read_folder(folder, without=output, on_progress=lambda n: tell("reading", n, 0))
    if not rows:
        raise RecordError(
            f"there is no readable run record in '{folder}'",
            actual=f"{len(skipped)} unreadable" + (f", first: {skipped[0].reason}" if skipped else ""),
            remedy="make one with: edgesnn profile",
        )
    try:
        return _write(_grouped(rows), skipped, folder, output, newest=newest, tell=tell)
    except OSError as error:
        raise OutputError(f"the site cannot be written to '{output}'", actual=error.strerror) from None


def _write_run_pages(groups: Sequence[RunSeries], output: Path, newest: int, tell: Tell) -> dict[Path, str]:
    """Pages of the newest runs, of every series in turn."""
    wanted = [
        (one, one.rows[-age]) for age in range(1, newest + 1) for one in groups if len(one.rows) >= age
    ][:MOST_RUN_PAGES]
    made = {}
    for count, (one, row) in enumerate(wanted, 1):
        tell("pages of runs", count, len(wanted))
        name = f"runs/{one.name}-{_digest(str(row.path))}.html"
        back = near(f"../{one.page}")
        source = load_source(row.path, output / "runs")
        _put(
            output / name, run_page(source, back=None if back is None else (back, "all runs of this series"))
        )
        made[row.path] = name
    return made


def _write(
    groups: list[RunSeries],
    skipped: list[SkippedRecord],
    folder: Path,
    output: Path,
    *,
    newest: int,
    tell: Tell,
) -> Site:
    _clear(output)
    run_pages = _write_run_pages(groups, output, newest, tell)
    pages = len(run_pages)
    for count, one in enumerate(groups, 1):
        tell("series", count, len(groups))
        for name, text in series_pages(one, run_pages, output):
            _put(output / name, text)
            pages += 1
    for name, text in index_pages(groups, skipped, folder, output):
        _put(output / name, text)
        pages += 1
    runs = sum(len(one.rows) for one in groups)
    told = {
        "schema": SCHEMA,
        "runs": runs,
        "pages": pages,
        "series": [{"key": dict(one.key.parts()), "page": one.page, "runs": len(one.rows)} for one in groups],
        "skipped": [{"file": s.path.relative_to(folder).as_posix(), "reason": s.reason} for s in skipped],
    }
    _put(output / MARKER, json.dumps(told, indent=1) + "\n")
    return Site(output / "index.html", runs, len(groups), pages, tuple(skipped))


def _grouped(rows: Sequence[Row]) -> list[RunSeries]:
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.key, []).append(row)
    return [RunSeries(key, group, _file_name(key)) for key, group in groups.items()]


def _file_name(key: Key) -> str:
    """A safe file name that two keys never share."""
    words = re.sub(r"[^a-z0-9]+", "-", f"{key.model}-{key.target}".lower()).strip("-")[:48]
    return f"{words or 'series'}-{_digest(json.dumps(key.parts()))}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def _check_output(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise OutputError(f"'{output}' is no folder", remedy="choose another with --output")
    if output.is_dir() and any(output.iterdir()) and not (output / MARKER).is_file():
        raise OutputError(
            f"'{output}' holds something that is no edgesnn site",
            remedy="choose another folder with --output",
        )


def _clear(output: Path) -> None:
    """Take away the pages of the site that stands there, and nothing else."""
    for name in ("runs", "series"):
        (output / name).mkdir(parents=True, exist_ok=True)
    for pattern in ("index*.html", "runs/*.html", "series/*.html"):
        for old in output.glob(pattern):
            old.unlink()
    # The marker first: a site that is cut short is still known as one.
    _put(output / MARKER, json.dumps({"schema": SCHEMA, "unfinished": True}) + "\n")


def _put(path: Path, text: str) -> None:
    """Write a page whole or not at all."""
    replace_file(path, text.encode(), to_disk=False)
