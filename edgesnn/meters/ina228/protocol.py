"""Wire protocol of the INA228 bridge: picowatt v1 frames and our MARK frame.

The page is firmware_bridge/meter/PROTOCOL.md. A frame is COBS( type, payload, CRC-16 little-endian ) and a
zero byte. The CRC is CRC-16/CCITT-FALSE over type and payload. All numbers are little-endian. Pure functions
and one incremental reader; no I/O.
"""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from edgesnn.errors import UsageError

VERSION = 1
#: Longest frame before COBS: type, payload and CRC.
RAW_MAX = 300
#: Samples that one DATA frame holds at most.
RECORDS_MAX = (RAW_MAX - 6) // 13
#: A reply must come within this.
REPLY_S = 0.5

#: Volts per count of the VBUS register (INA228 data sheet, SLYS021, table "ADC full scale values").
BUS_LSB_V = 195.3125e-6
#: Amperes per count of the CURRENT register, by ADCRANGE: fixed by the protocol.
CURRENT_LSB_A = (8e-6, 2e-6)
#: Volts per count of the shunt voltage, by ADCRANGE (data sheet, the same table).
SHUNT_LSB_V = (312.5e-9, 78.125e-9)
#: The registers are signed, 20 bits.
COUNT_MAX = (1 << 19) - 1
#: Conversion times by code, microseconds, and averaged conversions by code (data sheet, ADC_CONFIG register).
TIME_US = (50, 84, 150, 280, 540, 1052, 2074, 4120)
AVERAGES = (1, 4, 16, 64, 128, 256, 512, 1024)
#: The shortest sample period that the bridge can read out over I2C, microseconds (picowatt: 3.3 kS/s).
PERIOD_MIN_US = 300

#: One sample of a DATA frame: channel, timer at the end of the conversion, VBUS and CURRENT registers.
RECORD = np.dtype([("channel", "u1"), ("t_us", "<u4"), ("bus", "<i4"), ("current", "<i4")])
Records = npt.NDArray[np.void]

#: Bits of the level byte of a MARK frame.
MARK_LEVEL, MARK_STATE, MARK_ANSWER = 0x01, 0x40, 0x80
#: The edge counter stands in bits 1 to 5.
EDGES = 32

#: Board number of the simulated bridge; no board has it.
SIMULATED_BOARD = b"SIMULATE"


class Ina228FrameType(IntEnum):
    """Types of frames."""

    DATA = 0x01
    MARK = 0x02
    HELLO = 0x10
    START = 0x11
    STOP = 0x12
    SET_MODE = 0x13
    SET_ADC = 0x14
    SET_SHUNT_CAL = 0x15
    GET_CONFIG = 0x16
    GET_MARK = 0x18
    BOOTLOADER = 0x1F
    ACK = 0x80
    NACK = 0x81
    HELLO_ACK = 0x90
    CONFIG = 0x96


#: What a NACK means, as the end of a sentence.
REFUSALS = {
    1: "it cannot take this value",
    2: "it has no such channel",
    3: "its firmware does not know this command",
    4: "the command has the wrong length",
}


@dataclass(frozen=True, slots=True)
class Hello:
    """Who answers.

    Attributes:
        version: Version of the protocol.
        firmware: Version of the firmware, ``major.minor.patch``.
        board: Number of the board, eight bytes.
        channels: Bit i: channel i is there.
    """

    version: int
    firmware: str
    board: bytes
    channels: int


@dataclass(frozen=True, slots=True)
class Channel:
    """How one channel converts; codes as in the INA228's registers.

    Attributes:
        present: Whether it is there.
        range: ADCRANGE: 0 takes ±163.84 mV at the shunt, 1 takes ±40.96 mV.
        bus_time: Code of the bus voltage's conversion time.
        shunt_time: Code of the shunt voltage's conversion time.
        average: Code of the number of averaged conversions.
        shunt_cal: SHUNT_CAL register.
    """

    present: bool
    range: int
    bus_time: int
    shunt_time: int
    average: int
    shunt_cal: int

    @property
    def period_us(self) -> int:
        """Nominal time from sample to sample, microseconds; the INA228's oscillator is good for ±0.5 %."""
        return (TIME_US[self.bus_time] + TIME_US[self.shunt_time]) * AVERAGES[self.average]

    @property
    def shunt_ohm(self) -> float:
        """The shunt that SHUNT_CAL was made for: SHUNT_CAL = 13107.2e6 · LSB · R, times 4 in range 1."""
        factor = 4 if self.range else 1
        return self.shunt_cal / (13107.2e6 * CURRENT_LSB_A[self.range] * factor)

    @property
    def limit(self) -> int:
        """The highest count of CURRENT before converter or register saturate.

        CURRENT = shunt counts · 4096 / SHUNT_CAL, which follows from the two equations of the data sheet.
        """
        return min(COUNT_MAX, COUNT_MAX * 4096 // max(self.shunt_cal, 1))


@dataclass(frozen=True, slots=True)
class Config:
    """State of the bridge.

    Attributes:
        dual: Whether both channels stream.
        streaming: Whether it streams.
        drops: Samples that it had to throw away since it was switched on.
        channels: Both channels.
    """

    dual: bool
    streaming: bool
    drops: int
    channels: tuple[Channel, Channel]


@dataclass(frozen=True, slots=True)
class Mark:
    """A level of the sync input.

    Attributes:
        t_us: The bridge's timer.
        level: Level from then on.
        edges: Edges so far, modulo 32.
        state: Whether it follows samples: all edges until then were told before it.
        answer: Whether it answers GET_MARK. What is neither tells an edge, or the level at the start.
    """

    t_us: int
    level: int
    edges: int
    state: bool = False
    answer: bool = False


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE; ``b"123456789"`` gives 0x29B1."""
    return binascii.crc_hqx(data, 0xFFFF)


def stuff(data: bytes) -> bytes:
    """COBS: the same bytes without a zero, at most one byte in 254 longer."""
    out = bytearray()
    blocks = data.split(b"\0")
    for index, block in enumerate(blocks):
        while len(block) > 254:
            out += b"\xff" + block[:254]
            block = block[254:]  # noqa: PLW2901 - the block is eaten
        last = index == len(blocks) - 1
        if len(block) == 254 and last:
            out += b"\xff" + block
        elif len(block) == 254:
            out += b"\xff" + block + b"\x01"
        else:
            out += bytes([len(block) + 1]) + block
    return bytes(out)


def unstuff(data: bytes) -> bytes | None:
    """Undo `stuff`; None when it is no COBS."""
    out = bytearray()
    at = 0
    while at < len(data):
        code = data[at]
        end = at + code
        if code == 0 or end > len(data):
            return None
        out += data[at + 1 : end]
        at = end
        if code != 255 and at < len(data):
            out.append(0)
    return bytes(out)


def encode(kind: int, payload: bytes = b"") -> bytes:
    """One frame on the wire.

    Raises:
        ValueError: The payload is longer than a frame holds.
    """
    if len(payload) > RAW_MAX - 3:
        raise ValueError(f"a payload of {len(payload)} bytes does not fit a frame")
    raw = bytes([kind]) + payload
    return stuff(raw + crc16(raw).to_bytes(2, "little")) + b"\0"


class Ina228FrameReader:
    """Takes bytes as they come, gives whole frames.

    Attributes:
        discarded_bytes: Bytes on the wire that belonged to no whole, right frame.
        discarded: How many pieces between two zeros were no frame.
    """

    def __init__(self) -> None:
        self._held = b""
        self.discarded_bytes = 0
        self.discarded = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Type and payload of each frame that is now whole."""
        pieces = (self._held + data).split(b"\0")
        self._held = pieces.pop()
        if len(self._held) > 2 * RAW_MAX:  # no frame: what follows the next zero may be one
            self._throw(len(self._held))
            self._held = b""
        frames = []
        for piece in pieces:
            raw = unstuff(piece) if 0 < len(piece) <= RAW_MAX + 2 else None
            if raw is not None and 3 <= len(raw) <= RAW_MAX and crc16(raw[:-2]) == raw[-2] | raw[-1] << 8:
                frames.append((raw[0], raw[1:-2]))
            elif piece:
                self._throw(len(piece) + 1)
        return frames

    def _throw(self, count: int) -> None:
        self.discarded += 1
        self.discarded_bytes += count


def parse_hello(payload: bytes) -> Hello | None:
    """The payload of HELLO_ACK; None when it has another length."""
    if len(payload) != 13:
        return None
    return Hello(payload[0], ".".join(map(str, payload[1:4])), payload[4:12], payload[12])


def parse_config(payload: bytes) -> Config | None:
    """The payload of CONFIG; None when its length or a code is impossible."""
    if len(payload) != 20:
        return None
    dual, streaming, drops = struct.unpack_from("<BBI", payload)
    channels = []
    for index in range(2):
        present, span, bus, shunt, average, cal = struct.unpack_from("<BBBBBH", payload, 6 + 7 * index)
        if span > 1 or max(bus, shunt, average) > 7:
            return None
        channels.append(Channel(bool(present), span, bus, shunt, average, cal))
    return Config(bool(dual), bool(streaming), drops, (channels[0], channels[1]))


def parse_data(payload: bytes) -> tuple[int, Records] | None:
    """Sequence number and records of a DATA frame; None when count and length disagree or it is empty."""
    if len(payload) < 3 or payload[2] == 0 or len(payload) != 3 + payload[2] * RECORD.itemsize:
        return None
    return payload[0] | payload[1] << 8, np.frombuffer(payload, RECORD, offset=3)


def parse_mark(payload: bytes) -> Mark | None:
    """The payload of MARK; None when it has another length."""
    if len(payload) != 5:
        return None
    t_us, byte = struct.unpack("<IB", payload)
    return Mark(
        t_us, byte & MARK_LEVEL, byte >> 1 & (EDGES - 1), bool(byte & MARK_STATE), bool(byte & MARK_ANSWER)
    )


def shunt_cal(shunt_ohm: float) -> int:
    """SHUNT_CAL for a shunt; the same in both ranges, since LSB and factor cancel.

    SHUNT_CAL = 13107.2e6 · 8 uA · R (data sheet, section "Current and power calculations").
    """
    return round(13107.2e6 * CURRENT_LSB_A[0] * shunt_ohm)


def shunt_payload(channel: int, shunt_ohm: float) -> bytes:
    """The payload of SET_SHUNT_CAL for a shunt."""
    return struct.pack("<BH", channel, min(max(shunt_cal(shunt_ohm), 1), 0x7FFF))


def nearest(rate_hz: float) -> tuple[int, int, int]:
    """Codes of bus time, shunt time and averaging whose rate is nearest, in ratio.

    Raises:
        UsageError: The rate is not positive, or far outside what the bridge can do.
    """
    periods = {
        (0, shunt, average): (TIME_US[0] + TIME_US[shunt]) * AVERAGES[average]
        for average in range(8)
        for shunt in range(8)
    }
    able = {codes: us for codes, us in periods.items() if us >= PERIOD_MIN_US}
    slowest, fastest = 1e6 / max(able.values()), 1e6 / min(able.values())
    if not 0.9 * slowest <= rate_hz <= 1.1 * fastest:
        raise UsageError(
            "the INA228 bridge has no such sample rate",
            actual=f"{rate_hz:g} Hz",
            limit=f"{slowest:.2g} Hz to {fastest:.0f} Hz",
        )
    wanted_us = 1e6 / rate_hz
    longest_us = TIME_US[0] + TIME_US[-1]
    if wanted_us <= longest_us:  # a single conversion will do: averaging would only interleave more bus time
        able = {codes: us for codes, us in able.items() if codes[2] == 0}

    def distance(codes: tuple[int, int, int]) -> tuple[float, int]:
        ratio = able[codes] / wanted_us
        return max(ratio, 1 / ratio), codes[2]

    return min(able, key=distance)
