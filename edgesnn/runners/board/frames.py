"""Frames of the serial protocol (``firmware_bridge/PROTOCOL.md``): COBS, CRC-32, and their numbers.

``00 | COBS(cmd u8, seq u8, payload, crc u32) | 00``. The sum runs over session and number too, which both
ends know and nobody sends: a frame of another session or another turn is no frame at all.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

#: Versions of the protocol that this end speaks.
VERSIONS = (1, 2)
#: The first of them that knows programs of frames.
FRAMES_VERSION = 2
REPLY = 0x80
#: Frames that nobody asked for: the firmware has just started; the processor met a fault.
BOOTED, FAULT = 0xF0, 0xF1
#: Longest frame that is believed before COBS is undone; what is longer is noise.
WIRE_MAX = 1 << 14
_HEAD = 2
_SUM = struct.Struct("<I")
_SEED = struct.Struct("<IIBB")


class BoardCommand(IntEnum):
    """What a board is asked."""

    HELLO = 1
    BEGIN = 2
    WRITE = 3
    OPEN = 4
    READ = 5
    RESET = 6
    INFER = 7
    TOP = 8
    SAVE = 9
    RESTORE = 10
    PIN = 11
    CLOCK = 12
    STATISTICS = 13
    REBOOT = 14


class BoardStatus(IntEnum):
    """First byte of a reply."""

    OK = 0
    BUSY = 1
    COMMAND = 2
    LENGTH = 3
    RANGE = 4
    SPACE = 5
    SUM = 6
    ORDER = 7
    MODEL = 8
    ENGINE = 9


class Region(IntEnum):
    """What WRITE and READ speak of."""

    MODEL = 1
    INPUTS = 2
    STATE = 3
    LOGITS = 4
    CODES = 5
    TICKS = 6


class InferFlag(IntEnum):
    """Flags of INFER."""

    FRESH = 1
    ALL = 2
    MARK = 4
    SPIKES = 8


@dataclass(frozen=True, slots=True)
class BoardFrame:
    """One frame whose sum was not looked at yet.

    Attributes:
        cmd: Its command or reply.
        seq: The low byte of its number.
        payload: Its bytes.
        crc: The sum that it carries.
    """

    cmd: int
    seq: int
    payload: bytes
    crc: int

    def is_of(self, session: int, number: int) -> bool:
        """Whether it belongs to this turn of this session, and arrived whole."""
        return self.seq == number & 0xFF and self.crc == _sum(session, number, self.cmd, self.payload)


def encode_frame(session: int, number: int, cmd: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame on the wire."""
    raw = bytes((cmd, number & 0xFF)) + payload + _SUM.pack(_sum(session, number, cmd, payload))
    return b"\0" + _stuff(raw) + b"\0"


class BoardFrameReader:
    """Frames out of a stream of bytes; what is no frame is passed over.

    Attributes:
        bytes_read: Bytes that came.
        frames_read: Frames among them, right or wrong in their sum.
        text: The end of what came before the first frame.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self.bytes_read = self.frames_read = 0
        self.text = b""

    def feed(self, data: bytes) -> list[BoardFrame]:
        """Take bytes; the frames that they close."""
        self.bytes_read += len(data)
        if not self.frames_read:
            self.text = (self.text + data)[-64:]
        found = []
        *closed, rest = data.split(b"\0")
        for piece in closed:
            frame = _parse(bytes(self._held + piece))
            self._held.clear()
            if frame is not None:
                self.frames_read += 1
                found.append(frame)
        self._held += rest
        if len(self._held) > WIRE_MAX:
            self._held.clear()
        return found


def _sum(session: int, number: int, cmd: int, payload: bytes) -> int:
    seed = _SEED.pack(session, number & 0xFFFFFFFF, cmd, number & 0xFF)
    return zlib.crc32(payload, zlib.crc32(seed))


def _parse(wire: bytes) -> BoardFrame | None:
    raw = _unstuff(wire)
    if raw is None or len(raw) < _HEAD + _SUM.size:
        return None
    (crc,) = _SUM.unpack_from(raw, len(raw) - _SUM.size)
    return BoardFrame(raw[0], raw[1], raw[_HEAD : -_SUM.size], crc)


def _stuff(raw: bytes) -> bytes:
    """COBS (Cheshire and Baker, 1999): every zero becomes the distance to the next one."""
    out = bytearray()
    for piece in raw.split(b"\0"):
        whole = len(piece) // 254 * 254
        for at in range(0, whole, 254):
            out += b"\xff" + piece[at : at + 254]
        out += bytes((len(piece) - whole + 1,)) + piece[whole:]
    return bytes(out)


def _unstuff(wire: bytes) -> bytes | None:
    out = bytearray()
    at = 0
    while at < len(wire):
        code = wire[at]
        piece = wire[at + 1 : at + code]
        if code == 0 or len(piece) != code - 1:
            return None
        out += piece
        at += code
        if code != 0xFF and at < len(wire):
            out.append(0)
    return bytes(out)
