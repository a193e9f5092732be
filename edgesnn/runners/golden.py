"""Runner ``golden``: the interpreter itself, the reference that every other engine must equal."""

from __future__ import annotations

import time
from typing import ClassVar

import numpy as np

from edgesnn import __version__
from edgesnn.bundle.bundle import PROGRAM_NAME, Bundle
from edgesnn.program.golden import Golden
from edgesnn.program.state import State
from edgesnn.runners.base import Capability, DeviceInfo, IntArray, Output, RunnerOptions
from edgesnn.runners.host import HostRunner, check_batch, check_state, cpu_name, not_open


class GoldenRunner(HostRunner):
    """Executes ``program.snn`` with numpy."""

    name: ClassVar[str] = "golden"
    summary: ClassVar[str] = "numpy interpreter of the integer program; the reference, not fast"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.STEP,
            Capability.SEQUENCE,
            Capability.PREFILL,
            Capability.STATE,
            Capability.BATCH,
            Capability.LOGITS,
            Capability.EXACT,
            Capability.FRAMES,
        }
    )

    def __init__(self) -> None:
        self._golden: Golden | None = None
        self._state: State | None = None

    def open(self, bundle: Bundle, options: RunnerOptions) -> DeviceInfo:
        """Load ``program.snn``.

        Raises:
            ProgramFormatError: The file breaks its format.
        """
        started = time.perf_counter_ns()
        self._program = bundle.program()
        self._golden = Golden(self._program)
        self.reset(1)
        return DeviceInfo(
            device=cpu_name(),
            engine="golden",
            engine_version=f"edgesnn {__version__}, numpy {np.__version__}",
            simulated=False,
            clock_hz=1e9,
            load_ms=(time.perf_counter_ns() - started) / 1e6,
            model_files=(PROGRAM_NAME,),
            model_bytes=bundle.size_of((PROGRAM_NAME,)),
        )

    def reset(self, batch: int = 1) -> None:
        self._state = State(self._engine().program, batch)

    def step(self, tokens: IntArray) -> Output:
        golden = self._engine()
        state = self._state or State(golden.program)
        check_batch(tokens, state.batch, frames=self._reads_frames)
        started = time.perf_counter_ns()
        logits = golden.step(tokens, state)
        return Output(logits, time.perf_counter_ns() - started)

    def sequence(self, ids: IntArray) -> Output:
        golden = self._engine()
        started = time.perf_counter_ns()
        logits = golden.sequence(ids)
        return Output(logits, time.perf_counter_ns() - started)

    def prefill(self, ids: IntArray) -> Output:
        golden = self._engine()
        started = time.perf_counter_ns()
        logits, self._state = golden.prefill(ids)
        return Output(logits[:, -1], time.perf_counter_ns() - started)

    def save(self) -> State:
        golden = self._engine()
        return (self._state or State(golden.program)).copied(golden.program)

    def restore(self, state: State) -> None:
        program = self._engine().program
        check_state(program, state)
        self._state = state.copied(program)

    def close(self) -> None:
        self._golden = self._program = None
        self._state = None

    def _engine(self) -> Golden:
        if self._golden is None:
            raise not_open()
        return self._golden
