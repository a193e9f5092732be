"""The wake network of a cascade, measured on the target of the language model that it stands in front of."""

from __future__ import annotations

import os
from contextlib import ExitStack

from edgesnn.api.bundles import open_bundle
from edgesnn.api.measuring.quality import decisions_on_golden
from edgesnn.api.metering import metering
from edgesnn.api.options import ProfileOptions, Progress
from edgesnn.api.runners import runner_of
from edgesnn.errors import UsageError
from edgesnn.profiler.budgets.profile import Cascade, FramesProfile, Profile
from edgesnn.profiler.budgets.workload import FramesWorkload
from edgesnn.profiler.latency.session import LatencySession
from edgesnn.profiler.power.cascade import MeasuredWake
from edgesnn.profiler.power.meter_process import OnLive
from edgesnn.profiler.results import Absent
from edgesnn.profiler.session import run_session
from edgesnn.profiler.setting import Setting, Subject
from edgesnn.record.quantities import Kind
from edgesnn.runners.base import RunnerOptions
from edgesnn.targets import parse_target


def cascade_of(profile: Profile | FramesProfile, asked: ProfileOptions) -> Cascade | None:
    """The cascade that a profile is asked for, or None without ``cascade``.

    Raises:
        UsageError: The profile does not say what a cascade needs.
    """
    if asked.cascade is None:
        return None
    if isinstance(profile, FramesProfile) or profile.cascade is None or profile.workload.kind == "token":
        raise UsageError(
            f"profile '{profile.name}' says nothing of a cascade",
            actual=f"--cascade {asked.cascade}",
            limit="a profile of a language model with a table [cascade] and a workload of whole answers",
            remedy="take one, for example --profile cascade",
        )
    return profile.cascade


def measure_wake(
    asked: ProfileOptions,
    profile: Profile,
    cascade: Cascade,
    *,
    on_progress: Progress,
    on_live: OnLive | None,
) -> MeasuredWake:
    """Measure a wake network as the profile measures its language model: target, meter, windows.

    Args:
        asked: Names the bundle of the wake network, the target and the meter.
        profile: Of the language model.
        cascade: How often frames come.
        on_progress: Told what happens.
        on_live: Told how the power goes.

    Raises:
        UserError: The bundle is unusable.
        UsageError: It reads no frames.
        DeviceError: The target or the meter failed.
    """
    assert asked.cascade is not None
    bundle = open_bundle(os.fspath(asked.cascade))
    if not bundle.reads_frames:
        raise UsageError(
            f"'{bundle.name}' is a language model, and a wake network reads frames",
            actual=f"--cascade {asked.cascade}",
            remedy="name a bundle that edgesnn import made",
        )
    shared = {
        name: getattr(profile.workload, name)
        for name in ("windows", "min_window_seconds", "metered_window_seconds", "idle_seconds")
    }
    workload = FramesWorkload(
        kind="frames", frames_per_second=cascade.frames_per_second, memory_probes=0, **shared
    )
    own = FramesProfile(schema=profile.schema_name, name=profile.name, workload=workload)
    kind = runner_of(asked.target, bundle)
    options = RunnerOptions(threads=asked.threads, address=parse_target(asked.target).address)

    def tell(stage: str, done: int, total: int) -> None:
        on_progress(f"wake network: {stage}", done, total)

    accuracy = decisions_on_golden(bundle, workload.accuracy_decisions, tell)
    with ExitStack() as stack:
        process, feed = stack.enter_context(metering(asked.meter, on_live)) or (None, None)
        runner = stack.enter_context(kind())
        device = runner.open(bundle, options)
        result = run_session(
            Subject(asked.target, bundle, None, runner, device, options),
            own,
            Setting(meter=process, feed=feed),
            accuracy=accuracy,
            parity=Absent("the wake network is compared with golden by its own profile"),
            on_progress=tell,
        )
    timed = result.timed
    assert not isinstance(timed, LatencySession)
    simulated = device.simulated or (result.power is not None and result.power.kind is Kind.SIMULATED)
    return MeasuredWake(
        name=bundle.name,
        program_hash=bundle.manifest.program_hash,
        quantities=result.quantities,
        accuracy=accuracy,
        timed=timed,
        metered=result.metered,
        simulated=simulated,
    )
