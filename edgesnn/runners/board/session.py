"""One session with the firmware on a board: turns, resends, deadlines, and what a reply says.

Every request has a number and exactly one reply. What is lost or damaged is sent again under the same number,
and the firmware obeys a number once: a request that arrives twice is answered twice and run once. So a call
ends in the device's answer, or in one error within the time that it states.
"""

from __future__ import annotations

import secrets
import struct
import time
from dataclasses import dataclass

from edgesnn.closing import Closing
from edgesnn.errors import RunnerError
from edgesnn.runners.board.frames import (
    BOOTED,
    FAULT,
    REPLY,
    VERSIONS,
    BoardCommand,
    BoardFrame,
    BoardFrameReader,
    BoardStatus,
    encode_frame,
)
from edgesnn.runners.board.lines import ByteLine

_HELLO = struct.Struct("<BBBBIIIIIIIIIIBB2x")
_HELLO_MODEL = struct.Struct("<B3xII32s")
_REFUSAL = struct.Struct("<B3xII")
_FAULT = struct.Struct("<IIIII")
_TEXTS_AT = 96
_FAULTS = {3: "hard fault", 4: "memory fault", 5: "bus fault", 6: "usage fault", 7: "secure fault"}
_CAUSES = {0: "power or reset pin", 1: "asked to", 2: "after a fault"}


@dataclass(frozen=True, slots=True)
class BoardTiming:
    """How long an answer is waited for, in seconds.

    Attributes:
        resend: Silence after which a request is sent again; it doubles each time.
        resend_most: Where the doubling ends.
        silence: Silence after which the board counts as gone; the longest single step must be shorter.
        write: A request must be taken by the line within this time.
    """

    resend: float = 0.5
    resend_most: float = 2.0
    silence: float = 10.0
    write: float = 5.0


@dataclass(frozen=True, slots=True)
class BoardHello:
    """What a board says of itself.

    Attributes:
        version: Version of the protocol that both speak; 0 where there is none.
        versions: The lowest and the highest that the firmware speaks.
        session: The session that is in force there; 0 after a start.
        tick_hz: Resolution of its clock.
        cpu_hz: Clock of its processor; 0 where unknown.
        payload_max: Longest payload of a frame.
        inline_tokens: Tokens that a run can bring in its own frame.
        model_bytes: Room for a model.
        arena_bytes: Room for index, context and results.
        flash_bytes: Size of the firmware.
        static_bytes: RAM of its variables and its stack.
        cause: Why it started.
        model_state: 0 no model, 1 a part of one, 2 all of it, 3 open.
        model_have: Bytes of the model that are there.
        model_hash: The open model's program hash, hex; empty where none is open.
        firmware: Version of the firmware.
        engine: Version of the engine.
        name: Name of the board.
        kernels: Names of its kernel sets, the default first.
    """

    version: int
    versions: tuple[int, int]
    session: int
    tick_hz: int
    cpu_hz: int
    payload_max: int
    inline_tokens: int
    model_bytes: int
    arena_bytes: int
    flash_bytes: int
    static_bytes: int
    cause: str
    model_state: int
    model_have: int
    model_hash: str
    firmware: str
    engine: str
    name: str
    kernels: tuple[str, ...]


class BoardSession(Closing):
    """A session with a board; the constructor begins it, whatever the board did before.

    Args:
        line: The way to the board; closed with the session.
        timing: How long answers are waited for.

    Attributes:
        hello: What the board said of itself.
        resends: Requests that were sent more than once.

    Raises:
        RunnerError: Nothing answers, or what answers speaks another protocol.
    """

    def __init__(self, line: ByteLine, timing: BoardTiming | None = None) -> None:
        self._line, self._timing = line, timing or BoardTiming()
        self._reader = BoardFrameReader()
        self._frames: list[BoardFrame] = []
        self._session = self._number = 0
        self._over: str | None = None
        self.resends = 0
        try:
            nonce = 1 + secrets.randbelow(0xFFFFFFFE)
            self.hello = self._greet(nonce, opens=True, seconds=self._timing.silence)
            self._check(nonce)
            self._session = nonce
        except BaseException:
            line.close()
            raise

    @property
    def who(self) -> str:
        """The board in messages."""
        return self._line.who

    def call(self, command: BoardCommand, payload: bytes = b"", *, seconds: float) -> bytes:
        """Ask the board, and wait for its answer.

        Args:
            command: What is asked.
            payload: What it needs.
            seconds: Within this time there is an answer or an error.

        Returns:
            What the reply carries behind its status.

        Raises:
            RunnerError: The board refused, went away, started again, or did not answer in time.
        """
        if self._over is not None:
            raise RunnerError(
                f"the session with {self.who} is over", actual=self._over, remedy="open it again"
            )
        self._over = "a request was not answered"
        self._number += 1
        reply = self._turn(command, payload, seconds)
        self._over = None
        if reply[0] != BoardStatus.OK:
            raise self._refused(command, reply)
        return reply[4:]

    def close(self) -> None:
        self._over = self._over or "it was closed"
        self._line.close()

    def _turn(self, command: BoardCommand, payload: bytes, seconds: float) -> bytes:
        """The whole reply to a request, which is sent until it comes."""
        timing = self._timing
        request = encode_frame(self._session, self._number, command, payload)
        begun = heard = time.monotonic()
        wait, again = timing.resend, begun
        while True:
            now = time.monotonic()
            if now - begun >= seconds:
                raise RunnerError(
                    f"{self.who} did not answer in time",
                    actual=f"{command.name} took more than {seconds:.3g} s",
                    remedy="a slower board needs more time; see docs/microcontroller.md",
                )
            if now - heard >= timing.silence:
                raise self._silent(command)
            if now >= again:
                self._line.write(request, min(timing.write, seconds))
                self.resends += now > begun
                wait = min(wait * 2, timing.resend_most) if now > begun else wait
                again = time.monotonic() + wait
            frame = self._next(min(again, begun + seconds, heard + timing.silence))
            if frame is None:
                continue
            self._look_at(frame)
            if frame.cmd != command | REPLY or not frame.is_of(self._session, self._number):
                continue
            if len(frame.payload) < 4:
                continue
            if frame.payload[0] != BoardStatus.BUSY:
                return frame.payload
            heard = time.monotonic()
            again = heard + wait

    def _next(self, until: float) -> BoardFrame | None:
        """The next frame, or None when a moment has come."""
        while not self._frames:
            left = until - time.monotonic()
            if left <= 0:
                return None
            self._frames = self._reader.feed(self._line.read(left))
        return self._frames.pop(0)

    def _look_at(self, frame: BoardFrame) -> None:
        """Raise what the board tells unasked."""
        if frame.cmd == FAULT and frame.is_of(0, 0) and len(frame.payload) == _FAULT.size:
            kind, pc, lr, status, address = _FAULT.unpack(frame.payload)
            raise RunnerError(
                f"the processor of {self.who} met a {_FAULTS.get(kind, f'fault {kind}')}",
                actual=f"at 0x{pc:08x}, called from 0x{lr:08x}; status 0x{status:08x}, at 0x{address:08x}",
                remedy="a bug of the firmware, or memory that is not there; the board starts again",
            )
        if frame.cmd == BOOTED and frame.is_of(0, 0) and len(frame.payload) == 4:
            raise RunnerError(
                f"{self.who} started again in the middle",
                actual=_CAUSES.get(frame.payload[0], f"cause {frame.payload[0]}"),
                remedy="look at its supply and its reset pin, then run it again",
            )

    def _greet(self, nonce: int, *, opens: bool, seconds: float) -> BoardHello:
        timing = self._timing
        request = encode_frame(0, 0, BoardCommand.HELLO, struct.pack("<BBBxII", opens, *VERSIONS, nonce, 0))
        begun = again = time.monotonic()
        wait = timing.resend
        while (now := time.monotonic()) - begun < seconds:
            if now >= again:
                self._line.write(request, min(timing.write, seconds))
                again = time.monotonic() + wait
                wait = min(wait * 2, timing.resend_most)
            frame = self._next(min(again, begun + seconds))
            if frame is None or frame.cmd != BoardCommand.HELLO | REPLY or not frame.is_of(0, 0):
                continue
            if len(frame.payload) > _TEXTS_AT and struct.unpack_from("<I", frame.payload, 4) == (nonce,):
                return _read_hello(frame.payload)
        raise self._nobody(seconds)

    def _nobody(self, seconds: float) -> RunnerError:
        reader = self._reader
        if reader.bytes_read and not reader.frames_read:
            shown = reader.text.decode("ascii", "replace")
            return RunnerError(
                f"what answers at {self.who} is not this firmware",
                actual=f"{reader.bytes_read} bytes, such as {shown[:40]!r}",
                remedy="wrong port, wrong baud rate (?baud=N), or another program on the board",
            )
        return RunnerError(
            f"{self.who} does not answer",
            actual=f"silent for {seconds:g} s",
            remedy="look at its power, its port and its firmware; see docs/microcontroller.md",
        )

    def _check(self, nonce: int) -> None:
        hello = self.hello
        if hello.version == 0:
            low, high = hello.versions
            raise RunnerError(
                f"the firmware of {self.who} speaks another version of the protocol",
                actual=f"{low} to {high}, firmware {hello.firmware}",
                limit=f"{VERSIONS[0]} to {VERSIONS[1]}",
                remedy="put the firmware of this edgesnn on the board",
            )
        if hello.session != nonce:
            raise RunnerError(f"{self.who} began another session than was asked", actual=hello.session)

    def _silent(self, command: BoardCommand) -> RunnerError:
        """Why a request stays without an answer: ask once more without its session."""
        silence = self._timing.silence
        looked = self._greet(1 + secrets.randbelow(0xFFFFFFFE), opens=False, seconds=silence)
        if looked.session == 0:
            return RunnerError(
                f"{self.who} started again in the middle",
                actual=looked.cause,
                remedy="look at its supply and its reset pin, then run it again",
            )
        if looked.session != self._session:
            return RunnerError(
                f"another program took over {self.who}",
                actual="another session is in force there",
                limit="one host a board",
                remedy="end the other program, then run it again",
            )
        return RunnerError(
            f"{self.who} loses what is sent to it",
            actual=f"{command.name} was not answered for {silence:g} s, HELLO was",
            remedy="a shorter cable, a lower baud rate, or flow control",
        )

    def _refused(self, command: BoardCommand, reply: bytes) -> RunnerError:
        status, value, limit = _REFUSAL.unpack(reply[:12].ljust(12, b"\0"))
        if status == BoardStatus.SPACE:
            flash = "put it into the flash (edgesnn flash), or " if command is BoardCommand.BEGIN else ""
            return RunnerError(
                f"{self.who} has too little memory for {_NEEDS.get(command, command.name)}",
                actual=f"{value:,} bytes",
                limit=f"{limit:,} bytes",
                remedy=f"{flash}a smaller student or a larger board; see docs/microcontroller.md",
            )
        if status == BoardStatus.SUM:
            return RunnerError(
                f"the model on {self.who} is damaged",
                actual=f"CRC-32 {value:08x}",
                limit=f"{limit:08x}",
                remedy="run it again; if it stays so, the board's memory is bad",
            )
        if status == BoardStatus.ENGINE:
            return RunnerError(
                f"the engine on {self.who} refused {command.name}", actual=f"snn_status {value}"
            )
        name = BoardStatus(status).name if status in set(BoardStatus) else f"status {status}"
        return RunnerError(
            f"{self.who} refused {command.name}: {name}", actual=f"{value:,}", limit=f"{limit:,}"
        )


_NEEDS = {
    BoardCommand.BEGIN: "this model",
    BoardCommand.OPEN: "the engine's memory of this model",
    BoardCommand.INFER: "the results of so many inputs",
    BoardCommand.SAVE: "a saved context",
    BoardCommand.WRITE: "what it is sent",
}


def _read_hello(payload: bytes) -> BoardHello:
    found = _HELLO.unpack_from(payload)
    state, _, have, digest = _HELLO_MODEL.unpack_from(payload, _HELLO.size)
    texts = payload[_TEXTS_AT:].split(b"\0")
    words = [text.decode("ascii", "replace") for text in texts] + [""] * 4
    return BoardHello(
        version=found[1],
        versions=(found[2], found[3]),
        session=found[5],
        tick_hz=found[6],
        cpu_hz=found[7],
        payload_max=found[8],
        inline_tokens=found[9],
        model_bytes=found[10],
        arena_bytes=found[11],
        flash_bytes=found[12],
        static_bytes=found[13],
        cause=_CAUSES.get(found[14], f"cause {found[14]}"),
        model_state=state,
        model_have=have,
        model_hash=digest.hex() if state == 3 else "",
        firmware=words[0],
        engine=words[1],
        name=words[2],
        kernels=tuple(words[3].split()),
    )
