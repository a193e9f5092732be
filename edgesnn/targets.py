"""Targets: what a user names, and which runners stand behind the name.

A target is the name of a device description (``targets/devices/NAME.toml``), which prefers its runners in
an order, or the name of a runner itself; an address may follow a colon: ``adb:SERIAL``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from edgesnn import plugins
from edgesnn.config import StrictModel, find_target, load_toml
from edgesnn.errors import DeviceError, EdgesnnError, UsageError
from edgesnn.names import unknown
from edgesnn.resources import files

NonEmpty = Annotated[str, Field(min_length=1)]


class Limits(StrictModel):
    """What a device can hold; a limit that is not given does not exist.

    Attributes:
        flash_bytes: Memory for code and weights.
        ram_bytes: Memory for state and scratch.
    """

    flash_bytes: Annotated[int, Field(gt=0)] | None = None
    ram_bytes: Annotated[int, Field(gt=0)] | None = None


class Target(StrictModel):
    """A device description.

    Attributes:
        name: Name on the command line; the name of the file.
        description: What it is, one line.
        runners: Names of the runners that drive it, the fastest first.
        limits: What it can hold.
    """

    name: NonEmpty
    description: NonEmpty
    runners: Annotated[list[NonEmpty], Field(min_length=1)]
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class TargetName:
    """What a user typed after ``--target``, in its two parts.

    Attributes:
        name: Device or runner.
        address: What followed the first colon, or None.
    """

    name: str
    address: str | None


def parse_target(text: str) -> TargetName:
    """Split ``name`` or ``name:address``; an address may hold colons itself.

    Raises:
        UsageError: The name or the address is empty.
    """
    name, colon, address = text.strip().partition(":")
    if not name or (colon and not address):
        raise UsageError(
            f"target '{text}' is incomplete", limit="NAME or NAME:ADDRESS", remedy="see: edgesnn list targets"
        )
    return TargetName(name, address or None)


def with_form(text: str, form: str | None) -> str:
    """A target in one of its forms: ``lava`` and ``graph`` is ``lava:graph``.

    Args:
        text: The target.
        form: Name of the form; None leaves the target as it is.

    Raises:
        UsageError: The target has an address already.
    """
    if form is None:
        return text
    if parse_target(text).address is not None:
        raise UsageError(
            f"target '{text}' has an address already, so it takes no form", remedy=f"leave out --form {form}"
        )
    return f"{text}:{form}"


def devices() -> list[Target]:
    """Every device description that ships with edgesnn, sorted by name.

    Raises:
        ConfigError: One of them is wrong.
    """
    return [load_toml(path, Target) for path in files("targets", "devices").values()]


def names() -> list[str]:
    """Every name that ``--target`` takes."""
    return sorted({*files("targets", "devices"), *plugins.names(plugins.RUNNERS)})


def why_not(runner: str) -> str | None:
    """Why a runner cannot run here, or None when it can."""
    try:
        return plugins.load_runner(runner).missing()
    except EdgesnnError as error:
        return error.sentence()
    except Exception as error:
        return f"asking what it misses failed: {type(error).__name__}: {error}"


def resolve_target(text: str) -> list[str]:
    """The runners behind a target that can run here, the fastest first.

    Args:
        text: ``name`` or ``name:address``; a device, a runner or the path of a device description.

    Returns:
        At least one name of a runner.

    Raises:
        UsageError: There is no such target.
        DeviceError: It exists, but none of its runners can run here.
    """
    candidates = _candidates(text)
    reasons = {candidate: why_not(candidate) for candidate in candidates}
    present = [candidate for candidate, reason in reasons.items() if reason is None]
    if not present:
        raise DeviceError(
            f"no runner of target '{text}' can run here",
            actual="; ".join(f"{candidate}: {reason}" for candidate, reason in reasons.items()),
            remedy="see: edgesnn doctor",
        )
    return present


def passed_over(text: str, taken: str | None = None) -> list[str]:
    """One sentence for each faster runner of a target that cannot run here.

    A slower engine is no silent matter: its times are others, though its bits are the same.

    Args:
        text: The target, as `resolve_target` takes it.
        taken: The runner that is used; the fastest that can run where it is left out.

    Raises:
        UsageError: There is no such target.
    """
    candidates = _candidates(text)
    reasons = {candidate: why_not(candidate) for candidate in candidates}
    taken = taken or next((one for one in candidates if reasons[one] is None), None)
    if taken not in candidates:
        return []
    return [
        f"target '{text}' runs on {taken}, not on {faster}, its faster engine: {reasons[faster]}"
        for faster in candidates[: candidates.index(taken)]
        if reasons[faster] is not None
    ]


def _candidates(text: str) -> list[str]:
    """The runners behind a target, the fastest first, whether they can run here or not."""
    if text.endswith(".toml"):
        return load_toml(find_target(text), Target).runners
    name = parse_target(text).name
    if name in files("targets", "devices"):
        return load_toml(find_target(name), Target).runners
    if name in plugins.names(plugins.RUNNERS):
        return [name]
    raise unknown("target", name, names())
