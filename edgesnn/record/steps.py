"""What a step of a run is called: a token of a language model, or a frame of a network that reads frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class StepWords:
    """What a step is called: a token of a language model, a frame of a network that reads frames.

    Attributes:
        step: ``token`` or ``frame``.
        subject: What the times of a step are of, for people.
        outputs: What comes out.
        times: Array of the times of single steps, milliseconds.
        summary: Prefix of the quantities that sum these times up.
        series: Prefix of those of the forward passes, which are compared window by window.
        budget: Budget of their 95th percentile.
        energy: Quantity of the energy of a step.
    """

    step: Literal["token", "frame"]
    subject: str
    outputs: str
    times: str
    summary: str
    series: str
    budget: str
    energy: str


TOKENS = StepWords(
    "token",
    "generated token",
    "logits",
    "per_token_ms",
    "latency",
    "forward",
    "latency_ms_p95",
    "energy.per_token",
)
FRAMES = StepWords(
    "frame", "frame", "outputs", "per_frame_ms", "frame", "frame", "frame_ms_p95", "energy.per_frame"
)
