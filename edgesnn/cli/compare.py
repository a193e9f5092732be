"""``edgesnn compare``: the gate in a user's CI."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesnn.cli.output import CommandOutput, JsonFlag, session
from edgesnn.errors import OutputError

if TYPE_CHECKING:
    from edgesnn.cli.tables import Sheet
    from edgesnn.reports.comparing.result import RunComparison, TargetComparison

_COLOURS = {
    "regression": "bold red",
    "improvement": "green",
    "no change": "",
    "inconclusive": "yellow",
    "information": "dim",
    "REGRESSION": "bold red",
    "UNDECIDED": "yellow",
    "IMPROVEMENT": "green",
    "NO CHANGE": "green",
    "FAIL": "bold red",
    "PASS": "green",
}
_MOST_TABLES = 20


def compare(
    baseline: Annotated[
        Path,
        typer.Argument(
            help="Base: a record, a folder of records, or a folder of baselines.", metavar="BASELINE"
        ),
    ],
    runs: Annotated[
        list[Path], typer.Argument(help="Runs to judge: records or folders of records.", metavar="RUN...")
    ],
    *,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="What is inconclusive or has no counterpart fails with exit code 6."),
    ] = False,
    counts_only: Annotated[
        bool,
        typer.Option(
            "--counts-only", help="Times, energies and memory are information only: for shared machines."
        ),
    ] = False,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            "--threshold",
            help="Smallest change that counts: times=3%, power.mean=5%, accuracy=0.5points. Repeatable.",
        ),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write Markdown for a job summary.")
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML.")] = None,
    bencher: Annotated[Path | None, typer.Option("--bencher", help="Write Bencher Metric Format.")] = None,
    benchmark_action: Annotated[
        Path | None,
        typer.Option("--benchmark-action", help="Write customSmallerIsBetter of github-action-benchmark."),
    ] = None,
    details: Annotated[
        bool, typer.Option("--details", help="Show what stands behind each interval, and every quantity.")
    ] = False,
    json_mode: JsonFlag = False,
) -> None:
    """Compare runs with a base and say what got worse.

    Counts and bits compare exactly. Times and energies gate when the windows of both took turns in one
    session, or the base holds at least five sessions; otherwise they are shown as information. Exit codes: 0
    nothing got worse, 3 a regression or a failed budget, 6 something required could not be decided.

    Examples:
        edgesnn compare baselines runs
        edgesnn compare old.json new.json --threshold times=3% --markdown summary.md
    """
    with session("compare", json_mode) as out:
        from edgesnn.api.comparing import compare_runs
        from edgesnn.reports.comparing.result import SCHEMA, comparison_document

        found = compare_runs(
            baseline, runs, thresholds=threshold or [], strict=strict, counts_only=counts_only
        )
        out.document(SCHEMA, comparison_document(found))
        _write_files(
            found, {"markdown": markdown, "junit": junit, "bencher": bencher, "action": benchmark_action}
        )
        render(out, found, details=details)
        out.exit_with(found.exit_code)


def _write_files(found: RunComparison, wanted: dict[str, Path | None]) -> None:
    from edgesnn.reports.formats.dashboards import bencher, smaller_is_better
    from edgesnn.reports.formats.junit import junit
    from edgesnn.reports.formats.markdown import markdown

    writers: dict[str, Callable[[], str]] = {
        "markdown": lambda: markdown(found),
        "junit": lambda: junit(found),
        "bencher": lambda: json.dumps(bencher(found), indent=2, allow_nan=False) + "\n",
        "action": lambda: json.dumps(smaller_is_better(found), indent=2, allow_nan=False) + "\n",
    }
    for name, path in wanted.items():
        if path is not None:
            write_text(path, writers[name]())


def write_text(path: Path, text: str) -> None:
    """Write a file, its folder made.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write '{path}'", actual=error.strerror or str(error)) from None


def render(out: CommandOutput, found: RunComparison, *, details: bool) -> None:
    """Show a comparison: a table per target, then what decided.

    Args:
        out: The streams of the command.
        found: The comparison.
        details: Whether to show what stands behind each interval, and every quantity.
    """
    for target in found.targets[:_MOST_TABLES]:
        _render_target(out, target, details)
    if len(found.targets) > _MOST_TABLES:
        out.print(f"\n{len(found.targets) - _MOST_TABLES} more targets, the worst were shown; --json has all")
    for reason in found.reasons:
        out.print(("note:", "yellow"), f" {reason}")
    out.print("\nverdict: ", _coloured(found.verdict), f" (exit code {found.exit_code})")


def _render_target(out: CommandOutput, target: TargetComparison, details: bool) -> None:
    key = target.key
    simulated = " SIMULATED" if target.base.simulated or target.head.simulated else ""
    out.print(
        "\n",
        (key.model, "bold"),
        f" on {key.target}: ",
        _coloured(target.verdict),
        (simulated, "bold yellow"),
    )
    out.print(
        f"engine {key.engine}, meter {key.meter}, profile {key.profile}, workload "
        f"{key.workload}; base {', '.join(target.base.sources[-3:])} ({target.base.sessions} "
        f"session{'s' * (target.base.sessions != 1)}), head {', '.join(target.head.sources[-3:])}\n"
        f"{target.mode_reason}"
    )
    out.print(_metrics_table(target, details))
    if any(budget.required for budget in target.budgets):
        out.print(_budgets_table(target))
    if target.changed and details:
        for change in target.changed:
            out.print(f"  changed: {change.what}: {change.base or 'absent'} to {change.head or 'absent'}")
    elif target.changed:
        out.print(f"  changed: {', '.join(change.what for change in target.changed)}")


def _metrics_table(target: TargetComparison, details: bool) -> Sheet:
    from rich.text import Text

    from edgesnn.cli.tables import Sheet, numbers, words
    from edgesnn.reports.formats.wording import (
        SIGNS,
        change_text,
        evidence_text,
        interval_text,
        number,
        threshold_text,
    )

    table = Sheet(
        "metrics",
        words("metric"),
        numbers("base", 2),
        numbers("head", 1),
        numbers("change"),
        words("outcome"),
        *([numbers("counts from", 3), words("evidence", 4)] if details else []),
    )
    for metric in target.metrics:
        if not (metric.gates or metric.unit_of_n or details):
            continue
        said_above = metric.reason is None or metric.reason == target.mode_reason
        outcome = f"{SIGNS[metric.outcome]} {metric.outcome}" + ("" if said_above else f": {metric.reason}")
        kind = "" if metric.kind == "MEASURED" else f" {metric.kind}"
        change = "\n".join(part for part in (change_text(metric), interval_text(metric)) if part)
        row = [
            Text.assemble(metric.name, (f"\n{metric.unit}{kind}", "dim")),
            Text(number(metric.base)),
            Text(number(metric.head)),
            Text(change),
            Text(outcome, style=_COLOURS[metric.outcome.value]),
        ]
        evidence = [Text(threshold_text(metric)), Text(evidence_text(metric))]
        table.add_row(*row, *(evidence if details else []))
    return table


def _budgets_table(target: TargetComparison) -> Sheet:
    from rich.text import Text

    from edgesnn.cli.tables import Sheet, names, words
    from edgesnn.reports.formats.wording import budget_text

    table = Sheet("budgets of the head", words("budget"), words("value and limit", 1), names("verdict"))
    for budget in target.budgets:
        if budget.required:
            verdict = budget.verdict + (" (excused)" if budget.excused else "")
            style = _COLOURS.get(budget.verdict, "yellow")
            table.add_row(Text(budget.name), Text(budget_text(budget)), Text(verdict, style=style))
    return table


def _coloured(verdict: str) -> tuple[str, str]:
    return str(verdict), _COLOURS[str(verdict)]
