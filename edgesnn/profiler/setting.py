"""What is profiled, and how: what `edgesnn.profiler.session` is handed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.bundle.bundle import Bundle
from edgesnn.profiler.budgets.running import OnRunning
from edgesnn.profiler.counts.memory import Probe
from edgesnn.profiler.latency.session import TextCodec
from edgesnn.profiler.latency.steps import TakenWindows
from edgesnn.profiler.power.meter_process import MeterProcess
from edgesnn.profiler.power.metered import LoadFeed
from edgesnn.profiler.results import Absent
from edgesnn.profiler.session_store import SessionStore
from edgesnn.runners.base import DeviceInfo, Runner, RunnerOptions

MemoryProbe = Callable[[], Probe]
_SEED = 20_240_601


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is measured: a bundle on a device, open.

    Attributes:
        target: The target, as the user named it.
        bundle: The bundle.
        tokenizer: The bundle's tokenizer.
        runner: An open runner that holds it.
        device: What `Runner.open` returned.
        options: What `Runner.open` was given.
    """

    target: str
    bundle: Bundle
    tokenizer: TextCodec
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
        memory_probe: Starts one fresh process; None starts it on this machine; Absent where that makes no
            sense, for example on a device behind a cable.
    """

    allow_unmeasured: bool = False
    meter: MeterProcess | None = None
    feed: LoadFeed | None = None
    store: SessionStore | None = None
    taken: TakenWindows | None = None
    on_running: OnRunning | None = None
    memory_probe: MemoryProbe | Absent | None = None


def workload_ids(bundle: Bundle) -> tuple[npt.NDArray[np.int32], str]:
    """The token ids that a session runs, and what they are.

    Returns:
        The bundle's held-out text, or seeded random ids where it has none.
    """
    held_out = bundle.eval_slice()
    if held_out is not None:
        return held_out.ids, "held-out text of the bundle"
    generator = np.random.default_rng(_SEED)
    ids = generator.integers(0, bundle.vocab_size, 4096).astype(np.int32)
    return ids, f"random token ids (seed {_SEED}); the bundle has no held-out text"
