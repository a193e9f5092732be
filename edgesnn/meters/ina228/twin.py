"""A simulated INA228 on a simulated bridge: converter, registers, timer and sync input.

The INA228 converts the bus voltage, then the shunt voltage, over and over; the current is therefore the mean
over the shunt's part of each sample only, and so it is here. With averaging the parts alternate too often
to matter, and the mean over the whole sample is taken.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from edgesnn.meters.ina228.bridge_twin import Bridge, BridgeCore
from edgesnn.meters.ina228.protocol import (
    AVERAGES,
    BUS_LSB_V,
    COUNT_MAX,
    SHUNT_LSB_V,
    TIME_US,
    Config,
    Ina228FrameReader,
    Ina228FrameType,
    encode,
    parse_config,
    shunt_cal,
)
from edgesnn.meters.twins.device import Conditions, Truth, TwinDevice

#: Shunt of the simulated board, ohms; as on common INA228 breakout boards.
SHUNT_OHM = 0.015
#: Frames that the bridge can hold while the host does not read.
BUFFER_BYTES = 16384
#: The sync input is looked at this often within a sample; shorter pulses are not seen.
LOOKS = 8
FloatArray = npt.NDArray[np.float64]


class Ina228Twin(TwinDevice):
    """A simulated instrument.

    Args:
        conditions: How it departs from an ideal one, and what it hangs on.
        shunt_ohm: Its shunt.
        conversion_error: Relative error of the INA228's own oscillator: 0.005 converts 0.5 % too slowly. It
            moves the moments of the samples, not the timer that stamps them.
        timer_us: What the bridge's timer says at first; it wraps at 2^32.
        core: The state machine; None takes the one in Python.
    """

    def __init__(
        self,
        conditions: Conditions,
        *,
        shunt_ohm: float = SHUNT_OHM,
        conversion_error: float = 0.0,
        timer_us: int = 0,
        core: BridgeCore | None = None,
    ) -> None:
        self._is = conditions
        self._shunt_ohm = shunt_ohm
        self._stretch = 1 + conversion_error
        self._timer_us = timer_us
        self._random = np.random.default_rng(conditions.seed)
        self._core: BridgeCore = core or Bridge(1, shunt_cal(shunt_ohm))
        self._commands = b""
        self._pending: deque[bytes] = deque()
        self._streaming = False
        self._start_s = self._stop_s = self._begin_s = self._looked_s = 0.0
        self._index = self._samples = self._dropping = 0
        self._level = 0
        self._config = self._ask()

    @property
    def name(self) -> str:
        return "ina228"

    @property
    def buffer_bytes(self) -> int:
        return BUFFER_BYTES

    def receive(self, data: bytes, now_s: float) -> bytes:
        """Take commands. Samples that they flush wait for `advance`."""
        whole, mark, rest = (self._commands + data).rpartition(b"\0")
        self._commands = rest[-1024:]
        answers = b""
        for command in (whole + mark).split(b"\0")[:-1]:
            answers += self._obey(command + b"\0", now_s)
        return answers

    def advance(self, now_s: float) -> list[bytes]:
        if self._streaming:
            self._convert(now_s)
            self._pending.extend(self._core.poll(self._stamp(now_s)))
        pieces = list(self._pending)
        self._pending.clear()
        return pieces

    def drop(self, samples: int) -> None:
        """The bridge's ring overflows: the next samples are counted and thrown away."""
        self._dropping += samples

    def replugged(self) -> None:
        """The bridge keeps its state in the INA228's registers only: it starts afresh."""
        self._commands = b""
        self._pending.clear()
        self._streaming = False
        self._core.receive(b"\0" + encode(Ina228FrameType.STOP), 0)

    def truth(self) -> Truth:
        """What was drawn over the samples since the last start."""
        edges = np.array([self._start_s, self._stop_s], np.float64)
        energy_j = float(np.diff(self._is.load.energy_j(edges))[0])
        return Truth(self._start_s, self._stop_s, energy_j, energy_j / self._is.voltage_v, self._samples)

    def _obey(self, command: bytes, now_s: float) -> bytes:
        if self._streaming:
            self._convert(now_s)
        kinds = [kind for kind, _ in Ina228FrameReader().feed(command)]
        if Ina228FrameType.START in kinds:
            self._settle_level(now_s)
        sent = self._core.receive(command, self._stamp(now_s))
        # samples that the command flushed wait their turn, and so does the state that follows them
        waits = max((at + 2 for at, frame in enumerate(sent) if frame[1] == Ina228FrameType.DATA), default=0)
        if waits and sent[waits - 1][1] != Ina228FrameType.MARK:
            waits -= 1
        self._pending.extend(sent[:waits])
        answer = b"".join(sent[waits:])
        before, self._config = self._config, self._ask()
        if Ina228FrameType.START in kinds:
            self._start_s = self._stop_s = self._begin_s = now_s
            self._index = self._samples = self._dropping = 0
        elif self._config.channels != before.channels:  # a new setting begins a new conversion
            self._begin_s, self._index = now_s, 0
        self._streaming = self._config.streaming
        return answer

    def _ask(self) -> Config:
        answer = Ina228FrameReader().feed(b"".join(self._core.receive(encode(Ina228FrameType.GET_CONFIG), 0)))
        config = parse_config(answer[-1][1])
        assert config is not None
        return config

    def _stamp(self, true_s: float) -> int:
        return (self._timer_us + int(true_s * (1e6 + self._is.clock_ppm))) & 0xFFFFFFFF

    def _settle_level(self, now_s: float) -> None:
        level = int(self._is.load.markers(np.array([now_s]))[0]) & 1
        self._looked_s = now_s
        if level != self._level:
            self._level = level
            self._core.mark(self._stamp(now_s), level)

    def _convert(self, now_s: float) -> None:
        channel = self._config.channels[0]
        bus_s, shunt_s = TIME_US[channel.bus_time] * 1e-6, TIME_US[channel.shunt_time] * 1e-6
        period_s = (bus_s + shunt_s) * AVERAGES[channel.average] * self._stretch
        last = max(int((now_s - self._begin_s) / period_s + 1e-9), self._index)
        edges_s: FloatArray = self._begin_s + period_s * np.arange(self._index, last + 1, dtype=np.float64)
        self._index = last
        skipped = bus_s * self._stretch if channel.average == 0 else 0.0
        buses, currents = self._registers(edges_s[:-1] + skipped, edges_s[1:])
        changes = self._edges_of_input(now_s, period_s / LOOKS)
        for end_s, bus, current in zip(edges_s[1:].tolist(), buses, currents, strict=True):
            self._mark(changes, end_s)
            self._stop_s = end_s
            self._samples += 1
            if self._dropping:
                self._dropping -= 1
                self._core.dropped(1)
            else:
                self._pending.extend(self._core.sample(0, self._stamp(end_s), bus, current))
        self._mark(changes, now_s)

    def _mark(self, changes: deque[tuple[float, int]], until_s: float) -> None:
        """Tell the bridge the edges until then."""
        while changes and changes[0][0] <= until_s:
            moment_s, level = changes.popleft()
            self._pending.extend(self._core.mark(self._stamp(moment_s), level))

    def _registers(self, from_s: FloatArray, to_s: FloatArray) -> tuple[list[int], list[int]]:
        """VBUS and CURRENT after each conversion of the shunt voltage between those times."""
        channel, load = self._config.channels[0], self._is.load
        watts = (load.energy_j(to_s) - load.energy_j(from_s)) / (to_s - from_s)
        amperes = watts / self._is.voltage_v * (1 + self._is.gain) + self._is.offset_a
        if self._is.noise_a:
            amperes = amperes + self._random.normal(0.0, self._is.noise_a, amperes.size)
        shunt = np.rint(amperes * self._shunt_ohm / SHUNT_LSB_V[channel.range])
        shunt = np.clip(shunt, -COUNT_MAX - 1, COUNT_MAX)
        # 13107.2e6 · LSB · R and the shunt's LSB give CURRENT = counts · 4096 / SHUNT_CAL
        current = np.clip(np.rint(shunt * 4096 / channel.shunt_cal), -COUNT_MAX - 1, COUNT_MAX)
        bus = np.full(amperes.size, min(round(self._is.voltage_v / BUS_LSB_V), COUNT_MAX))
        return bus.astype(int).tolist(), current.astype(int).tolist()

    def _edges_of_input(self, now_s: float, step_s: float) -> deque[tuple[float, int]]:
        """Moments since the last look at which the sync input changed, and the level from then on."""
        changes: deque[tuple[float, int]] = deque()
        count = int(np.ceil((now_s - self._looked_s) / step_s))
        if count <= 0:
            return changes
        looks_s = np.linspace(self._looked_s, now_s, count + 1)
        levels = self._is.load.markers(looks_s[1:]) & 1
        before = np.concatenate([[self._level], levels[:-1]])
        for at in np.flatnonzero(levels != before).tolist():
            level = int(levels[at])
            changes.append((self._moment(float(looks_s[at]), float(looks_s[at + 1]), level), level))
        self._level, self._looked_s = int(levels[-1]), now_s
        return changes

    def _moment(self, low_s: float, high_s: float, level: int) -> float:
        """When the input took that level, to a microsecond, by halving."""
        while high_s - low_s > 1e-7:
            middle_s = (low_s + high_s) / 2
            if int(self._is.load.markers(np.array([middle_s]))[0]) & 1 == level:
                high_s = middle_s
            else:
                low_s = middle_s
        return high_s
