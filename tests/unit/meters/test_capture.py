"""A measurement from start to end, in simulated time."""

import itertools

import numpy as np
import pytest

from edgesnn.errors import MeterTimeoutError, MeterUnpluggedError
from edgesnn.meters import capture as module
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import Block, Settings
from edgesnn.meters.calibration import points as calibration
from edgesnn.meters.calibration.calibrated import CalibratedMeter
from edgesnn.meters.capture import Plan, SegmentEnd, SegmentStart, capture
from edgesnn.meters.files.format import join
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.faults import Fault, FaultSchedule
from edgesnn.meters.twins.load import constant, square
from tests.support.instruments.plain_meter import PlainMeter, PlainTwin
from tests.support.instruments.virtual import VirtualLink


def never():
    return False


def made(load=None, faults=(), **errors):
    """A meter on a twin in simulated time, and both."""
    twin = PlainTwin(Conditions(load or square(0.01, 0.08, 0.5), **errors))
    link = VirtualLink(twin, FaultSchedule([Fault.parse(one) for one in faults]))
    return CalibratedMeter(PlainMeter(MeterAddress("plain"), link=link)), link, twin


def samples(events):
    return join([event for event in events if isinstance(event, Block)])


def test_a_measurement_ends_when_the_meters_own_clock_says_so():
    meter, _, _ = made()
    events = list(capture(meter, Plan(Settings(), 2.0), never))
    assert isinstance(events[0], SegmentStart)
    assert isinstance(events[-1], SegmentEnd)
    whole = samples(events)
    assert module.end_of(whole) == pytest.approx(2.0, abs=0.06)
    assert events[-1].loss.received == len(whole)


def test_what_was_read_is_what_was_drawn():
    meter, _, twin = made()
    whole = samples(capture(meter, Plan(Settings(voltage_v=3.7), 2.0), never))
    truth = twin.truth()
    assert truth.samples == len(whole)
    assert float((whole.watts(3.7) * 0.001).sum()) == pytest.approx(truth.energy_j, rel=1e-6)


def test_the_user_ends_it_between_two_reads():
    meter, _, _ = made()
    asked = itertools.count()
    events = list(capture(meter, Plan(Settings()), lambda: next(asked) >= 3))
    assert sum(isinstance(event, Block) for event in events) <= 4
    assert isinstance(events[-1], SegmentEnd)


def test_lost_samples_are_in_the_account_and_leave_a_jump():
    meter, _, twin = made(constant(0.05), ["drop-samples@1:3"])
    events = list(capture(meter, Plan(Settings(), 2.0), never))
    assert events[-1].loss.missing == 3
    whole = samples(events)
    assert np.diff(whole.time_s).max() == pytest.approx(0.004)
    assert len(whole) + 3 == twin.truth().samples


def test_a_meter_that_falls_silent_ends_the_segment_and_fails():
    meter, _, _ = made(faults=["stall@1:100"])
    events = []
    with pytest.raises(MeterTimeoutError):
        events.extend(capture(meter, Plan(Settings()), never))
    assert isinstance(events[-1], SegmentEnd)
    assert events[-1].loss.received == len(samples(events)) > 900


def test_an_unplugged_meter_ends_the_measurement_with_its_account():
    meter, _, _ = made(faults=["unplug@1:0"])
    events = []
    with pytest.raises(MeterUnpluggedError):
        events.extend(capture(meter, Plan(Settings()), never))
    assert isinstance(events[-1].unplugged, MeterUnpluggedError)


def test_with_patience_a_new_segment_begins_after_an_unplug(monkeypatch):
    meter, link, _ = made(faults=["unplug@1:0"])
    monkeypatch.setattr(module.time, "sleep", lambda seconds: link.replug())
    events = list(capture(meter, Plan(Settings(), 3.0, reconnect_s=60.0), never))
    ends = [event for event in events if isinstance(event, SegmentEnd)]
    assert [end.unplugged is not None for end in ends] == [True, False]
    middle = next(at for at, event in enumerate(events) if isinstance(event, SegmentEnd))
    first, second = samples(events[:middle]), samples(events[middle:])
    assert second.time_s[0] == 0.0, "the meter's clock began again"
    assert module.end_of(first) + module.end_of(second) == pytest.approx(3.0, abs=0.1)


def test_patience_ends(monkeypatch):
    meter, _, _ = made(faults=["unplug@1:0"])
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    with pytest.raises(MeterUnpluggedError, match="did not come back"):
        list(capture(meter, Plan(Settings(), reconnect_s=0.01), never))


def test_a_calibration_corrects_what_is_captured_and_its_accuracy(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGESNN_CONFIG_DIR", str(tmp_path))
    point = calibration.Point(
        range_index=0, shown_a=0.0105, shown_u_a=0.0, true_a=0.01, true_u_a=1e-5, against="a load",
        made_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    kept = calibration.Calibration(
        driver="plain",
        model="PLAIN",
        serial_number="P1",
        simulated=True,
        expires_at=calibration.expiry(),
        points=[point],
    )
    calibration.save(kept)
    meter, _, _ = made(constant(0.037), gain=0.05)
    events = list(capture(meter, Plan(Settings(), 0.5), never))
    assert samples(events).current_a.mean() == pytest.approx(0.01, rel=1e-5)
    assert events[0].accuracy.ranges[0].gain == pytest.approx(1e-3)
    assert "a load" in events[0].meter.details["calibration"]
    calibration.save(kept.model_copy(update={"expires_at": "2020-01-01T00:00:00+00:00"}))
    meter, _, _ = made(constant(0.037), gain=0.05)
    events = list(capture(meter, Plan(Settings(), 0.5), never))
    assert samples(events).current_a.mean() == pytest.approx(0.0105, rel=1e-5)
    assert events[0].meter.details["calibration"].startswith("expired")
