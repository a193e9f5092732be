"""The profile: what to run, how long, and the limits (``profiles/*.toml``)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError, model_validator

from edgesnn.config import StrictModel, find_profile, load_toml
from edgesnn.errors import UsageError


class _Strict(StrictModel):
    model_config = ConfigDict(allow_inf_nan=False)


class Workload(_Strict):
    """What runs while the profiler watches.

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
        windows: Measurement windows.
        min_window_seconds: Least time of a window's counted steps.
        min_window_tokens: Least number of a window's counted steps.
        warmup_tokens: Least number of steps before anything is timed.
        first_tokens: Repetitions of prompt to first token; 0 leaves it out.
        activity_tokens: Tokens over which golden counts activity; 0 leaves it out.
        memory_probes: Fresh processes that are started for memory, load time and cold start; 0 leaves it out.
        memory_tokens: Tokens that each of them runs.
        memory_timeout_seconds: Deadline of one such process.
        parity_tokens: Tokens compared with golden.
        accuracy_tokens: Most tokens of held-out text that are scored; 0 leaves accuracy out.
        metered_window_seconds: Least time of a window that a power meter watches.
        idle_seconds: Idle time that the meter watches before and after each of them.
    """

    kind: Literal["token", "prompt", "sentence"] = "token"
    sentences_per_hour: float | None = Field(default=None, gt=0, le=36_000)
    tokens_per_sentence: int = Field(default=16, ge=1, le=4096)
    prompt_tokens: int = Field(default=64, ge=1, le=4096)
    generated_tokens: int = Field(default=64, ge=1, le=4096)
    context: int | None = Field(default=None, ge=1, le=4096)
    windows: int = Field(default=5, ge=1, le=1000)
    min_window_seconds: float = Field(default=2.0, ge=0, le=3600)
    min_window_tokens: int = Field(default=64, ge=1, le=1_000_000)
    warmup_tokens: int = Field(default=32, ge=1, le=100_000)
    first_tokens: int = Field(default=120, ge=0, le=100_000)
    activity_tokens: int = Field(default=512, ge=0, le=100_000)
    memory_probes: int = Field(default=3, ge=0, le=100)
    memory_tokens: int = Field(default=32, ge=1, le=100_000)
    memory_timeout_seconds: float = Field(default=120.0, gt=0, le=3600)
    parity_tokens: int = Field(default=512, ge=1, le=1_000_000)
    accuracy_tokens: int = Field(default=20_000, ge=0)
    metered_window_seconds: float = Field(default=10.0, gt=0, le=3600)
    idle_seconds: float = Field(default=5.0, gt=0, le=3600)

    @property
    def answer_tokens(self) -> int:
        """Tokens generated per answer: those of a sentence, or those after a prompt."""
        return self.tokens_per_sentence if self.kind == "sentence" else self.generated_tokens


class Limit(_Strict):
    """One budget of a profile.

    Attributes:
        limit: The limit, in the unit of the budget's name; None only reports.
        required: Whether it gates: exceeded is exit 3, not decided is exit 6.
    """

    limit: float | None = None
    required: bool = False

    @model_validator(mode="after")
    def _required_needs_a_limit(self) -> Limit:
        if self.required and self.limit is None:
            raise ValueError("a required budget needs a limit")
        return self


class Budgets(_Strict):
    """The budgets; a missing one is reported without limit.

    Attributes:
        latency_ms_p95: One generated token with full context: tokenise share, forward, text decode.
        first_token_ms_p95: Prompt to first token.
        power_mw: Mean total power of continuous generation.
        size_mb: Model files the device needs, in 10^6 bytes.
        memory_mb: Peak resident set of a fresh process that runs the model, in 10^6 bytes.
        retention: Top-1 of the student over top-1 of the teacher, 0..1; must lie above the limit.
        parity_mismatches: Integer logits that differ from golden's; must not be above the limit.
        bits_per_byte: Cross entropy on held-out text.
        top1: Share of next tokens that were right, 0..1; must lie above the limit.
        synaptic_operations: Effective synaptic operations per token; must not be above the limit.
        spike_rate: Spikes per neuron and inner timestep, 0..1; must not be above the limit.
    """

    latency_ms_p95: Limit = Limit()
    first_token_ms_p95: Limit = Limit()
    power_mw: Limit = Limit()
    size_mb: Limit = Limit()
    memory_mb: Limit = Limit()
    retention: Limit = Limit()
    parity_mismatches: Limit = Limit()
    bits_per_byte: Limit = Limit()
    top1: Limit = Limit()
    synaptic_operations: Limit = Limit()
    spike_rate: Limit = Limit()


class Cell(_Strict):
    """The cell that battery life is stated for.

    Attributes:
        voltage_v: Its nominal voltage.
        capacity_mah: Its nominal capacity.
    """

    voltage_v: float = Field(gt=0, le=1000)
    capacity_mah: float = Field(gt=0, le=1_000_000)


class TargetOverride(_Strict):
    """What is different on one target: the keys that it sets, and no others.

    Attributes:
        workload: Settings in place of the profile's.
        budgets: Budgets in place of the profile's, each as a whole.
    """

    workload: Workload = Workload()
    budgets: Budgets = Budgets()


class Profile(_Strict):
    """One profile.

    Attributes:
        schema_name: ``edgesnn.profile/1`` (``schema`` in the file).
        name: Its name.
        workload: What runs.
        budgets: The limits.
        cell: The cell that battery life is stated for; None states none.
        target: What is different on a target, by the name that ``--target`` is given.
    """

    schema_name: Literal["edgesnn.profile/1"] = Field(alias="schema")
    name: str = Field(min_length=1, max_length=64)
    workload: Workload = Workload()
    budgets: Budgets = Budgets()
    cell: Cell | None = None
    target: dict[str, TargetOverride] = {}

    @model_validator(mode="after")
    def _sentences_have_a_rate(self) -> Profile:
        for where in (None, *self.target):
            workload = self.workload if where is None else for_target(self, where).workload
            if workload.kind == "sentence" and workload.sentences_per_hour is None:
                place = "workload" if where is None else f"target.{where}.workload"
                raise ValueError(f"{place}: kind 'sentence' needs sentences_per_hour")
        return self


def load_profile(name_or_path: str) -> Profile:
    """Read a profile by name (``smartglass``) or path.

    Raises:
        ConfigError: There is no such profile, or it has an unknown key, a wrong type or value.
    """
    path: Path = find_profile(name_or_path)
    return load_toml(path, Profile)


def for_target(profile: Profile, target: str) -> Profile:
    """The profile as it applies to one target.

    Args:
        profile: The profile.
        target: What ``--target`` was given; an address after its colon does not count.

    Returns:
        The profile with the target's settings laid over it, and no overrides left.
    """
    own = profile.target.get(target) or profile.target.get(target.partition(":")[0])
    changes: dict[str, object] = {"target": {}}
    if own is not None:
        changes["workload"] = _laid_over(profile.workload, own.workload)
        changes["budgets"] = _laid_over(profile.budgets, own.budgets)
    return profile.model_copy(update=changes)


def unknown_overrides(profile: Profile, known: Iterable[str]) -> list[str]:
    """One sentence for each override whose target nobody knows: a slip of the pen would gate nothing.

    Args:
        profile: The profile, overrides included.
        known: Names that ``--target`` takes here.
    """
    names = {*known}
    return [
        f"the profile sets values for target '{name}', which is no target here"
        for name in profile.target
        if name not in names
    ]


_ModelT = TypeVar("_ModelT", bound=_Strict)


def _laid_over(base: _ModelT, own: _ModelT) -> _ModelT:
    """A model with the keys that another one was given."""
    return base.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})


def override(profile: Profile, windows: int | None, min_window_seconds: float | None) -> Profile:
    """The profile with the flags of the command line laid over its workload.

    Args:
        profile: The profile.
        windows: Measurement windows, or None to keep the profile's.
        min_window_seconds: Least time of a window, or None likewise.

    Raises:
        UsageError: A value is out of range.
    """
    changes: dict[str, object] = {
        key: value
        for key, value in (("windows", windows), ("min_window_seconds", min_window_seconds))
        if value is not None
    }
    try:
        workload = Workload.model_validate({**profile.workload.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"{first['loc'][0]}: {first['msg'][0].lower()}{first['msg'][1:]}", actual=first["input"]
        ) from None
    return profile.model_copy(update={"workload": workload})
