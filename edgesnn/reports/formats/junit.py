"""A comparison as JUnit XML: a suite per target, a case per metric and per required budget."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from edgesnn.reports.comparing.result import BudgetResult, Key, MetricResult, Outcome, RunComparison
from edgesnn.reports.formats.wording import (
    budget_text,
    change_text,
    evidence_text,
    interval_text,
    value_text,
)

# What XML 1.0 cannot hold: control characters, surrogates, the two noncharacters.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(comparison: RunComparison) -> str:
    """The comparison as an XML document.

    A regression and a failed budget are failures; what is inconclusive or undecided is skipped, or a failure
    under ``--strict``; an open budget that makes the exit code 6 is an error.
    """
    root = ET.Element("testsuites", name="edgesnn compare")
    total = _Counts()
    for target in comparison.targets:
        suite, counts = _suite(root, target.key)
        for metric in target.metrics:
            if metric.gates:
                counts.add(_metric_case(suite, target.key, metric, comparison.strict))
        for budget in target.budgets:
            if budget.required:
                counts.add(_budget_case(suite, target.key, budget))
        counts.write(suite)
        total.join(counts)
    for lone in comparison.unmatched:
        suite, counts = _suite(root, lone.key)
        case = _case(suite, lone.key, f"comparison ({lone.side} only)")
        counts.add(_tell(case, "failure" if comparison.strict else "skipped", lone.reason))
        for budget in lone.budgets:
            if budget.required:
                counts.add(_budget_case(suite, lone.key, budget))
        counts.write(suite)
        total.join(counts)
    total.write(root)
    tell_apart(root)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


class _Counts:
    """Cases by outcome."""

    def __init__(self) -> None:
        self.numbers = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}

    def add(self, outcome: str | None) -> None:
        self.numbers["tests"] += 1
        names = {"failure": "failures", "error": "errors", "skipped": "skipped"}
        if outcome is not None:
            self.numbers[names[outcome]] += 1

    def join(self, other: _Counts) -> None:
        for name, value in other.numbers.items():
            self.numbers[name] += value

    def write(self, element: ET.Element) -> None:
        for name, value in self.numbers.items():
            if not (element.tag == "testsuites" and name == "skipped"):  # the root has no such attribute
                element.set(name, str(value))
        element.set("time", "0")


def tell_apart(root: ET.Element) -> None:
    """Number cases of one class and name: readers keep one of them (GitLab), which may be the good one."""
    seen: set[tuple[str, str]] = set()
    for case in root.iter("testcase"):
        where, name = case.get("classname", ""), case.get("name", "")
        names = (name, *(f"{name} ({number})" for number in range(2, len(seen) + 3)))
        case.set("name", next(free for free in names if (where, free) not in seen))
        seen.add((where, case.get("name", "")))


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("�", text)


def _suite(root: ET.Element, key: Key) -> tuple[ET.Element, _Counts]:
    return ET.SubElement(root, "testsuite", name=_clean(key.text())), _Counts()


def _case(suite: ET.Element, key: Key, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=_clean(key.text()), name=_clean(name), time="0")


def _tell(case: ET.Element, outcome: str, message: str, detail: str = "") -> str:
    element = ET.SubElement(case, outcome, message=_clean(message))
    if outcome != "skipped":
        element.set("type", "edgesnn")
        element.text = _clean(detail or message)
    return outcome


def _properties(case: ET.Element, values: dict[str, object]) -> None:
    properties = ET.SubElement(case, "properties")
    for name, value in values.items():
        if value is not None:
            ET.SubElement(properties, "property", name=name, value=_clean(str(value)))


def _metric_case(suite: ET.Element, key: Key, metric: MetricResult, strict: bool) -> str | None:
    case = _case(suite, key, metric.name)
    names = ("base", "head", "unit", "kind", "change", "lower", "upper", "threshold", "level", "p_value")
    _properties(case, {name: getattr(metric, name) for name in names} | {"scale": metric.scale.value})
    change = " ".join(part for part in (change_text(metric), interval_text(metric)) if part)
    values = (
        f"{value_text(metric.base, metric.unit, metric.kind)} to "
        f"{value_text(metric.head, metric.unit, metric.kind)}"
    )
    message = f"{metric.outcome}: {values}, {change}"
    detail = f"{message}\n{evidence_text(metric)}" + (f"\n{metric.reason}" if metric.reason else "")
    if metric.outcome is Outcome.REGRESSION:
        return _tell(case, "failure", message, detail)
    if metric.outcome is Outcome.INCONCLUSIVE:
        return _tell(case, "failure" if strict else "skipped", f"{message}; {metric.reason}", detail)
    return None


def _budget_case(suite: ET.Element, key: Key, budget: BudgetResult) -> str | None:
    case = _case(suite, key, f"budget {budget.name}")
    _properties(case, {"value": budget.head, "limit": budget.limit, "unit": budget.unit, "kind": budget.kind})
    message = f"{budget.verdict}: {budget_text(budget)}" + (f"; {budget.reason}" if budget.reason else "")
    if budget.verdict == "FAIL":
        return _tell(case, "failure", message)
    if budget.excused:
        return _tell(case, "skipped", message)
    return None if budget.verdict == "PASS" else _tell(case, "error", message)
