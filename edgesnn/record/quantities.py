"""The one table of quantities: their names, units and words; `edgesnn.record.budgets` has what judges them.

Whoever measures, judges, shows or compares a quantity looks here for what it is called. A run may hold more
than this table names (a runner's own counts); those are shown by their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgesnn.record.base import Part, refuse_misfits, words

MEGABYTE = 1e6


class Kind(StrEnum):
    """Where a number comes from."""

    MEASURED = "MEASURED"  #: taken on the device, or counted exactly
    SIMULATED = "SIMULATED"  #: taken on a simulated device or meter
    ESTIMATED = "ESTIMATED"  #: computed from a model of the device
    ABSENT = "ABSENT"  #: there is no number, and a reason says why


class Side(StrEnum):
    """On which side of its limit a value has to lie."""

    BELOW = "<"
    AT_MOST = "<="
    ABOVE = ">"

    def holds(self, value: float, limit: float) -> bool:
        """Whether a value lies on this side."""
        if self is Side.BELOW:
            return value < limit
        return value <= limit if self is Side.AT_MOST else value > limit


KindField = Annotated[Kind, words("Kind", Kind)]
SideField = Annotated[Side, words("Side", Side)]


class Quantity(Part):
    """One number, or the reason why it is missing.

    Examples:
        >>> found = edgesnn.read_run("run.json").record.quantities
        >>> found["latency.p95"].unit, found["latency.p95"].kind.value
        ('ms', 'MEASURED')
        >>> found["power.mean"].value, found["power.mean"].reason
        (None, 'no meter was given')
    """

    value: float | None = Field(description="The number; null when kind is ABSENT.")
    unit: str = Field(description="Unit of value, lower and upper.")
    kind: KindField = Field(description="Where the number comes from.")
    reason: str | None = Field(description="Why it is absent, or what a number that is there cannot say.")
    how: str | None = Field(description="How it was taken.")
    lower: float | None = Field(description="Lower end of its 95 % interval, null where it has none.")
    upper: float | None = Field(description="Upper end of its 95 % interval, null where it has none.")
    n: int | None = Field(description="Samples behind it.")
    effective_n: float | None = Field(description="Independent samples that the interval stands on.")

    @model_validator(mode="after")
    def _absent_means_null_with_a_reason(self) -> Quantity:
        if (self.value is None) != (self.kind is Kind.ABSENT):
            raise ValueError("value must be null exactly when kind is ABSENT")
        if self.kind is Kind.ABSENT and not self.reason:
            raise ValueError("an absent quantity needs a reason")
        return self


#: Quantities by name.
Quantities = dict[str, Quantity]


@dataclass(frozen=True, slots=True)
class KnownQuantity:
    """What is known of a quantity before anything is measured.

    Attributes:
        name: Its name in a record, for example ``latency.p95``.
        unit: Its unit.
        label: What it is called in the table of its group, for example ``peak``.
        title: What it is called where it stands alone, for example ``peak memory``.
        better: Whether a lower or a higher value is the better one.
    """

    name: str
    unit: str
    label: str
    title: str
    better: Literal["lower", "higher"] = "lower"

    @property
    def heading(self) -> str:
        """The title with its unit, where the title does not say what is counted."""
        return self.title if self.unit in ("share", "logits") else f"{self.title}, {self.unit}"


class QuantityGroup(StrEnum):
    """Quantities that are shown as one table; the value is the table's title, ``{step}`` token or frame."""

    BREAKDOWN = "breakdown and throughput"
    POWER = "power and energy"
    QUALITY = "quality"
    MEMORY = "memory and size"
    ANSWERS = "whole answers"
    DUTY = "duty cycle"
    CASCADE = "cascade: a wake network, and the answers that it asks for"
    INSTRUCTIONS = "instructions, counted by an emulator"
    ACTIVITY = "activity per {step}"
    ENERGY = "energy per {step}, estimated"


#: What is reported of a series of times.
SUMMARY_KEYS = ("min", "mean", "p50", "p90", "p95", "p99", "max")
#: Series of times that are reported so, and what they are called.
SUMMARIES: Mapping[str, str] = {
    "latency": "generated token",
    "forward": "forward pass",
    "first_token": "first token",
    "frame": "one frame",
    "decision": "one decision",
}
#: A step at the end of a unit; a frame is one inner timestep.
_PER_STEP = re.compile("/(token|timestep)$")
_OPERATIONS, _UPDATES, _INSTRUCTIONS = "operations/token", "updates/token", "instructions/token"
#: Of a perplexity: so many tokens that are equally likely.
_CHOICES = "choices"
_HIGHER: Literal["higher"] = "higher"


def _row(
    name: str, unit: str, label: str, title: str | None = None, better: Literal["lower", "higher"] = "lower"
) -> KnownQuantity:
    return KnownQuantity(name, unit, label, title or label, better)


def _summaries() -> Iterator[KnownQuantity]:
    for prefix, subject in SUMMARIES.items():
        for key in SUMMARY_KEYS:
            label = "median" if key == "p50" else key
            yield _row(f"{prefix}.{key}", "ms", label, f"{subject}, {label}")


#: The rows of every table, in the order in which they are shown.
GROUPS: Mapping[QuantityGroup, tuple[KnownQuantity, ...]] = {
    QuantityGroup.BREAKDOWN: (
        _row("breakdown.tokenise_share", "ms", "tokenise (its share)"),
        _row("forward.p50", "ms", "forward, median", "forward pass, median"),
        _row("breakdown.text_decode", "ms", "text decode, median"),
        _row("breakdown.outside_steps", "ms", "outside the steps"),
        _row("throughput.generated", "tokens/s", "generated", "generated tokens", _HIGHER),
        _row("throughput.windows_median", "tokens/s", "forward passes, median of the windows", None, _HIGHER),
        _row("throughput.prompt", "tokens/s", "prompt", "tokens of the prompt", _HIGHER),
        _row("throughput.frames", "frames/s", "frames", None, _HIGHER),
    ),
    QuantityGroup.POWER: (
        _row("power.mean", "mW", "mean, working", "mean power"),
        _row("power.idle", "mW", "idle", "idle power"),
        _row("power.dynamic", "mW", "dynamic", "dynamic power"),
        _row("power.peak", "mW", "peak, 1 ms", "peak power, 1 ms"),
        _row("energy.per_token", "uJ", "energy per token"),
        _row("energy.dynamic_per_token", "uJ", "of that above idle", "energy per token above idle"),
        _row("energy.per_frame", "uJ", "energy per frame"),
        _row("energy.dynamic_per_frame", "uJ", "of that above idle", "energy per frame above idle"),
        _row("energy.per_decision", "uJ", "energy per decision"),
    ),
    QuantityGroup.QUALITY: (
        _row("accuracy.bits_per_byte", "bits/byte", "bits per byte"),
        _row("accuracy.teacher_bits_per_byte", "bits/byte", "bits per byte of the teacher"),
        _row("accuracy.perplexity", _CHOICES, "perplexity per native token"),
        _row("accuracy.teacher_perplexity", _CHOICES, "perplexity of the teacher, per native token"),
        _row("accuracy.own_perplexity", _CHOICES, "perplexity per own token"),
        _row("accuracy.top1", "share", "top-1", None, _HIGHER),
        _row("accuracy.teacher_top1", "share", "top-1 of the teacher at its tokens", None, _HIGHER),
        _row("accuracy.retention", "share", "retention", None, _HIGHER),
        _row("accuracy.decisions", "share", "decisions that are right", None, _HIGHER),
        _row(
            "accuracy.float_decisions",
            "share",
            "decisions of the float network that are right",
            None,
            _HIGHER,
        ),
        _row("accuracy.points_below_float", "points", "accuracy below the float network's"),
        _row("accuracy.same_decisions", "share", "decisions as the float network's", None, _HIGHER),
        _row("parity.mismatches", "logits", "mismatches with golden"),
    ),
    QuantityGroup.MEMORY: (
        _row("memory.peak", "MB", "peak", "peak memory"),
        _row("memory.baseline", "MB", "baseline", "memory before the bundle is opened"),
        _row("memory.loaded", "MB", "loaded", "memory with the bundle open"),
        _row("memory.load_time", "ms", "load time"),
        _row("memory.cold_start", "ms", "cold start"),
        _row("size.model", "MB", "model files"),
    ),
    QuantityGroup.ANSWERS: (
        _row("generation.total.p50", "ms", "whole answer, median"),
        _row("generation.first.p50", "ms", "first token, median", "first token of an answer, median"),
        _row("generation.token.p50", "ms", "later token, median"),
        _row("generation.throughput", "tokens/s", "generated, reading included", None, _HIGHER),
    ),
    QuantityGroup.DUTY: (
        _row("duty.busy_share", "share", "busy share"),
        _row("duty.power", "mW", "duty-cycled power"),
        _row("duty.battery_life", "h", "battery life", None, _HIGHER),
    ),
    QuantityGroup.CASCADE: (
        _row("cascade.true_wakes", "share", "events that wake it", None, _HIGHER),
        _row("cascade.false_wakes", "share", "other windows that wake it"),
        _row("cascade.false_wakes_per_hour", "1/h", "false wakes"),
        _row("cascade.answers_per_hour", "1/h", "answers"),
        _row("cascade.answer_energy", "uJ", "an answer, above idle", "energy of an answer above idle"),
        _row("cascade.wake_power", "mW", "wake network, always on", "power of the wake network"),
        _row("cascade.answers_power", "mW", "answers, above idle", "power of the answers above idle"),
        _row("cascade.power", "mW", "together", "power of wake network and answers"),
        _row(
            "cascade.battery_life", "h", "battery life", "battery life of wake network and answers", _HIGHER
        ),
    ),
    QuantityGroup.INSTRUCTIONS: (
        _row("instructions.per_token", _INSTRUCTIONS, "per token, median", "instructions of a token"),
        _row("instructions.per_frame", "instructions/frame", "per frame, median", "instructions of a frame"),
        _row("instructions.least", _INSTRUCTIONS, "least", "instructions of a step, least"),
        _row("instructions.most", _INSTRUCTIONS, "most", "instructions of a step, most"),
    ),
    QuantityGroup.ACTIVITY: (
        _row("activity.spike_rate", "spikes/neuron/timestep", "spike rate"),
        _row(
            "activity.synaptic_operations",
            _OPERATIONS,
            "synaptic operations, effective",
            "synaptic operations",
        ),
        _row("activity.synaptic_operations_dense", _OPERATIONS, "synaptic operations, dense"),
        _row("activity.membrane_updates", _UPDATES, "membrane updates"),
        _row("activity.connection_sparsity", "share", "connection sparsity"),
        _row("activity.activation_sparsity", "share", "activation sparsity", None, _HIGHER),
        _row("activity.footprint", "B", "footprint"),
    ),
    QuantityGroup.ENERGY: (
        _row("energy_estimate.synaptic_operations", "uJ", "synaptic operations only"),
        _row("energy_estimate.with_memory", "uJ", "with memory", "energy from counts"),
        _row("energy_estimate.dense_network", "uJ", "bit-matched dense network"),
    ),
}
#: Every quantity that a run may have, by name.
QUANTITIES: Mapping[str, KnownQuantity] = {
    one.name: one
    for one in (
        *_summaries(),
        _row("activity.membrane_updates_dense", _UPDATES, "membrane updates, dense"),
        *(row for rows in GROUPS.values() for row in rows),
    )
}


def present(
    value: float,
    unit: str,
    how: str,
    kind: Kind = Kind.MEASURED,
    *,
    interval: tuple[float | None, float | None] | None = None,
    n: int | None = None,
    effective_n: float | None = None,
    reason: str | None = None,
) -> Quantity:
    """A number that is there.

    Args:
        value: The number.
        unit: Its unit.
        how: How it was taken.
        kind: Where it comes from.
        interval: Its 95 % interval, if it has one.
        n: Samples behind it.
        effective_n: Independent samples that the interval stands on.
        reason: What it cannot say.

    Raises:
        RecordError: It is no finite number.
    """
    lower, upper = interval if interval is not None else (None, None)
    with refuse_misfits(f"a number ({how})"):
        return Quantity(
            value=value,
            unit=unit,
            kind=kind,
            reason=reason,
            how=how,
            lower=lower,
            upper=upper,
            n=n,
            effective_n=effective_n,
        )


def known(
    name: str,
    value: float,
    how: str,
    kind: Kind = Kind.MEASURED,
    *,
    interval: tuple[float | None, float | None] | None = None,
    n: int | None = None,
    effective_n: float | None = None,
    reason: str | None = None,
) -> Quantity:
    """A number of the table that is there: `present` with the table's unit.

    Args:
        name: Its name.
        value: The number.
        how: How it was taken.
        kind: Where it comes from.
        interval: Its 95 % interval, if it has one.
        n: Samples behind it.
        effective_n: Independent samples that the interval stands on.
        reason: What it cannot say.
    """
    unit = QUANTITIES[name].unit
    return present(value, unit, how, kind, interval=interval, n=n, effective_n=effective_n, reason=reason)


def absent(unit: str, reason: str) -> Quantity:
    """A number that is missing.

    Args:
        unit: The unit it would have.
        reason: Why it is missing.
    """
    return Quantity(
        value=None,
        unit=unit,
        kind=Kind.ABSENT,
        reason=reason,
        how=None,
        lower=None,
        upper=None,
        n=None,
        effective_n=None,
    )


def per_frame(found: Quantities) -> Quantities:
    """The same quantities of a network that reads frames: what is counted per token is per frame there."""
    return {
        name: one.model_copy(update={"unit": _PER_STEP.sub("/frame", one.unit)})
        for name, one in found.items()
    }


def missing(names: Iterable[str], reason: str) -> Quantities:
    """Quantities of the table that are missing for one reason.

    Args:
        names: Their names.
        reason: Why they are missing.
    """
    return {name: absent(QUANTITIES[name].unit, reason) for name in names}
