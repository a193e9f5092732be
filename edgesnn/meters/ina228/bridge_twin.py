"""The INA228 bridge's state machine in Python: byte for byte what firmware_bridge/meter/bridge.c sends.

A test holds the two together over random sessions. It gives frames instead of calling hooks.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Protocol

from edgesnn.meters.ina228.protocol import (
    EDGES,
    MARK_ANSWER,
    MARK_STATE,
    RECORDS_MAX,
    SIMULATED_BOARD,
    VERSION,
    Channel,
    Ina228FrameReader,
    Ina228FrameType,
    encode,
)

#: A sample waits at most this long for others to share its frame, microseconds (BRIDGE_HOLD_US).
HOLD_US = 10_000
_LENGTHS = {
    Ina228FrameType.HELLO: 1,
    Ina228FrameType.SET_MODE: 1,
    Ina228FrameType.SET_ADC: 5,
    Ina228FrameType.SET_SHUNT_CAL: 3,
    Ina228FrameType.START: 0,
    Ina228FrameType.STOP: 0,
    Ina228FrameType.GET_CONFIG: 0,
    Ina228FrameType.GET_MARK: 0,
    Ina228FrameType.BOOTLOADER: 0,
}
_ALL = 0xFF
_BAD, _ABSENT, _UNKNOWN, _LENGTH = 1, 2, 3, 4


class BridgeCore(Protocol):
    """What a simulated bridge needs from a state machine; every call gives the frames that it sends."""

    def receive(self, data: bytes, now_us: int) -> list[bytes]:
        """Take bytes from the host."""
        ...

    def sample(self, channel: int, t_us: int, bus: int, current: int) -> list[bytes]:
        """Take one conversion."""
        ...

    def mark(self, t_us: int, level: int) -> list[bytes]:
        """Take an edge of the sync input."""
        ...

    def dropped(self, samples: int) -> None:
        """Count samples that were thrown away."""
        ...

    def poll(self, now_us: int) -> list[bytes]:
        """Send what has waited for long."""
        ...


class Bridge(BridgeCore):
    """The state machine.

    Args:
        present: Bit i: channel i is there.
        shunt_cal: SHUNT_CAL that suits the shunt.
        level: Level of the sync input at first.
        board: Number of the board, eight bytes.
        firmware: Version, three numbers.
        version: Version of the protocol that it speaks.
        marks: Whether it knows the sync input; without, it behaves as picowatt's own firmware.
    """

    def __init__(
        self,
        present: int = 1,
        shunt_cal: int = 4096,
        level: int = 0,
        *,
        board: bytes = SIMULATED_BOARD,
        firmware: tuple[int, int, int] = (1, 0, 0),
        version: int = VERSION,
        marks: bool = True,
    ) -> None:
        self._present, self._level, self._marks = present, int(bool(level)), marks
        self._hello = bytes([version, *firmware]) + board + bytes([present])
        self._version = version
        self._channels = [Channel(bool(present >> i & 1), 0, 3, 3, 0, shunt_cal) for i in range(2)]
        self._reader = Ina228FrameReader()
        self._dual = self._streaming = False
        self._edges = self._sequence = self._drops = self._oldest_us = 0
        self._records: list[bytes] = []

    def receive(self, data: bytes, now_us: int) -> list[bytes]:
        sent: list[bytes] = []
        for kind, payload in self._reader.feed(data):
            sent += self._obey(kind, payload, now_us)
        return sent

    def sample(self, channel: int, t_us: int, bus: int, current: int) -> list[bytes]:
        if not self._streaming or channel > int(self._dual):
            return []
        if not self._records:
            self._oldest_us = t_us
        self._records.append(struct.pack("<BIii", channel, t_us, bus, current))
        return self._flush(t_us) if len(self._records) == RECORDS_MAX else []

    def mark(self, t_us: int, level: int) -> list[bytes]:
        self._level = int(bool(level))
        self._edges = (self._edges + 1) % EDGES
        return [self._mark(t_us, 0)] if self._streaming and self._marks else []

    def edges_lost(self, edges: int) -> None:
        """Count edges that were thrown away: the host sees that some are missing."""
        self._edges = (self._edges + edges) % EDGES

    def dropped(self, samples: int) -> None:
        self._drops = (self._drops + samples) & 0xFFFFFFFF

    def poll(self, now_us: int) -> list[bytes]:
        waited = (now_us - self._oldest_us) & 0xFFFFFFFF
        return self._flush(now_us) if self._records and waited >= HOLD_US else []

    def _flush(self, now_us: int) -> list[bytes]:
        if not self._records:
            return []
        head = struct.pack("<HB", self._sequence, len(self._records))
        frame = encode(Ina228FrameType.DATA, head + b"".join(self._records))
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._records = []
        return [frame, self._mark(now_us, MARK_STATE)] if self._marks else [frame]

    def _mark(self, t_us: int, flags: int) -> bytes:
        return encode(Ina228FrameType.MARK, struct.pack("<IB", t_us, self._level | self._edges << 1 | flags))

    def _obey(self, kind: int, payload: bytes, now_us: int) -> list[bytes]:
        known = kind in _LENGTHS and (self._marks or kind != Ina228FrameType.GET_MARK)
        if not known:
            return [_nack(kind, _UNKNOWN)]
        if len(payload) != _LENGTHS[Ina228FrameType(kind)]:
            return [_nack(kind, _LENGTH)]
        if kind == Ina228FrameType.HELLO:
            right = payload[0] == self._version
            return [encode(Ina228FrameType.HELLO_ACK, self._hello) if right else _nack(kind, _BAD)]
        if kind == Ina228FrameType.GET_CONFIG:
            return [encode(Ina228FrameType.CONFIG, self._config())]
        if kind == Ina228FrameType.GET_MARK:
            return [self._mark(now_us, MARK_ANSWER)]
        if kind == Ina228FrameType.BOOTLOADER:
            return []
        sent, refusal = self._change(kind, payload, now_us)
        sent.append(_nack(kind, refusal) if refusal else encode(Ina228FrameType.ACK, bytes([kind])))
        if kind == Ina228FrameType.START and self._marks:
            sent.append(self._mark(now_us, 0))
        return sent

    def _change(self, kind: int, payload: bytes, now_us: int) -> tuple[list[bytes], int]:
        """Do what a command asks: the frames to send before its answer, and why it was refused, or 0."""
        if kind == Ina228FrameType.SET_MODE:
            return [], self._set_mode(payload[0])
        if kind in (Ina228FrameType.START, Ina228FrameType.STOP):
            sent = self._flush(now_us)
            self._streaming = kind == Ina228FrameType.START
            if self._streaming:
                self._sequence = 0
            return sent, 0
        changed, refusal = (self._set_adc if kind == Ina228FrameType.SET_ADC else self._set_shunt_cal)(
            payload
        )
        if refusal:
            return [], refusal
        sent = self._flush(now_us)
        for index, channel in changed.items():
            self._channels[index] = channel
        return sent, 0

    def _set_mode(self, mode: int) -> int:
        if mode > 1:
            return _BAD
        if mode == 1 and self._present != 3:
            return _ABSENT
        self._dual = bool(mode)
        return 0

    def _set_adc(self, payload: bytes) -> tuple[dict[int, Channel], int]:
        which, span, bus, shunt, average = payload
        if (which != _ALL and which > 1) or span > 1 or max(bus, shunt, average) > 7:
            return {}, _BAD
        if which != _ALL and not self._channels[which].present:
            return {}, _ABSENT
        return {
            index: replace(channel, range=span, bus_time=bus, shunt_time=shunt, average=average)
            for index, channel in enumerate(self._channels)
            if channel.present and which in (_ALL, index)
        }, 0

    def _set_shunt_cal(self, payload: bytes) -> tuple[dict[int, Channel], int]:
        which, value = struct.unpack("<BH", payload)
        if which > 1 or not 0 < value <= 0x7FFF:
            return {}, _BAD
        if not self._channels[which].present:
            return {}, _ABSENT
        return {which: replace(self._channels[which], shunt_cal=value)}, 0

    def _config(self) -> bytes:
        head = struct.pack("<BBI", self._dual, self._streaming, self._drops)
        return head + b"".join(
            struct.pack("<BBBBBH", c.present, c.range, c.bus_time, c.shunt_time, c.average, c.shunt_cal)
            for c in self._channels
        )


def _nack(kind: int, refusal: int) -> bytes:
    return encode(Ina228FrameType.NACK, bytes([kind, refusal]))
