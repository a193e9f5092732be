"""What the runners `qemu` and `serial` share: the contract of runners over a session with a board."""

from __future__ import annotations

import hashlib
import time
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgesnn import __version__
from edgesnn.bundle.bundle import PROGRAM_NAME, Bundle
from edgesnn.errors import BundleError, RunnerError
from edgesnn.firmware import EMULATED
from edgesnn.program.ops import Readout
from edgesnn.program.program import check_frames
from edgesnn.program.state import State
from edgesnn.runners.base import (
    Capability,
    ClockReading,
    DeviceInfo,
    IntArray,
    LoadChip,
    Output,
    RunnerOptions,
    Window,
)
from edgesnn.runners.board.address import BoardAddress
from edgesnn.runners.board.board import Board, BoardRun
from edgesnn.runners.board.frames import FRAMES_VERSION, InferFlag
from edgesnn.runners.board.lines import ByteLine
from edgesnn.runners.board.session import BoardSession
from edgesnn.runners.host import ProgramRunner, check_batch, check_state, check_window, not_open

#: A run may take this many times what its steps should take, beside `_ANSWER_S`.
_PATIENCE = 50.0
_ANSWER_S = 60.0
#: Time of a step, on the host's clock, that is assumed before one was seen.
_UNKNOWN_STEP_S = 5.0
#: Exchanges with the board's clock before a window; the one with the shortest round trip counts.
_CLOCK_TRIES = 5

Int32Rows = npt.NDArray[np.int32]
#: Token ids uint32 ``[length]``, or frames int8 ``[length, channels]``.
Inputs = npt.NDArray[np.uint32] | npt.NDArray[np.int8]


def _fresh_at(position: int) -> tuple[InferFlag, ...]:
    """The flag of a run that begins a sequence."""
    return () if position else (InferFlag.FRESH,)


class BoardRunner(ProgramRunner):
    """Executes ``program.snn`` in C on a board at the end of a line; times are the board's own.

    A token's logits travel as its readout codes, at most 1,040 bytes: the host makes the logits of them and
    compares their SHA-256 with that of the logits the board made. Where it differs, the board's own are
    fetched. Outputs of frames travel as they are.
    """

    name: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.STEP,
            Capability.SEQUENCE,
            Capability.PREFILL,
            Capability.STATE,
            Capability.LOGITS,
            Capability.EXACT,
            Capability.FRAMES,
            Capability.DEVICE_CLOCK,
            Capability.REMOTE,
        }
    )

    #: Nanoseconds of the board's clock that one instruction takes, where it is an emulator that counts them.
    instruction_ns: ClassVar[float | None] = None

    def __init__(self) -> None:
        self._board: Board | None = None
        self._details: dict[str, Any] = {}
        self._table = np.empty((0, 0), np.float32)
        self._step_s = _UNKNOWN_STEP_S
        self._fresh = True  # nothing ran since the last reset

    @abstractmethod
    def read_address(self, text: str | None) -> BoardAddress:
        """Which board the target names.

        Raises:
            UsageError: None, or none that there is.
        """

    @abstractmethod
    def connect(self, address: BoardAddress, program: bytes) -> ByteLine:
        """Make the way to the board.

        Args:
            address: The board.
            program: The model, which an emulator can lay into memory.

        Raises:
            RunnerError: The board cannot be reached.
        """

    def facts(self) -> dict[str, Any]:
        """More for the record of what the board is, and how it was reached."""
        return {}

    def open(self, bundle: Bundle, options: RunnerOptions) -> DeviceInfo:
        """Reach the board, bring ``program.snn`` onto it as far as it is not there, open it.

        Raises:
            UsageError: The address does not say which board.
            BundleError: The file holds another program than the manifest says.
            RunnerError: The board cannot be reached, is too small, or failed.
        """
        address = self.read_address(options.address)
        self.close()
        self._program, self._details = bundle.program(), {}
        program = bundle.file(PROGRAM_NAME).read_bytes()
        try:
            self._board = Board(BoardSession(self.connect(address, program)))
            self._check_version(self._board)
            started = time.perf_counter_ns()
            model = self._board.load(program, address.kernels)
            load_ms = (time.perf_counter_ns() - started) / 1e6
            if model.program_hash != bundle.manifest.program_hash:
                raise BundleError(
                    f"{PROGRAM_NAME} changed while it was opened",
                    actual=model.program_hash,
                    limit=bundle.manifest.program_hash,
                )
        except BaseException:
            self.close()
            raise
        if isinstance(readout := self._require_program().ops[-1], Readout):
            self._table = readout.table.astype(np.float32)
        self._fresh, self._step_s = True, _UNKNOWN_STEP_S
        hello = self._board.session.hello
        self._details |= {
            "transport": self.name,
            "kernels": address.kernels or hello.kernels[0],
            "firmware": {"version": hello.firmware, "bytes": hello.flash_bytes},
            "ram_bytes": {
                "static": hello.static_bytes,
                "index": model.index_bytes,
                "context": model.context_bytes,
                "results": model.work_bytes,
            },
            "context_bytes": model.context_bytes,
            "model_bytes_sent": model.sent,
            "threads": 1,
            **self.facts(),
        }
        return DeviceInfo(
            device=hello.name,
            engine="native",
            engine_version=f"edgesnn {__version__}, engine {hello.engine}",
            # a board cannot tell what it runs on; these have only ever been emulated
            simulated=self.instruction_ns is not None or hello.name.partition(" ")[0] in EMULATED,
            clock_hz=float(hello.tick_hz),
            load_ms=load_ms,
            model_files=(PROGRAM_NAME,),
            model_bytes=bundle.size_of((PROGRAM_NAME,)),
            instruction_ns=self.instruction_ns,
            details=self._details,
        )

    def reset(self, batch: int = 1) -> None:
        _check_alone(batch)
        self._open_board().reset()
        self._fresh = True

    def step(self, tokens: IntArray) -> Output:
        self._open_board()
        check_batch(tokens, 1, frames=self._reads_frames)
        return self._forward(np.asarray(tokens)[:, None])

    def prefill(self, ids: IntArray) -> Output:
        self._open_board()
        return self._forward(ids, InferFlag.FRESH)

    def extend(self, ids: IntArray) -> Output:
        self._open_board()
        return self._forward(ids)

    def save(self) -> State:
        board, program = self._open_board(), self._require_program()
        state = State(program)
        flat, state.count = board.save()
        state.take(program, 0, flat.astype(np.int8))
        return state

    def restore(self, state: State) -> None:
        board, program = self._open_board(), self._require_program()
        check_state(program, state)
        _check_alone(state.batch)
        board.restore(state.flat(program, 0), state.count)
        self._fresh = False

    def sequence(self, ids: IntArray) -> Output:
        self._open_board()
        checked = self._given(ids)
        kept = None if self._fresh else self.save()
        rows, spent = self._rows_by_codes(checked)
        if rows is None:  # the board's logits are not those of its codes: fetch them, one token at a time
            runs = (self._run(checked[i : i + 1], *_fresh_at(i)) for i in range(len(checked)))
            rows = np.concatenate([self._logits(run) for run in runs])
        self.reset()
        if kept is not None:
            self.restore(kept)
        return Output(rows[None], self._ns(spent))

    def window(self, ids: IntArray, repeat: int, warmup: int) -> Window:
        """Run and time steps on the board with nothing in between, the marker pin high meanwhile.

        Its start and end are mapped to the host's clock by the exchange with the shortest round trip, where
        the board's clock is one of time.

        Raises:
            RunnerError: There is nothing to run, the board's memory holds no window as long, or it failed.
        """
        board = self._open_board()
        check_window(ids, repeat, frames=self._reads_frames)
        checked = self._given(ids[None, :])
        readings = [self.clock() for _ in range(_CLOCK_TRIES)]
        best = min(readings, key=lambda r: r.host_after_ns - r.host_before_ns)
        offset = (best.host_before_ns + best.host_after_ns) // 2 - best.device_ticks
        before = time.perf_counter_ns()
        got = self._run(checked, InferFlag.MARK, repeat=repeat, warmup=warmup)
        after = time.perf_counter_ns()
        ticks = board.ticks(got.steps)
        self._fresh = True
        first, last = self._ns(got.start) + offset, self._ns(got.end) + offset
        if self.instruction_ns is not None or not before <= first <= last <= after:
            first, last = before, after
        hz = board.session.hello.tick_hz
        latencies = np.maximum(ticks, 1) * 1_000_000_000 // hz
        return Window(latencies, first, last, got.sha256.hex(), got.steps)

    def idle(self, seconds: float) -> None:
        self._open_board()
        time.sleep(seconds)

    def play(self, pattern: tuple[LoadChip, ...]) -> None:
        """Runs tokens while a chip is busy, as many at once as it has time for: the line is idle then."""
        deadline, model = time.perf_counter(), self._open_board().model
        most, shape = model.most_inputs(every=False), (model.inputs,) if model.inputs else ()
        for chip in pattern:
            deadline += chip.seconds
            while chip.busy and (left := deadline - time.perf_counter()) > 0:
                count = min(max(1, round(left / self._step_s)), most)
                self._run(np.zeros((count, *shape), np.int8), InferFlag.FRESH, InferFlag.MARK)
            time.sleep(max(0.0, deadline - time.perf_counter()))
        self.reset()

    def clock(self) -> ClockReading:
        """Exchange one reading with the board's clock, in ns."""
        before = time.perf_counter_ns()
        ticks = self._open_board().clock()
        return ClockReading(self._ns(ticks), before, time.perf_counter_ns())

    def close(self) -> None:
        """Let go of the board; safe to call twice."""
        board, self._board = self._board, None
        self._program = None
        if board is not None:
            self._details["line"] = {"resends": board.session.resends}
            board.session.close()

    def _open_board(self) -> Board:
        if self._board is None:
            raise not_open()
        return self._board

    def _run(
        self, inputs: npt.NDArray[np.integer], *flags: InferFlag, repeat: int = 0, warmup: int = 0
    ) -> BoardRun:
        steps = len(inputs) * max(1, repeat) + warmup
        begun = time.monotonic()
        self._fresh = False
        got = self._open_board().run(
            inputs, *flags, repeat=repeat, warmup=warmup, seconds=_ANSWER_S + _PATIENCE * steps * self._step_s
        )
        self._step_s = max((time.monotonic() - begun) / steps, 1e-3)
        return got

    def _rows_by_codes(self, tokens: Inputs) -> tuple[Int32Rows | None, int]:
        """Logits or outputs of all inputs and the ticks that they took; None where the hash is another."""
        board, rows, spent = self._open_board(), [], 0
        part = board.model.most_inputs(every=True)
        for at in range(0, len(tokens), part):
            got = self._run(tokens[at : at + part], InferFlag.ALL, *_fresh_at(at))
            rows.append(self._made(board.codes(got.steps)))
            spent += got.end - got.start
            if hashlib.sha256(rows[-1].tobytes()).digest() != got.sha256:
                return None, spent
        return np.concatenate(rows), spent

    def _forward(self, ids: IntArray, *flags: InferFlag) -> Output:
        checked, spent = self._given(ids), 0
        part = self._open_board().model.most_inputs(every=False)
        for at in range(0, len(checked), part):
            got = self._run(checked[at : at + part], *(flags if at == 0 else ()))
            spent += got.end - got.start
        return Output(self._logits(got), self._ns(spent))

    def _made(self, codes: npt.NDArray[np.int8]) -> Int32Rows:
        """Logits of readout codes: exact in float32, because a sum stays below 2**24 (`Readout`)."""
        if self._reads_frames:
            return np.ascontiguousarray(codes).view("<i4").astype(np.int32)
        made: Int32Rows = (codes.astype(np.float32) @ self._table.T).astype(np.int32)
        return made

    def _logits(self, got: BoardRun) -> Int32Rows:
        if len(got.codes) == self._open_board().model.row_bytes:
            made = self._made(got.codes[None])
            if hashlib.sha256(made.tobytes()).digest() == got.sha256:
                return made
        return self._open_board().logits()[None]

    def _ns(self, ticks: int) -> int:
        return ticks * 1_000_000_000 // self._open_board().session.hello.tick_hz

    def _given(self, ids: IntArray) -> Inputs:
        """Ids or frames of one sequence that are right."""
        program = self._require_program()
        if program.frames is not None:
            frames = check_frames(ids, program.frames)
            _check_alone(len(frames))
            first: npt.NDArray[np.int8] = frames[0]
            return first
        checked = program.check_ids(ids)
        _check_alone(len(checked))
        row: npt.NDArray[np.uint32] = checked[0].astype(np.uint32)
        return row

    def _check_version(self, board: Board) -> None:
        hello = board.session.hello
        if self._reads_frames and hello.version < FRAMES_VERSION:
            raise RunnerError(
                f"the firmware of {board.session.who} knows no networks that read frames",
                actual=f"protocol {hello.version}, firmware {hello.firmware}",
                limit=f"protocol {FRAMES_VERSION}",
                remedy="put the firmware of this edgesnn on the board",
            )


def _check_alone(batch: int) -> None:
    if batch != 1:
        raise RunnerError("a board runs one sequence at a time", actual=batch, limit=1)
