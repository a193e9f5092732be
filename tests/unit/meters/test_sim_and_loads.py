"""Loads by name, the live feed, and meters that are twins in this process."""

import json
import socket
import time

import numpy as np
import pytest

from edgesnn.errors import EdgesnnError, MeterError, UsageError
from edgesnn.meters.base import Loss, Settings
from edgesnn.meters.files.recording import Recorder
from edgesnn.meters.opening import open_meter
from edgesnn.meters.twins.live import LiveLoad
from edgesnn.meters.twins.shapes import number, parse_load
from tests.support.instruments.meter_blocks import block, segment
from tests.support.patience import patience, wait_for


def drawn(load, *times):
    return load.energy_j(np.array(times)).tolist()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.08", 0.08),
        ("80m", 0.08),
        ("80mW", 0.08),
        ("5uW", 5e-6),
        ("1.5s", 1.5),
        ("1e-3", 1e-3),
        (".5k", 500.0),
    ],
)
def test_numbers_may_have_prefixes_and_units(text, value):
    assert number(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "x", "5q", "nan", "--1", "1 2"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(UsageError, match="no number"):
        number(text)


def test_shapes_draw_what_their_text_says():
    assert drawn(parse_load("constant:50m"), 2.0) == pytest.approx([0.1])
    square = parse_load("square:low=10m,high=80m,period=0.5,duty=0.2")
    assert drawn(square, 0.4, 0.5, 1.0) == pytest.approx([0.004, 0.012, 0.024])
    assert square.markers(np.array([0.1, 0.45])).tolist() == [0, 1]
    steps = parse_load("steps:at=1/0.5;2/0.5/4,repeat=0")
    assert drawn(steps, 0.5, 1.0, 2.0) == pytest.approx([0.5, 1.5, 3.5])
    assert steps.markers(np.array([0.7])).tolist() == [4]
    assert drawn(parse_load("constant:power=0,drift=2"), 3.0) == pytest.approx([9.0])
    assert drawn(parse_load("constant:1,ripple=0.5,ripple_hz=1"), 0.5, 1.0) == pytest.approx(
        [0.5 + 0.5 / np.pi, 1.0]
    )


@pytest.mark.parametrize(
    "text",
    [
        "saw:1",
        "square:hi=1",
        "constant",
        "steps:at=1",
        "steps:at=1/2/3/4",
        "live:x",
        "recording:",
        "square:marker=300",
    ],
)
def test_a_load_that_does_not_exist_is_refused(text):
    with pytest.raises(UsageError):
        parse_load(text)


def test_a_recording_is_a_load(tmp_path):
    with Recorder(tmp_path / "a.npz") as recorder:
        recorder.begin_segment(segment(voltage_v=2.0))
        recorder.add(block([1.0, 3.0], start_s=5.0, step_s=1.0, markers=np.array([0, 1], np.uint8)), Loss(2))
        recorder.end_segment(Loss(2))
    load = parse_load(f"recording:{tmp_path / 'a.npz'}")
    assert drawn(load, 0.5, 1.0, 2.0) == pytest.approx([1.0, 2.0, 8.0])
    assert load.markers(np.array([1.5])).tolist() == [1]


def test_a_live_load_holds_what_was_said_last():
    with LiveLoad() as load:
        load.feed(2.0, 1, 1.0)
        load.feed(5.0, 0, 3.0)
        assert drawn(load, 0.5, 1.5, 3.0, 4.0) == pytest.approx([0.0, 1.0, 4.0, 9.0])
        assert load.markers(np.array([0.5, 1.0, 3.0])).tolist() == [0, 1, 0]


def test_what_a_live_load_has_drawn_is_never_changed():
    with LiveLoad() as load:
        load.feed(1.0, 0, 0.0)
        before = drawn(load, 2.0)
        load.feed(100.0, 0, 1.0)
        assert drawn(load, 2.0) == before
        assert drawn(load, 3.0) == pytest.approx([102.0])
        assert load.late == 1


def test_a_long_live_load_keeps_its_sum():
    with LiveLoad() as load:
        for k in range(5000):
            load.feed(float(k % 3), 0, k * 0.001)
        load.feed(0.0, 0, 5.0)
        assert drawn(load, 5.0) == pytest.approx([sum(k % 3 for k in range(5000)) * 0.001])


def test_a_live_load_is_fed_over_a_socket_and_refuses_what_is_no_line_of_a_feed():
    with LiveLoad() as load:
        began = time.monotonic()
        load.began(began)
        with socket.create_connection(("127.0.0.1", load.port), timeout=patience()) as client:
            hello = json.loads(client.makefile().readline())
            assert hello["schema"] == "edgesnn.live-load/1"
            for line in (
                {"t": began + 10, "power_w": 1.0, "markers": 3},
                {"t": began + 11, "power_w": -1.0},
                {"t": began + 11},
                {"power_w": float("inf")},
                [1, 2],
            ):
                client.sendall(json.dumps(line).encode() + b"\n")
            client.sendall(b"nonsense\n" + json.dumps({"t": began + 12, "power_w": 0.0}).encode() + b"\n")
            wait_for(lambda: load.lines == 2)
        assert load.refused == 5
        assert drawn(load, 20.0) == pytest.approx([2.0])
        assert load.markers(np.array([11.0])).tolist() == [3]


def test_a_port_that_is_taken_is_named():
    with LiveLoad() as load, pytest.raises(MeterError, match=str(load.port)):
        LiveLoad(load.port)


@pytest.mark.parametrize(
    "address",
    [
        "sim",
        "sim:ppk3",
        "sim:ppk2?load=saw",
        "sim:ppk2?lod=1",
        "sim:ppk2?fault=x@1:2",
        "ppk2?calibration=maybe",
        "nothing",
    ],
)
def test_a_wrong_address_of_a_twin_is_a_usage_error_before_anything_runs(address):
    with pytest.raises(UsageError):
        meter = open_meter(address)
        meter.open()


def test_a_twin_in_this_process_knows_the_truth_about_what_its_driver_reads():
    with open_meter("sim:ina228?load=constant:50m") as meter:
        info = meter.open()
        assert info.simulated
        meter.configure(Settings())
        meter.start()
        count = sum(len(meter.read(5.0)) for _ in range(3))
        rest = meter.stop()
        count += len(rest) if rest is not None else 0
        truth = meter.meter.truth()
        assert count == truth.samples
        assert truth.energy_j == pytest.approx(0.05 * (truth.stop_s - truth.start_s))


def test_errors_of_meters_have_exit_codes_of_their_branch():
    with pytest.raises(EdgesnnError) as caught:
        open_meter("replay:/nowhere.npz").open()
    assert caught.value.exit_code == 1
