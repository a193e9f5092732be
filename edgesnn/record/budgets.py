"""The one table of budgets: which quantity each judges, and on which side of its limit that has to lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesnn.record.quantities import Side


@dataclass(frozen=True, slots=True)
class KnownBudget:
    """One budget that a profile can set.

    Attributes:
        name: Key of the profile, for example ``latency_ms_p95``.
        quantity: The quantity that it judges.
        side: On which side of the limit the quantity has to lie.
        subject: What it speaks of, for people; ``{prompt_tokens}`` stands for the workload's, ``{step}`` for
            token or frame, ``{outputs}`` for logits or outputs, ``{work}`` for what runs,
            ``{timestep}`` for inner timestep or frame.
    """

    name: str
    quantity: str
    side: Side
    subject: str


#: Every budget by its key, in the order in which they are judged and shown.
BUDGETS: Mapping[str, KnownBudget] = {
    one.name: one
    for one in (
        KnownBudget(
            "latency_ms_p95", "latency.p95", Side.BELOW, "one generated token with full context, p95"
        ),
        KnownBudget(
            "first_token_ms_p95",
            "first_token.p95",
            Side.BELOW,
            "prompt of {prompt_tokens} tokens to first token, p95",
        ),
        KnownBudget("frame_ms_p95", "frame.p95", Side.BELOW, "one frame, p95"),
        KnownBudget("decision_ms_p95", "decision.p95", Side.BELOW, "all frames of one decision, p95"),
        KnownBudget("power_mw", "power.mean", Side.BELOW, "mean power of {work}"),
        KnownBudget("always_on_mw", "duty.power", Side.BELOW, "mean power at the rate of the frames"),
        KnownBudget("size_mb", "size.model", Side.BELOW, "model files the device needs"),
        KnownBudget("memory_mb", "memory.peak", Side.BELOW, "peak resident set of a fresh process"),
        KnownBudget("retention", "accuracy.retention", Side.ABOVE, "top-1 of the student over the teacher's"),
        KnownBudget(
            "decisions_right", "accuracy.decisions", Side.ABOVE, "held-out decisions that were right"
        ),
        KnownBudget(
            "points_below_float",
            "accuracy.points_below_float",
            Side.AT_MOST,
            "accuracy of the float network less that of the integer program",
        ),
        KnownBudget(
            "parity_mismatches", "parity.mismatches", Side.AT_MOST, "{outputs} that differ from golden's"
        ),
        KnownBudget("bits_per_byte", "accuracy.bits_per_byte", Side.BELOW, "cross entropy on held-out text"),
        KnownBudget("top1", "accuracy.top1", Side.ABOVE, "next tokens that were right"),
        KnownBudget(
            "synaptic_operations",
            "activity.synaptic_operations",
            Side.AT_MOST,
            "effective synaptic operations per {step}",
        ),
        KnownBudget("spike_rate", "activity.spike_rate", Side.AT_MOST, "spikes per neuron and {timestep}"),
        KnownBudget(
            "cascade_mw", "cascade.power", Side.BELOW, "mean power of the wake network and of the answers"
        ),
    )
}


def budget_on(quantity: str) -> KnownBudget | None:
    """The budget that judges a quantity, or None where no profile can limit it."""
    return next((budget for budget in BUDGETS.values() if budget.quantity == quantity), None)
