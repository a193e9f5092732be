"""The contract of a runner: one device that holds one bundle (group ``edgesnn.runners``).

A `Capability` says what a runner can do; callers ask before they call. Methods without the capability are
never called by edgesnn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from edgesnn.bundle.bundle import Bundle
from edgesnn.closing import Closing
from edgesnn.program.state import State

IntArray = npt.NDArray[np.integer]

#: Most tokens that `Choosing.best` is asked for.
BEST_MAX = 64


class Capability(StrEnum):
    """What a runner can do."""

    STEP = "step"  #: one token at a time, with state
    SEQUENCE = "sequence"  #: whole sequences
    PREFILL = "prefill"  #: whole sequences that leave a state for `step`
    STATE = "state"  #: the context can be saved, restored, and continued by a whole prompt
    BATCH = "batch"  #: more than one sequence side by side
    LOGITS = "logits"  #: all logits come back
    EXACT = "exact"  #: executes the integer program; parity with golden is required
    BEST = "best"  #: the best tokens without all logits: see `Choosing`
    FRAMES = "frames"  #: runs programs that read frames: they stand where ids do, see `Runner`
    INTERMEDIATE = "intermediate"  #: can report values inside the network
    DEVICE_CLOCK = "device-clock"  #: times are taken by the device's own clock
    MARKER = "marker"  #: raises a line while a window runs
    PATTERN = "pattern"  #: can play a coded load
    REMOTE = "remote"  #: the device is not this computer: used when it is named, opened once


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """How a runner executes.

    Attributes:
        threads: Threads inside one inference.
        address: What followed the colon of the target, for example a serial number.
    """

    threads: int = 1
    address: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What runs, and on what.

    Attributes:
        device: Name of the device, for example the CPU's model name.
        engine: The library that executes, for example ``onnxruntime``.
        engine_version: Its version.
        simulated: Whether the device is a simulation.
        clock_hz: Resolution of the clock that times come from.
        load_ms: Time to open the model, host clock.
        model_files: Names of the bundle's files that this device needs.
        model_bytes: Their size in bytes.
        details: Anything else worth recording; a runner may add to it until it is closed.
        instruction_ns: Nanoseconds of its clock that one instruction takes, where the clock counts
            instructions: an emulator, which has no time of the hardware. None where the clock tells time.
    """

    device: str
    engine: str
    engine_version: str
    simulated: bool
    clock_hz: float
    load_ms: float
    model_files: tuple[str, ...]
    model_bytes: int
    details: dict[str, Any] = field(default_factory=dict)
    instruction_ns: float | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """Logits of one call.

    Attributes:
        logits: ``[batch, length, vocab]`` (`sequence`) or ``[batch, vocab]`` (`step`, `prefill`): int32
            integer logits with `Capability.EXACT`, else float32.
        elapsed_ns: Time of the call, nanoseconds, by the clock of the device or else the host.
    """

    logits: npt.NDArray[np.int32] | npt.NDArray[np.float32]
    elapsed_ns: int


@dataclass(frozen=True, slots=True)
class Window:
    """One measurement window: the device runs alone between two timestamps.

    Attributes:
        latencies_ns: Time of every inference (one step), int64 ``[n]``.
        started_ns: Host time at the start, ``time.perf_counter_ns``.
        ended_ns: Host time at the end.
        output_sha256: Hash of all logits in order, hex.
        tokens: Inferences in the window.
    """

    latencies_ns: npt.NDArray[np.int64]
    started_ns: int
    ended_ns: int
    output_sha256: str
    tokens: int


@dataclass(frozen=True, slots=True)
class ClockReading:
    """One exchange with the clock of the device.

    Attributes:
        device_ticks: What the device's clock said.
        host_before_ns: Host time before the exchange.
        host_after_ns: Host time after it.
    """

    device_ticks: int
    host_before_ns: int
    host_after_ns: int


@dataclass(frozen=True, slots=True)
class LoadChip:
    """One piece of a load pattern.

    Attributes:
        busy: Whether the device computes or idles.
        seconds: For how long.
    """

    busy: bool
    seconds: float


#: The name of `LoadChip` in edgesnn 0.1, for the runners of other packages.
Chip = LoadChip


@runtime_checkable
class Inspectable(Protocol):
    """What a runner with `Capability.INTERMEDIATE` can do beside the contract."""

    def values(self, ids: IntArray) -> dict[str, npt.NDArray[np.integer]]:
        """What neurons gave, ``[batch, length, T, c]``, by value name, of whole sequences."""
        ...


@runtime_checkable
class Choosing(Protocol):
    """What a runner with `Capability.BEST` can do beside the contract, for one sequence."""

    def best(self, ids: IntArray, k: int, *, new: bool) -> tuple[npt.NDArray[np.integer], IntArray]:
        """Run tokens ``[1, length]`` and give the best tokens after them.

        Args:
            ids: The tokens.
            k: How many, 1 to `BEST_MAX`.
            new: Whether they begin a context, or continue it.

        Returns:
            Ids and integer logits ``[k]``, best first, the lower id first among equals.
        """
        ...

    def greedy(self, token: int, count: int, end: int | None) -> list[int]:
        """Continue the context with ``token`` and the best tokens after it.

        Args:
            token: What the context has not seen yet.
            count: Tokens to make, at most.
            end: A token that is the last where it comes.

        Returns:
            The tokens made; the context has seen all but the last.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a runner saw of its device while it measured.

    Attributes:
        invalid: Why the times do not count, or None.
        marks: What may have moved them, or how they were taken, one sentence each.
    """

    invalid: str | None = None
    marks: tuple[str, ...] = ()


@runtime_checkable
class Watchful(Protocol):
    """What a runner can do beside the contract when its device can spoil a measurement."""

    def watch(self) -> None:
        """Forget what was seen; a measurement begins."""
        ...

    def seen(self) -> Sighting:
        """What was seen since `watch`."""
        ...


@runtime_checkable
class Screen(Protocol):
    """What a runner can do beside the contract when its device has a screen."""

    def show_progress(self, stage: str, done: int, total: int) -> None:
        """Show what is under way."""
        ...

    def show_result(self, verdict: str, rows: Sequence[tuple[str, str]]) -> None:
        """Show how it ended: a word, and rows of name and value."""
        ...


class Runner(Closing, Protocol):
    """One device that holds one bundle.

    A runner that reads the files of a format names that format in a class attribute ``export``; one without
    it needs ``program.snn`` only. One that brings an environment of its own has two class methods more:
    ``install() -> str`` makes it (``edgesnn doctor --install NAME``), ``present() -> str`` says what it is.
    One whose device is always a simulation says so in a class attribute ``simulated``. A ``with``
    statement closes it; `Closing` brings that to a runner that derives from this class.

    A program that reads frames is run by the same methods where there is `Capability.FRAMES`: for token ids
    ``[batch]``, ``[batch, length]`` and ``[length]`` stand int8 frames ``[batch, channels]``,
    ``[batch, length, channels]`` and ``[length, channels]``, for logits the outputs of its `FrameOutput`, for
    a `TextError` a `FramesError`. A runner without it refuses such a program when it opens it.

    Attributes:
        name: Name on the command line, before the colon of a target.
        summary: One line for ``edgesnn list runners``.
        capabilities: What it can do.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]]

    @classmethod
    def missing(cls) -> str | None:
        """Why this runner cannot run here, or None when it can, as here."""
        return None

    def open(self, bundle: Bundle, options: RunnerOptions) -> DeviceInfo:
        """Load the bundle.

        Raises:
            BundleError: The bundle lacks the files this runner needs.
            RunnerError: The engine refused them.
        """
        ...

    def reset(self, batch: int = 1) -> None:
        """Forget everything: a new context for ``batch`` sequences.

        Raises:
            RunnerError: So many cannot run side by side, or the engine failed.
        """
        ...

    def step(self, tokens: IntArray) -> Output:
        """Run one token per sequence, ids ``[batch]``, continuing the context.

        Raises:
            TextError: A token id is outside the vocabulary.
            RunnerError: The context holds another number of sequences, or the engine failed.
        """
        ...

    def sequence(self, ids: IntArray) -> Output:
        """Run whole sequences ``[batch, length]`` from empty contexts; the context is left alone.

        Raises:
            TextError: A token id is outside the vocabulary.
            RunnerError: The engine failed.
        """
        ...

    def prefill(self, ids: IntArray) -> Output:
        """Run whole sequences ``[batch, length]`` from empty contexts; `step` continues after them.

        Only the logits of the last token come back: a prompt needs no others. It raises what `sequence` does.
        """
        ...

    def extend(self, ids: IntArray) -> Output:
        """Run more tokens ``[batch, length]`` behind the context; `step` continues after them.

        Only the logits of the last token come back. It raises what `step` does.
        """
        ...

    def save(self) -> State:
        """The context: a copy that no later call changes.

        Raises:
            RunnerError: The device failed.
        """
        ...

    def restore(self, state: State) -> None:
        """Continue from a saved context, whichever runner of the same program saved it.

        Raises:
            RunnerError: It is another program's, or the device failed.
        """
        ...

    def window(self, ids: IntArray, repeat: int, warmup: int) -> Window:
        """Run steps over ``ids [length]`` ``repeat`` times, each from a new context, and time each step.

        Args:
            ids: Token ids ``[length]``.
            repeat: Passes over them.
            warmup: Steps before the window that are not timed.

        Raises:
            TextError: A token id is outside the vocabulary.
            RunnerError: There is nothing to run, or the engine failed.
        """
        ...

    def idle(self, seconds: float) -> None:
        """Stay loaded and ready, not asleep, with nothing running."""
        ...

    def play(self, pattern: tuple[LoadChip, ...]) -> None:
        """Compute (token 0 from a new context, again and again) and idle in a coded pattern."""
        ...

    def clock(self) -> ClockReading:
        """Exchange one reading with the device's clock."""
        ...

    def close(self) -> None:
        """Release the device; safe to call twice."""
        ...
