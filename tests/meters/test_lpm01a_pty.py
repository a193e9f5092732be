"""The LPM01A driver over a pseudo-terminal in real time."""

import os

import numpy as np
import pytest

from edgesnn.errors import MeterBusyError, MeterUnpluggedError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import SampleStatus, Settings
from edgesnn.meters.lpm01a.driver import Lpm01aMeter
from edgesnn.meters.lpm01a.twin import Lpm01aTwin
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.faults import Fault, FaultKind, FaultSchedule
from edgesnn.meters.twins.pty import PtyTwin
from tests.support.instruments.lpm01a import LOAD, VOLTS

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.skipif(os.name != "posix", reason="twins need pseudo-terminals"),
]


@pytest.mark.parametrize("rate_hz", [1000, 100_000])
def test_the_samples_that_come_have_the_twins_charge_and_energy_within_0_1_percent(rate_hz):
    with (
        PtyTwin(Lpm01aTwin(Conditions(LOAD))) as twin,
        Lpm01aMeter(MeterAddress("lpm01a", twin.port)) as meter,
    ):
        assert meter.open().simulated
        meter.configure(Settings(voltage_v=VOLTS, rate_hz=rate_hz))
        meter.power(True)
        meter.start()
        blocks = [meter.read(5.0)]
        last = meter.stop()
        blocks += [last] if last is not None else []
        truth, loss = twin.truth(), meter.loss
        meter.close()
        assert not twin.device.powered
    good = [block for block in blocks if not (block.status & SampleStatus.SUSPECT).any()]
    measured = sum(float((block.watts(VOLTS) * block.duration_s).sum()) for block in good)
    charge = sum(float(block.current_a.sum(dtype=np.float64)) / rate_hz for block in good)
    start_s = np.concatenate([block.time_s for block in good]) + truth.start_s
    true = float((LOAD.energy_j(start_s + 1 / rate_hz) - LOAD.energy_j(start_s)).sum())
    assert measured == pytest.approx(true, rel=1e-3)
    assert charge == pytest.approx(true / VOLTS, rel=1e-3)
    assert loss.received + loss.missing + loss.suspected == pytest.approx(truth.samples, abs=0.1 * rate_hz)


def test_a_port_that_another_program_owns_is_busy():
    with (
        PtyTwin(Lpm01aTwin(Conditions(LOAD))) as twin,
        Lpm01aMeter(MeterAddress("lpm01a", twin.port)) as first,
    ):
        first.open()
        with pytest.raises(MeterBusyError, match="another program owns"):
            Lpm01aMeter(MeterAddress("lpm01a", twin.port)).open()


def test_an_unplugged_cable_is_its_own_error():
    faults = FaultSchedule([Fault(FaultKind.UNPLUG, 0.6, 0)])
    with PtyTwin(Lpm01aTwin(Conditions(LOAD)), faults) as twin:
        meter = Lpm01aMeter(MeterAddress("lpm01a", twin.port))
        with pytest.raises(MeterUnpluggedError):
            meter.open()
            meter.configure(Settings(voltage_v=VOLTS, rate_hz=1000))
            meter.start()
            while True:
                meter.read(5.0)
        meter.close()
