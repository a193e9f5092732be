"""Calibration: what it corrects, what is then known, and whose it is."""

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from edgesnn.errors import ConfigError, MeterError, UsageError
from edgesnn.meters.base import MeterInfo, SampleStatus
from edgesnn.meters.calibration import points as calibration
from edgesnn.meters.calibration.comparison import SettledReading, by_meter, through_resistor
from edgesnn.meters.calibration.points import Calibration, Point, corrected, corrections, make_point
from tests.support.instruments.meter_blocks import block
from tests.support.instruments.plain_meter import accuracy

RANGES = [{"name": "low", "max_a": 0.1, "gain": 0.1}, {"name": "high", "max_a": 1.0, "gain": 0.2}]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGESNN_CONFIG_DIR", str(tmp_path))
    return tmp_path / "calibrations"


def point(shown_a, true_a, *, range_index=0, u=0.0, at="2026-01-01T00:00:00+00:00"):
    return Point(
        range_index=range_index,
        shown_a=shown_a,
        shown_u_a=0.0,
        true_a=true_a,
        true_u_a=u,
        against="a load",
        made_at=at,
    )


def calibrated(*points, serial="P1", simulated=True, days=1.0):
    return Calibration(
        schema=calibration.SCHEMA, driver="plain", model="PLAIN", serial_number=serial, simulated=simulated,
        expires_at=calibration.expiry(days), points=list(points),
    )  # fmt: skip


def info(serial="P1", simulated=True):
    return MeterInfo("plain", "PLAIN", serial, None, "x", simulated)


def test_one_point_corrects_by_a_factor():
    one = corrections([point(0.011, 0.010, u=1e-5)])[0]
    assert (one.scale, one.offset_a, one.offset_u_a) == (pytest.approx(0.010 / 0.011), 0.0, None)
    assert one.scale_u == pytest.approx(1e-3)


def test_two_points_correct_by_a_line_and_find_gain_and_offset_exactly():
    shown = [0.01 * 1.05 + 0.001, 0.04 * 1.05 + 0.001]
    one = corrections([point(shown[0], 0.01), point(shown[1], 0.04)])[0]
    again = corrected(block([0.02 * 1.05 + 0.001]), {0: one})
    assert again.current_a[0] == pytest.approx(0.02, rel=1e-6)


def test_the_uncertainty_of_a_line_is_that_of_a_simulation():
    rng = np.random.default_rng(0)
    u, low, high = 1e-5, 0.01, 0.04
    one = corrections([point(low, low, u=u), point(high, high, u=u)])[0]
    lines = [np.polyfit([low, high], [low + a, high + b], 1) for a, b in rng.normal(0, u, (4000, 2))]
    scales, offsets = np.array(lines).T
    assert one.scale_u == pytest.approx(scales.std(), rel=0.05)
    assert one.offset_u_a == pytest.approx(offsets.std(), rel=0.05)


def test_two_points_that_lie_close_together_give_no_offset():
    near = [point(0.010, 0.010), point(0.011, 0.0111, at="2026-01-02T00:00:00+00:00")]
    assert corrections(near)[0].offset_u_a is None
    assert corrections(near)[0].scale == pytest.approx(0.0111 / 0.011)


def test_points_that_contradict_each_other_are_refused():
    with pytest.raises(MeterError, match="contradict"):
        corrections([point(0.04, 0.01), point(0.01, 0.04)])


def test_a_range_without_a_point_stays_as_it_is():
    by_range = corrections([point(0.5, 0.25, range_index=1)])
    both = block([0.02, 0.5], range_index=np.array([0, 1], np.uint8))
    assert corrected(both, by_range).current_a.tolist() == pytest.approx([0.02, 0.25])
    model = calibration.calibrated_accuracy(
        accuracy(ranges=RANGES), calibrated(point(0.5, 0.25, range_index=1, u=0.001))
    )
    assert model.ranges[0].gain == pytest.approx(0.1 / math.sqrt(3))
    assert model.ranges[1].gain == pytest.approx(0.004)
    assert model.kind.value == "typical"
    assert "against a load" in model.calibration


def test_power_follows_the_current():
    given = block([0.5], power_w=np.array([1.0], np.float32))
    assert corrected(given, corrections([point(0.5, 0.25)])).power_w.tolist() == pytest.approx([0.5])


def test_a_calibration_is_found_by_serial_number_and_only_for_its_own_instrument():
    path = calibration.save(calibrated(point(0.011, 0.01)))
    assert calibration.find(info()).points[0].true_a == 0.01
    assert calibration.find(info(serial="P2")) is None
    assert calibration.find(info(simulated=False)) is None, "a twin's calibration is no instrument's"
    assert calibration.find(info(serial=None)) is None
    assert list(calibration.load_all()) == [path]
    assert calibration.forget(info())
    assert not calibration.forget(info())


def test_a_serial_number_cannot_lead_out_of_the_folder(own_folder):
    path = calibration.save(calibrated(point(0.011, 0.01), serial="../../x/y"))
    assert path.parent == own_folder
    assert calibration.find(info(serial="../../x/y")) is not None


def test_a_calibration_ends():
    assert not calibrated(point(1.0, 1.0)).expired
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert calibrated(point(1.0, 1.0)).model_copy(update={"expires_at": past}).expired


def test_a_broken_file_is_named(own_folder):
    path = calibration.save(calibrated(point(0.011, 0.01)))
    path.write_text(json.dumps({**json.loads(path.read_text()), "points": []}))
    with pytest.raises(ConfigError, match="points"):
        calibration.find(info())


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"current_a": np.zeros(100, np.float32)}, "no current"),
        ({"status": np.full(100, SampleStatus.SUSPECT, np.uint8)}, "too few or too bad"),
        ({"range_index": (np.arange(100) % 2).astype(np.uint8)}, "changed its range"),
        ({"current_a": np.linspace(0.001, 1, 100, dtype=np.float32)}, "not steady"),
        ({"current_a": None, "power_w": np.ones(100, np.float32)}, "gives no current"),
    ],
)
def test_samples_that_cannot_calibrate_are_refused(changes, what):
    from dataclasses import replace

    with pytest.raises(MeterError, match=what):
        make_point(replace(block([0.01] * 100), **changes), 0.01, 0.0, "a load")


def test_the_scatter_of_the_mean_enters():
    noisy = block(np.random.default_rng(0).normal(0.01, 1e-4, 10_000))
    assert make_point(noisy, 0.01, 0.0, "x").shown_u_a == pytest.approx(1e-6, rel=0.7)


def taken(current_a, **changes):
    return SettledReading(info(), block([current_a] * 100), accuracy(**changes), 3.0)


def test_a_resistor_says_what_flowed():
    voltage = {"measured": False, "gain": 0.01, "burden_v": 0.06}
    found = through_resistor(100.0, 0.001, None, None, taken(0.03, voltage=voltage))
    assert found.current_a == pytest.approx(0.03)
    want = math.hypot(0.001 / math.sqrt(3), 0.01 / math.sqrt(3), 0.02 / math.sqrt(3))
    assert found.standard_u_a / found.current_a == pytest.approx(want)
    measured = through_resistor(100.0, 0.001, 2.95, 0.001, taken(0.03, voltage=voltage))
    assert measured.current_a == pytest.approx(0.0295)
    assert measured.standard_u_a < found.standard_u_a / 10


def test_a_resistor_without_a_voltage_says_nothing():
    without = SettledReading(info(), block([0.01] * 100), accuracy(), None)
    with pytest.raises(UsageError, match="--volts"):
        through_resistor(100.0, 0.01, None, None, without)


def test_a_better_meter_says_what_flowed():
    found = by_meter(taken(0.02))
    assert found.current_a == pytest.approx(0.02)
    assert found.standard_u_a == pytest.approx(0.02 * 0.01 / math.sqrt(3))
