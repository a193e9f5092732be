"""A comparison as Markdown for a job summary or a comment: never larger than its reader takes.

Texts of records are shown as text: whatever stands in a name, it makes no markup, no link and no HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from edgesnn.reports.comparing.result import (
    ComparisonVerdict,
    MetricResult,
    Outcome,
    RunComparison,
    TargetComparison,
)
from edgesnn.reports.formats.wording import SIGNS, budget_text, change_text, interval_text, value_text

#: A job summary of GitHub takes 1,024 KiB; we stay below.
MOST_BYTES = 900_000

_VERDICTS = {
    ComparisonVerdict.REGRESSION: "✗ regression",
    ComparisonVerdict.UNDECIDED: "? undecided",
    ComparisonVerdict.IMPROVEMENT: "✓ improvement",
    ComparisonVerdict.NO_CHANGE: "= no change",
}
_SPECIAL = frozenset("\\`*_{}[]()<>#!|~&@:/$^\"'")
_LEADING = frozenset("-+=")
_BARE_LINK = re.compile(r"(?i)(www)\.")
_MOST_TEXT = 300
_MOST_REASONS = 50


def escape(text: str) -> str:
    """Any text as one line of plain Markdown: every character that could begin markup becomes an entity."""
    line = " ".join(text.split())
    if len(line) > _MOST_TEXT:
        line = line[:_MOST_TEXT] + "…"
    visible = (character if character.isprintable() else "�" for character in line)
    plain = "".join(f"&#{ord(one)};" if one in _SPECIAL else one for one in visible)
    if plain[:1] in _LEADING:
        plain = f"&#{ord(plain[0])};{plain[1:]}"
    return _BARE_LINK.sub(r"\1&#46;", plain)


def markdown(comparison: RunComparison, most_bytes: int = MOST_BYTES) -> str:
    """The comparison as Markdown.

    Args:
        comparison: The comparison.
        most_bytes: Largest size in UTF-8; targets that do not fit are counted at the end.
    """
    parts = [_head(comparison)]
    size = len(parts[0].encode())
    left_out = 0
    for target in comparison.targets:
        text = _target(target)
        size += len(text.encode())
        if size > most_bytes - 1000:
            left_out += 1
            size -= len(text.encode())
            continue
        parts.append(text)
    if left_out:
        parts.append(f"\n{left_out} more targets do not fit here; the other formats hold them all.\n")
    return "\n".join(parts)


def _head(comparison: RunComparison) -> str:
    lines = [f"## edgesnn compare: {_VERDICTS[comparison.verdict]}", ""]
    counts = {verdict: 0 for verdict in ComparisonVerdict}
    for target in comparison.targets:
        counts[target.verdict] += 1
    summary = ", ".join(f"{_VERDICTS[verdict]} {count}" for verdict, count in counts.items() if count)
    lines += [f"{len(comparison.targets)} targets compared: {summary or 'none'}.", ""]
    lines += [f"- {escape(reason)}" for reason in comparison.reasons[:_MOST_REASONS]]
    if len(comparison.reasons) > _MOST_REASONS:
        lines.append(f"- and {len(comparison.reasons) - _MOST_REASONS} more")
    return "\n".join([*lines, ""])


def _target(target: TargetComparison) -> str:
    key = target.key
    simulated = " · SIMULATED" if target.base.simulated or target.head.simulated else ""
    lines = [
        f"### {escape(key.model)} on {escape(key.target)}: {_VERDICTS[target.verdict]}{simulated}",
        "",
        f"{escape(key.engine)}, meter {escape(key.meter)}, profile {escape(key.profile)}, workload "
        f"{escape(key.workload)}. {escape(target.mode_reason)}.",
        "",
        *_table(target),
    ]
    limits = [budget for budget in target.budgets if budget.required]
    if limits:
        lines += ["", "| budget | value and limit | verdict |", "|---|---|---|"]
        lines += [
            f"| {escape(one.name)} | {escape(budget_text(one))} | {one.verdict}{' (excused)' * one.excused} |"
            for one in limits
        ]
    if target.changed:
        lines += ["", "<details><summary>changed</summary>", "", *_changed(target), "", "</details>"]
    lines += [f"\nNote: {escape(note)}" for note in target.notes]
    return "\n".join([*lines, ""])


def _table(target: TargetComparison) -> Sequence[str]:
    shown = [metric for metric in target.metrics if metric.gates or metric.unit_of_n]
    order = (Outcome.REGRESSION, Outcome.INCONCLUSIVE, Outcome.IMPROVEMENT, Outcome.NO_CHANGE)
    shown.sort(key=lambda one: order.index(one.outcome) if one.outcome in order else len(order))
    if not shown:
        return ["Nothing gates here."]
    rows = ["| metric | base | head | change | interval | outcome |", "|---|--:|--:|--:|--:|---|"]
    for one in shown:
        cells = (
            escape(one.name),
            escape(value_text(one.base, one.unit, one.kind)),
            escape(value_text(one.head, one.unit, one.kind)),
            change_text(one),
            interval_text(one),
            f"{SIGNS[one.outcome]} {one.outcome}{_why(one, target)}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _why(metric: MetricResult, target: TargetComparison) -> str:
    said_above = metric.reason == target.mode_reason
    return "" if metric.reason is None or said_above else f": {escape(metric.reason)}"


def _changed(target: TargetComparison) -> Iterator[str]:
    yield "| what | base | head |"
    yield "|---|---|---|"
    for change in target.changed:
        cells = (
            escape(text if text is not None else "-") for text in (change.what, change.base, change.head)
        )
        yield f"| {' | '.join(cells)} |"
