"""How an engine agrees with a float reference, where there are no bits to compare: by stated tolerances.

Every place is judged as a generating reader meets it: the engine and the reference run the tokens up to it,
and the last logits count for top-1 and cross-entropy. The largest difference is over all logits of all runs
but those that float32 leaves undecided: where a value comes nearer to a hard threshold than rounding reaches,
two right engines may differ by a spike, and many logits with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.program.scoring import LogitFunction, padded_batches, score_positions

#: A float32 engine: largest difference of a logit, and least share of places with the same best token.
FLOAT_DIFFERENCE, FLOAT_TOP1 = 1e-4, 0.9999
#: An int8 engine: most that the cross-entropy may rise, nat a token, and least share of the same best token.
#: An int8 error moves a hard threshold, so a single logit may be far off: differences are no criterion.
INT8_RISE, INT8_TOP1 = 0.01, 0.90
#: A value nearer to its threshold is undecided: some rounding errors of a float32 sum of order 1.
UNDECIDED = 5e-6
_BATCH = 16

JudgedFunction = Callable[[npt.NDArray[np.integer]], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
"""Logits ``[batch, length, vocab]`` of ids ``[batch, length]``, and ``[batch]``: how near any value of a
sequence came to a threshold."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """One engine beside the float reference.

    Attributes:
        target: Name of the target.
        arithmetic: ``float32``, or what is int8: ``weights``, ``dynamic``, ``static``.
        text: What the token ids were.
        sequences: Sequences.
        positions: Places that were judged.
        undecided: Runs that are left out of `largest_difference`.
        logits_compared: Logits behind `largest_difference`.
        largest_difference: Largest difference of two logits.
        top1: Share of places where both have the same best token, 0..1.
        cross_entropy: Of the engine, nat per token.
        reference_cross_entropy: Of the reference.
    """

    target: str
    arithmetic: str
    text: str
    sequences: int
    positions: int
    undecided: int
    logits_compared: int
    largest_difference: float
    top1: float
    cross_entropy: float
    reference_cross_entropy: float

    @property
    def rise(self) -> float:
        """Cross-entropy beyond the reference's, nat per token; negative where the engine is better."""
        return self.cross_entropy - self.reference_cross_entropy

    def failures(self) -> list[str]:
        """What is beyond its limit, each as actual value and limit; none where the engine agrees."""
        if self.arithmetic == "float32":
            checks = [
                (self.logits_compared > 0, "no run is decided by float32"),
                (
                    self.largest_difference <= FLOAT_DIFFERENCE,
                    f"largest difference {self.largest_difference:.3g} (limit {FLOAT_DIFFERENCE:g})",
                ),
                (self.top1 >= FLOAT_TOP1, f"same best token {self.top1:.4f} (limit {FLOAT_TOP1})"),
            ]
        else:
            checks = [
                (self.rise <= INT8_RISE, f"cross-entropy {self.rise:+.4f} nat (limit +{INT8_RISE})"),
                (self.top1 >= INT8_TOP1, f"same best token {self.top1:.4f} (limit {INT8_TOP1})"),
            ]
        return [text for held, text in checks if not held]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, with the rise and the failures."""
        return {**asdict(self), "rise": self.rise, "failures": self.failures()}

    def sentence(self) -> str:
        """All of it in one line, for a record."""
        verdict = "; ".join(self.failures()) or "within its limits"
        return (
            f"{self.target} ({self.arithmetic}) against torch on {self.text}, {self.positions:,} places: "
            f"same best token {self.top1:.4f}, cross-entropy {self.rise:+.5f} nat, largest difference "
            f"{self.largest_difference:.2g} ({self.undecided:,} runs undecided by float32): {verdict}"
        )


def measure_agreement(
    engine: LogitFunction,
    reference: JudgedFunction,
    sequences: Sequence[npt.NDArray[np.integer]],
    *,
    target: str,
    arithmetic: str,
    text: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> Agreement:
    """Compare an engine with the float reference.

    Args:
        engine: Logits ``[batch, length, vocab]`` of whole sequences.
        reference: The same of the reference, with margins.
        sequences: Token ids ``[length]`` each, two at least.
        target: Name of the target, for the result.
        arithmetic: ``float32``, or what is int8; it decides which limits hold.
        text: What the ids are, for the result.
        on_progress: Called with sequences done and sequences in all.
    """
    same = positions = compared = undecided = done = 0
    largest = 0.0
    nats = np.zeros(2)
    for chosen, ids in padded_batches(sequences, _BATCH):
        lengths = np.array([len(sequences[i]) for i in chosen])
        for end in range(1, int(lengths.max())):
            part = ids[lengths > end]
            got, (want, margin) = engine(part[:, :end]), reference(part[:, :end])
            decided = margin >= UNDECIDED
            undecided += int((~decided).sum())
            largest = max(largest, float(np.abs(got - want)[decided].max(initial=0.0)))
            compared += int(got[decided].size)
            both = (got[:, -1], want[:, -1])
            same += int((both[0].argmax(-1) == both[1].argmax(-1)).sum())
            nats += [score_positions(logits, part[:, end])[0] for logits in both]
            positions += len(part)
        done += len(chosen)
        if on_progress is not None:
            on_progress(done, len(sequences))
    return Agreement(
        target=target,
        arithmetic=arithmetic,
        text=text,
        sequences=len(sequences),
        positions=positions,
        undecided=undecided,
        logits_compared=compared,
        largest_difference=largest,
        top1=same / positions,
        cross_entropy=float(nats[0]) / positions,
        reference_cross_entropy=float(nats[1]) / positions,
    )
