"""The meter's process and what happens to it: every fault ends in an error of ours, and leaves nothing."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edgesnn.errors import (
    DeviceError,
    MeterError,
    MeterTimeoutError,
    MeterUnpluggedError,
    OutputError,
    UsageError,
)
from edgesnn.meters.lpm01a.twin import Lpm01aTwin
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.pty import PtyTwin
from edgesnn.meters.twins.shapes import parse_load
from edgesnn.profiler.power import meter_process
from edgesnn.profiler.power.meter_process import MeterProcess
from tests.support.patience import patience, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="twins need pseudo-terminals")

ROOT = Path(__file__).parents[4]
HOST = """
import sys, time
from edgesnn.profiler.power.meter_process import MeterProcess
with MeterProcess(sys.argv[1]) as meter:
    print(meter.pid, flush=True)
    time.sleep(6000)
"""


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where all temporary files go; it must be empty at the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("EDGESNN_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(meter_process, "LAST_WORD_S", patience())
    return folder


def ended(pid):
    """Whether a process is over; one that nobody has waited for still has an entry."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def last_word(meter):
    """What the meter met, once its process has told."""
    return meter.explain(MeterError("nothing"))


@pytest.fixture
def supply():
    """An LPM01A behind a pseudo-terminal, and its address."""
    with PtyTwin(Lpm01aTwin(Conditions(parse_load("constant:power=0.01")))) as twin:
        yield twin, f"lpm01a:{twin.port}?voltage=3.3&rate=1000"


def test_a_stream_comes_back_whole_with_its_clock_and_its_account(scratch):
    with MeterProcess("sim:ina228") as meter:
        wait_for(lambda: len(meter.lives) >= 3 and len(meter.syncs) >= 2)
        stream = meter.finish()
    assert meter.simulated
    assert len(stream.trace.block) == meter.loss["received"] > 100
    assert stream.receipts.shape == (len(meter.receipts), 2)
    slack = 1e-9  # sums round
    assert all(live.lowest_w - slack <= live.mean_w <= live.highest_w + slack for _, live in meter.lives)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "error", "code"),
    [
        ("sim:nothing", UsageError, 2),
        ("ina228:/dev/no-such-port", MeterError, 4),
        ("sim:ina228?colour=red", UsageError, 2),
    ],
)
def test_a_wrong_address_is_told_at_once_in_the_words_of_the_driver(scratch, address, error, code):
    with pytest.raises(error) as caught:
        MeterProcess(address)
    assert caught.value.exit_code == code
    assert list(scratch.iterdir()) == []


def test_a_second_process_cannot_have_the_same_meter(scratch, supply):
    _, address = supply
    with MeterProcess(address), pytest.raises(DeviceError, match="in use by another process") as caught:
        MeterProcess(address)
    assert caught.value.exit_code == 4
    with MeterProcess(address) as again:  # the lock went with the first one
        assert again.info["meter"]["simulated"]


def test_a_killed_process_is_an_error_and_leaves_neither_file_nor_pseudo_terminal(scratch):
    with MeterProcess("sim:ina228") as meter:
        assert list(scratch.rglob(".twin.edgesnn-*"))
        os.kill(meter.pid, signal.SIGKILL)
        assert "died" in last_word(meter).what
        with pytest.raises(MeterError, match="died"):
            meter.check()
        with pytest.raises(MeterError, match="died"):
            meter.finish()
    assert list(scratch.iterdir()) == []


def test_an_unplugged_meter_is_told_as_such(scratch):
    # on a busy machine it is gone before the first sample
    with pytest.raises(MeterUnpluggedError), MeterProcess("sim:ina228?fault=unplug@0.5:0") as meter:
        assert isinstance(last_word(meter), MeterUnpluggedError)
        meter.check()
    assert list(scratch.iterdir()) == []


def test_a_stream_that_stalls_runs_into_its_deadline(scratch):
    with pytest.raises(MeterTimeoutError), MeterProcess("sim:ina228?fault=stall@0.2:6000") as meter:
        raise last_word(meter)
    assert list(scratch.iterdir()) == []


def test_a_full_disk_is_an_error_of_the_output_and_not_of_the_meter(scratch):
    import resource  # noqa: PLC0415 - not on every system

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # inherited by the process
    try:
        with MeterProcess("sim:ina228?noise=1e-4") as meter:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            wait_for(lambda: len(meter.lives) >= 5)
            with pytest.raises(OutputError, match="could not be written") as caught:
                meter.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.exit_code == 1
    assert list(scratch.iterdir()) == []


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to see a process end")
def test_when_the_host_is_killed_the_supply_goes_off_and_nothing_is_left(scratch, supply):
    twin, address = supply
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, address],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        pid = int(host.stdout.readline())
        assert twin.device.powered
    finally:
        host.kill()
        host.wait()
        host.stdout.close()
    wait_for(lambda: ended(pid))
    assert not twin.device.powered
    # the twin of the test itself lies elsewhere
    assert [one for one in scratch.iterdir() if one != Path(twin.port).parent] == []
