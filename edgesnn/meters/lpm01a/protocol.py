r"""The wire format of the ST X-NUCLEO-LPM01A (PowerShield): commands, samples, frames. Pure, no I/O.

Sources: ST UM2269 (PowerShield firmware) as its help text quotes it, ST UM2243 (the board), and the framing
that independent clients of the instrument check byte for byte. Two sample formats exist:

* ASCII: ``DDDD±EE\r\n`` is DDDD * 10**±EE amperes; ``6409-07`` is 640.9 uA.
* Binary: 16 bits, big-endian; the top nibble n and the low 12 bits m are m * 16**-n amperes; ``52 A0`` is
  640.9 uA. A top nibble of 15 is no sample: it begins a metadata frame ``F0 Fx ... FF FF``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

#: USB identity and baud rate of the instrument (UM2269; the baud rate matters on its UART connector only).
USB_ID = (0x0483, 0x5740)
BAUD = 3_686_400
PROMPT = b"PowerShield > "

#: Sample rates that ``freq`` takes, Hz, and how they are spelled.
RATES = {
    100_000: "100k",
    50_000: "50k",
    20_000: "20k",
    10_000: "10k",
    5_000: "5k",
    2_000: "2k",
    1_000: "1k",
    **{rate: str(rate) for rate in (500, 200, 100, 50, 20, 10, 5, 2, 1)},
}
#: The fastest rate that the ASCII format holds for an unlimited time.
ASCII_MAX_HZ = 5_000
#: Supply voltages that ``volt`` takes.
LOWEST_V, HIGHEST_V = 1.8, 3.3
#: The dynamic mode measures up to 50 mA (UM2243 Rev 2 p. 24); what it says beyond that is clamped to it.
SATURATION_A = 0.050
#: The first firmware with ``eventsrc`` and a working ``pwr off`` (EEMBC energyrunner, README and issue 8).
EVENT_FIRMWARE = (1, 0, 6)
#: A time stamp has a resolution of 1 ms.
STAMP_S = 1e-3

STAMP_LINE = re.compile(rb"TimeStamp:\s*([><]?)\s*(\d{1,10})s\s+(\d{1,4})ms,\s*buff\s+(\d{1,3})%")
SAMPLE_LINE = re.compile(rb"(\d{4})([+-]\d{2})")
EVENT_LINE = re.compile(rb"event (\d{1,20}) (?:ris|fal)")
VERSION = re.compile(rb"(\d{1,9})\.(\d{1,9})\.(\d{1,9})")


class Lpm01aFrameType(IntEnum):
    """Second byte of a metadata frame."""

    ERROR = 0xF1  #: ASCII text
    INFO = 0xF2  #: ASCII text
    STAMP = 0xF3  #: u32 milliseconds (top bit: overflow), u8 filling of the send buffer in percent
    END = 0xF4  #: the acquisition ended; a summary in ASCII follows
    OVERCURRENT = 0xF5
    POWER_DOWN = 0xF6  #: the target's supply went off
    VOLTAGE = 0xF7  #: u16 millivolts


#: Bytes of a frame from F0 to the last FF; ERROR and INFO end where FF FF stands.
FRAME_BYTES = {
    Lpm01aFrameType.STAMP: 9,
    Lpm01aFrameType.END: 4,
    Lpm01aFrameType.OVERCURRENT: 4,
    Lpm01aFrameType.POWER_DOWN: 4,
    Lpm01aFrameType.VOLTAGE: 6,
}
FRAME_TEXT_LIMIT = 256
_SCALE = 16.0 ** -np.arange(16, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Stamp:
    """A time stamp of the instrument.

    Attributes:
        time_ms: Milliseconds since the acquisition began.
        buffer_percent: How full its send buffer is.
        overflow: Whether it says that this buffer ran over.
    """

    time_ms: int
    buffer_percent: int
    overflow: bool = False


def decode_words(words: npt.NDArray[np.uint16]) -> npt.NDArray[np.float64]:
    """Currents of binary samples.

    Args:
        words: Samples in the byte order of this machine, uint16 ``[n]``, none with the top nibble 15.

    Returns:
        m * 16**-n, amperes, float64 ``[n]``.
    """
    return np.asarray((words & 0x0FFF) * _SCALE[words >> 12], np.float64)


def encode_words(current_a: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """The nearest binary samples, each with the largest exponent that its 12 bits hold.

    Args:
        current_a: Amperes, at least 0 and at most 4095, float64 ``[n]``.

    Returns:
        Samples in the byte order of this machine, uint16 ``[n]``.
    """
    positive = np.maximum(np.asarray(current_a, np.float64), 1e-30)
    exponent = np.clip(np.floor(np.log(4095.0 / positive) / np.log(16.0)), 0, 14).astype(np.int64)
    mantissa = np.rint(np.maximum(current_a, 0.0) * 16.0**exponent)
    # rounding may have reached 4096: one exponent less holds it
    over = mantissa > 4095
    exponent = exponent - over
    mantissa = np.where(over, np.rint(mantissa / 16), mantissa)
    return np.asarray((exponent.astype(np.uint16) << 12) | mantissa.astype(np.uint16), np.uint16)


def encode_ascii(value: float) -> bytes:
    """A sample line without its end: four digits and a power of ten; negative values become 0."""
    if value < 1e-99:
        return b"0000-09"
    exponent = int(np.floor(np.log10(value))) - 3
    digits = round(value / 10.0**exponent)
    if digits > 9999:
        digits, exponent = round(digits / 10), exponent + 1
    return b"%04d%s%02d" % (digits, b"-" if exponent < 0 else b"+", abs(exponent))


def decode_ascii(text: bytes) -> float:
    """The value of a sample line, amperes (or joules, with ``output energy``).

    Raises:
        ValueError: It is no sample line.
    """
    found = SAMPLE_LINE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no sample")
    return int(found[1]) * 10.0 ** int(found[2])


def encode_frame(kind: Lpm01aFrameType, payload: bytes = b"") -> bytes:
    """A metadata frame."""
    return bytes((0xF0, kind)) + payload + b"\xff\xff"


def encode_stamp(stamp: Stamp, ascii_format: bool) -> bytes:
    """A time stamp as it stands in the stream."""
    if ascii_format:
        seconds, milliseconds = divmod(stamp.time_ms, 1000)
        mark = b">" if stamp.overflow else b" "
        full = min(stamp.buffer_percent, 99)
        return b"TimeStamp:%s%03ds %03dms, buff %02d%%\r\n" % (mark, seconds % 1000, milliseconds, full)
    raw = (stamp.time_ms & 0x7FFFFFFF) | (0x80000000 if stamp.overflow else 0)
    return encode_frame(
        Lpm01aFrameType.STAMP, raw.to_bytes(4, "big") + bytes((min(stamp.buffer_percent, 100),))
    )


def decode_stamp(frame: bytes) -> Stamp | None:
    """The time stamp in 9 bytes ``F0 F3 ... FF FF``; None when they are none."""
    if (
        len(frame) != FRAME_BYTES[Lpm01aFrameType.STAMP]
        or frame[:2] != b"\xf0\xf3"
        or frame[-2:] != b"\xff\xff"
    ):
        return None
    raw = int.from_bytes(frame[2:6], "big")
    return Stamp(raw & 0x7FFFFFFF, frame[6], bool(raw >> 31)) if frame[6] <= 100 else None


def find_stamp(data: bytes | bytearray, start: int = 0) -> int:
    """Where the next whole time stamp frame begins, at any phase; -1 when there is none."""
    at = data.find(b"\xf0\xf3", start)
    while at >= 0:
        if decode_stamp(bytes(data[at : at + FRAME_BYTES[Lpm01aFrameType.STAMP]])) is not None:
            return at
        at = data.find(b"\xf0\xf3", at + 1)
    return -1


def millivolts(volts: float) -> str:
    """A voltage as ``volt`` takes it: ``3.3`` is ``3300m``."""
    return f"{round(volts * 1000)}m"
