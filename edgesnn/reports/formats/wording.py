"""How numbers and changes are said, the same in every format."""

from __future__ import annotations

import math

from edgesnn.record.quantities import Kind
from edgesnn.reports.comparing.result import BudgetResult, ChangeScale, MetricResult, Outcome

#: Signs beside the words, so that colour never carries the meaning alone.
SIGNS = {
    Outcome.REGRESSION: "✗",
    Outcome.IMPROVEMENT: "✓",
    Outcome.NO_CHANGE: "=",
    Outcome.INCONCLUSIVE: "?",
    Outcome.INFORMATION: "·",
}


def number(value: float | None) -> str:
    """A value in at most five digits; integers whole; ``-`` where there is none."""
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100_000 else f"{value:.5g}"


def change_text(metric: MetricResult) -> str:
    """The change without its interval: ``+3.1 %``, ``-0.42 points``, ``+12``."""
    return "-" if metric.change is None else _on_scale(metric, metric.change)


def interval_text(metric: MetricResult) -> str:
    """Its interval, or nothing."""
    if metric.lower is None or metric.upper is None:
        return ""
    low, high = _on_scale(metric, metric.lower), _on_scale(metric, metric.upper)
    for unit in (" %", " points"):
        if low.endswith(unit) and high.endswith(unit):
            low = low.removesuffix(unit)
    return f"[{low}, {high}]"


def threshold_text(metric: MetricResult) -> str:
    """The smallest change that counts."""
    if metric.scale is ChangeScale.EXACT:
        return "exact" if metric.threshold == 0 else f"{number(metric.threshold)} {metric.unit}"
    return _on_scale(metric, metric.threshold).lstrip("+") if metric.threshold else "-"


def _on_scale(metric: MetricResult, value: float) -> str:
    if metric.scale is ChangeScale.LOG_RATIO:
        percent = 100 * math.expm1(value)
        return f"{percent:+.2f} %" if abs(percent) < 10 else f"{percent:+,.0f} %"
    if metric.scale is ChangeScale.EXACT:
        return ("+" if value > 0 else "") + number(value)
    return f"{100 * value:+.2f} points" if metric.unit == "share" else f"{value:+.4f}"


def value_text(value: float | None, unit: str, kind: str) -> str:
    """A value with its unit, and its kind where it was not measured."""
    if value is None:
        return "absent"
    return f"{number(value)} {unit}" + ("" if kind == Kind.MEASURED else f" {kind}")


def evidence_text(metric: MetricResult) -> str:
    """What stands behind an interval: confidence, degrees of freedom, repetitions."""
    if metric.level is None:
        return metric.method
    parts = [f"{100 * metric.level:.4g} % interval", metric.method]
    if metric.degrees_of_freedom is not None:
        parts.append(f"{metric.degrees_of_freedom:.1f} degrees of freedom")
    counts = f"{metric.n_base} against {metric.n_head}"
    parts.append(f"{metric.n_base if metric.n_base == metric.n_head else counts} {metric.unit_of_n}")
    return ", ".join(parts)


def budget_text(budget: BudgetResult) -> str:
    """Value and limit of a budget."""
    return f"{value_text(budget.head, budget.unit, budget.kind)}, limit {budget.side} {number(budget.limit)}"
