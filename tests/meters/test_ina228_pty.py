"""The INA228 bridge in real time behind a pseudo-terminal: our driver, and picowatt-cli, a foreign client."""

import csv
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgesnn.errors import MeterBusyError, MeterUnpluggedError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import MeterCapability, Settings
from edgesnn.meters.ina228.driver import Ina228Meter
from edgesnn.meters.ina228.protocol import shunt_cal
from edgesnn.meters.ina228.twin import Ina228Twin
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.faults import Fault, FaultKind, FaultSchedule
from edgesnn.meters.twins.load import square
from edgesnn.meters.twins.pty import PtyTwin
from tests.support.instruments.ina228 import CoreInC, build
from tests.support.patience import patience, wait_for

pytestmark = pytest.mark.realtime

PICOWATT = Path(__file__).parents[2] / ".foreign" / "picowatt" / "bin" / "picowatt-cli"
LOW_W, HIGH_W, PERIOD_S = 0.02, 0.1, 0.5


def load():
    return square(LOW_W, HIGH_W, PERIOD_S)


def drawn_j(source, from_s, to_s):
    return float((source.energy_j(np.asarray(to_s)) - source.energy_j(np.asarray(from_s))).sum())


@pytest.fixture(params=["python", "c"])
def twin(request, tmp_path):
    """The twin, with the state machine in Python and with the firmware's own in C."""
    core = None
    if request.param == "c":
        compiler = shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            pytest.skip("no C compiler")
        core = CoreInC(build(compiler, tmp_path / "bridge"))
        core.restart(shunt_cal=shunt_cal(0.015))
    with PtyTwin(Ina228Twin(Conditions(load(), clock_ppm=20.0), core=core)) as running:
        yield running
    if core is not None:
        core.close()


def test_the_driver_agrees_with_the_truth_over_a_pseudo_terminal(twin):
    meter = Ina228Meter(MeterAddress("ina228", twin.port))
    blocks = []
    with meter:
        info = meter.open()
        meter.configure(Settings())
        meter.start()
        pairs = [meter.sync()]
        while not blocks or blocks[-1].time_s[-1] < 1.0:
            blocks.append(meter.read(2.0))
        pairs.append(meter.sync())
        last = meter.stop()
        blocks += [last] if last is not None else []
    assert info.simulated
    assert {MeterCapability.SIMULATED, MeterCapability.MARKER_INPUT} <= meter.capabilities
    truth, loss = twin.truth(), meter.loss
    assert loss.received + loss.missing == pytest.approx(truth.samples, abs=1)
    start_s = np.concatenate([block.time_s for block in blocks])
    length_s = np.concatenate([block.duration_s for block in blocks])
    energy_j = sum(float((block.watts(None) * block.duration_s).sum()) for block in blocks)
    charge_c = sum(float((block.current_a * block.duration_s).sum()) for block in blocks)
    true_j = drawn_j(
        load(), truth.start_s + start_s / (1 + 2e-5), truth.start_s + (start_s + length_s) / (1 + 2e-5)
    )
    assert energy_j == pytest.approx(true_j, rel=1e-3)
    assert charge_c == pytest.approx(true_j / 3.7, rel=1e-3)
    span_ns = pairs[1].meter_s - pairs[0].meter_s
    shortest = (pairs[1].host_before_ns - pairs[0].host_after_ns) / 1e9
    longest = (pairs[1].host_after_ns - pairs[0].host_before_ns) / 1e9
    assert shortest * 0.999 <= span_ns <= longest * 1.001


def test_a_second_owner_of_the_port_is_refused():
    with (
        PtyTwin(Ina228Twin(Conditions(load()))) as twin,
        Ina228Meter(MeterAddress("ina228", twin.port)) as meter,
    ):
        meter.open()
        with pytest.raises(MeterBusyError):
            Ina228Meter(MeterAddress("ina228", twin.port)).open()


def test_an_unplugged_port_is_its_own_error_and_opens_again():
    faults = FaultSchedule([Fault(FaultKind.UNPLUG, 0.4, 0.1)])
    with PtyTwin(Ina228Twin(Conditions(load())), faults) as twin:
        meter = Ina228Meter(MeterAddress("ina228", twin.port))
        meter.open()
        meter.start()
        with pytest.raises(MeterUnpluggedError):
            while True:
                meter.read(2.0)
        meter.close()
        wait_for(Path(twin.port).exists, "the port")
        with meter:
            meter.open()
            meter.start()
            assert meter.read(2.0).time_s[0] < 0.1


@pytest.mark.skipif(
    not PICOWATT.exists(), reason="no foreign client: bash tools/foreign_env.sh picowatt picowatt==0.1.2"
)
def test_picowatt_cli_agrees_with_the_truth(twin, tmp_path):
    table = tmp_path / "out.csv"
    done = subprocess.run(
        [
            PICOWATT,
            "--port",
            twin.port,
            "--seconds",
            "0.6",
            "--csv",
            table,
            "--preset",
            "fast",
            "--adcrange",
            "1",
        ],
        capture_output=True,
        text=True,
        timeout=patience(),
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert "board 53494d554c415445" in done.stdout
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 300
    end_s = np.array([float(row["t_s"]) for row in rows]) / (1 + 2e-5)
    watts = np.array([float(row["power_W"]) for row in rows])
    # picowatt stamps the end of a conversion; 300 us is its period in this preset
    true_w = drawn_j(load(), end_s - 300e-6, end_s) / (len(rows) * 300e-6)
    assert watts.mean() == pytest.approx(true_w, rel=1e-3)
