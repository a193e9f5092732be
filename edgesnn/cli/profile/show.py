"""A run record on the terminal: budgets, then the numbers behind them, then what is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgesnn.cli.output import CommandOutput
from edgesnn.errors import InternalError

if TYPE_CHECKING:
    from rich.text import Text

    from edgesnn.cli.tables import Sheet
    from edgesnn.record.counts import Energy
    from edgesnn.record.model import RunRecord
    from edgesnn.record.power import Power
    from edgesnn.record.quantities import Quantity, QuantityGroup
    from edgesnn.record.verdicts import Budget

_COLOURS = {
    "PASS": "green",
    "FAIL": "bold red",
    "INVALID": "bold red",
    "ERROR": "bold red",
    "REPORTED": "dim",
}
_UNSURE = "yellow"
#: Columns of text that folds, and of text that does not; the others hold figures.
_WORDS = ("", "budget", "why", "how", "layer", "op", "engine")
_NAMES = ("verdict", "kind", "target")
#: Which columns a narrow terminal does without, the highest first; those that are not here always stay.
_RANKS = {
    "how": 9, "why": 9, "kind": 8, "min": 7, "p90": 6, "effective n": 5, "n": 4, "p99": 3, "max": 2, "p50": 1,
    "engine": 8, "p95 ms": 7, "seconds": 5, "peak mW": 4, "lost": 3, "mean mW": 1, "limit": 1, "neurons": 3,
    "silent neurons": 2, "spikes/token": 1, "spikes/frame": 1,
    "dense": 2, "effective": 1, "unit": 1, "reference": 2,
    "student": 1,
}  # fmt: skip


def render(out: CommandOutput, record: RunRecord, *, details: bool) -> None:
    """Show a record: the budgets first, then the numbers behind them, then what is missing.

    Args:
        out: The streams of the command.
        record: The record.
        details: Whether to say how each number was taken, and to show every layer.
    """
    device, model = record.device, record.model
    reads = f"T = {model.timesteps}, context window {model.context_window}"
    reads = reads if model.frames is None else model.frames.sentence()
    simulated = "  SIMULATED" if device.simulated else ""
    out.print((model.name, "bold"), f" on {record.target}: {device.device}", (simulated, "bold yellow"))
    out.print(
        f"engine {device.engine} {device.engine_version} (runner {device.runner}, "
        f"{device.threads} thread{'s' if device.threads > 1 else ''}), program {model.program_hash[:12]}, "
        f"{reads}\n"
    )
    if record.power is not None:
        _render_losses(out, record.power)
    out.print(_budgets_table(record, details))
    if record.latency is not None:
        out.print(_latency_table(record, details))
    for group in _sections(record):
        out.print(_rows_table(group, record, details))
    if record.power is not None:
        if details and record.power.uncertainty:
            out.print(_uncertainty_table(record.power))
        if details or any(window.invalid for window in record.power.windows):
            out.print(_power_windows_table(record.power, details))
    if record.activity is not None and details:
        out.print(_layers_table(record))
        out.print(_operations_table(record))
    if record.energy is not None and details:
        out.print(_energy_parts_table(record.energy, record.words.step))
        out.print(_constants_table(record.energy))
    if record.comparisons:
        out.print(_comparisons_table(record))
        for row in record.comparisons:
            out.print(row.statement)
    if record.reference is not None:
        out.print(_reference_table(record))
    _render_notes(out, record)


def default_path(record: RunRecord) -> Path:
    """``runs/NAME-TARGET-UTC.json``; what is no letter, digit, dot or dash becomes ``_``."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{record.model.name}-{record.target}-{stamp}")
    return Path("runs") / f"{name}.json"


def _sections(record: RunRecord) -> Iterator[QuantityGroup]:
    """The tables of plain rows that a record has, in order."""
    from edgesnn.record.quantities import QuantityGroup

    if record.power is not None:
        yield QuantityGroup.POWER
    if record.latency is not None:
        yield QuantityGroup.BREAKDOWN
    yield QuantityGroup.QUALITY
    yield QuantityGroup.MEMORY
    if record.generation is not None:
        yield QuantityGroup.ANSWERS
    if "duty.busy_share" in record.quantities:
        yield QuantityGroup.DUTY
    if "cascade.power" in record.quantities:
        yield QuantityGroup.CASCADE
    if "instructions.most" in record.quantities:
        yield QuantityGroup.INSTRUCTIONS
    if record.activity is not None:
        yield QuantityGroup.ACTIVITY
    if record.energy is not None:
        yield QuantityGroup.ENERGY


def _render_notes(out: CommandOutput, record: RunRecord) -> None:
    notes = [*record.marks, record.latency.p99_note if record.latency is not None else None]
    notes += [record.energy.statement] if record.energy is not None else []
    for note in filter(None, notes):
        out.print(("note:", "yellow"), f" {note}")
    if record.not_measured:
        out.print(("\nnot measured", "bold"))
        by_reason: dict[str, list[str]] = {}
        for entry in record.not_measured:
            by_reason.setdefault(entry.reason, []).append(entry.name)
        for reason, names in by_reason.items():
            out.print(f"  {_families(names)}: {reason}")
    verdict = record.verdict
    code = f" (exit code {verdict.exit_code}), {judged(record.budgets)}"
    if verdict.reasons:
        out.print(("\nin the way of the verdict", "bold"))
    for reason in verdict.reasons:
        out.print(f"  {reason}")
    out.print("\nverdict: ", coloured(verdict.verdict), code)


def doubts(record: RunRecord) -> list[str]:
    """What makes a retention of a record say nothing: a teacher or a reference near chance."""
    retained = [record.quantities.get("accuracy.retention")]
    if record.reference is not None:
        retained.append(record.reference.quantities.get("retention"))
    return [
        f"retention says nothing: {one.reason}"
        for one in retained
        if one is not None and one.value is not None and one.reason
    ]


def judged(budgets: Sequence[Budget]) -> str:
    """How many budgets the verdict rests on, and how many say nothing."""
    counts = {
        "judged": sum(one.verdict in ("PASS", "FAIL") for one in budgets),
        "undecided": sum(one.verdict == "UNDECIDED" for one in budgets),
        "not measured": sum(one.verdict == "UNMEASURED" for one in budgets),
        "only reported": sum(one.verdict == "REPORTED" and one.quantity.value is not None for one in budgets),
    }
    said = [
        f"{count} {name}" for name, count in counts.items() if count or name in ("judged", "only reported")
    ]
    return "budgets: " + ", ".join(said)


def _families(names: list[str]) -> str:
    """Names with what they share said once: ``first_token.min, first_token.max`` is ``first_token.*``."""
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(name.partition(".")[0], []).append(name)
    return ", ".join(found[0] if len(found) == 1 else f"{family}.*" for family, found in families.items())


def _budgets_table(record: RunRecord, details: bool) -> Sheet:
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
            *([_why(budget)] if details else []),
        )
    return table


def _why(budget: Budget) -> str:
    if budget.reason is not None:
        return budget.reason
    return budget.quantity.reason or budget.quantity.how or ""


def _latency_table(record: RunRecord, details: bool) -> Sheet:
    from edgesnn.record.quantities import SUMMARIES

    columns = ("min", "p50", "p90", "p95", "p99", "max") if details else ("p50", "p95", "max")
    table = _table(
        "latency in ms, 95 % intervals (?: too few independent samples)", "", "n", "effective n", *columns
    )
    for prefix, title in SUMMARIES.items():
        median = record.quantities.get(f"{prefix}.p50")
        if median is None or median.value is None:
            continue
        effective = "" if median.effective_n is None else f"{median.effective_n:.0f}"
        cells = [_cell(record.quantities[f"{prefix}.{column}"]) for column in columns]
        table.add_row(title, str(median.n), effective, *cells)
    return table


def _rows_table(group: QuantityGroup, record: RunRecord, details: bool) -> Sheet:
    from edgesnn.record.quantities import GROUPS, QuantityGroup

    by_table = group is QuantityGroup.ENERGY and record.energy is not None
    title = group.format(step=record.words.step)
    if by_table and record.energy is not None:
        title += f" by table {record.energy.table}"
    table = _table(title, "", "value", *(["kind", "how"] if details else []))
    for row in GROUPS[group]:
        quantity = record.quantities.get(row.name)
        if quantity is None:  # a record of an older version
            continue
        why = "; ".join(text for text in (quantity.how, quantity.reason) if text)
        table.add_row(row.label, _shown(quantity), *([quantity.kind, why] if details else []))
    return table


def _uncertainty_table(power: Power) -> Sheet:
    """What each component alone makes of the uncertainty, as printed by JCGM 100, 6.1: a budget."""
    from edgesnn.record.quantities import QUANTITIES

    components = [name for name in next(iter(power.uncertainty.values())) if name != "unit"]
    title = f"standard uncertainty by component, each alone{_simulated_mark(power)}"
    table = _table(title, "", "unit", *components)
    for name, parts in power.uncertainty.items():
        label = QUANTITIES[name].label if name in QUANTITIES else name
        table.add_row(label, str(parts["unit"]), *(f"{float(parts[one]):.3g}" for one in components))
    return table


def _render_losses(out: CommandOutput, power: Power) -> None:
    """Why samples of the meter are missing, above all that must stay on the screen."""
    from edgesnn.cli.meter.losses import grouped

    told = power.loss.get("reasons")
    for reason in grouped(map(str, told if isinstance(told, list) else ())):
        out.print(("meter:", "dim"), f" {reason}")


def _power_windows_table(power: Power, details: bool) -> Sheet:
    """Every window with details, else some of those that do not count."""
    from edgesnn.cli.meter.losses import MOST_LINES

    title = f"metered windows, found by {power.rung}{_simulated_mark(power)}"
    chosen = [(n, one) for n, one in enumerate(power.windows, 1) if details or one.invalid]
    if not details:
        shown = "" if len(chosen) <= MOST_LINES else f", the first {MOST_LINES} of them"
        title += f": {len(chosen)} of {len(power.windows)} do not count{shown}; --details has all"
        chosen = chosen[:MOST_LINES]
    table = _table(title, "window", "seconds", "mean mW", "peak mW", "lost", "verdict", "why")
    for number, window in chosen:
        means = ("-" if value is None else f"{value:.4g}" for value in (window.mean_mw, window.peak_mw))
        verdict = coloured("INVALID") if window.invalid else "valid"
        lost = f"{window.lost_share:.2%}"
        table.add_row(str(number), f"{window.lap_s:.3g}", *means, lost, verdict, window.invalid or "")
    return table


def _simulated_mark(power: Power) -> str:
    return ", SIMULATED" if power.kind == "SIMULATED" else ""


def _layers_table(record: RunRecord) -> Sheet:
    per_step = f"spikes/{record.words.step}"
    table = _table("spikes per layer", "layer", "neurons", "spike rate", per_step, "silent neurons")
    for layer in record.activity.layers if record.activity is not None else []:
        table.add_row(
            layer.name,
            f"{layer.neurons:,}",
            f"{layer.spike_rate:.1%}",
            f"{layer.spikes_per_token:,.1f}",
            f"{layer.silent_neurons:,}",
        )
    return table


def _operations_table(record: RunRecord) -> Sheet:
    title = f"synaptic operations per {record.words.step}"
    table = _table(title, "op", "kind", "effective", "dense", "share")
    for op in record.activity.ops if record.activity is not None else []:
        share = op.effective / op.dense if op.dense else 0.0
        cells = (f"{op.effective:,.0f}", f"{op.dense:,.0f}", f"{share:.1%}")
        table.add_row(op.name, op.kind, *cells)
    return table


def _energy_parts_table(energy: Energy, step: str) -> Sheet:
    from edgesnn.record.quantities import GROUPS, QuantityGroup

    found = {f"energy_estimate.{estimate.name}": estimate for estimate in energy.estimates}
    columns = [(row.label, found[row.name]) for row in GROUPS[QuantityGroup.ENERGY]]
    table = _table(f"energy per {step} in uJ, ESTIMATED", "", *(title for title, _ in columns))
    parts = dict.fromkeys(part for _, estimate in columns for part in estimate.parts_uj)
    for part in parts:
        values = (estimate.parts_uj.get(part) for _, estimate in columns)
        table.add_row(part, *("-" if value is None else f"{value:.3g}" for value in values))
    return table


def _constants_table(energy: Energy) -> Sheet:
    table = _table(f"constants of table {energy.table}", "", "pJ", "kind", "how")
    for key, number in energy.constants.items():
        table.add_row(key, f"{number.value:g}", number.status, number.source)
    return table


def _comparisons_table(record: RunRecord) -> Sheet:
    table = _table("other engines, forward pass", "target", "engine", "p50 ms", "p95 ms", "this run / it")
    for row in record.comparisons:
        engine = row.engine or "-"
        table.add_row(row.target, engine, _cell(row.p50), _cell(row.p95), _cell(row.ratio))
    return table


def _reference_table(record: RunRecord) -> Sheet:
    """The reference of a record beside its student: one row per figure, with the ratio where there is one."""
    found = record.reference
    if found is None:
        raise InternalError("the record has no reference", remedy="this is a bug")
    title = (
        f"reference {found.name} ({found.engine}, {found.dtype}, {found.threads} "
        f"thread{'s' if found.threads > 1 else ''}), on {found.documents} documents"
    )
    table = _table(title, "", "reference", "student", "ratio")
    cached = "" if found.kv_cache else ", no KV cache"
    own, whole = found.quantities, record.quantities
    rows = (
        ("bits per byte", own["bits_per_byte"], own["student_bits_per_byte"], None),
        ("perplexity per native token", own.get("perplexity"), own.get("student_perplexity"), None),
        ("top-1 at shared places; retention", own["top1"], own["student_top1"], own["retention"]),
        (f"step p50, ms{cached}; speed-up", own["step.p50"], whole["forward.p50"], own["speed_up"]),
        ("step p95, ms", own["step.p95"], whole["forward.p95"], None),
        ("model files, MB; compression", own["size.model"], whole["size.model"], own["compression"]),
        ("peak memory, MB", own["memory.peak"], whole["memory.peak"], own["memory_ratio"]),
    )
    for label, *quantities in rows:
        table.add_row(label, *("" if one is None else _figure(one) for one in quantities))
    return table


def _figure(quantity: Quantity) -> str:
    return "-" if quantity.value is None else f"{quantity.value:,.4g}"


def _table(title: str, *columns: str) -> Sheet:
    """A sheet by its headings: which of them are text, and in which order they go where room is short."""
    from edgesnn.cli.tables import Sheet, names, numbers, words

    kinds = {**dict.fromkeys(_WORDS, words), **dict.fromkeys(_NAMES, names)}
    return Sheet(title, *(kinds.get(one, numbers)(one, _RANKS.get(one, 0)) for one in columns))


def coloured(verdict: str) -> Text:
    """A verdict in its colour."""
    from rich.text import Text

    return Text(verdict, _COLOURS.get(verdict, _UNSURE))


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
    return f"{text} [{low}, {high}]"


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
