"""Takes the byte streams of an LPM01A apart, in either format, and finds its way back after damage. Pure.

Neither format has a checksum. What can be seen: in the binary one a metadata frame that is not where it
should be (a byte was lost or doubled, or a top nibble became 15), in the ASCII one a line that is none. Then
the stream is searched for the next time stamp, and what came since the last one is suspect. What cannot be
seen: a sample whose bits changed into those of another sample.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgesnn.errors import MeterProtocolError
from edgesnn.meters.lpm01a import protocol
from edgesnn.meters.lpm01a.clock import ASCII_WRAP_MS, SampleClock
from edgesnn.meters.lpm01a.protocol import Lpm01aFrameType, Stamp

#: Without a time stamp in this many bytes of binary stream it is not this instrument's.
LONGEST_SEARCH_BYTES = 4_000_000
#: No sample of this instrument is above this or, from this exponent on, below 0.3 nA without being 0.
HIGHEST_A = 2 * protocol.SATURATION_A
_LOWEST_WORD = 11 << 12
_OVERCURRENT = "the device under test draws more than the instrument can supply"
_POWER_DOWN = "the instrument switched the supply of the device under test off"


class _Stream:
    """What both formats share.

    Args:
        clock: Where samples go.

    Attributes:
        clock: The same.
        stamps: Stamps that were believed since it was last emptied.
        fault: What the instrument reported, to be raised once the samples before it were handed out.
        ended: Whether the acquisition is over.
        completed: Whether the prompt came back after it.
        millivolts: Voltage at the target, if the instrument told it.
    """

    def __init__(self, clock: SampleClock) -> None:
        self.clock = clock
        self.stamps: list[Stamp] = []
        self.fault: MeterProtocolError | None = None
        self.ended = False
        self.completed = False
        self.millivolts: int | None = None
        self._rest = b""

    def _end(self) -> None:
        self.ended = True

    def _fail(self, what: str, detail: str | None = None, remedy: str | None = None) -> None:
        if self.fault is None:
            self.fault = MeterProtocolError(what, actual=detail, remedy=remedy)

    def _text_after_end(self, data: bytes) -> None:
        """The summary in ASCII; only the prompt's sentence matters."""
        self._rest = (self._rest + data)[-4096:]
        if b"Acquisition completed" in self._rest:
            self.completed = True


class AsciiStream(_Stream):
    """Lines: samples, time stamps, events, messages."""

    def feed(self, data: bytes, elapsed_s: float) -> None:
        """Take bytes.

        Args:
            data: What came, in any pieces.
            elapsed_s: Host seconds since the acquisition began.
        """
        if self.ended:
            self._text_after_end(data)
            return
        lines = (self._rest + data).replace(b"\0", b"").split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > protocol.FRAME_TEXT_LIMIT:
            self.clock.damage("a line has no end", len(self._rest))
            self._rest = b""
        values: list[float] = []
        match = protocol.SAMPLE_LINE.fullmatch
        for number, raw in enumerate(lines):
            line = raw.strip()
            found = match(line)
            if found is not None:
                values.append(int(found[1]) * 10.0 ** int(found[2]))
            elif line:
                self.clock.add(np.array(values, np.float64))
                values = []
                self._message(line, elapsed_s)
                if self.ended:
                    self._rest = b"\n".join([*lines[number + 1 :], self._rest])
                    self._text_after_end(b"")
                    return
        self.clock.add(np.array(values, np.float64))

    def _message(self, line: bytes, elapsed_s: float) -> None:
        stamp = protocol.STAMP_LINE.fullmatch(line)
        event = protocol.EVENT_LINE.fullmatch(line)
        if stamp is not None:
            time_ms = int(stamp[2]) * 1000 + int(stamp[3])
            # the one mark that is not a space is taken for the overflow flag of the binary frame
            one = Stamp(time_ms, int(stamp[4]), stamp[1] in (b">", b"<"))
            if self.clock.stamped(one, elapsed_s, ASCII_WRAP_MS) and self.clock.stamp is not None:
                self.stamps.append(self.clock.stamp)
        elif event is not None:
            self.clock.event(int(event[1]))
        elif line == b"end":
            self._end()
        elif b"Acquisition completed" in line:
            self._end()
            self.completed = True
        elif line.startswith(b"error"):
            self._error(line.decode("ascii", "replace"))
        elif line == b"pwr off":
            self._fail(_POWER_DOWN)
        elif line != b"pwr on" and not line.startswith((b"PowerShield >", b"summary")):
            self.clock.damage(f"a line is neither sample nor message: {line[:24]!r}", len(line))

    def _error(self, text: str) -> None:
        if "overcurrent" in text.lower():
            self._fail(_OVERCURRENT, text, "its dynamic mode ends at 50 mA; use another meter")
        else:
            self._fail(
                "the instrument reports an error", text, "send it 'status', or unplug it and plug it in"
            )


class BinaryStream(_Stream):
    """16-bit samples with metadata frames between them.

    It begins with a search: the first time stamp opens the stream.
    """

    def __init__(self, clock: SampleClock) -> None:
        super().__init__(clock)
        self._searching = True
        self._opened = False
        self._searched = 0
        self._before = b""

    def feed(self, data: bytes, elapsed_s: float) -> None:
        """Take bytes; see `AsciiStream.feed`."""
        if self.ended:
            self._text_after_end(data)
            return
        self._rest += data
        going = True
        while going and not self.ended:
            going = self._search() if self._searching else self._samples_and_frame(elapsed_s)

    def _search(self) -> bool:
        """Look for a time stamp at any byte; whether there is something to go on with."""
        at = protocol.find_stamp(self._rest)
        if at < 0:
            end = self._rest.find(b"Acquisition completed")
            if end >= 0:
                self._end()
                self.completed = True
                return False
            at = max(0, len(self._rest) - 24)  # room for the beginning of either
            self._skip(at)
            return False
        self._skip(at)
        self._searching, self._opened, self._searched = False, True, 0
        return True

    def _skip(self, count: int) -> None:
        self._rest = self._rest[count:]
        self._searched += count
        if self._opened:
            self.clock.discard(count)
        if self._searched > LONGEST_SEARCH_BYTES:
            self._fail("what comes holds no time stamp: it is not the stream of this instrument")

    def _samples_and_frame(self, elapsed_s: float) -> bool:
        words = np.frombuffer(self._rest, ">u2", len(self._rest) // 2)
        special = np.flatnonzero(words >= 0xF000)
        count = int(special[0]) if special.size else words.size
        if count:
            self._samples(words[:count].astype(np.uint16))
            self._before = self._rest[2 * count - 2 : 2 * count]
            self._rest = self._rest[2 * count :]
        return bool(special.size) and self._frame(elapsed_s)

    def _samples(self, words: npt.NDArray[np.uint16]) -> None:
        current_a = protocol.decode_words(words)
        # Between two slips of odd length words hold halves of two samples: most are out of any range.
        if bool(np.any((words >= _LOWEST_WORD) & ((words & 0x0FFF) > 0))) or current_a.max() > HIGHEST_A:
            self.clock.damage("framing was lost: a sample is beyond what the instrument can measure")
        self.clock.add(current_a)

    def _frame(self, elapsed_s: float) -> bool:
        """A metadata frame begins here, or framing is lost; whether to go on."""
        head = self._rest[:2]
        if head[0] != 0xF0 or head[1] not in Lpm01aFrameType.__members__.values():
            return self._lose("a word is neither sample nor frame")
        kind = Lpm01aFrameType(head[1])
        length = protocol.FRAME_BYTES.get(kind)
        if length is None:
            end = self._rest.find(b"\xff\xff", 2, protocol.FRAME_TEXT_LIMIT)
            if end < 0:
                long = len(self._rest) >= protocol.FRAME_TEXT_LIMIT
                return self._lose("a message has no end") if long else False
            length = end + 2
        if len(self._rest) < length:
            return False
        frame = self._rest[:length]
        if frame[-2:] != b"\xff\xff" or (
            kind is Lpm01aFrameType.STAMP and protocol.decode_stamp(frame) is None
        ):
            return self._lose("a frame is damaged")
        self._rest, self._before = self._rest[length:], b""
        self._message(kind, frame, elapsed_s)
        return True

    def _message(self, kind: Lpm01aFrameType, frame: bytes, elapsed_s: float) -> None:
        if kind is Lpm01aFrameType.STAMP:
            stamp = protocol.decode_stamp(frame)
            if stamp and self.clock.stamped(stamp, elapsed_s) and self.clock.stamp is not None:
                self.stamps.append(self.clock.stamp)
        elif kind is Lpm01aFrameType.END:
            rest, self._rest = self._rest, b""
            self._end()
            self._text_after_end(rest)
        elif kind is Lpm01aFrameType.VOLTAGE:
            self.millivolts = int.from_bytes(frame[2:4], "big")
        elif kind is Lpm01aFrameType.OVERCURRENT:
            self._fail(_OVERCURRENT, None, "its dynamic mode ends at 50 mA; use another meter")
        elif kind is Lpm01aFrameType.POWER_DOWN:
            self._fail(_POWER_DOWN)
        elif kind is Lpm01aFrameType.ERROR:
            self._fail("the instrument reports an error", frame[2:-2].decode("ascii", "replace").strip())

    def _lose(self, reason: str) -> bool:
        """Framing is lost: everything since the last stamp is suspect, and a new one is looked for."""
        self.clock.damage(f"framing was lost: {reason}")
        # a frame that lies across the words began in the last byte that was taken for a sample
        self._rest = self._before + self._rest
        self._searching = True
        return True


def stream_for(rate_hz: int) -> AsciiStream | BinaryStream:
    """The stream of a sample rate: ASCII, which has events, as far as it goes; binary above."""
    if rate_hz <= protocol.ASCII_MAX_HZ:
        return AsciiStream(SampleClock(rate_hz, 9))
    return BinaryStream(SampleClock(rate_hz, 2))
