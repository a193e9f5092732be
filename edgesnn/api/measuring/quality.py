"""Quality on golden, and parity with it: what a profile knows before its windows."""

from __future__ import annotations

from edgesnn.api.options import Progress
from edgesnn.api.v1.agreement import v1_accuracy
from edgesnn.api.verification import verify_bundle
from edgesnn.bundle.bundle import Bundle
from edgesnn.bundle.eval_frames import read_eval_frames
from edgesnn.profiler.budgets.profile import FramesProfile, Profile
from edgesnn.profiler.quality.accuracy import measure_accuracy
from edgesnn.profiler.quality.decisions import NO_WINDOWS, DecisionAccuracy, measure_decisions
from edgesnn.profiler.results import Absent, AccuracyResult
from edgesnn.record.model import Parity
from edgesnn.runners.base import Capability, Runner

#: Quality on golden: of text, or of decisions; or why there is none.
Accuracy = AccuracyResult | DecisionAccuracy | Absent


def parity_of(
    bundle: Bundle,
    target: str,
    runner: type[Runner],
    profile: Profile | FramesProfile,
    on_progress: Progress,
) -> Parity | Absent:
    """How a target compares with golden, or why it does not."""
    if Capability.EXACT not in runner.capabilities:
        return Absent(f"{runner.name} does not run the integer program")
    return verify_bundle(bundle, [target], tokens=profile.workload.parity_steps, on_progress=on_progress)[0]


def accuracy_of(
    bundle: Bundle, profile: Profile | FramesProfile, on_progress: Progress, runner: Runner | None = None
) -> Accuracy:
    """Quality on golden over as many tokens or decisions as the profile asks for.

    Args:
        bundle: The bundle.
        profile: Says how many.
        on_progress: Told what happens.
        runner: What scores a student without integer program, open; the fastest of this computer by default.
    """
    if isinstance(profile, FramesProfile):
        return decisions_on_golden(bundle, profile.workload.accuracy_decisions, on_progress)
    return text_accuracy(bundle, profile, on_progress, runner)


def text_accuracy(
    bundle: Bundle, profile: Profile, on_progress: Progress, runner: Runner | None = None
) -> AccuracyResult | Absent:
    """Quality on held-out text; arguments are those of `accuracy_of`."""
    tokens = profile.workload.accuracy_tokens
    if tokens == 0:
        return Absent("the profile asks for no accuracy (accuracy_tokens = 0)")
    held_out = bundle.eval_slice()
    if held_out is None:
        return Absent("the bundle has no held-out text")
    scored = held_out.first(tokens)
    whole = len(scored.ids) == len(held_out.ids)
    text = "held-out text of the bundle" if whole else "first part of the held-out text of the bundle"
    if bundle.without_program is not None:
        return v1_accuracy(bundle, scored, text, on_progress, runner)
    return measure_accuracy(
        bundle.program(),
        scored,
        text,
        on_progress=lambda done, total: on_progress("accuracy on golden", done, total),
    )


def decisions_on_golden(bundle: Bundle, most: int, on_progress: Progress) -> DecisionAccuracy | Absent:
    """What golden decides on the held-out windows of a bundle.

    Args:
        bundle: A bundle that reads frames.
        most: Windows, at most; 0 scores none.
        on_progress: Told what happens.
    """
    if most == 0:
        return Absent("the profile asks for no accuracy (accuracy_decisions = 0)")
    held_out = read_eval_frames(bundle)
    if held_out is None:
        return Absent(NO_WINDOWS)
    scored = held_out.first(most)
    text = "held-out windows of the bundle"
    return measure_decisions(
        bundle.program(),
        scored,
        text if len(scored) == len(held_out) else f"the first {len(scored):,} {text}",
        lambda done, total: on_progress("decisions of golden", done, total),
    )
