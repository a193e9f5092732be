"""Measuring a bundle on everything that is usable here, one record each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Unpack

from edgesnn import plugins
from edgesnn.api.bundles import open_bundle
from edgesnn.api.measuring.quality import Accuracy, accuracy_of
from edgesnn.api.measuring.subjects import check_kind, profile_for
from edgesnn.api.options import ProfileOptions, ProfileSettings, Progress, chosen, silent, takes_settings
from edgesnn.api.profiling import profile_bundle
from edgesnn.api.runners import is_remote, runner_misses, runner_of
from edgesnn.api.runs import Run
from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import DeviceError, EdgesnnError, UndecidedError
from edgesnn.profiler.budgets.profile import load_profile
from edgesnn.record.profiles import worst
from edgesnn.runners.base import Capability
from edgesnn.targets import devices, resolve_target, why_not

GOLDEN = "golden"
IS_GOLDEN = "is the definition that the others are compared with, no engine; profile it by name"
BASELINE = "a float32 baseline: it does not run the integer program, so it does not gate"


@dataclass(frozen=True, slots=True)
class TargetCandidate:
    """One target that could be profiled.

    Attributes:
        target: As ``--target`` takes it.
        skip: Why it is left out, or None.
        gates: Whether its verdict counts for the whole.
    """

    target: str
    skip: str | None = None
    gates: bool = True


@dataclass(frozen=True, slots=True)
class Profiled:
    """One target that was tried.

    Attributes:
        target: The target.
        gates: Whether its exit code counts for the whole.
        run: Its run; None with `error`.
        error: Why there is no run.
    """

    target: str
    gates: bool
    run: Run | None = None
    error: EdgesnnError | None = None

    @property
    def exit_code(self) -> int:
        """Of the record's verdict, or of the error."""
        if self.run is not None:
            return self.run.record.verdict.exit_code
        return DeviceError.exit_code if self.error is None else self.error.exit_code


@dataclass(slots=True)
class AllProfiled:
    """Every target of this machine.

    Attributes:
        profiled: Those that were tried, in order.
        skipped: Reasons by target of those that were not.

    Examples:
        >>> nothing_tried = edgesnn.AllProfiled(skipped={"lava": "not installed"})
        >>> nothing_tried.exit_code
        6
    """

    profiled: list[Profiled] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """The worst of those that gate; 6 when none of them was tried, because nothing was decided."""
        codes = [one.exit_code for one in self.profiled if one.gates]
        return worst(codes) if codes else UndecidedError.exit_code


def candidates(bundle: Bundle, own_settings: frozenset[str] = frozenset()) -> list[TargetCandidate]:
    """Every runner and every device description, with the reason why it is left out.

    Args:
        bundle: The bundle.
        own_settings: Targets that the profile has settings for. A device whose runner is profiled anyway by
            its own name is left out, unless it is one of these.
    """
    found = list(_runners(bundle))
    usable = {one.target for one in found if one.skip is None}
    for device in devices():
        if device.name in {one.target for one in found}:
            continue
        try:
            resolve_target(device.name)
            runner = runner_of(device.name, bundle)
            reason = runner_misses(runner, bundle)
        except EdgesnnError as error:
            found.append(TargetCandidate(device.name, error.sentence()))
            continue
        if reason is None and runner.name in usable and device.name not in own_settings:
            reason = f"is '{runner.name}' here, which is profiled by its own name"
        found.append(TargetCandidate(device.name, reason))
    return found


@takes_settings
def profile_all(
    bundle: Bundle | str | os.PathLike[str],
    options: ProfileOptions | None = None,
    *,
    on_progress: Progress = silent,
    **settings: Unpack[ProfileSettings],
) -> AllProfiled:
    """Measure a bundle on every target that is usable here.

    A target that fails does not stop the others. Engines are not timed in turns: that is what a profile of a
    single target does.

    Args:
        bundle: A bundle or its folder.
        options: How; the profile's settings per target apply. It names no target, no reference and no output.
        on_progress: Told what happens.
        **settings: Fields of `ProfileOptions`, in place of those of ``options``.

    Returns:
        A run or an error for every target that was tried, a reason for every other one.

    Raises:
        UserError: The bundle is unusable.
        UsageError: The profile does not exist or is wrong, or an option makes no sense here.

    Examples:
        >>> found = edgesnn.profile_all("bundle", profile="quick", windows=1)
        >>> {one.target: one.exit_code for one in found.profiled}
        {'native': 0, 'onnxruntime': 0}
        >>> found.skipped["golden"]
        'is the definition that the others are compared with, no engine; profile it by name'
    """
    asked = chosen(options, **settings)
    asked.refuse("a profile of every target takes no", "target", "cascade", "reference", "output")
    bundle = open_bundle(bundle)
    whole = load_profile(os.fspath(asked.profile))
    known: dict[int, Accuracy] = {}
    found = AllProfiled()
    for one in candidates(bundle, frozenset(whole.target)):
        if one.skip is not None:
            found.skipped[one.target] = one.skip
            continue
        own = replace(asked, target=one.target, compare=False)
        profile, _ = profile_for(own)
        check_kind(bundle, profile)
        tokens = profile.workload.scored
        if tokens not in known and bundle.without_program is None:
            known[tokens] = accuracy_of(bundle, profile, on_progress)
        try:
            run = profile_bundle(
                bundle, own, accuracy=known.get(tokens), on_progress=_named(one.target, on_progress)
            )
        except EdgesnnError as error:
            found.profiled.append(Profiled(one.target, one.gates, error=error))
        else:
            found.profiled.append(Profiled(one.target, one.gates, run=run))
    return found


def _runners(bundle: Bundle) -> Iterator[TargetCandidate]:
    for name in plugins.names(plugins.RUNNERS):
        if name == GOLDEN:
            yield TargetCandidate(name, IS_GOLDEN)
            continue
        reason = why_not(name)
        if reason is not None:
            yield TargetCandidate(name, reason)
            continue
        runner = plugins.load_runner(name)
        gates = Capability.EXACT in runner.capabilities
        misses = runner_misses(runner, bundle)
        if misses is None and is_remote(runner):
            misses = f"a device of its own: profiled when named, --target {name}"
        yield TargetCandidate(name, misses, gates)


def _named(target: str, on_progress: Progress) -> Progress:
    return lambda stage, done, total: on_progress(f"{target}: {stage}", done, total)
