"""Measuring a bundle on a target."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from edgesnn import plugins
from edgesnn.api.bundles import open_bundle
from edgesnn.api.measuring.cascade import cascade_of, measure_wake
from edgesnn.api.measuring.quality import Accuracy, accuracy_of
from edgesnn.api.measuring.subjects import check_kind, profile_for, stepping_subject
from edgesnn.api.metering import metering
from edgesnn.api.options import ProfileOptions, ProfileSettings, Progress, chosen, silent, takes_settings
from edgesnn.api.references import measure_reference, reference_part
from edgesnn.api.runners import is_remote, runner_misses, runner_of, shown_by
from edgesnn.api.runs import Run, shown, write_run
from edgesnn.api.v1.agreement import v1_notes
from edgesnn.api.verification import verify_open
from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import EdgesnnError, UsageError
from edgesnn.locks import locked
from edgesnn.profiler.budgets.profile import (
    FramesProfile,
    Profile,
)
from edgesnn.profiler.budgets.running import OnRunning
from edgesnn.profiler.document import session_run
from edgesnn.profiler.latency.comparison import compare_forward, no_comparison
from edgesnn.profiler.power.meter_process import OnLive
from edgesnn.profiler.results import Absent
from edgesnn.profiler.session import SessionResult, run_session
from edgesnn.profiler.session_store import SessionStore, remove_session, session_folder
from edgesnn.profiler.setting import Setting, Subject
from edgesnn.record.files import check_output
from edgesnn.record.model import Parity
from edgesnn.record.provenance import collect_provenance
from edgesnn.record.timing import Comparison
from edgesnn.runners.base import Capability, Runner, RunnerOptions, Screen
from edgesnn.runners.recompute import stepping
from edgesnn.targets import parse_target, passed_over, resolve_target

#: Label, quantity and unit of what a device's own screen shows.
_HEADLINE = (
    ("per generated token, median", "latency.p50", " ms"),
    ("95th percentile", "latency.p95", " ms"),
    ("first token", "first_token.p50", " ms"),
    ("tokens per second", "throughput.generated", ""),
    ("per frame, median", "frame.p50", " ms"),
    ("95th percentile", "frame.p95", " ms"),
    ("frames per second", "throughput.frames", ""),
    ("mismatches with golden", "parity.mismatches", ""),
)


@takes_settings
def profile_bundle(
    bundle: Bundle | str | os.PathLike[str],
    options: ProfileOptions | None = None,
    *,
    verified: Sequence[Parity] = (),
    accuracy: Accuracy | None = None,
    on_progress: Progress = silent,
    on_live: OnLive | None = None,
    on_running: OnRunning | None = None,
    **settings: Unpack[ProfileSettings],
) -> Run:
    """Measure a bundle on a target and judge it by a profile.

    Args:
        bundle: A bundle or its folder.
        options: How; the defaults of `ProfileOptions` where it is left out.
        verified: What `verify_bundle` just found for this bundle; a runner that is not in it is compared now.
        accuracy: Quality on golden, where it was just measured under this profile; None measures it now.
        on_progress: Told what happens.
        on_live: Told how the power goes, ten times a second.
        on_running: Told after every window how the budgets stand.
        **settings: Fields of `ProfileOptions`, in place of those of ``options``.

    Returns:
        The run: record and raw arrays, written where ``output`` says so.

    Raises:
        UserError: The bundle is unusable.
        UsageError: Target or profile does not exist or is wrong, or the interrupted session is of
            something else.
        OutputError: The record or finished windows cannot be written.
        DeviceError: The target cannot run here, or failed; or the meter did.

    Examples:
        >>> run = edgesnn.profile_bundle("bundle", target="cpu", profile="quick", output="run.json")
        >>> run.record.verdict.verdict.value
        'PASS'
        >>> run.record.quantities["parity.mismatches"].value
        0.0
    """
    asked = chosen(options, **settings)
    output = None if asked.output is None else Path(asked.output)
    if output is not None:
        check_output(output)
    run = _measured(
        bundle,
        asked,
        None if output is None else session_folder(output),
        verified={result.target: result for result in verified},
        accuracy=accuracy,
        on_progress=on_progress,
        on_live=on_live,
        on_running=on_running,
    )
    if output is not None:
        run = write_run(run, output)
        remove_session(session_folder(output))
    return run


def _measured(
    bundle: Bundle | str | os.PathLike[str],
    asked: ProfileOptions,
    folder: Path | None,
    *,
    verified: Mapping[str, Parity],
    accuracy: Accuracy | None,
    on_progress: Progress,
    on_live: OnLive | None,
    on_running: OnRunning | None,
) -> Run:
    """The run, not written yet; finished windows are kept in ``folder``."""
    target = asked.target
    resolve_target(target)
    profile, notes = profile_for(asked)
    bundle = open_bundle(bundle)
    check_kind(bundle, profile)
    runner_class = runner_of(target, bundle)
    notes = [*notes, *passed_over(target, runner_class.name)]
    cascade = cascade_of(profile, asked)
    beside = None
    if asked.reference is not None:  # first: it is the part that most easily fails
        if isinstance(profile, FramesProfile):
            raise UsageError(
                "a reference is a language model, and this network reads frames",
                actual=f"--reference {asked.reference}",
                remedy="leave it out",
            )
        beside = measure_reference(
            bundle,
            os.fspath(asked.reference),
            profile.workload,
            threads=asked.threads,
            timeout_s=asked.reference_timeout_s,
            on_progress=on_progress,
        )
    options = RunnerOptions(threads=asked.threads, address=parse_target(target).address)
    with ExitStack() as stack:
        stack.enter_context(_device_lock(target))
        wake = None
        if cascade is not None and isinstance(profile, Profile):
            wake = measure_wake(asked, profile, cascade, on_progress=on_progress, on_live=on_live)
        store = None
        if folder is not None:
            stack.enter_context(locked(f"session {folder.absolute()}", f"the session '{folder}'"))
            key = _session_key(bundle, runner_class, profile, asked)
            store = stack.enter_context(SessionStore(folder, key, resume=asked.resume))
        whole = store is not None and len(store.windows) >= profile.workload.windows
        recording = None if store is None else store.recording
        # first of all: a meter that is missing is told before anything long runs
        metered = stack.enter_context(metering(None if whole else asked.meter, on_live, recording))
        runner = stack.enter_context(runner_class())
        device = runner.open(bundle, options)
        if device.instruction_ns is not None and asked.meter is not None:
            raise UsageError(
                f"target '{target}' is emulated and draws no power",
                actual=f"--meter {asked.meter}",
                remedy="leave the meter out, or name a board: serial:PORT",
            )
        process, feed = metered or (None, None)
        tell = shown_by(runner, on_progress)
        parity: Parity | Absent = Absent(f"{runner_class.name} does not run the integer program")
        if Capability.EXACT in runner_class.capabilities:
            name = runner_class.name if options.address is None else f"{runner_class.name}:{options.address}"
            parity = verified.get(runner_class.name) or verify_open(
                runner, name, bundle, tokens=profile.workload.parity_steps, on_progress=on_progress
            )
        if accuracy is None:
            accuracy = accuracy_of(bundle, profile, tell, runner)
        notes += v1_notes(bundle, runner, target, on_progress=tell)
        probe = None
        if is_remote(runner):
            probe = Absent("the device is not this computer")
        elif device.simulated:
            probe = Absent("memory of a simulation is not the device's")
        result = run_session(
            stepping_subject(Subject(target, bundle, None, runner, device, options), profile),
            profile,
            Setting(
                allow_unmeasured=asked.allow_unmeasured,
                meter=process,
                feed=feed,
                store=store,
                on_running=on_running,
                wake=wake,
                cascade=cascade,
                memory_probe=probe,
            ),
            accuracy=accuracy,
            parity=parity,
            on_progress=tell,
        )
        if isinstance(runner, Screen):
            runner.show_result(result.verdict.verdict, _headline(result))
        comparisons = _compare_others(result, on_progress) if asked.compare else []
    return shown(
        session_run(
            result,
            collect_provenance(),
            comparisons=comparisons,
            notes=notes,
            reference=None if beside is None else reference_part(beside, result.quantities),
        )
    )


def _session_key(
    bundle: Bundle, runner: type[Runner], profile: Profile | FramesProfile, asked: ProfileOptions
) -> dict[str, object]:
    """What an interrupted session must agree in to go on. Budgets may change: they are judged at the end."""
    return {
        "bundle": bundle.manifest.program_hash,
        "runner": runner.name,
        "target": asked.target,
        "threads": asked.threads,
        "meter": asked.meter,
        "profile": profile.name,
        **{f"workload.{key}": value for key, value in profile.workload.model_dump(mode="json").items()},
    }


def _device_lock(target: str) -> AbstractContextManager[None]:
    """Nobody else on a device that has an address; this computer may be shared, and its load is recorded."""
    named = parse_target(target)
    device = (named.address or "").partition("?")[0]  # options do not make another device of it
    return locked(f"target {named.name}:{device}", f"the device '{target}'") if device else nullcontext()


def _headline(result: SessionResult) -> list[tuple[str, str]]:
    """The few figures that a device's own screen shows."""
    rows = []
    for label, name, unit in _HEADLINE:
        found = result.quantities.get(name)
        value = None if found is None else found.value
        if value is not None:
            rows.append((label, (f"{value:,.0f}" if value >= 100 else f"{value:.3g}") + unit))
    return rows


def _compare_others(result: SessionResult, on_progress: Progress) -> list[Comparison]:
    """The other engines of this computer beside the one that was profiled; golden is no engine."""
    comparisons: list[Comparison] = []
    subject = result.subject
    # The time that a simulation takes says nothing of what it simulates, beside what runs here in earnest.
    if result.latency is None or subject.device.simulated or is_remote(subject.runner):
        return comparisons
    programless = subject.bundle.without_program is not None
    for plugin in plugins.available(plugins.RUNNERS):
        if plugin.name in ("golden", subject.runner.name):
            continue
        if plugin.error is not None:
            comparisons.append(no_comparison(plugin.name, Absent(plugin.error)))
            continue
        runner_class = plugins.load_runner(plugin.name)
        comparable = not is_remote(runner_class) and not getattr(runner_class, "simulated", False)
        steps = {Capability.STEP, Capability.SEQUENCE} if programless else {Capability.STEP}
        if not steps & runner_class.capabilities or not comparable:
            continue
        if subject.bundle.reads_frames and Capability.FRAMES not in runner_class.capabilities:
            continue
        reason = runner_misses(runner_class, subject.bundle)
        if reason is not None and programless:
            continue  # the rule's sentence stands in the record once
        if reason is not None:
            comparisons.append(no_comparison(plugin.name, Absent(reason)))
            continue
        try:
            with runner_class() as runner:
                # An address belongs to the target that was named.
                options = RunnerOptions(threads=subject.options.threads)
                device = runner.open(subject.bundle, options)
                stepper = (
                    runner if result.latency.context is None else stepping(runner, result.latency.context)
                )
                other = replace(subject, target=plugin.name, runner=stepper, device=device, options=options)
                found = compare_forward(other, result, on_progress=on_progress, subject_runner=subject.runner)
                comparisons.append(found)
        except EdgesnnError as error:
            comparisons.append(no_comparison(plugin.name, Absent(error.what)))
    return comparisons
