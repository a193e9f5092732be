"""What a profile runs: the workload of a language model, and that of a network that reads frames."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

from pydantic import ConfigDict, Field

from edgesnn.config import StrictModel


class ProfilePart(StrictModel):
    """Part of a profile: a strict model of finite numbers."""

    model_config = ConfigDict(allow_inf_nan=False)


class SteppedWorkload(ProfilePart):
    """What every workload says: how windows of steps are taken. A step is a token, or a frame.

    Attributes:
        windows: Measurement windows.
        min_window_seconds: Least time of a window's counted steps.
        memory_probes: Fresh processes that are started for memory, load time and cold start; 0 leaves it out.
        memory_timeout_seconds: Deadline of one such process.
        metered_window_seconds: Least time of a window that a power meter watches.
        idle_seconds: Idle time that the meter watches before and after each of them.
    """

    windows: int = Field(default=5, ge=1, le=1000)
    min_window_seconds: float = Field(default=2.0, ge=0, le=3600)
    memory_probes: int = Field(default=3, ge=0, le=100)
    memory_timeout_seconds: float = Field(default=120.0, gt=0, le=3600)
    metered_window_seconds: float = Field(default=10.0, gt=0, le=3600)
    idle_seconds: float = Field(default=5.0, gt=0, le=3600)

    @property
    @abstractmethod
    def least_steps(self) -> int:
        """Least number of a window's counted steps."""

    @property
    @abstractmethod
    def warmup_steps(self) -> int:
        """Least number of steps before anything is timed."""

    @property
    @abstractmethod
    def activity_steps(self) -> int:
        """Steps over which golden counts activity; 0 leaves it out."""

    @property
    @abstractmethod
    def memory_steps(self) -> int:
        """Steps that each fresh process runs."""

    @property
    @abstractmethod
    def parity_steps(self) -> int:
        """Steps compared with golden."""

    @property
    @abstractmethod
    def scored(self) -> int:
        """Most tokens or decisions that are scored; 0 leaves accuracy out."""


class Workload(SteppedWorkload):
    """What a language model runs while the profiler watches.

    Attributes:
        kind: ``token`` times single tokens with full context. ``prompt`` also times whole answers: a prompt
            of ``prompt_tokens`` read, ``generated_tokens`` generated. ``sentence`` does so with
            ``tokens_per_sentence`` generated, at ``sentences_per_hour``, and says how busy the device is.
        sentences_per_hour: How often a sentence is asked for; ``sentence`` needs it.
        tokens_per_sentence: Tokens generated per sentence.
        prompt_tokens: Tokens of the prompt, for the first token and the share of tokenising.
        generated_tokens: Tokens generated after a prompt; tokenising the prompt is shared among them.
        context: Tokens that the model has seen when a timed step begins to count, itself included;
            None is the program's context window, the only value that decides the latency budget.
        min_window_tokens: Least number of a window's counted steps.
        warmup_tokens: Least number of steps before anything is timed.
        first_tokens: Repetitions of prompt to first token; 0 leaves it out.
        activity_tokens: Tokens over which golden counts activity; 0 leaves it out.
        memory_tokens: Tokens that each of them runs.
        parity_tokens: Tokens compared with golden.
        accuracy_tokens: Most tokens of held-out text that are scored; 0 leaves accuracy out.
    """

    kind: Literal["token", "prompt", "sentence"] = "token"
    sentences_per_hour: float | None = Field(default=None, gt=0, le=36_000)
    tokens_per_sentence: int = Field(default=16, ge=1, le=4096)
    prompt_tokens: int = Field(default=64, ge=1, le=4096)
    generated_tokens: int = Field(default=64, ge=1, le=4096)
    context: int | None = Field(default=None, ge=1, le=4096)
    min_window_tokens: int = Field(default=64, ge=1, le=1_000_000)
    warmup_tokens: int = Field(default=32, ge=1, le=100_000)
    first_tokens: int = Field(default=120, ge=0, le=100_000)
    activity_tokens: int = Field(default=512, ge=0, le=100_000)
    memory_tokens: int = Field(default=32, ge=1, le=100_000)
    parity_tokens: int = Field(default=512, ge=1, le=1_000_000)
    accuracy_tokens: int = Field(default=20_000, ge=0)

    @property
    def answer_tokens(self) -> int:
        """Tokens generated per answer: those of a sentence, or those after a prompt."""
        return self.tokens_per_sentence if self.kind == "sentence" else self.generated_tokens

    @property
    def least_steps(self) -> int:
        return self.min_window_tokens

    @property
    def warmup_steps(self) -> int:
        return self.warmup_tokens

    @property
    def activity_steps(self) -> int:
        return self.activity_tokens

    @property
    def memory_steps(self) -> int:
        return self.memory_tokens

    @property
    def parity_steps(self) -> int:
        return self.parity_tokens

    @property
    def scored(self) -> int:
        return self.accuracy_tokens


class FramesWorkload(SteppedWorkload):
    """What a network that reads frames runs while the profiler watches.

    Attributes:
        kind: ``frames``, which tells this workload from that of a language model.
        frames_per_second: How often a frame comes; with it the busy share and the power of a network that
            is always on are said. None says neither.
        decision_frames: Frames of one decision; None takes the windows of the bundle's held-out set.
        min_window_frames: Least number of frames of a window.
        warmup_frames: Least number of frames before anything is timed.
        activity_frames: Frames over which golden counts activity; 0 leaves it out.
        memory_frames: Frames that each fresh process runs.
        parity_frames: Frames compared with golden.
        accuracy_decisions: Most held-out decisions that are scored; 0 leaves accuracy out.
    """

    kind: Literal["frames"]
    frames_per_second: float | None = Field(default=None, gt=0, le=1_000_000)
    decision_frames: int | None = Field(default=None, ge=1, le=100_000)
    min_window_frames: int = Field(default=64, ge=1, le=1_000_000)
    warmup_frames: int = Field(default=32, ge=1, le=100_000)
    activity_frames: int = Field(default=512, ge=0, le=100_000)
    memory_frames: int = Field(default=32, ge=1, le=100_000)
    parity_frames: int = Field(default=512, ge=1, le=1_000_000)
    accuracy_decisions: int = Field(default=2000, ge=0, le=1_000_000)

    @property
    def least_steps(self) -> int:
        return self.min_window_frames

    @property
    def warmup_steps(self) -> int:
        return self.warmup_frames

    @property
    def activity_steps(self) -> int:
        return self.activity_frames

    @property
    def memory_steps(self) -> int:
        return self.memory_frames

    @property
    def parity_steps(self) -> int:
        return self.parity_frames

    @property
    def scored(self) -> int:
        return self.accuracy_decisions
