"""The parts of a record that were timed: windows, answers, and what stands beside them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgesnn.record.base import Part, Sha256
from edgesnn.record.quantities import Quantity

#: Whose clock times are by.
ClockName = Literal["device", "host"]
#: How a device takes a prompt: at once, or token by token.
PromptForm = Literal["prefill", "step"]


#: Which of two records that share a session.
Role = Literal["A", "B"]


class WarmUp(Part):
    """What warming up took."""

    steps: int
    settled: bool
    minimum_ms: float
    typical_ms: float


class Drift(Part):
    """First against last quarter of the forward passes."""

    first_ms: float
    last_ms: float
    ratio: float
    drifted: bool


class LatencyWindow(Part):
    """One measurement window."""

    offset_s: float = Field(description="Start, counted from the first window's.")
    seconds: float
    steps: int
    counted_steps: int = Field(description="Steps whose context was full; of frames all.")
    median_ms: float = Field(description="Median forward pass of the counted steps.")
    mean_ms: float = Field(description="Mean forward pass of the counted steps.")
    output_sha256: str = Sha256


class Latency(Part):
    """How the times were taken."""

    text: str = Field(description="What the token ids were taken from, or which frames ran.")
    clock: ClockName
    context: int | None = Field(
        description="Tokens that every counted step saw at least, itself included; null of frames."
    )
    full_context: bool | None = Field(
        description="Whether that is the program's context window; null of frames."
    )
    autocorrelation_time: float = Field(ge=1, description="tau in samples; effective n = n / tau.")
    p99_note: str | None = Field(description="What the sample cannot say about p99.")
    warm_up: WarmUp
    drift: Drift | None
    first_token_form: PromptForm | None
    windows: list[LatencyWindow]


class Generation(Part):
    """How whole answers were timed."""

    form: PromptForm
    prompt_tokens: int = Field(ge=1)
    generated_tokens: int = Field(ge=1)
    runs: list[int] = Field(description="Runs of each window.")
    window_seconds: list[float] = Field(description="Sum of the runs' times, by window.")
    output_sha256: str = Sha256


class RatioFigure(Part):
    """B over A, from windows that took turns."""

    value: float = Field(description="Ratio of the geometric means over windows; above 1 B takes more.")
    lower: float | None = Field(description="Lower end of its 95 % interval.")
    upper: float | None = Field(description="Upper end of its 95 % interval.")
    degrees_of_freedom: float | None = Field(description="Of Welch's t over the logarithms of the windows.")
    windows_a: int
    windows_b: int
    reason: str | None = Field(description="Why there is no interval.")

    def statement(self, what: str, a: str = "A", b: str = "B") -> str:
        """The ratio in words.

        Args:
            what: What is compared, for example ``median time per step``.
            a: Name of the first.
            b: Name of the second.
        """
        if self.lower is None or self.upper is None or self.degrees_of_freedom is None:
            return f"{what}: {b} takes {self.value:.4g} times that of {a}; {self.reason}"
        interval = (
            f"{self.value:.4g} times (95 % interval {self.lower:.4g} to {self.upper:.4g}, Welch t, "
            f"{self.degrees_of_freedom:.1f} degrees of freedom)"
        )
        if self.lower > 1.0:
            return f"{what}: {b} is slower than {a}, {interval}"
        if self.upper < 1.0:
            return f"{what}: {b} is faster than {a}, {interval}"
        return f"{what}: no difference between {a} and {b} shown, {interval}"


class WindowOutlier(Part):
    """A window that lies apart; it is kept."""

    window: int = Field(ge=1, description="Its number, from 1.")
    value_ms: float
    score: float = Field(description="Modified z-score: distance from the median over 1.4826 MAD.")


class WindowDrift(Part):
    """A trend over the windows, by Theil and Sen's slope of the logarithm."""

    change: float = Field(description="Last window over first along the trend, less 1.")
    lower: float
    upper: float
    drifted: bool


class Interleaving(Part):
    """The session that two records share, because their windows took turns."""

    id: str = Field(pattern=r"^[0-9a-f]{32}$", description="The same in both records.")
    role: Role = Field(description="Which of the two this record is.")
    order: str = Field(pattern=r"^[AB]+$", description="The order of the windows.")
    seed: int = Field(description="Seed of that order.")
    other_name: str = Field(description="Name of the other bundle.")
    other_program_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    median_ratio: RatioFigure = Field(description="Median forward pass of a window, B over A.")
    mean_ratio: RatioFigure = Field(description="Mean forward pass of a window, B over A.")
    statement: str = Field(description="The ratio of medians in words.")
    drift: WindowDrift | None = Field(description="Of this record's windows.")
    outliers: list[WindowOutlier] = Field(description="Of this record's windows.")


class Reference(Part):
    """A reference model beside the student, measured in a process of its own on the same text."""

    name: str
    engine: str
    dtype: str
    parameters: int | None = Field(description="Trained numbers, where the model says.")
    model_bytes: int = Field(ge=0, description="Size of its weight files.")
    context: int = Field(description="Tokens that every timed step saw at least.")
    kv_cache: bool = Field(description="Whether a step keeps keys and values.")
    threads: int = Field(ge=1)
    documents: int = Field(ge=1, description="Documents of held-out text that both were scored on.")
    skipped_documents: int = Field(
        description="Documents that its tokenizer cannot spell or its context hold."
    )
    quantities: dict[str, Quantity] = Field(description="Its figures, and those of the student beside them.")


class Comparison(Part):
    """Another engine on the same workload."""

    target: str
    engine: str | None
    p50: Quantity
    p95: Quantity
    ratio: Quantity = Field(description="Time of this run over the other's: above 1 this run is slower.")
    statement: str
