"""The profile: what to run, how long, and the limits (``profiles/*.toml``)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from pydantic import Field, RootModel, ValidationError, model_validator

from edgesnn.config import find_profile, load_toml, parse_toml
from edgesnn.errors import UsageError
from edgesnn.profiler.budgets.workload import FramesWorkload, ProfilePart, Workload


class Limit(ProfilePart):
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


class Budgets(ProfilePart):
    """The budgets of a language model; a missing one is reported without limit.

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
        cascade_mw: Mean power of a wake network that is always on and of the answers that it asks for.
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
    cascade_mw: Limit = Limit()


class FramesBudgets(ProfilePart):
    """The budgets of a network that reads frames; a missing one is reported without limit.

    Attributes:
        frame_ms_p95: One frame.
        decision_ms_p95: All frames of one decision.
        power_mw: Mean total power of frames without pause.
        always_on_mw: Mean total power at the workload's ``frames_per_second``, idle between frames.
        size_mb: Model files the device needs, in 10^6 bytes.
        memory_mb: Peak resident set of a fresh process that runs the model, in 10^6 bytes.
        decisions_right: Share of held-out decisions that are right, 0..1; must lie above the limit.
        points_below_float: Accuracy of the float network less this one's, in points of 0.01; must not be
            above the limit.
        parity_mismatches: Integer outputs that differ from golden's; must not be above the limit.
        synaptic_operations: Effective synaptic operations per frame; must not be above the limit.
        spike_rate: Spikes per neuron and frame; must not be above the limit.
    """

    frame_ms_p95: Limit = Limit()
    decision_ms_p95: Limit = Limit()
    power_mw: Limit = Limit()
    always_on_mw: Limit = Limit()
    size_mb: Limit = Limit()
    memory_mb: Limit = Limit()
    decisions_right: Limit = Limit()
    points_below_float: Limit = Limit()
    parity_mismatches: Limit = Limit()
    synaptic_operations: Limit = Limit()
    spike_rate: Limit = Limit()


class Cell(ProfilePart):
    """The cell that battery life is stated for.

    Attributes:
        voltage_v: Its nominal voltage.
        capacity_mah: Its nominal capacity.
    """

    voltage_v: float = Field(gt=0, le=1000)
    capacity_mah: float = Field(gt=0, le=1_000_000)


class Cascade(ProfilePart):
    """A wake network in front of the language model: how its frames come, and how often there is an event.

    Attributes:
        frames_per_second: How often a frame comes.
        events_per_hour: How often what it waits for really happens.
        background: Class of the windows in which it does not; a decision for another one asks for an answer.
    """

    frames_per_second: float = Field(gt=0, le=1_000_000)
    events_per_hour: float = Field(ge=0, le=36_000)
    background: int = Field(default=0, ge=0)


class TargetOverride(ProfilePart):
    """What is different on one target: the keys that it sets, and no others.

    Attributes:
        workload: Settings in place of the profile's.
        budgets: Budgets in place of the profile's, each as a whole.
    """

    workload: Workload = Workload()
    budgets: Budgets = Budgets()


class FramesOverride(ProfilePart):
    """What is different on one target: the keys that it sets, and no others.

    Attributes:
        workload: Settings in place of the profile's.
        budgets: Budgets in place of the profile's, each as a whole.
    """

    workload: FramesWorkload = FramesWorkload(kind="frames")
    budgets: FramesBudgets = FramesBudgets()

    @model_validator(mode="before")
    @classmethod
    def _kind_is_the_profile_s(cls, given: Any) -> Any:
        """The workload of a target has the profile's kind, which it need not repeat."""
        if not isinstance(given, dict) or not isinstance(given.get("workload"), dict):
            return given
        return {**given, "workload": {"kind": "frames", **given["workload"]}}


class ProfileBase(ProfilePart):
    """What every profile has.

    Attributes:
        schema_name: ``edgesnn.profile/1`` (``schema`` in the file).
        name: Its name.
        cell: The cell that battery life is stated for; None states none.
    """

    schema_name: Literal["edgesnn.profile/1"] = Field(alias="schema")
    name: str = Field(min_length=1, max_length=64)
    cell: Cell | None = None


class Profile(ProfileBase):
    """A profile of language models.

    Attributes:
        workload: What runs.
        budgets: The limits.
        cascade: The wake network that stands in front with ``--cascade``; None has none.
        target: What is different on a target, by the name that ``--target`` is given.
    """

    workload: Workload = Workload()
    budgets: Budgets = Budgets()
    cascade: Cascade | None = None
    target: dict[str, TargetOverride] = {}

    @model_validator(mode="after")
    def _sentences_have_a_rate(self) -> Profile:
        for where in (None, *self.target):
            workload = self.workload if where is None else for_target(self, where).workload
            if workload.kind == "sentence" and workload.sentences_per_hour is None:
                place = "workload" if where is None else f"target.{where}.workload"
                raise ValueError(f"{place}: kind 'sentence' needs sentences_per_hour")
        return self


class FramesProfile(ProfileBase):
    """A profile of networks that read frames: its workload is of kind ``frames``.

    Attributes:
        workload: What runs.
        budgets: The limits.
        target: What is different on a target, by the name that ``--target`` is given.
    """

    workload: FramesWorkload
    budgets: FramesBudgets = FramesBudgets()
    target: dict[str, FramesOverride] = {}


class AnyProfile(RootModel[Profile | FramesProfile]):
    """A profile file: of language models, or of networks that read frames."""


ProfileT = TypeVar("ProfileT", bound=Profile | FramesProfile)


def load_profile(name_or_path: str) -> Profile | FramesProfile:
    """Read a profile by name (``smartglass``) or path.

    Raises:
        ConfigError: There is no such profile, or it has an unknown key, a wrong type or value.
    """
    path: Path = find_profile(name_or_path)
    workload = parse_toml(path)[1].get("workload")
    reads_frames = isinstance(workload, dict) and workload.get("kind") == "frames"
    return load_toml(path, FramesProfile) if reads_frames else load_toml(path, Profile)


def for_target(profile: ProfileT, target: str) -> ProfileT:
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
    return cast(ProfileT, profile.model_copy(update=changes))


def unknown_overrides(profile: Profile | FramesProfile, known: Iterable[str]) -> list[str]:
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


_ModelT = TypeVar("_ModelT", bound=ProfilePart)


def _laid_over(base: _ModelT, own: _ModelT) -> _ModelT:
    """A model with the keys that another one was given."""
    return base.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})


def override(profile: ProfileT, windows: int | None, min_window_seconds: float | None) -> ProfileT:
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
        workload = type(profile.workload).model_validate({**profile.workload.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"{first['loc'][0]}: {first['msg'][0].lower()}{first['msg'][1:]}", actual=first["input"]
        ) from None
    return cast(ProfileT, profile.model_copy(update={"workload": workload}))
