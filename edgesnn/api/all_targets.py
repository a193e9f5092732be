"""Measuring a bundle on everything that is usable here, one record each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgesnn import plugins
from edgesnn.api.bundles import open_bundle
from edgesnn.api.profiling import accuracy_of, profile_bundle, profile_for
from edgesnn.api.progress import Progress, silent
from edgesnn.api.runners import is_remote, runner_misses, runner_of
from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import DeviceError, EdgesnnError, UndecidedError
from edgesnn.profiler.budgets.profile import load_profile
from edgesnn.profiler.results import Absent, AccuracyResult
from edgesnn.record.files import Run
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


def profile_all(
    path: Path,
    *,
    profile: str = "smartglass",
    allow_unmeasured: bool = False,
    threads: int = 1,
    windows: int | None = None,
    min_window_seconds: float | None = None,
    on_progress: Progress = silent,
) -> AllProfiled:
    """Measure a bundle on every target that is usable here.

    A target that fails does not stop the others. Engines are not timed in turns: that is what a profile of a
    single target does.

    Args:
        path: The bundle.
        profile: Name or path of a profile; its settings per target apply.
        allow_unmeasured: Whether missing measurements are excused.
        threads: Threads inside one inference.
        windows: Measurement windows, instead of the profile's.
        min_window_seconds: Least time of a window in seconds, instead of the profile's.
        on_progress: Told what happens.

    Returns:
        A run or an error for every target that was tried, a reason for every other one.

    Raises:
        UserError: The bundle is unusable.
        UsageError: The profile does not exist or is wrong.
    """
    bundle = open_bundle(path)
    whole = load_profile(profile)
    known: dict[int, AccuracyResult | Absent] = {}
    found = AllProfiled()
    for one in candidates(bundle, frozenset(whole.target)):
        if one.skip is not None:
            found.skipped[one.target] = one.skip
            continue
        chosen, _ = profile_for(profile, one.target, windows, min_window_seconds)
        tokens = chosen.workload.accuracy_tokens
        if tokens not in known:
            known[tokens] = accuracy_of(bundle, chosen, on_progress)
        try:
            run = profile_bundle(
                path,
                target=one.target,
                profile=profile,
                allow_unmeasured=allow_unmeasured,
                threads=threads,
                windows=windows,
                min_window_seconds=min_window_seconds,
                accuracy=known[tokens],
                compare=False,
                on_progress=_named(one.target, on_progress),
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
