"""The result of a comparison, as plain frozen data: what every format and page renders, and its JSON.

A `RunComparison` holds one `TargetComparison` per comparability key, and each of those one `MetricResult` per
metric and one `BudgetResult` per budget. Numbers that a side lacks are None, with a reason beside them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from pydantic import TypeAdapter

SCHEMA = "edgesnn.compare/1"


class Outcome(StrEnum):
    """What can be said of one metric."""

    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    NO_CHANGE = "no change"
    INCONCLUSIVE = "inconclusive"  #: compared, but the data do not decide
    INFORMATION = "information"  #: shown, never gates; the reason says why


class ComparisonVerdict(StrEnum):
    """What can be said of a target, or of everything."""

    REGRESSION = "REGRESSION"  #: a metric regressed or a required budget failed: exit code 3
    UNDECIDED = "UNDECIDED"  #: nothing regressed, but what had to be decided was not: exit code 6
    IMPROVEMENT = "IMPROVEMENT"  #: something improved, nothing regressed: exit code 0
    NO_CHANGE = "NO CHANGE"  #: exit code 0


class Family(StrEnum):
    """Metrics that share one correction for multiple tests, and one default threshold."""

    BITS = "bits"
    COUNTS = "counts"
    TIMES = "times"
    ENERGIES = "energies"
    MEMORY = "memory"
    ACCURACY = "accuracy"


class ChangeScale(StrEnum):
    """How `MetricResult.change`, its interval and its threshold are to be read."""

    LOG_RATIO = (
        "log ratio"  #: natural logarithm of head over base; ``exp(change) - 1`` is the relative change
    )
    DIFFERENCE = "difference"  #: head less base, in the unit of the metric (shares: 0.01 is one point)
    EXACT = "exact"  #: head less base of a count, without an interval


@dataclass(frozen=True, slots=True)
class Key:
    """What two runs must share to be comparable. Hash, firmware, compiler, versions are what changes.

    Attributes:
        model: Name of the model (the bundle), not its hash.
        target: Target as the user named it.
        engine: Library that executed, without its version.
        meter: Kind of meter (``ppk2``), ``sim:`` before it for a twin; ``none`` without a meter.
        profile: Name of the profile.
        workload: First 12 digits of the SHA-256 of the workload's settings.
    """

    model: str
    target: str
    engine: str
    meter: str
    profile: str
    workload: str

    def parts(self) -> tuple[tuple[str, str], ...]:
        """Names and values, in order."""
        return tuple(asdict(self).items())

    def text(self) -> str:
        """The whole key in one line."""
        return " · ".join(value for _, value in self.parts())


@dataclass(frozen=True, slots=True)
class RunSide:
    """One side of a comparison: the sessions that stand behind its numbers.

    Attributes:
        sources: File names of the records, or of the baseline, without folders.
        sessions: Sessions behind times and energies.
        windows: Measurement windows behind the times, all sessions together.
        created: When its latest record was made, ISO 8601, UTC.
        commit: Git commit of its latest record, or None.
        program_hash: SHA-256 of its latest program.
        verdict: Verdict of its latest record.
        simulated: Whether device or meter are simulated.
    """

    sources: tuple[str, ...]
    sessions: int
    windows: int
    created: str
    commit: str | None
    program_hash: str
    verdict: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs between the sides and is no part of the key.

    Attributes:
        what: What it is, for example ``program hash`` or ``package onnxruntime``.
        base: Its value in the base; None where it was not there.
        head: Its value in the head, likewise.
    """

    what: str
    base: str | None
    head: str | None


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One metric of one target, compared.

    Attributes:
        name: Name of the quantity, for example ``forward.p50``.
        family: Its family.
        unit: Unit of `base` and `head`.
        kind: ``MEASURED``, ``SIMULATED`` or ``ESTIMATED``.
        base: Value of the base: mean of its sessions, or the count.
        head: Value of the head, likewise.
        scale: How the next four are to be read.
        change: The change; None where it cannot be computed.
        lower: Lower end of its interval at `level`, on the same scale; None where there is none.
        upper: Upper end, likewise.
        threshold: Smallest change that counts as one, on the same scale.
        better: ``lower`` or ``higher``: the good direction.
        level: Confidence of the interval after Holm's correction, 0..1; None without interval.
        degrees_of_freedom: Of Welch's t; None where no t distribution was used.
        p_value: Two-sided, before the correction; None without a test.
        n_base: Windows, sessions, processes or documents of the base, as `unit_of_n` says.
        n_head: Of the head.
        unit_of_n: What these count.
        outcome: What can be said.
        gates: Whether the outcome can fail the comparison.
        reason: Why the outcome is what it is, where the numbers alone do not say it.
        needed: How many of `unit_of_n` on each side would decide; None where that cannot be said.
        method: How it was compared, in one clause.
    """

    name: str
    family: Family
    unit: str
    kind: str
    base: float | None
    head: float | None
    scale: ChangeScale
    change: float | None
    lower: float | None
    upper: float | None
    threshold: float
    better: str
    level: float | None
    degrees_of_freedom: float | None
    p_value: float | None
    n_base: int | None
    n_head: int | None
    unit_of_n: str
    outcome: Outcome
    gates: bool
    reason: str | None
    needed: int | None
    method: str


@dataclass(frozen=True, slots=True)
class BudgetResult:
    """One absolute budget of the head's profile, as its record judged it.

    Attributes:
        name: Key of the profile.
        subject: What the budget speaks of.
        base: Value in the base, or None.
        head: Value in the head, or None.
        unit: Unit of both.
        kind: Kind of the head's value; ``ABSENT`` where there is none.
        side: ``<``, ``<=`` or ``>``.
        limit: The limit.
        required: Whether it gates.
        verdict: ``PASS``, ``FAIL``, ``UNDECIDED`` or ``UNMEASURED``.
        excused: Whether ``--allow-unmeasured`` excused a missing number.
        reason: Why.
    """

    name: str
    subject: str
    base: float | None
    head: float | None
    unit: str
    kind: str
    side: str
    limit: float
    required: bool
    verdict: str
    excused: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class TargetComparison:
    """Everything about one key.

    Attributes:
        key: The key.
        base: The base.
        head: The head.
        mode: Where the base's variance comes from: ``interleaved``, ``sessions`` or ``none`` (times and
            energies are information only).
        mode_reason: The same in one sentence.
        verdict: What can be said.
        metrics: Every metric, the gating families first.
        budgets: Every budget with a limit.
        changed: What differs beside the key.
        notes: What a reader should know, for example a slow drift.
    """

    key: Key
    base: RunSide
    head: RunSide
    mode: str
    mode_reason: str
    verdict: ComparisonVerdict
    metrics: tuple[MetricResult, ...]
    budgets: tuple[BudgetResult, ...]
    changed: tuple[Change, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A run without a counterpart.

    Attributes:
        key: Its key.
        side: ``base`` or ``head``.
        sources: File names.
        reason: What is missing on the other side, with the nearest key that is there.
        budgets: Its absolute budgets, which gate all the same where it is a head.
    """

    key: Key
    side: str
    sources: tuple[str, ...]
    reason: str
    budgets: tuple[BudgetResult, ...]


@dataclass(frozen=True, slots=True)
class RunComparison:
    """The whole comparison.

    Attributes:
        verdict: What can be said.
        exit_code: 0, 3 or 6.
        strict: Whether what is inconclusive fails (exit code 6).
        reasons: One clause for everything that decided the verdict or stayed open, the worst first.
        targets: Every key that stands on both sides, the worst first.
        unmatched: Runs without a counterpart.
        level: Confidence that all intervals of one target and family hold together, for example 0.95.

    Examples:
        >>> found = edgesnn.compare_runs("run.json", "run.json")
        >>> found.exit_code
        0
    """

    verdict: ComparisonVerdict
    exit_code: int
    strict: bool
    reasons: tuple[str, ...]
    targets: tuple[TargetComparison, ...]
    unmatched: tuple[Unmatched, ...]
    level: float

    def __repr__(self) -> str:
        head = (
            f"<RunComparison: {self.verdict.value} (exit code {self.exit_code}), {len(self.targets)} compared"
        )
        return "\n  ".join([head, *self.reasons[:5]]) + ">"


@cache
def _adapter() -> TypeAdapter[RunComparison]:
    return TypeAdapter(RunComparison)


def comparison_document(comparison: RunComparison) -> dict[str, Any]:
    """The comparison as JSON-like data (``edgesnn.compare/1``), without the schema's name."""
    found: dict[str, Any] = _adapter().dump_python(comparison, mode="json")
    return found


def compare_schema() -> dict[str, Any]:
    """The JSON Schema of the whole document."""
    schema = _adapter().json_schema(mode="serialization")
    schema["properties"] = {
        "schema": {"const": SCHEMA},
        "edgesnn_version": {"type": "string"},
        **schema["properties"],
    }
    schema["required"] = ["schema", "edgesnn_version", *schema["required"]]
    return schema
