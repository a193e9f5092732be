"""Heads of a comparison in the formats of existing dashboards: Bencher, and github-action-benchmark."""

from __future__ import annotations

import math
from typing import Any

from edgesnn.reports.comparing.result import ChangeScale, MetricResult, RunComparison, TargetComparison


def bencher(comparison: RunComparison) -> dict[str, dict[str, dict[str, float]]]:
    """Bencher Metric Format: a benchmark per target, a measure per gating metric.

    Units are part of a measure's name, because the format has no place for them. The ends of an interval are
    the head's value under the ends of the change.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for target in comparison.targets:
        measures: dict[str, dict[str, float]] = {}
        for metric in target.metrics:
            if metric.gates and metric.head is not None:
                entry = {"value": metric.head}
                ends = _ends(metric)
                if ends is not None:
                    entry |= {"lower_value": ends[0], "upper_value": ends[1]}
                measures[f"{metric.name} ({metric.unit})"[:64]] = entry
        if measures:
            found[_name(target)[:1024]] = measures
    return found


def smaller_is_better(comparison: RunComparison) -> list[dict[str, Any]]:
    """``customSmallerIsBetter`` of github-action-benchmark: only metrics whose good direction is down."""
    found = []
    for target in comparison.targets:
        for metric in target.metrics:
            if not metric.gates or metric.head is None or metric.better != "lower":
                continue
            entry: dict[str, Any] = {
                "name": f"{_name(target)} / {metric.name}",
                "unit": metric.unit,
                "value": metric.head,
            }
            ends = _ends(metric)
            if ends is not None:
                entry["range"] = f"{ends[0]:.5g}..{ends[1]:.5g}"
            entry["extra"] = f"{metric.kind}; {metric.outcome}"
            found.append(entry)
    return found


def _name(target: TargetComparison) -> str:
    simulated = " (SIMULATED)" if target.head.simulated else ""
    return f"{target.key.text()}{simulated}"


def _ends(metric: MetricResult) -> tuple[float, float] | None:
    """Head's value at the ends of the change's interval, the base held fixed."""
    if metric.lower is None or metric.upper is None or metric.base is None:
        return None
    if metric.scale is ChangeScale.LOG_RATIO:
        return metric.base * math.exp(metric.lower), metric.base * math.exp(metric.upper)
    return metric.base + metric.lower, metric.base + metric.upper
