"""The PPK2 in real time behind a pseudo-terminal: our driver, and two that are not ours."""

import sys
import time

import numpy as np
import pytest

from edgesnn.errors import MeterBusyError, MeterError, MeterUnpluggedError
from edgesnn.meters import link
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import SampleStatus
from edgesnn.meters.ppk2.driver import Ppk2Meter
from edgesnn.meters.ppk2.twin import Ppk2Twin
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.faults import Fault, FaultSchedule
from edgesnn.meters.twins.pty import PtyTwin
from tests.foreign import ppk2 as foreign
from tests.support.instruments.ppk2 import LOAD, VOLTS, joined, powered
from tests.support.patience import patience

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.skipif(sys.platform == "win32", reason="twins need pseudo-terminals"),
]


def twin(*faults):
    return PtyTwin(Ppk2Twin(Conditions(LOAD)), FaultSchedule([Fault.parse(one) for one in faults]))


def stream(meter, seconds):
    blocks, received = [], 0
    while received < seconds * 1e5:
        blocks.append(meter.read(10.0))
        received += len(blocks[-1])
    return blocks


def true_coulombs(truth, seen):
    """What was drawn over the samples that came, by their times."""
    start = truth.start_s + seen.time_s
    return float((LOAD.energy_j(start + 1e-5) - LOAD.energy_j(start)).sum()) / VOLTS


def test_our_recording_agrees_with_the_truth_in_charge_and_energy():
    with twin() as simulated, Ppk2Meter(MeterAddress("ppk2", simulated.port)) as meter:
        powered(meter)
        meter.start()
        blocks = stream(meter, 1.0)
        last = meter.stop()
        blocks += [last] if last is not None else []
        seen, truth, loss = joined(blocks), simulated.truth(), meter.loss
    assert meter.name == "ppk2" and loss.received == seen.time_s.size
    if loss.missing + loss.suspected == 0:  # a machine that kept up: nothing is left to be accounted for
        assert loss.received == truth.samples
        assert seen.charge_c == pytest.approx(truth.charge_c, rel=1e-3)
        energy = sum(float(one.watts(VOLTS).sum()) for one in blocks) * 1e-5
        assert energy == pytest.approx(truth.energy_j, rel=1e-3)
    good = seen.good
    wanted = LOAD.markers(truth.start_s + seen.time_s)
    assert np.count_nonzero(good & (seen.markers != wanted)) <= 64 * 24
    assert loss.received + loss.missing + loss.suspected == pytest.approx(truth.samples, abs=4096)


def test_a_late_host_loses_samples_and_knows_how_many():
    with twin() as simulated, Ppk2Meter(MeterAddress("ppk2", simulated.port)) as meter:
        powered(meter)
        meter.start()
        stream(meter, 0.1)
        late = simulated.now_s() + 0.6  # the instrument holds 0.16 s, the terminal 0.03 s
        while simulated.now_s() < late:
            time.sleep(0.05)
        blocks = stream(meter, 0.8)
        meter.stop()
        loss, taken, thrown = meter.loss, simulated.truth().samples, simulated.lost_pieces
    assert thrown and loss.missing + loss.suspected > 0 and loss.reasons
    assert loss.received + loss.missing + loss.suspected == pytest.approx(taken, abs=4096)
    assert (joined(blocks).status & SampleStatus.SUSPECT).any()


def test_unplugging_is_its_own_error_and_the_same_port_begins_a_new_segment():
    with twin("unplug@0.7:0.3") as simulated:
        meter = Ppk2Meter(MeterAddress("ppk2", simulated.port))
        powered(meter)
        meter.start()
        with pytest.raises(MeterUnpluggedError):
            while True:
                meter.read(10.0)
        meter.close()
        deadline = time.monotonic() + patience()
        while True:
            try:
                powered(meter)
                break
            except MeterError:
                assert time.monotonic() < deadline
        meter.start()
        assert meter.read(10.0).time_s[0] == 0.0
        meter.close()


def test_a_system_that_slept_while_the_port_was_open_ends_the_segment(monkeypatch):
    with twin() as simulated, Ppk2Meter(MeterAddress("ppk2", simulated.port)) as meter:
        powered(meter)
        meter.start()
        meter.read(10.0)
        before = link.slept_ns()
        monkeypatch.setattr(link, "slept_ns", lambda: before + 5_000_000_000)
        with pytest.raises(MeterUnpluggedError, match="the system slept"):
            meter.read(10.0)


def test_a_port_that_is_in_use_is_told():
    with twin() as simulated, Ppk2Meter(MeterAddress("ppk2", simulated.port)) as first:
        first.open()
        with pytest.raises(MeterBusyError, match="another program"):
            Ppk2Meter(MeterAddress("ppk2", simulated.port)).open()


def test_a_port_that_is_not_there_is_told(tmp_path):
    with pytest.raises(MeterError, match="there is no port"):
        Ppk2Meter(MeterAddress("ppk2", str(tmp_path / "ttyACM9"))).open()


@pytest.mark.parametrize("client", sorted(foreign.CLIENTS))
def test_an_independent_program_agrees_with_the_truth(client):
    if not foreign.interpreter(client).exists():
        pytest.skip(f"needs its own environment: bash tools/foreign_env.sh {client} ...")
    for _ in range(10):  # one that a busy machine held up has lost samples, and cannot say which
        result = foreign.measure(client, 1.0)
        if result["samples"] > 50_000:
            break
    assert result["samples"] > 50_000
    assert result["charge_c"] == pytest.approx(result["true_charge_c"], rel=foreign.LIMIT)
    assert result["energy_j"] == pytest.approx(result["true_energy_j"], rel=foreign.LIMIT)
    assert result["marker_edges"] >= 15
