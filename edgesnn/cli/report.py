"""``edgesnn report``: one page of a run, or a site over a folder of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesnn.cli.output import CommandOutput, JsonFlag, session
from edgesnn.errors import UsageError

if TYPE_CHECKING:
    from edgesnn.reports.html.folder import SkippedRecord

SCHEMA = "edgesnn.report/1"


def report(
    run: Annotated[
        Path | None, typer.Argument(help="Run record that edgesnn profile wrote.", metavar="RUN.json")
    ] = None,
    base: Annotated[
        Path | None,
        typer.Argument(
            help="Compare with it: a record, a folder of records or of baselines.", metavar="BASE"
        ),
    ] = None,
    *,
    html: Annotated[
        Path | None, typer.Option("--html", help="The page; beside the record by default.")
    ] = None,
    chip_map: Annotated[
        Path | None, typer.Option("--map", help="Show a chip map: what edgesnn map --json printed.")
    ] = None,
    history: Annotated[
        Path | None, typer.Option("--history", help="Folder of earlier records, for the trends.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="Also draw PNG files for Markdown into this folder.")
    ] = None,
    site: Annotated[
        Path | None, typer.Option("--site", help="Make a site over every record below this folder.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the site; DIR/site by default.")
    ] = None,
    pages: Annotated[
        int,
        typer.Option("--pages", min=0, max=1000, help="Newest runs of a series with a page of their own."),
    ] = 3,
    json_mode: JsonFlag = False,
) -> None:
    """Write a run, or a run against its base, as one offline HTML page; or a site over a folder of runs.

    A page needs no other file and no network. The verdict of the run does not change the exit code: that is
    what edgesnn profile and edgesnn compare are for.

    Examples:
        edgesnn report run.json
        edgesnn report new.json old.json --html page.html
        edgesnn report --site runs
    """
    with session("report", json_mode) as out:
        _check(
            run,
            site,
            {"--html": html, "--map": chip_map, "--history": history, "--pictures": pictures},
            output,
        )
        if site is not None:
            _site(out, site, output or site / "site", pages)
        elif run is not None:
            page = html or run.with_suffix(".html")
            _page(out, run, base, page, {"history": history, "mapping": chip_map, "pictures": pictures})


def _check(run: Path | None, site: Path | None, of_page: dict[str, Path | None], output: Path | None) -> None:
    """Refuse what does not belong together.

    Raises:
        UsageError: Neither or both of page and site are asked for, or an option of the other one is given.
    """
    if (run is None) == (site is None):
        raise UsageError(
            "name either a run record or, with --site, a folder of them",
            remedy="edgesnn report RUN.json [BASE] --html FILE, or edgesnn report --site DIR",
        )
    given = [name for name, value in of_page.items() if value is not None]
    if site is not None and given:
        raise UsageError(f"{given[0]} belongs to the page of a run, not to a site")
    if run is not None and output is not None:
        raise UsageError("--output belongs to a site", remedy="name the page with --html")


def _page(
    out: CommandOutput, run: Path, base: Path | None, page: Path, extra: dict[str, Path | None]
) -> None:
    from edgesnn.api.reporting import report_run

    made = report_run(run, page, base=base, history=extra["history"], mapping=extra["mapping"])
    drawn: list[Path] = []
    if extra["pictures"] is not None:
        from edgesnn.reports.formats.pictures import write_pictures

        drawn = write_pictures(extra["pictures"], made.head, made.base)
    comparison = made.comparison
    document: dict[str, Any] = {
        "page": page.name,
        "bytes": len(made.html.encode()),
        "verdict": made.head.record.verdict.verdict,
        "comparison": None if comparison is None else comparison.verdict.value,
        "runs_in_trends": len(made.rows),
        "pictures": [path.name for path in drawn],
        "skipped": _skipped(made.skipped),
    }
    out.document(SCHEMA, document)
    _warn(out, made.skipped)
    if made.head.arrays_reason is not None and not out.json_mode:
        out.warn(f"without raw arrays: {made.head.arrays_reason}")
    out.print(f"page: {page} ({document['bytes']:,} bytes)")
    for path in drawn:
        out.print(f"picture: {path}")


def _site(out: CommandOutput, folder: Path, output: Path, newest: int) -> None:
    from edgesnn.reports.html.site import write_site

    with out.progress() as progress:
        task = progress.add_task("reading", total=None, detail="")

        def tell(stage: str, done: int, total: int) -> None:
            progress.update(task, description=stage, completed=done, total=total or None)

        made = write_site(folder, output, newest=newest, on_progress=tell)
    out.document(
        SCHEMA,
        {
            "index": made.index.name,
            "runs": made.runs,
            "series": made.series,
            "pages": made.pages,
            "skipped": _skipped(made.skipped),
        },
    )
    _warn(out, made.skipped)
    out.print(f"{made.runs:,} runs, {made.series:,} series, {made.pages:,} pages: {made.index}")


def _skipped(skipped: tuple[SkippedRecord, ...]) -> list[dict[str, str]]:
    return [{"file": one.path.name, "reason": one.reason} for one in skipped]


def _warn(out: CommandOutput, skipped: tuple[SkippedRecord, ...]) -> None:
    if skipped and not out.json_mode:
        out.warn(f"{len(skipped):,} records were not read, first: {skipped[0].reason}")
