"""The contract of a simulated instrument: bytes in, bytes out, time from outside.

A twin has no thread and reads no clock: whoever carries it (`pty` in real time, `virtual` in simulated
time) tells it what time it is. It draws its samples from a `LoadSource` and keeps the truth: the energy
that was really drawn over the samples it made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgesnn.meters.twins.load import LoadSource


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a twin departs from an ideal instrument, and what it hangs on.

    Attributes:
        load: What is drawn.
        voltage_v: Voltage at the device under test where the instrument does not supply it.
        gain: Relative gain error of the instrument's analogue part (0.02 reads 2 % high).
        offset_a: Offset error, amperes.
        noise_a: Standard deviation of white noise per sample, amperes.
        clock_ppm: Error of the sample clock; positive runs fast.
        seed: Seed of the noise.
    """

    load: LoadSource
    voltage_v: float = 3.7
    gain: float = 0.0
    offset_a: float = 0.0
    noise_a: float = 0.0
    clock_ppm: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Truth:
    """What was really drawn while a twin streamed.

    Attributes:
        start_s: True time of the first sample's start, seconds since the twin was made.
        stop_s: True time of the last sample's end.
        energy_j: Joules drawn between them.
        charge_c: Coulombs drawn between them, at the twin's supply voltage.
        samples: Samples that the instrument took between them, sent or not.
    """

    start_s: float
    stop_s: float
    energy_j: float
    charge_c: float
    samples: int


class TwinDevice(Protocol):
    """A simulated instrument."""

    @property
    def name(self) -> str:
        """Name of the driver that it answers to."""
        ...

    @property
    def buffer_bytes(self) -> int:
        """How much the instrument can hold while the host does not read; more is lost."""
        ...

    def receive(self, data: bytes, now_s: float) -> bytes:
        """Take what the host sent.

        Args:
            data: Bytes, perhaps a part of a command.
            now_s: True time, seconds since the twin was made.

        Returns:
            What the instrument answers at once.
        """
        ...

    def advance(self, now_s: float) -> list[bytes]:
        """What the instrument sends until that time.

        It comes in the pieces that the instrument loses as a whole when it cannot send: a sample, a frame, a
        USB packet. A carrier whose buffer is full throws whole pieces away.
        """
        ...

    def drop(self, samples: int) -> None:
        """Lose that many samples inside the instrument: they are taken, counted and never sent."""
        ...

    def replugged(self) -> None:
        """Start again as after a loss of the cable: nothing streams, settings are the default."""
        ...

    def truth(self) -> Truth:
        """What was drawn since the stream was last started, until it was stopped or until now."""
        ...
