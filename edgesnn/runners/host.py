"""What every runner on this computer shares: windows, idling, load patterns and the host's clock."""

from __future__ import annotations

import hashlib
import platform
import time

import numpy as np

from edgesnn import system
from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import RunnerError
from edgesnn.program.program import Program
from edgesnn.program.state import State, state_tensors
from edgesnn.runners.base import ClockReading, IntArray, LoadChip, Output, Runner, Window


class ProgramRunner(Runner):
    """A runner that keeps the program of its bundle while it is open."""

    _program: Program | None = None

    def _open_text(self, bundle: Bundle) -> Program:
        """Keep and give the program of a bundle, for a runner without `Capability.FRAMES`.

        Raises:
            UsageError: The program reads frames.
        """
        program = bundle.program()
        program.require_text(f"the runner '{self.name}'")
        self._program = program
        return program

    @property
    def _reads_frames(self) -> bool:
        """Whether the program that is open reads frames."""
        return self._program is not None and self._program.frames is not None

    def _require_program(self) -> Program:
        if self._program is None:
            raise not_open()
        return self._program


class HostRunner(ProgramRunner):
    """A runner whose engine runs in this process and whose clock is ``time.perf_counter_ns``.

    A subclass executes; this class measures. `last_token` keeps a token to compute with in `play`.
    """

    def extend(self, ids: IntArray) -> Output:
        """Run more tokens ``[batch, length]`` behind the context, one after another."""
        rows = np.asarray(ids)
        check_length(rows, frames=self._reads_frames)
        outputs = [self.step(rows[:, i]) for i in range(rows.shape[1])]
        return Output(outputs[-1].logits, sum(output.elapsed_ns for output in outputs))

    def window(self, ids: IntArray, repeat: int, warmup: int) -> Window:
        """Run steps over ``ids [length]`` ``repeat`` times, each from a new context, and time each step.

        The hash covers all logits in order; hashing happens between the timed steps.

        Raises:
            RunnerError: There is nothing to run.
        """
        check_window(ids, repeat, frames=self._reads_frames)
        tokens = [ids[i : i + 1] for i in range(len(ids))]
        self.reset(1)
        for i in range(warmup):
            self.step(tokens[i % len(tokens)])
        latencies = np.empty(len(tokens) * repeat, np.int64)
        digest = hashlib.sha256()
        started = time.perf_counter_ns()
        index = 0
        for _ in range(repeat):
            self.reset(1)
            for token in tokens:
                output = self.step(token)
                latencies[index] = output.elapsed_ns
                digest.update(output.logits.tobytes())
                index += 1
        ended = time.perf_counter_ns()
        self.reset(1)
        return Window(latencies, started, ended, digest.hexdigest(), len(latencies))

    def idle(self, seconds: float) -> None:
        time.sleep(seconds)

    def play(self, pattern: tuple[LoadChip, ...]) -> None:
        frames = None if self._program is None else self._program.frames
        token = np.zeros(1, np.int64) if frames is None else np.zeros((1, frames.channels), np.int8)
        deadline = time.perf_counter()
        for chip in pattern:
            deadline += chip.seconds
            if chip.busy:
                self.reset(1)
                while time.perf_counter() < deadline:
                    self.step(token)
            else:
                time.sleep(max(0.0, deadline - time.perf_counter()))
        self.reset(1)

    def clock(self) -> ClockReading:
        """The device's clock is the host's."""
        before = time.perf_counter_ns()
        ticks = time.perf_counter_ns()
        return ClockReading(ticks, before, time.perf_counter_ns())


def cpu_name() -> str:
    """Model name of this computer's processor."""
    try:
        for line in (system.PROC / "cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """Instruction-set flags of this computer's processor, where the system tells; else empty."""
    try:
        for line in (system.PROC / "cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.partition(":")[2].split())
    except OSError:
        pass
    return frozenset()


def check_batch(tokens: IntArray, batch: int, *, frames: bool = False) -> None:
    """Refuse a step of another number of sequences than the context holds.

    Args:
        tokens: Token ids ``[batch]``, or frames ``[batch, ...]``.
        batch: Sequences of the context.
        frames: Whether they must be frames.

    Raises:
        RunnerError: The numbers differ.
    """
    if np.shape(tokens)[:1] != (batch,) or frames != (np.ndim(tokens) > 1):
        raise RunnerError(
            "step got another number of sequences than the context holds",
            actual=list(np.shape(tokens)),
            limit=[batch, "samples"] if frames else [batch],
            remedy="call reset with the number of sequences",
        )


def check_length(ids: IntArray, *, frames: bool = False) -> None:
    """Refuse a call with nothing to run.

    Raises:
        RunnerError: There is no token ``[batch, length]``, or with ``frames`` no frame
            ``[batch, length, ...]``.
    """
    if np.size(ids) == 0 or (np.ndim(ids) < 3 if frames else np.ndim(ids) != 2):
        raise RunnerError("there are no tokens to run", actual=list(np.shape(ids)), limit="[batch, length]")


def check_state(program: Program, state: State) -> None:
    """Refuse a saved context that is another program's.

    Raises:
        RunnerError: Its tensors have other names or shapes.
    """
    wanted = {tensor.name: (state.batch, *tensor.shape) for tensor in state_tensors(program)}
    found = {name: array.shape for name, array in state.tensors.items()}
    if wanted != found:
        differing = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
        raise RunnerError(
            "the saved context is another program's", actual=f"differing: {', '.join(differing[:3])}"
        )


def check_window(ids: IntArray, repeat: int, *, frames: bool = False) -> None:
    """Refuse a window with nothing to run.

    Raises:
        RunnerError: There is no token ``[length]``, or with ``frames`` no frame ``[length, ...]``, or no pass
            over them.
    """
    if np.size(ids) == 0 or repeat < 1 or frames != (np.ndim(ids) > 1):
        raise RunnerError("a window needs at least one token", actual=f"{list(np.shape(ids))} x {repeat}")


def not_open() -> RunnerError:
    """The error of a runner that is used before `open` or after `close`."""
    return RunnerError("the runner holds no bundle", remedy="call open first")
