"""A simulated Power Profiler Kit II: the same bytes as the instrument sends, from a load that is known.

The shunts, and the order of the metadata, are those of one real unit (ppk2lab: docs/protocol-spec.md); the
other constants are those of a second real unit, which stand in the tests of several open clients. How fast
a real unit changes its range, and how far it overshoots then, is published nowhere: hysteresis and
transients here are ASSUMED.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from edgesnn.meters.ppk2.protocol import (
    ADC_FULL_SCALE,
    AVERAGE_START,
    AVERAGE_STOP,
    COUNTER_MASK,
    COUNTER_SHIFT,
    DEVICE_RUNNING_SET,
    FAMILIES,
    GET_METADATA,
    HIGHEST_MV,
    LOWEST_MV,
    MODE_AMPERE,
    MODE_SOURCE,
    RANGES,
    REGULATOR_SET,
    RESET,
    SAMPLE_RATE_HZ,
    SET_POWER_MODE,
    SET_USER_GAINS,
    VOLTS_PER_STEP,
)
from edgesnn.meters.twins.device import Conditions, Truth, TwinDevice

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CONSTANTS: dict[str, tuple[float, ...]] = {
    "R": (1000.6250, 101.4608, 10.2309, 0.9629, 0.0559),
    "GS": (0.0, 112.7890, 18.0115, 2.4217, 0.0729),
    "GI": (1.0, 0.9695, 0.9609, 0.9519, 0.9582),
    "O": (112.9420, 75.4627, 64.6020, 50.4983, 87.2177),
    "S": (0.000000048, 0.000000596, 0.000005281, 0.000062577, 0.002940743),
    "I": (-0.000000104, -0.000001443, 0.000036439, -0.000374119, -0.009388455),
    "UG": (1.0, 1.0, 1.0, 1.0, 1.0),
}
#: Families before and after the single values, as one real unit sends them.
FIRST, LATER = ("R", "GS", "GI", "O"), ("S", "I", "UG")
HARDWARE = 49625
DEFAULT_MV = 3700
#: Amperes above which the next range is taken, and the share of it below which it is left again.
UP_A = np.array([50e-6, 500e-6, 5e-3, 50e-3])
LEAVE = 0.8
#: What the samples after a change of range read too far in the direction of the change, relative.
OVERSHOOT = (0.25, 0.08)
#: A USB packet, 16 samples: what the instrument loses when it cannot send.
PACKET_BYTES = 64
BUFFER_BYTES = 65536
#: One advance makes at most this much (2.6 s): a sleeping host must not cost gigabytes.
MOST_SAMPLES = 1 << 18

_LENGTHS = {
    DEVICE_RUNNING_SET: 2,
    REGULATOR_SET: 3,
    SET_POWER_MODE: 2,
    SET_USER_GAINS: 6,
    0x01: 2,  # TriggerSet, TriggerWindowSet, TriggerSingleSet, RangeSet: old commands with one byte
    0x03: 2,
    0x05: 2,
    0x08: 2,
    0x0E: 2,
    0x0F: 2,
    0x12: 6,
}


class Ppk2Twin(TwinDevice):
    """A simulated PPK2.

    Args:
        conditions: Its load and its errors.
        stale: Bytes that stand in front of the first metadata reply, as left by an interrupted session.
        metadata: Another text instead of its own metadata, to try a reader.
    """

    name = "ppk2"
    buffer_bytes = BUFFER_BYTES

    def __init__(self, conditions: Conditions, *, stale: bytes = b"", metadata: bytes | None = None) -> None:
        self._conditions = conditions
        self._random = np.random.default_rng(conditions.seed)
        self._stale = stale
        self._metadata = metadata
        # the instrument computes and prints in float32
        self._constants = {
            name: np.array([float(np.float32(one)) for one in row]) for name, row in CONSTANTS.items()
        }
        self._command = b""
        self._rate = SAMPLE_RATE_HZ * (1 + conditions.clock_ppm * 1e-6)
        self._start_s = 0.0
        self._reset()

    def receive(self, data: bytes, now_s: float) -> bytes:
        answer = b""
        self._command += data
        while self._command:
            code = self._command[0]
            length = _LENGTHS.get(code, 1)
            if len(self._command) < length:
                break
            payload, self._command = self._command[1:length], self._command[length:]
            self._make(now_s)  # what came before the command came under the old settings
            answer += self._execute(code, payload, now_s)
        return answer

    def advance(self, now_s: float) -> list[bytes]:
        self._make(now_s)
        whole = len(self._bytes) // PACKET_BYTES * PACKET_BYTES
        size = whole if self._measuring else len(self._bytes)  # the last packet of a stream is a short one
        data = bytes(self._bytes[:size])
        del self._bytes[:size]
        return [data[at : at + PACKET_BYTES] for at in range(0, size, PACKET_BYTES)]

    def drop(self, samples: int) -> None:
        self._to_drop += samples

    def replugged(self) -> None:
        truth = self.truth()
        self._reset()
        self._start_s, self._stop_s = truth.start_s, truth.stop_s
        self._energy_j, self._charge_c, self._taken = truth.energy_j, truth.charge_c, truth.samples

    def truth(self) -> Truth:
        return Truth(self._start_s, self._stop_s, self._energy_j, self._charge_c, self._taken)

    def metadata_text(self) -> bytes:
        """The reply to a request for metadata: 40 values, 20 decimals."""
        rows = {
            name: "".join(f"{name}{at}: {one:.20f}\n" for at, one in enumerate(row))
            for name, row in self._constants.items()
        }
        text = "Calibrated: 0\n" + "".join(rows[name] for name in FIRST)
        text += f"VDD: {self._vdd_mv}\nHW: {HARDWARE}\nmode: {self._mode}\n"
        return (text + "".join(rows[name] for name in LATER) + "IA: 59\nEND\n").encode("ascii")

    def _reset(self) -> None:
        self._vdd_mv, self._mode = DEFAULT_MV, MODE_SOURCE
        self._power = self._measuring = False
        self._command = b""
        self._bytes = bytearray()
        self._to_drop = 0
        self._counter = 0
        self._range = 0
        self._last_range: int | None = None
        self._taken = 0
        self._stop_s = self._start_s
        self._energy_j = self._charge_c = 0.0

    def _execute(self, code: int, payload: bytes, now_s: float) -> bytes:
        if code == AVERAGE_START[0] and not self._measuring:
            self._measuring, self._range, self._last_range = True, 0, None
            self._start_s = self._stop_s = now_s
            self._energy_j = self._charge_c = 0.0
            self._taken = 0
        elif code == AVERAGE_STOP[0]:
            self._measuring = False
        elif code == GET_METADATA[0]:
            text = self.metadata_text() if self._metadata is None else self._metadata
            stale, self._stale = self._stale, b""
            return stale + text
        elif code == DEVICE_RUNNING_SET:
            self._power = payload[0] == 1
        elif code == REGULATOR_SET:
            self._vdd_mv = min(max(struct.unpack(">H", payload)[0], LOWEST_MV), HIGHEST_MV)
        elif code == SET_POWER_MODE and payload[0] in (MODE_AMPERE, MODE_SOURCE):
            self._mode = payload[0]
        elif code == SET_USER_GAINS and payload[0] < RANGES:
            self._constants["UG"][payload[0]] = struct.unpack("<f", payload[1:])[0]
        elif code == RESET:
            self.replugged()
        return b""

    def _make(self, now_s: float) -> None:
        """Take the samples up to that time."""
        while self._measuring:
            due = int((now_s - self._start_s) * self._rate + 1e-6) - self._taken
            if due <= 0:
                return
            self._take(min(due, MOST_SAMPLES))

    def _take(self, count: int) -> None:
        """Take that many samples: integrate the load, choose ranges, convert, pack."""
        edges = self._start_s + np.arange(self._taken, self._taken + count + 1) / self._rate
        volts = self._vdd_mv / 1000 if self._mode == MODE_SOURCE else self._conditions.voltage_v
        if self._power:
            energy = self._conditions.load.energy_j(edges)
            current = np.diff(energy) * (self._rate / volts)
            self._energy_j += float(energy[-1] - energy[0])
            self._charge_c += float(energy[-1] - energy[0]) / volts
        else:
            current = np.zeros(count)
        ranges = self._ranges(current)
        reading = self._transients(current, ranges) * (1 + self._conditions.gain) + self._conditions.offset_a
        if self._conditions.noise_a:
            reading += self._random.normal(0.0, self._conditions.noise_a, count)
        counters = np.arange(self._counter, self._counter + count) & COUNTER_MASK
        words = self._convert(reading, ranges) | (ranges << 14) | (counters << COUNTER_SHIFT)
        words |= self._conditions.load.markers(edges[:-1]).astype(np.int64) << 24
        self._counter = (self._counter + count) & COUNTER_MASK
        self._taken += count
        self._stop_s = float(edges[-1])
        lost = min(self._to_drop, count)
        self._to_drop -= lost
        self._bytes += words[lost:].astype("<u4").tobytes()

    def _ranges(self, current: FloatArray) -> IntArray:
        """The range of each sample, with hysteresis."""
        lowest = np.searchsorted(UP_A, current)
        highest = np.searchsorted(UP_A * LEAVE, current)
        # between two samples where either bound changes, the range follows from the first of them
        starts = np.flatnonzero(np.diff(lowest) | np.diff(highest)) + 1
        starts = np.concatenate([[0], starts])
        chosen = np.empty(starts.size, np.int64)
        for at, (low, high) in enumerate(zip(lowest[starts], highest[starts], strict=True)):
            self._range = min(max(self._range, int(low)), int(high))
            chosen[at] = self._range
        return np.repeat(chosen, np.diff(np.concatenate([starts, [current.size]])))

    def _transients(self, current: FloatArray, ranges: IntArray) -> FloatArray:
        """The current as it is seen: too far in the direction of a change of range, for two samples."""
        first = ranges[0] if self._last_range is None else self._last_range
        before = np.concatenate([[first], ranges[:-1]])
        changes = np.flatnonzero(ranges != before)
        self._last_range = int(ranges[-1])
        if not changes.size:
            return current
        seen = current.copy()
        for after, share in enumerate(OVERSHOOT):
            at = changes[changes + after < current.size] + after
            seen[at] *= 1 + share * np.sign(ranges[at - after] - before[at - after])
        return seen

    def _convert(self, current: FloatArray, ranges: IntArray) -> IntArray:
        """The converter's codes: the inverse of the calibration, with one step of dither."""
        r, gs, gi, o, s, i, ug = (self._constants[name][ranges] for name in FAMILIES)
        rest = s * (self._vdd_mv / 1000) + i - current / ug
        # gs x^2 + gi x + rest = 0, in the form that also serves gs = 0
        x = -2 * rest / (gi + np.sqrt(np.maximum(gi * gi - 4 * gs * rest, 0.0)))
        code = (x * r / VOLTS_PER_STEP + o) / 4 + self._random.random(current.size)
        return np.asarray(np.clip(np.floor(code), 0, ADC_FULL_SCALE), np.int64)
