"""The SCPI driver through PyVISA: twins on a pseudo-terminal and a TCP port, and pyvisa-sim."""

import contextlib
import os

import pytest

from edgesnn.errors import MeterError, MeterTimeoutError, MeterUnpluggedError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import MeterCapability, Settings
from edgesnn.meters.scpi.driver import ScpiMeter
from edgesnn.meters.scpi.twin import IDENTITIES, ScpiTwin
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.faults import Fault, FaultKind, FaultSchedule
from edgesnn.meters.twins.load import LoadStep, Shape
from edgesnn.meters.twins.pty import PtyTwin
from tests.support.instruments.tcp import TcpTwin

pytestmark = pytest.mark.realtime

pytest.importorskip("pyvisa_py", reason="PyVISA is not installed: pip install 'edgesnn[scpi]'")
VOLTS = 3.7
LOAD = Shape((LoadStep(1.0, 0.09),), ripple_w=0.03, ripple_hz=100.0)
CARRIERS = [
    pytest.param(PtyTwin, marks=pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals")),
    TcpTwin,
]

#: A Keithley 2450 as pyvisa-sim plays it: fixed answers, 10 mA at 3.7 V, a framing that is not ours.
SIMULATION = """
spec: "1.1"
devices:
  smu:
    eom:
      ASRL INSTR: {q: "\\n", r: "\\n"}
      TCPIP SOCKET: {q: "\\n", r: "\\n"}
    error: ERROR
    dialogues:
      - {q: "*IDN?", r: "KEITHLEY INSTRUMENTS,MODEL 2450,04096331,1.6.7c"}
      - {q: "*CLS"}
      - {q: "*RST"}
      - {q: "SOUR:FUNC VOLT"}
      - {q: "SENS:FUNC \\"CURR\\""}
      - {q: "SOUR:VOLT:READ:BACK ON"}
      - {q: "SOUR:VOLT:ILIM 0.5"}
      - {q: "SOUR:VOLT 3.7"}
      - {q: "OUTP ON"}
      - {q: "OUTP OFF"}
      - {q: "SYST:ERR?", r: "0,\\"No error;0;0 0\\""}
      - {q: "READ? \\"defbuffer1\\", SOUR, READ, REL", r: "3.700012E+00,1.000000E-02,0.000000E+00"}
resources:
  ASRL7::INSTR: {device: smu}
"""


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("model", IDENTITIES)
def test_over_both_wires_mean_power_and_current_are_within_0_1_percent(carrier, model):
    with carrier(ScpiTwin(Conditions(LOAD, voltage_v=VOLTS), model)) as twin:
        meter = ScpiMeter(MeterAddress("scpi", twin.port))
        assert meter.open().simulated
        meter.configure(Settings(voltage_v=VOLTS))
        if MeterCapability.SUPPLIES_POWER in meter.capabilities:
            meter.power(True)
        meter.start()
        blocks = [meter.read(5.0) for _ in range(8)]
        meter.stop()
        truth = twin.truth()
        meter.close()
        assert twin.device.powered is (model == "keysight-34465a")
    watts = sum(float((b.watts(VOLTS) * b.duration_s).sum()) for b in blocks)
    amps = sum(float(b.current_a.sum()) * b.duration_s for b in blocks)
    seconds = sum(len(b) * b.duration_s for b in blocks)
    true_s = truth.stop_s - truth.start_s
    # the load's ripple ends within the truth's last period: its mean is that of the load
    assert watts / seconds == pytest.approx(0.09, rel=1e-3)
    assert amps / seconds == pytest.approx(0.09 / VOLTS, rel=1e-3)
    assert truth.energy_j / true_s == pytest.approx(0.09, rel=2e-2)
    assert meter.loss.missing == meter.loss.discarded_bytes == 0


def test_a_closed_connection_is_a_timeout_first_and_then_unplugged():
    faults = FaultSchedule([Fault(FaultKind.UNPLUG, 0.6, 0)])
    with TcpTwin(ScpiTwin(Conditions(LOAD)), faults) as twin:
        meter = ScpiMeter(MeterAddress("scpi", twin.port))
        meter.open()
        meter.configure(Settings(voltage_v=VOLTS))
        meter.start()
        with pytest.raises((MeterTimeoutError, MeterUnpluggedError)):
            while True:
                meter.read(0.5)
        with pytest.raises(MeterUnpluggedError):
            for _ in range(5):
                with contextlib.suppress(MeterTimeoutError):
                    meter.read(0.05)
        meter.close()


def test_a_host_that_nobody_answers_at_is_told():
    with TcpTwin(ScpiTwin(Conditions(LOAD))) as twin:
        port = twin.port
    with pytest.raises(MeterError, match="cannot be opened through VISA"):
        ScpiMeter(MeterAddress("scpi", port)).open()


def test_the_driver_understands_the_instrument_of_pyvisa_sim(tmp_path):
    pytest.importorskip("pyvisa_sim", reason="pyvisa-sim is not installed")
    table = tmp_path / "smu.yaml"
    table.write_text(SIMULATION)
    meter = ScpiMeter(MeterAddress("scpi", "ASRL7::INSTR", {"backend": f"{table}@sim"}))
    info = meter.open()
    assert info.serial_number == "04096331" and info.simulated
    meter.configure(Settings(voltage_v=VOLTS))
    meter.power(True)
    meter.start()
    blocks = [meter.read(2.0) for _ in range(3)]
    meter.close()
    for block in blocks:
        assert block.watts(None)[0] == pytest.approx(0.03700012, rel=1e-6)


@pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals")
def test_an_unplugged_serial_cable_is_its_own_error():
    faults = FaultSchedule([Fault(FaultKind.UNPLUG, 0.6, 0)])
    with PtyTwin(ScpiTwin(Conditions(LOAD)), faults) as twin:
        meter = ScpiMeter(MeterAddress("scpi", twin.port))
        meter.open()
        meter.configure(Settings(voltage_v=VOLTS))
        meter.start()
        with pytest.raises(MeterUnpluggedError):
            while True:
                meter.read(2.0)
        meter.close()
