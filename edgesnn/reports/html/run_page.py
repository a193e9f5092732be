"""The page of one run, alone or against its base: the verdict on top, the raw data at the end."""

from __future__ import annotations

from collections.abc import Sequence

from edgesnn.record.power import Power
from edgesnn.reports.comparing.result import RunComparison
from edgesnn.reports.html.changes import metrics_table, outcome_counts, target_notes
from edgesnn.reports.html.charts.bars import energy_figure, spike_figure, uncertainty_figure
from edgesnn.reports.html.charts.chip import ChipMap, chip_figures, violations
from edgesnn.reports.html.charts.latency import latency_figures
from edgesnn.reports.html.charts.power import power_figures, power_rows
from edgesnn.reports.html.markup import Child, Safe, SafeLink, element
from edgesnn.reports.html.page import Section, page
from edgesnn.reports.html.run_parts import (
    budget_cards,
    cascade_part,
    engines_table,
    facts,
    kind_note,
    missing,
    notes,
    parity_text,
    quantities_table,
    raw_data,
    run_facts,
    setting,
)
from edgesnn.reports.html.sources import Source
from edgesnn.reports.html.values import moment, number, tone

_SENTENCES = {
    "PASS": "Every required budget was shown to hold.",
    "FAIL": "A required budget was shown to be exceeded.",
    "INVALID": "The device failed or answered the same input differently.",
    "UNDECIDED": "A required budget could not be decided.",
    "REGRESSION": "Something got worse than its threshold allows.",
    "IMPROVEMENT": "Something got better, nothing got worse.",
    "NO CHANGE": "Nothing changed by more than its threshold.",
}
#: Reasons that a verdict lists before it points to the rest.
MOST_REASONS = 12


def run_page(
    head: Source,
    base: Source | None = None,
    comparison: RunComparison | None = None,
    *,
    mapping: ChipMap | None = None,
    trends: Sequence[Safe] = (),
    back: tuple[SafeLink, str] | None = None,
) -> str:
    """The whole page of a run.

    Args:
        head: The run.
        base: The run it is set against, or None.
        comparison: The comparison of both, or None.
        mapping: What ``edgesnn map --json`` printed, or None.
        trends: Figures of the same series over earlier runs.
        back: A link to the page above this one.

    Returns:
        HTML that needs no other file.
    """
    record = head.record
    sections = [
        Section("budgets", "Budgets", budget_cards(record)),
        Section("changes", "Changes", _changes(comparison)),
        Section("power", "Power", _power(head)),
        Section("cascade", "Cascade", cascade_part(record)),
        Section("latency", "Latency", latency_figures(head, base, head.limit(record.words.budget))),
        Section("trend", "Trend", list(trends)),
        Section("activity", "Spikes", _activity(head, base)),
        Section("chip", "Chip map", _chip(mapping)),
        Section("uncertainty", "Uncertainty", _uncertainty(record.power)),
        Section("parity", "Bits", parity_text(record.parity, record.words)),
        Section("engines", "Other engines", engines_table(record)),
        Section("notes", "Notes", notes(record)),
        Section("missing", "Not measured", missing(record)),
        Section("quantities", "All quantities", quantities_table(record)),
        Section("setting", "Setting", setting(record)),
        Section("raw", "Raw data", raw_data(head, base)),
    ]
    verdict = _verdict(head, comparison)
    made = moment(record.created)
    return page(f"{verdict}: {head.name}", run_head(head, comparison), sections, back=back, made=made)


def run_head(head: Source, comparison: RunComparison | None = None) -> Child:
    """What stands on top of a run's page: its name, the verdict, what ran where."""
    return [
        element("p", "edgesnn run report", class_="eyebrow"),
        element("h1", head.name),
        verdict_box(_verdict(head, comparison), _say(head, comparison), _reasons(head, comparison)),
        kind_note(head.record),
        run_facts(head.record),
    ]


def _verdict(head: Source, comparison: RunComparison | None) -> str:
    return head.record.verdict.verdict if comparison is None else comparison.verdict.value


def verdict_box(word: str, say: str, reasons: Sequence[str]) -> Safe:
    """The verdict, as large as it matters.

    Args:
        word: The verdict.
        say: One sentence.
        reasons: What decided it or stands in the way.
    """
    listed: list[Child] = [element("li", reason) for reason in reasons[:MOST_REASONS]]
    if len(reasons) > MOST_REASONS:
        listed.append(element("li", f"and {len(reasons) - MOST_REASONS:,} more"))
    return element(
        "div",
        element("p", word, class_="word"),
        element("p", say, class_="say"),
        element("ul", listed) if listed else None,
        class_=f"verdict {tone(word)}",
        role="status",
    )


def _say(head: Source, comparison: RunComparison | None) -> str:
    own = head.record.verdict
    if comparison is None:
        return f"{_SENTENCES.get(own.verdict, '')} Exit code {own.exit_code}."
    counts = ", ".join(f"{count:,} {name}" for name, count in outcome_counts(comparison))
    return (
        f"{_SENTENCES.get(comparison.verdict.value, '')} Metrics: {counts or 'none'}. Exit code "
        f"{comparison.exit_code}. The run itself: {own.verdict}."
    )


def _reasons(head: Source, comparison: RunComparison | None) -> list[str]:
    return list(head.record.verdict.reasons if comparison is None else comparison.reasons)


def _changes(comparison: RunComparison | None) -> Child:
    if comparison is None:
        return None
    return [metrics_table(comparison), target_notes(comparison)]


def _power(head: Source) -> Child:
    power = head.record.power
    if power is None:
        return None
    figures = power_figures(head, head.limit("power_mw"))
    why = head.arrays_reason or "the record has no power trace"
    rows: list[tuple[str, Child]] = list(power_rows(power))
    return [facts(rows), figures or element("p", f"No trace is drawn: {why}.", class_="note")]


def _activity(head: Source, base: Source | None) -> Child:
    activity, energy, step = head.record.activity, head.record.energy, head.record.words.step
    parts: list[Child] = []
    if activity is not None:
        effective = head.quantity("activity.synaptic_operations")
        dense = head.quantity("activity.synaptic_operations_dense")
        if effective and dense and effective.value is not None and dense.value:
            parts.append(
                element(
                    "p",
                    f"{number(effective.value)} synaptic operations per {step} happen of "
                    f"{number(dense.value)} dense ones ({effective.value / dense.value:.0%}); "
                    f"{activity.how}, {activity.tokens:,} {step}s.",
                )
            )
        parts.append(spike_figure(activity, None if base is None else base.record.activity, step))
    if energy is not None:
        parts.append(energy_figure(energy, step))
    return parts


def _chip(mapping: ChipMap | None) -> Child:
    return None if mapping is None else [violations(mapping), chip_figures(mapping)]


def _uncertainty(power: Power | None) -> Child:
    return uncertainty_figure(power.uncertainty, power.kind) if power is not None else None
