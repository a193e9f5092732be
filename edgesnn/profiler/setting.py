"""What is profiled, and how: what `edgesnn.profiler.session` is handed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.bundle.bundle import Bundle
from edgesnn.bundle.eval_frames import read_eval_frames
from edgesnn.errors import UsageError
from edgesnn.profiler.budgets.profile import Cascade
from edgesnn.profiler.budgets.running import OnRunning
from edgesnn.profiler.budgets.workload import FramesWorkload
from edgesnn.profiler.counts.memory import Probe
from edgesnn.profiler.latency.session import TextCodec
from edgesnn.profiler.latency.steps import TakenWindows
from edgesnn.profiler.power.cascade import MeasuredWake
from edgesnn.profiler.power.meter_process import MeterProcess
from edgesnn.profiler.power.metered import LoadFeed
from edgesnn.profiler.results import Absent
from edgesnn.profiler.session_store import SessionStore
from edgesnn.runners.base import DeviceInfo, Runner, RunnerOptions

MemoryProbe = Callable[[], Probe]
_SEED = 20_240_601
#: Frames of one pass, about: whole decisions, so more where one of them is longer.
PASS_FRAMES = 512
#: Share of the samples of random frames that are not 0.
_DENSITY = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is measured: a bundle on a device, open.

    Attributes:
        target: The target, as the user named it.
        bundle: The bundle.
        tokenizer: The bundle's tokenizer; None where it reads frames.
        runner: An open runner that holds it.
        device: What `Runner.open` returned.
        options: What `Runner.open` was given.
    """

    target: str
    bundle: Bundle
    tokenizer: TextCodec | None
    runner: Runner
    device: DeviceInfo
    options: RunnerOptions = RunnerOptions()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Setting:
    """How it is measured.

    Attributes:
        allow_unmeasured: Whether missing measurements are excused.
        meter: The meter that streams beside the windows, or None.
        feed: Tells a simulated meter what the device under test draws; None for an instrument.
        store: Keeps finished windows on disk, and has those of an interrupted session; None keeps none.
        taken: Windows taken already, in turns with another program's; None measures them.
        on_running: Told after every window how the budgets stand; None tells nobody.
        wake: The wake network in front of a language model, measured; None without one.
        cascade: How often its frames and events come; there where ``wake`` is.
        memory_probe: Starts one fresh process; None starts it on this machine; Absent where that makes no
            sense, for example on a device behind a cable.
    """

    allow_unmeasured: bool = False
    meter: MeterProcess | None = None
    feed: LoadFeed | None = None
    store: SessionStore | None = None
    taken: TakenWindows | None = None
    on_running: OnRunning | None = None
    wake: MeasuredWake | None = None
    cascade: Cascade | None = None
    memory_probe: MemoryProbe | Absent | None = None


def workload_ids(bundle: Bundle, decision_frames: int | None = None) -> tuple[npt.NDArray[np.integer], str]:
    """What a session runs, and what it is.

    Args:
        bundle: The bundle.
        decision_frames: Frames of a decision, where the bundle reads frames and somebody says.

    Returns:
        Token ids int32 ``[n]`` of the held-out text, or seeded random ones where there is none. Of a network
        that reads frames int8 ``[n, channels]``: held-out windows one after another, whole ones, or seeded
        random frames.
    """
    if bundle.reads_frames:
        return _workload_frames(bundle, decision_frames)
    held_out = bundle.eval_slice()
    if held_out is not None:
        return held_out.ids, "held-out text of the bundle"
    generator = np.random.default_rng(_SEED)
    ids = generator.integers(0, bundle.vocab_size, 4096).astype(np.int32)
    return ids, f"random token ids (seed {_SEED}); the bundle has no held-out text"


def _workload_frames(bundle: Bundle, decision_frames: int | None) -> tuple[npt.NDArray[np.int8], str]:
    held_out, frames = read_eval_frames(bundle), bundle.program().frames
    assert frames is not None
    if held_out is not None:
        some = held_out.first(max(1, PASS_FRAMES // held_out.length))
        text = f"the first {len(some)} held-out windows of the bundle, one after another"
        return some.frames.reshape(-1, frames.channels), text
    length = decision_frames or 1
    generator, shape = np.random.default_rng(_SEED), (max(1, PASS_FRAMES // length) * length, frames.channels)
    samples = generator.integers(frames.low, frames.high, shape, endpoint=True)
    kept = samples * (generator.random(shape) < _DENSITY)
    text = f"random frames (seed {_SEED}, at most {_DENSITY:.0%} not 0); the bundle has no held-out frames"
    return kept.astype(np.int8), text


def repeated(given: npt.NDArray[np.integer], steps: int) -> npt.NDArray[np.integer]:
    """So many steps of what a session runs, from the beginning again where it ends."""
    return given[np.arange(steps) % len(given)]


def decision_frames_of(bundle: Bundle, workload: FramesWorkload) -> int | None:
    """Frames of a decision: those of the held-out windows, or what the profile says; None where nobody does.

    Raises:
        UsageError: The two contradict each other.
    """
    held_out = read_eval_frames(bundle)
    if held_out is None:
        return workload.decision_frames
    if workload.decision_frames not in (None, held_out.length):
        raise UsageError(
            "the profile and the held-out windows of the bundle disagree about the frames of a decision",
            actual=f"decision_frames = {workload.decision_frames}",
            limit=f"{held_out.length} frames in each window",
            remedy="leave decision_frames out, or import the network with windows of that length",
        )
    return held_out.length
