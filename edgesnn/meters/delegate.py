"""A meter that stands before another one and changes some of what it gives."""

from __future__ import annotations

from abc import abstractmethod

from edgesnn.meters.base import Block, ClockPair, Instrument, Loss, MeterCapability, Settings
from edgesnn.meters.samples.accuracy import MeterAccuracy


class DelegatingMeter(Instrument):
    """Hands every call on, but for what a subclass answers itself."""

    @property
    @abstractmethod
    def meter(self) -> Instrument:
        """The meter behind it."""

    @property
    def capabilities(self) -> frozenset[MeterCapability]:
        return self.meter.capabilities

    @property
    def accuracy(self) -> MeterAccuracy:
        return self.meter.accuracy

    @property
    def loss(self) -> Loss:
        return self.meter.loss

    def configure(self, settings: Settings) -> Settings:
        return self.meter.configure(settings)

    def power(self, on: bool) -> None:
        self.meter.power(on)

    def sync(self) -> ClockPair:
        return self.meter.sync()

    def start(self) -> None:
        self.meter.start()

    def read(self, timeout_s: float) -> Block:
        return self.meter.read(timeout_s)

    def stop(self) -> Block | None:
        return self.meter.stop()

    def close(self) -> None:
        self.meter.close()
