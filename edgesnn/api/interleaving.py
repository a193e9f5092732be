"""Two bundles on one target in one session: their windows take turns, so the machine's moods hit both."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Unpack

import numpy as np
import numpy.typing as npt

from edgesnn import plugins
from edgesnn.api.bundles import open_bundle
from edgesnn.api.measuring.quality import Accuracy, accuracy_of, parity_of
from edgesnn.api.measuring.subjects import check_kind, profile_for, stepping_subject
from edgesnn.api.options import ProfileOptions, ProfileSettings, Progress, chosen, silent, takes_settings
from edgesnn.api.runners import runner_misses
from edgesnn.api.runs import Run, shown
from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import DeviceError, UsageError
from edgesnn.profiler.budgets.profile import FramesProfile, Profile
from edgesnn.profiler.budgets.workload import FramesWorkload, Workload
from edgesnn.profiler.document import session_run
from edgesnn.profiler.latency.frames import warm_frames
from edgesnn.profiler.latency.ratio import interleaved_order, ratio_of_windows
from edgesnn.profiler.latency.spread import means, medians, offsets, outliers, window_drift
from edgesnn.profiler.latency.steps import MeasuredWindow, TakenWindows, measure_windows, require_steps
from edgesnn.profiler.latency.warmup import warm_up
from edgesnn.profiler.results import Absent
from edgesnn.profiler.session import run_session
from edgesnn.profiler.setting import Setting, Subject, decision_frames_of, workload_ids
from edgesnn.record.model import Parity
from edgesnn.record.provenance import collect_provenance
from edgesnn.record.timing import Interleaving, RatioFigure, Role, WarmUp
from edgesnn.runners.base import Runner, RunnerOptions
from edgesnn.targets import parse_target, passed_over, resolve_target

ROLES: tuple[Role, Role] = ("A", "B")


@dataclass(frozen=True, slots=True)
class Interleaved:
    """Two runs of one session.

    Attributes:
        a: The first bundle's run.
        b: The second's.
        median_ratio: Median forward pass of a window, B over A.
        mean_ratio: Mean forward pass of a window, B over A.
        statement: The ratio of medians in words.

    Examples:
        >>> found = edgesnn.profile_interleaved("bundle", "bundle", profile="quick")
        >>> found.median_ratio.windows_a
        2
        >>> print(found.statement)
        median time per step: ...
    """

    a: Run
    b: Run
    median_ratio: RatioFigure
    mean_ratio: RatioFigure
    statement: str


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What both sides share."""

    target: str
    kind: type[Runner]
    profile: Profile | FramesProfile
    options: RunnerOptions
    allow_unmeasured: bool
    notes: list[str]
    on_progress: Progress


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One of the two, open and warm."""

    role: Role
    subject: Subject
    accuracy: Accuracy
    parity: Parity | Absent
    warm: WarmUp
    ids: npt.NDArray[np.integer]
    windows: list[MeasuredWindow] = field(default_factory=list)


@takes_settings
def profile_interleaved(
    a: Bundle | str | os.PathLike[str],
    b: Bundle | str | os.PathLike[str],
    options: ProfileOptions | None = None,
    *,
    seed: int = 0,
    on_progress: Progress = silent,
    **settings: Unpack[ProfileSettings],
) -> Interleaved:
    """Measure two bundles on one target in turns, and compare them.

    Args:
        a: The first bundle or its folder, for example the base of a change.
        b: The second, for example its head.
        options: How; the target's fastest runner that can run both is taken, and an odd number of windows is
            rounded up. It names no meter, no reference and no output.
        seed: Seed of the order.
        on_progress: Told what happens.
        **settings: Fields of `ProfileOptions`, in place of those of ``options``.

    Returns:
        Both runs, each a full record that names the session, and the ratio.

    Raises:
        UserError: A bundle is unusable.
        UsageError: Target or profile does not exist, no runner can run both bundles, or an option makes no
            sense here.
        DeviceError: The target cannot run here, or failed.

    Examples:
        >>> found = edgesnn.profile_interleaved("bundle", "bundle", profile="quick")
        >>> found.a.record.interleaving.order in ("ABBA", "BAAB")
        True
    """
    asked = chosen(options, **settings)
    asked.refuse("windows in turns take no", "meter", "cascade", "reference", "output")
    target = asked.target
    resolve_target(target)
    profile, notes = profile_for(asked)
    order = interleaved_order(profile.workload.windows, seed)
    workload = profile.workload.model_copy(update={"windows": order.count("A")})
    bundles = [open_bundle(one) for one in (a, b)]
    for bundle in bundles:
        check_kind(bundle, profile)
    kind = _runner_of_both(target, bundles)
    plan = _Plan(
        target=target,
        kind=kind,
        profile=profile.model_copy(update={"workload": workload}),
        options=RunnerOptions(threads=asked.threads, address=parse_target(target).address),
        allow_unmeasured=asked.allow_unmeasured,
        notes=[*notes, *passed_over(target, kind.name)],
        on_progress=on_progress,
    )
    with ExitStack() as stack:
        first, second = (_opened(stack, plan, r, one) for r, one in zip(ROLES, bundles, strict=True))
        _take_turns({"A": first, "B": second}, plan, order)
        median = ratio_of_windows(medians(first.windows), medians(second.windows))
        mean = ratio_of_windows(means(first.windows), means(second.windows))
        named = (f"A ({first.subject.bundle.name})", f"B ({second.subject.bundle.name})")
        statement = median.statement("median time per step", *named)
        shared = uuid.uuid4().hex

        def record(side: _Side, other: _Side) -> Run:
            values, bundle = medians(side.windows), other.subject.bundle
            interleaving = Interleaving(
                id=shared,
                role=side.role,
                order=order,
                seed=seed,
                other_name=bundle.name,
                other_program_hash=bundle.manifest.program_hash,
                median_ratio=median,
                mean_ratio=mean,
                statement=statement,
                drift=window_drift(values, offsets(side.windows)),
                outliers=outliers(values),
            )
            return _finished(plan, side, interleaving)

        runs = [record(first, second), record(second, first)]
    return Interleaved(runs[0], runs[1], median, mean, statement)


def _runner_of_both(target: str, bundles: Sequence[Bundle]) -> type[Runner]:
    """The fastest runner of a target that can run both bundles."""
    reasons = {}
    for name in resolve_target(target):
        kind = plugins.load_runner(name)
        found = [f"{bundle.name}: {why}" for bundle in bundles if (why := runner_misses(kind, bundle))]
        if not found:
            return kind
        reasons[name] = ", ".join(found)
    raise UsageError(
        f"no runner of target '{target}' can run both bundles",
        actual="; ".join(f"{name}: {reason}" for name, reason in reasons.items()),
        remedy="export both with the same formats",
    )


def _opened(stack: ExitStack, plan: _Plan, role: Role, bundle: Bundle) -> _Side:
    """One side, checked against golden, open and warm."""
    address = plan.options.address
    target = plan.kind.name if address is None else f"{plan.kind.name}:{address}"
    parity = parity_of(bundle, target, plan.kind, plan.profile, plan.on_progress)
    runner = stack.enter_context(plan.kind())
    try:
        device = runner.open(bundle, plan.options)
    except DeviceError as error:
        if role == ROLES[0]:
            raise
        raise DeviceError(
            f"target '{plan.target}' does not hold two bundles at once, so windows cannot take turns",
            actual=error.what,
            remedy="profile them one after the other",
        ) from error
    accuracy = accuracy_of(bundle, plan.profile, plan.on_progress, runner)
    subject = stepping_subject(Subject(plan.target, bundle, None, runner, device, plan.options), plan.profile)
    require_steps(subject.runner)
    workload = plan.profile.workload
    frames = decision_frames_of(bundle, workload) if isinstance(workload, FramesWorkload) else None
    ids, _ = workload_ids(bundle, frames)
    warming = warm_up if frames is None else warm_frames
    warm = warming(subject.runner, ids, workload.warmup_steps)
    return _Side(role, subject, accuracy, parity, warm, ids)


def _take_turns(sides: Mapping[str, _Side], plan: _Plan, order: str) -> None:
    one = plan.profile.workload.model_copy(update={"windows": 1})
    for number, role in enumerate(order):
        plan.on_progress(f"windows in turns, {role}", number, len(order))
        side = sides[role]
        context = 1
        if isinstance(one, Workload):
            context = one.context or side.subject.bundle.context_window
        side.windows.extend(
            measure_windows(
                side.subject.runner, one, side.ids, context=context, warm=side.warm, on_progress=silent
            )
        )
    plan.on_progress("windows in turns", len(order), len(order))


def _finished(plan: _Plan, side: _Side, interleaving: Interleaving) -> Run:
    """The full record of one side."""
    result = run_session(
        side.subject,
        plan.profile,
        Setting(allow_unmeasured=plan.allow_unmeasured, taken=TakenWindows(side.warm, tuple(side.windows))),
        accuracy=side.accuracy,
        parity=side.parity,
        on_progress=lambda stage, done, total: plan.on_progress(f"{side.role}: {stage}", done, total),
    )
    return shown(session_run(result, collect_provenance(), notes=plan.notes, interleaving=interleaving))
