"""Runner ``native``: the C engine on this computer's processor."""

from __future__ import annotations

import hashlib
import time
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgesnn import __version__
from edgesnn.bundle.bundle import PROGRAM_NAME, Bundle
from edgesnn.errors import BundleError, RunnerError
from edgesnn.program.program import check_frames
from edgesnn.program.state import State
from edgesnn.runners.base import Capability, DeviceInfo, IntArray, Output, RunnerOptions, Window
from edgesnn.runners.host import HostRunner, check_batch, check_state, check_window, cpu_name, not_open
from edgesnn.runners.native import build as native_build
from edgesnn.runners.native.engine import Engine, UInt32Array, kernel_sets


class NativeRunner(HostRunner):
    """Executes ``program.snn`` in C, event by event.

    The target's address names a kernel set (``native:reference``); without one the best for this processor
    runs. ``threads`` are for sequences side by side: one sequence runs on one thread.
    """

    name: ClassVar[str] = "native"
    summary: ClassVar[str] = "the C engine on this CPU, event-driven, exact"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.STEP,
            Capability.SEQUENCE,
            Capability.PREFILL,
            Capability.STATE,
            Capability.BATCH,
            Capability.LOGITS,
            Capability.EXACT,
            Capability.BEST,
            Capability.FRAMES,
        }
    )

    def __init__(self) -> None:
        self._open_engine: Engine | None = None
        self._threads = 1

    @classmethod
    def missing(cls) -> str | None:
        return native_build.missing()

    def open(self, bundle: Bundle, options: RunnerOptions) -> DeviceInfo:
        """Build or find the engine and load ``program.snn``.

        Raises:
            ProgramFormatError: The file breaks its format.
            BundleError: The file holds another program than the manifest says.
            RunnerError: The engine cannot be built, or this processor lacks the kernel set asked for.
        """
        available = kernel_sets()
        if options.address is not None and options.address not in available:
            raise RunnerError(
                "this processor has no such kernel set", actual=options.address, limit=", ".join(available)
            )
        self._program = bundle.program()
        started = time.perf_counter_ns()
        engine = Engine(bundle.file(PROGRAM_NAME).read_bytes(), options.address)
        load_ms = (time.perf_counter_ns() - started) / 1e6
        if engine.info.program_hash != bundle.manifest.program_hash:
            raise BundleError(
                f"{PROGRAM_NAME} changed while it was opened",
                actual=engine.info.program_hash,
                limit=bundle.manifest.program_hash,
            )
        self._open_engine, self._threads = engine, options.threads
        return DeviceInfo(
            device=cpu_name(),
            engine="native",
            engine_version=f"edgesnn {__version__}",
            simulated=False,
            clock_hz=1e9,
            load_ms=load_ms,
            model_files=(PROGRAM_NAME,),
            model_bytes=bundle.size_of((PROGRAM_NAME,)),
            details={
                "kernels": engine.info.kernels,
                "compiler": engine.info.compiler,
                "context_bytes": engine.info.context_bytes,
                "threads": options.threads,
            },
        )

    def reset(self, batch: int = 1) -> None:
        self._engine().reset(batch, self._threads)

    def step(self, tokens: IntArray) -> Output:
        engine = self._open_engine
        if engine is None:
            raise not_open()
        array = np.asarray(tokens)
        if engine.info.inputs:
            check_batch(array, engine.batch, frames=True)
            return self._run(self._given(array[:, None]), every=False)
        if engine.batch == 1 and array.shape == (1,) and array.dtype.kind in "iu":
            token = int(array[0])
            if not 0 <= token < engine.info.vocab:
                self._ids(array[:, None])
            logits = np.empty((1, engine.info.vocab), np.int32)
            address = logits.__array_interface__["data"][0]
            started = time.perf_counter_ns()
            engine.step(token, address)
            return Output(logits, time.perf_counter_ns() - started)
        check_batch(array, engine.batch)
        ids = self._ids(array[:, None])
        started = time.perf_counter_ns()
        logits = engine.steps(ids)
        return Output(logits, time.perf_counter_ns() - started)

    def sequence(self, ids: IntArray) -> Output:
        engine = self._engine()
        checked = self._given(ids)
        batch, kept = engine.batch, [engine.save(i) for i in range(engine.batch)]
        engine.reset(len(checked), self._threads)
        output = self._run(checked, every=True)
        engine.reset(batch, self._threads)
        for i, (state, position) in enumerate(kept):
            engine.restore(state, position, i)
        return output

    def prefill(self, ids: IntArray) -> Output:
        engine, checked = self._engine(), self._given(ids)
        engine.reset(len(checked), self._threads)
        return self._run(checked, every=False)

    def extend(self, ids: IntArray) -> Output:
        engine, checked = self._engine(), self._given(ids)
        check_batch(checked[:, 0], engine.batch, frames=self._reads_frames)
        return self._run(checked, every=False)

    def best(self, ids: IntArray, k: int, *, new: bool) -> tuple[UInt32Array, npt.NDArray[np.int32]]:
        """Run tokens and give the best after them; see `Choosing`. Large tables may take two passes."""
        engine, checked = self._engine(), self._ids(ids)
        if new:
            engine.reset(1, self._threads)
        check_batch(checked[:, 0], engine.batch)
        engine.run(checked)
        return engine.top(min(k, engine.info.vocab))

    def greedy(self, token: int, count: int, end: int | None) -> list[int]:
        """Continue with a token and the best ones after it, in C; see `Choosing`."""
        engine = self._engine()
        made = engine.greedy(token, count, engine.info.vocab if end is None else end)
        return [int(one) for one in made.tolist()]

    def window(self, ids: IntArray, repeat: int, warmup: int) -> Window:
        """Run and time steps in C, with no Python in between.

        The hash is made after the window, of logits computed again from the readout codes that every timed
        token left: hashing inside would draw power that is not the model's.

        Raises:
            RunnerError: There is nothing to run.
        """
        check_window(ids, repeat, frames=self._reads_frames)
        engine, given = self._engine(), self._given(ids[None, :])[0]
        engine.reset(1, self._threads)
        digest = hashlib.sha256()
        before = time.perf_counter_ns()
        if given.dtype == np.int8:
            stamps, outputs = engine.frames_window(given.view(np.int8), repeat, warmup)
            after = time.perf_counter_ns()
            digest.update(outputs.tobytes())
        else:
            stamps, codes = engine.window(given.view(np.uint32), repeat, warmup)
            after = time.perf_counter_ns()
            logits = np.empty(engine.info.vocab, np.int32)
            for row in codes:
                engine.logits_of(row, logits)
                digest.update(logits.tobytes())
        engine.reset(1, self._threads)
        # CLOCK_MONOTONIC is perf_counter's clock on Linux; elsewhere the host's bounds are taken.
        first, last = int(stamps[0, 0]), int(stamps[-1, 1])
        if not before <= first <= last <= after:
            first, last = before, after
        latencies = (stamps[:, 1] - stamps[:, 0]).astype(np.int64)
        return Window(latencies, first, last, digest.hexdigest(), len(latencies))

    def save(self, *, oldest_first: bool = False) -> State:
        """The contexts of all sequences as the program's state tensors.

        Args:
            oldest_first: Turn the rings as a prefill gives them, n = 0.
        """
        engine, program = self._engine(), self._require_program()
        state = State(program, engine.batch)
        for i in range(engine.batch):
            flat, state.count = engine.save(i, oldest_first=oldest_first)
            state.take(program, i, flat)
        return state

    def restore(self, state: State) -> None:
        engine, program = self._engine(), self._require_program()
        check_state(program, state)
        engine.reset(state.batch, self._threads)
        for i in range(state.batch):
            engine.restore(state.flat(program, i), state.count, i)

    def close(self) -> None:
        if self._open_engine is not None:
            self._open_engine.close()
        self._open_engine = self._program = None

    def _engine(self) -> Engine:
        if self._open_engine is None:
            raise not_open()
        return self._open_engine

    def _given(self, ids: IntArray) -> UInt32Array | npt.NDArray[np.int8]:
        """Ids uint32 ``[batch, length]`` or frames int8 ``[batch, length, channels]`` that are right."""
        program = self._require_program()
        return self._ids(ids) if program.frames is None else check_frames(ids, program.frames)

    def _run(self, checked: UInt32Array | npt.NDArray[np.int8], *, every: bool) -> Output:
        """Run what `_given` gave, and give the logits or outputs of every position or of the last one."""
        engine = self._engine()
        started = time.perf_counter_ns()
        if checked.dtype == np.int8:
            logits = engine.frames(checked.view(np.int8), every=every)
        else:
            ids = checked.view(np.uint32)
            logits = engine.sequence(ids) if every else engine.prefill(ids)
        return Output(logits, time.perf_counter_ns() - started)

    def _ids(self, ids: IntArray) -> UInt32Array:
        return self._require_program().check_ids(ids).astype(np.uint32)
