"""What a board does with a model, over a session: take it in, run it, give results and state."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.errors import RunnerError
from edgesnn.runners.board.frames import FRAMES_VERSION, BoardCommand, InferFlag, Region
from edgesnn.runners.board.session import BoardSession

#: Time for a request that does not compute, beside the board's silence.
ANSWER_S = 30.0
#: Opening a model reads it three times; so many bytes a second are expected at least.
OPEN_BYTES_PER_S = 50_000
#: Bytes of a model that the header's fields reach to: where its program hash stands.
_HASH_AT, _HASH_END = 32, 64
_TOKEN_BYTES = 4
_COUNTED = ("requests", "resends", "damaged", "dropped_bytes", "busy_replies", "pin_rises", "stack_bytes")


@dataclass(frozen=True, slots=True)
class BoardModel:
    """The model that is open on a board.

    Attributes:
        vocab: Token ids; 0 of a program that reads frames.
        rank: Readout codes of a token; 0 of a program that reads frames.
        timesteps: T.
        window: Longest attention window.
        state_bytes: Elements of a saved state.
        index_bytes: RAM of the engine's index of the model.
        context_bytes: RAM of one sequence.
        work_bytes: RAM that is left for results.
        program_hash: Hex.
        sent: Bytes that had to be sent.
        inputs: Samples of a frame; 0 of a program that reads tokens.
        outputs: Outputs of a frame.
    """

    vocab: int
    rank: int
    timesteps: int
    window: int
    state_bytes: int
    index_bytes: int
    context_bytes: int
    work_bytes: int
    program_hash: str
    sent: int
    inputs: int = 0
    outputs: int = 0

    @property
    def input_bytes(self) -> int:
        """Bytes of a token, or of a frame."""
        return self.inputs or _TOKEN_BYTES

    @property
    def row_bytes(self) -> int:
        """Bytes that a step leaves: readout codes, or the outputs of a frame."""
        return 4 * self.outputs if self.inputs else self.rank

    def most_inputs(self, *, every: bool) -> int:
        """Tokens or frames of one run that the memory for results holds; at least 1.

        Args:
            every: Whether what every step leaves is kept, or of the last one.
        """
        slack = 4 if self.inputs else 0  # what stands behind frames is aligned
        if every:
            return max(1, (self.work_bytes - slack) // (self.input_bytes + 4 + self.row_bytes))
        last = self.row_bytes if self.inputs else 0
        return max(1, (self.work_bytes - slack - last) // self.input_bytes)


@dataclass(frozen=True, slots=True, eq=False)
class BoardRun:
    """What one run of tokens or frames gave.

    Attributes:
        steps: Tokens or frames that ran, warm-up left out.
        start: The board's clock before the first, ticks.
        end: And after the last.
        spikes: Spikes of all LIF neurons, where they were asked for.
        sha256: Of the logits of the last token or the outputs of the last frame, or of all in order.
        best: The most likely token after the last.
        codes: Readout codes of the last token, int8 ``[rank]``; of a frame the bytes of its outputs, or none
            where they do not fit one reply.
    """

    steps: int
    start: int
    end: int
    spikes: int
    sha256: bytes
    best: int
    codes: npt.NDArray[np.int8]


class Board:
    """A board with a session.

    Args:
        session: The session; the board does not close it.
    """

    def __init__(self, session: BoardSession) -> None:
        self.session = session
        self._model: BoardModel | None = None

    def load(
        self,
        program: bytes,
        kernels: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> BoardModel:
        """Bring a model onto the board, as far as it is not there, and open it.

        Args:
            program: The bytes of ``program.snn``.
            kernels: Name of a kernel set; None for the board's default.
            on_progress: Told bytes there and bytes in all.

        Raises:
            RunnerError: It is too large, or arrived damaged; the board has no such kernel set, or failed.
        """
        call, size = self.session.call, len(program)
        seconds = ANSWER_S + 3 * size / OPEN_BYTES_PER_S
        begin = struct.pack("<II", size, zlib.crc32(program)) + program[_HASH_AT:_HASH_END].ljust(32, b"\0")
        have, _ = struct.unpack("<II", call(BoardCommand.BEGIN, begin, seconds=seconds))
        piece, sent = self.session.hello.payload_max - 8, size - have
        while have < size:
            self._write(Region.MODEL, have, program[have : have + piece])
            have = min(have + piece, size)
            if on_progress is not None:
                on_progress(have, size)
        known = self.session.hello.kernels
        if kernels is not None and kernels not in known:
            raise RunnerError(
                f"{self.session.who} has no kernel set '{kernels}'",
                actual=", ".join(known),
                remedy="name one of these",
            )
        number = 0 if kernels is None else known.index(kernels)
        told = call(BoardCommand.OPEN, struct.pack("<B3x", number), seconds=seconds)
        inputs, outputs = (0, 0)
        if self.session.hello.version >= FRAMES_VERSION:
            inputs, outputs = struct.unpack_from("<II", told, 68)
        values = struct.unpack_from("<9I", told)
        self._model = BoardModel(
            vocab=values[0],
            rank=values[1],
            timesteps=values[2],
            window=values[3],
            state_bytes=values[5],
            index_bytes=values[6],
            context_bytes=values[7],
            work_bytes=values[8],
            program_hash=told[36:68].hex(),
            sent=sent,
            inputs=inputs,
            outputs=outputs,
        )
        return self._model

    @property
    def model(self) -> BoardModel:
        """The model that `load` opened.

        Raises:
            RunnerError: There is none.
        """
        if self._model is None:
            raise RunnerError(f"there is no model on {self.session.who}", remedy="load one first")
        return self._model

    def reset(self) -> None:
        """Forget the context."""
        self.session.call(BoardCommand.RESET, seconds=ANSWER_S)

    def run(
        self,
        inputs: npt.ArrayLike,
        *flags: InferFlag,
        repeat: int = 0,
        warmup: int = 0,
        seconds: float,
    ) -> BoardRun:
        """Run tokens or frames behind the context, or a window.

        Args:
            inputs: Token ids ``[length]``, or frames int8 ``[length, inputs]``, as many as the board has room
                for with what the run leaves.
            *flags: How.
            repeat: Passes of a window, each from an empty context; 0 for a run that goes on.
            warmup: Steps before a window.
            seconds: Within this time there is an answer or an error.
        """
        words = np.asarray(inputs, np.int8 if self.model.inputs else "<u4")
        given = words.tobytes()
        if len(given) > _TOKEN_BYTES * self.session.hello.inline_tokens:
            piece = (self.session.hello.payload_max - 8) // 4 * 4
            for at in range(0, len(given), piece):
                self._write(Region.INPUTS, at, given[at : at + piece])
            given = b""
        payload = struct.pack("<BxxxIII", sum(set(flags)), len(words), repeat, warmup) + given
        told = self.session.call(BoardCommand.INFER, payload, seconds=seconds)
        (steps,) = struct.unpack_from("<I", told)
        start, end, spikes = struct.unpack_from("<QQQ", told, 4)
        (best,) = struct.unpack_from("<I", told, 60)
        codes = np.frombuffer(told, np.int8, offset=64)
        return BoardRun(steps, start, end, spikes, told[28:60], best, codes)

    def logits(self) -> npt.NDArray[np.int32]:
        """Logits of the last token, int32 ``[vocab]``, or outputs of the last frame, ``[outputs]``."""
        width = self.model.outputs or self.model.vocab
        return np.frombuffer(self._read(Region.LOGITS, 4 * width), "<i4").astype(np.int32)

    def codes(self, steps: int) -> npt.NDArray[np.int8]:
        """What every step of the last run with `InferFlag.ALL` left, int8 ``[steps, row_bytes]``."""
        row = self.model.row_bytes
        return np.frombuffer(self._read(Region.CODES, steps * row), np.int8).reshape(steps, row)

    def ticks(self, steps: int) -> npt.NDArray[np.int64]:
        """Ticks that every step of that run took, ``[steps]``."""
        return np.frombuffer(self._read(Region.TICKS, 4 * steps), "<u4").astype(np.int64)

    def top(self, k: int) -> list[tuple[int, int]]:
        """The k most likely tokens with their logits, best first, the lower id first among equals."""
        told = self.session.call(BoardCommand.TOP, struct.pack("<I", k), seconds=ANSWER_S)
        return [struct.unpack_from("<Ii", told, 8 * i) for i in range(k)]

    def save(self) -> tuple[npt.NDArray[np.uint8], int]:
        """The context: bytes of its state in the engine's order, and the tokens or frames since reset."""
        told = self.session.call(BoardCommand.SAVE, seconds=ANSWER_S)
        size, position = struct.unpack("<IQ", told)
        if self.model.inputs:
            return np.frombuffer(self._read(Region.STATE, size), np.uint8), position
        packed = np.frombuffer(self._read(Region.STATE, (size + 7) // 8), np.uint8)
        return np.unpackbits(packed, count=size, bitorder="little"), position

    def restore(self, state: npt.NDArray[np.integer], position: int) -> None:
        """Go on from a saved context."""
        flat = np.ascontiguousarray(state).astype(np.int8).view(np.uint8)
        packed = (flat if self.model.inputs else np.packbits(flat, bitorder="little")).tobytes()
        piece = self.session.hello.payload_max - 8
        for at in range(0, len(packed), piece):
            self._write(Region.STATE, at, packed[at : at + piece])
        self.session.call(BoardCommand.RESTORE, struct.pack("<Q", position), seconds=ANSWER_S)

    def pin(self, *, high: bool) -> None:
        """Set the marker pin."""
        self.session.call(BoardCommand.PIN, struct.pack("<B3x", high), seconds=ANSWER_S)

    def clock(self) -> int:
        """The board's clock, ticks."""
        (ticks,) = struct.unpack("<Q", self.session.call(BoardCommand.CLOCK, seconds=ANSWER_S))
        return int(ticks)

    def statistics(self) -> dict[str, int]:
        """What the firmware counted since it started."""
        told = self.session.call(BoardCommand.STATISTICS, seconds=ANSWER_S)
        return dict(zip(_COUNTED, struct.unpack_from("<7I", told), strict=True))

    def reboot(self, *, by_fault: bool = False) -> None:
        """Start the firmware again; ``by_fault`` tries the way by which a fault is told."""
        self.session.call(BoardCommand.REBOOT, struct.pack("<B3x", by_fault), seconds=ANSWER_S)

    def _write(self, region: Region, offset: int, data: bytes) -> None:
        head = struct.pack("<BxxxI", region, offset)
        self.session.call(BoardCommand.WRITE, head + data, seconds=ANSWER_S)

    def _read(self, region: Region, size: int) -> bytes:
        piece, parts = (self.session.hello.payload_max - 4) // 4 * 4, []
        for at in range(0, size, piece):
            ask = struct.pack("<BxxxII", region, at, min(piece, size - at))
            parts.append(self.session.call(BoardCommand.READ, ask, seconds=ANSWER_S))
        return b"".join(parts)
