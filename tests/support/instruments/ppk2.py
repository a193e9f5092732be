"""A PPK2 driver on a twin in simulated time, and what it recorded in one piece."""

from dataclasses import dataclass

import numpy as np

from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import SampleStatus, Settings
from edgesnn.meters.ppk2.driver import Ppk2Meter
from edgesnn.meters.ppk2.twin import Ppk2Twin
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.faults import Fault, FaultSchedule
from edgesnn.meters.twins.load import square
from tests.support.instruments.virtual import VirtualLink

#: 0.5 mA and 24 mA at 3.7 V, ten times a second.
LOAD = square(0.002, 0.090, 0.1)
VOLTS = 3.7


@dataclass(frozen=True)
class Recorded:
    """Blocks put together."""

    time_s: np.ndarray
    current_a: np.ndarray
    markers: np.ndarray
    status: np.ndarray
    ranges: np.ndarray
    lost: int

    @property
    def charge_c(self):
        return float(self.current_a.sum(dtype=np.float64)) * 1e-5

    def has(self, status):
        return (self.status & status) != 0

    @property
    def good(self):
        return ~self.has(SampleStatus.SUSPECT)


def joined(blocks):
    return Recorded(
        np.concatenate([one.time_s for one in blocks]),
        np.concatenate([one.current_a for one in blocks]),
        np.concatenate([one.markers for one in blocks]),
        np.concatenate([one.status for one in blocks]),
        np.concatenate([one.range_index for one in blocks]),
        sum(one.lost for one in blocks),
    )


def virtual(conditions=None, faults=(), **twin):
    """A meter that is not open yet, its link and its twin."""
    device = Ppk2Twin(conditions or Conditions(LOAD), **twin)
    link = VirtualLink(device, FaultSchedule([Fault.parse(one) for one in faults]))
    return Ppk2Meter(MeterAddress("ppk2"), link=link), link, device


def powered(meter, volts=VOLTS):
    meter.open()
    meter.configure(Settings(voltage_v=volts))
    meter.power(True)


def record(meter, link, seconds):
    """Stream for that long and stop."""
    meter.start()
    blocks, end = [], link.now_ns() + round(seconds * 1e9)
    while link.now_ns() < end:
        blocks.append(meter.read(2.0))
    last = meter.stop()
    return joined(blocks + ([last] if last is not None else []))


def recorded(conditions=None, faults=(), seconds=1.0):
    """Everything at once: the recording, the account and the twin."""
    meter, link, twin = virtual(conditions, faults)
    with meter:
        powered(meter)
        return record(meter, link, seconds), meter.loss, twin
