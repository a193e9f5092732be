"""Energy on a board: the marker pin of an emulated one in the digital input of a simulated meter."""

import socket

import numpy as np
import pytest

from edgesnn import open_bundle, profile_bundle
from edgesnn.profiler.power.feed import free_port
from edgesnn.record.power import Rung
from edgesnn.runners.base import Capability, LoadChip, RunnerOptions
from edgesnn.runners.board.qemu import QemuRunner
from edgesnn.runners.board.serial_port import SerialRunner
from tests.support.bundles import shared_bundle
from tests.support.devices.powered_board import PoweredBoard
from tests.support.patience import wait_for

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.skipif(QemuRunner.missing() is not None, reason=str(QemuRunner.missing())),
]
ACTIVE_W, IDLE_W = 0.090, 0.020
PROFILE = """
schema = "edgesnn.profile/1"
name = "board"
[workload]
prompt_tokens = 4
generated_tokens = 4
context = 1
windows = 4
min_window_seconds = 0.2
metered_window_seconds = 0.2
idle_seconds = 0.4
min_window_tokens = 8
warmup_tokens = 1
first_tokens = 0
activity_tokens = 0
memory_probes = 0
parity_tokens = 16
accuracy_tokens = 0
"""


def test_the_marker_pin_of_a_board_tells_a_meter_where_its_windows_are(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGESNN_LOCKS", str(tmp_path / "locks"))
    (tmp_path / "board.toml").write_text(PROFILE)
    feed = free_port()
    with PoweredBoard(feed, ACTIVE_W, IDLE_W) as board:
        shown = profile_bundle(
            open_bundle(shared_bundle()),
            target=f"serial:{board.port}",
            profile=tmp_path / "board.toml",
            meter=f"sim:ina228?load=live:{feed}",
        )
        assert board.edges == 8
    record, power = shown.record, shown.record.power
    assert power.kind == "SIMULATED" and power.rung == Rung.MARKER and len(power.windows) == 4
    assert record.quantities["latency.p50"].kind == "SIMULATED"  # of a board that QEMU is
    # a computer that takes the emulator's core away for a millisecond makes its window invalid, and rightly
    valid = [window for window in power.windows if window.invalid is None]
    assert valid, [window.invalid for window in power.windows]
    for window in valid:
        seconds = window.stop_s - window.start_s
        assert seconds == pytest.approx(window.lap_s, abs=5e-3)  # the marker and the board's own clock
        assert window.mean_mw == pytest.approx(1000 * ACTIVE_W, rel=0.01)
        assert window.energy_uj == pytest.approx(1e6 * ACTIVE_W * seconds, rel=0.01)
        assert window.idle_before_mw == pytest.approx(1000 * IDLE_W, rel=0.01)
    per_token = record.quantities["energy.per_token"]
    assert per_token.kind == "SIMULATED"
    wanted = sum(1e6 * ACTIVE_W * one.lap_s / one.inferences for one in valid) / len(valid)
    assert per_token.value == pytest.approx(wanted, rel=0.05)


def test_a_board_plays_a_coded_load_and_begins_anew():
    """Where no marker is wired and the meter has no clock: the power of tokens and rest is the code."""
    bundle = open_bundle(shared_bundle())
    with (
        socket.create_server(("127.0.0.1", 0)) as feed,
        PoweredBoard(feed.getsockname()[1], ACTIVE_W, IDLE_W) as board,
        SerialRunner() as runner,
    ):
        runner.open(bundle, RunnerOptions(address=f"{board.port}?marker=none"))
        assert Capability.MARKER not in runner.capabilities and Capability.PATTERN in runner.capabilities
        want = runner.step(np.array([7])).logits
        before = board.edges
        runner.play(tuple(LoadChip(busy, 0.05) for busy in (True, False, True, True, False)))
        np.testing.assert_array_equal(runner.step(np.array([7])).logits, want)
        wait_for(lambda: board.edges >= before + 4 and board.edges % 2 == before % 2)
