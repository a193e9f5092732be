"""An LPM01A and its twin in simulated time, for tests."""

import numpy as np

from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import SampleStatus, Settings
from edgesnn.meters.lpm01a.driver import Lpm01aMeter
from edgesnn.meters.lpm01a.twin import Lpm01aTwin
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.faults import Fault, FaultSchedule
from edgesnn.meters.twins.load import LoadStep, Shape
from tests.support.instruments.virtual import VirtualLink

VOLTS = 3.3
#: Idle and busy, with D7 high while busy; the ripple keeps the last bits of the samples moving.
LOAD = Shape((LoadStep(0.23, 0.012), LoadStep(0.14, 0.08, 1)), ripple_w=0.002, ripple_hz=37.0)


class Bench:
    """A meter on a twin; blocks are gathered by `run`."""

    def __init__(self, rate_hz=1000, load=LOAD, faults=(), conditions=None, **twin):
        self.rate_hz, self.load = rate_hz, load
        self.twin = Lpm01aTwin(Conditions(load, **(conditions or {})), **twin)
        self.faults = faults
        self.link = VirtualLink(self.twin)
        self.meter = Lpm01aMeter(MeterAddress("lpm01a"), link=self.link)
        self.blocks = []

    def begin(self):
        self.info = self.meter.open()
        self.settings = self.meter.configure(Settings(voltage_v=VOLTS, rate_hz=self.rate_hz))
        self.meter.power(True)
        self.meter.start()
        start_s = self.twin.truth().start_s  # faults count from the start of the stream
        self.link._faults = FaultSchedule(
            Fault(one.kind, one.at_s + start_s, one.amount) for one in self.faults
        )
        return self

    def run(self, seconds):
        """Read until the stream is that long, then stop."""
        end = self.link.now_ns() + int(seconds * 1e9)
        while self.link.now_ns() < end:
            self.blocks.append(self.meter.read(3.0))
        last = self.meter.stop()
        self.blocks += [last] if last is not None else []
        return self

    def column(self, name):
        return np.concatenate([getattr(block, name) for block in self.blocks])

    @property
    def current_a(self):
        return self.column("current_a").astype(np.float64)

    @property
    def suspect(self):
        return (self.column("status") & SampleStatus.SUSPECT).astype(bool)

    @property
    def charge_c(self):
        return float(self.current_a.sum()) / self.rate_hz

    def true_joules(self):
        """What was really drawn during each sample that came."""
        start_s = self.twin.truth().start_s + self.column("time_s")
        return self.load.energy_j(start_s + 1 / self.rate_hz) - self.load.energy_j(start_s)
