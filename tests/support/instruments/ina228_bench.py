"""An INA228 driver on its twin in simulated time, and what it delivered."""

import numpy as np

from edgesnn.errors import MeterTimeoutError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import Settings
from edgesnn.meters.ina228.driver import Ina228Meter
from edgesnn.meters.ina228.twin import Ina228Twin
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.faults import FaultSchedule
from edgesnn.meters.twins.load import square
from tests.support.instruments.virtual import VirtualLink

LOW_W, HIGH_W, PERIOD_S = 0.02, 0.1, 0.2


class Bench:
    """A driver on a twin in simulated time, and what it delivered."""

    def __init__(self, load=None, faults=(), address="ina228", seed=0, **twin):
        conditions = {key: twin.pop(key) for key in list(twin) if key in Conditions.__slots__}
        self.load = load or square(LOW_W, HIGH_W, PERIOD_S)
        self.ppm = conditions.get("clock_ppm", 0.0)
        self.twin = Ina228Twin(Conditions(self.load, **conditions), **twin)
        self.link = VirtualLink(self.twin, FaultSchedule(faults, seed))
        self.meter = Ina228Meter(MeterAddress.parse(address), link=self.link)
        self.blocks = []

    def record(self, seconds, settings=None):
        self.meter.open()
        self.meter.configure(settings or Settings())
        self.meter.start()
        end_ns = self.link.now_ns() + int(seconds * 1e9)
        while self.link.now_ns() < end_ns:
            try:
                self.blocks.append(self.meter.read(0.5))
            except MeterTimeoutError:
                continue
        last = self.meter.stop()
        self.blocks += [last] if last is not None else []
        return self

    def joined(self, name):
        return np.concatenate([getattr(block, name) for block in self.blocks])

    @property
    def energy_j(self):
        return sum(float((block.watts(None) * block.duration_s).sum()) for block in self.blocks)

    @property
    def charge_c(self):
        return sum(float((block.current_a.astype(float) * block.duration_s).sum()) for block in self.blocks)

    def true_s(self, meter_s):
        """True time of a time of the meter's clock."""
        return self.twin.truth().start_s + np.asarray(meter_s) / (1 + self.ppm * 1e-6)
