"""Meters made of files: recordings and the CSV exports of other tools."""

import numpy as np
import pytest

from edgesnn.errors import MeterEndedError, MeterTimeoutError, RecordingError, UsageError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import Loss, MeterCapability, Settings
from edgesnn.meters.files.csv_trace import CsvMeter
from edgesnn.meters.files.format import join
from edgesnn.meters.files.recording import Recorder
from edgesnn.meters.files.replay import ReplayMeter
from tests.support.instruments.meter_blocks import block, segment


class FakeClock:
    """A clock that moves only when somebody waits."""

    def __init__(self):
        self.ns = 0

    def now_ns(self):
        return self.ns

    def wait(self, seconds):
        self.ns += round(seconds * 1e9)


def play(meter):
    """All samples of a meter as one block, and what it said of itself."""
    with meter:
        info = meter.open()
        meter.configure(Settings())
        meter.start()
        blocks = []
        while True:
            try:
                blocks.append(meter.read(1e6))
            except MeterEndedError:
                return info, join(blocks)


@pytest.fixture
def recorded(tmp_path):
    path = tmp_path / "a.npz"
    with Recorder(path) as recorder:
        for number, loss in enumerate((Loss(995, 5), Loss(10))):
            recorder.begin_segment(segment(simulated=number == 0))
            recorder.add(block(np.linspace(0, 1, loss.received), lost=loss.missing), loss)
            recorder.end_segment(loss)
    return path


def csv_meter(tmp_path, text, options="", name="trace.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return CsvMeter(MeterAddress.parse(f"csv:{tmp_path / name}{options}"), clock=FakeClock())


def test_a_replay_gives_the_samples_the_accuracy_and_the_account_of_the_recording(recorded):
    meter = ReplayMeter(MeterAddress.parse(f"replay:{recorded}"), clock=FakeClock())
    info, whole = play(meter)
    np.testing.assert_array_equal(whole.current_a, np.linspace(0, 1, 995).astype(np.float32))
    assert meter.loss == Loss(995, 5)
    assert meter.accuracy.ranges[0].gain == 0.01
    assert (info.name, info.model, info.simulated) == ("replay", "PLAIN", True)
    assert info.details["segments"] == 2


def test_a_replay_of_an_instrument_is_not_simulated(recorded):
    info, whole = play(ReplayMeter(MeterAddress.parse(f"replay:{recorded}?segment=1&speed=max")))
    assert (info.simulated, len(whole)) == (False, 10)


def test_at_real_pace_samples_come_when_they_were_taken(recorded):
    clock = FakeClock()
    meter = ReplayMeter(MeterAddress.parse(f"replay:{recorded}?speed=real"), clock=clock)
    with meter:
        meter.open()
        meter.start()
        count = 0
        while count < 500:
            count += len(meter.read(1.0))
            assert count == pytest.approx(clock.ns / 1e6, abs=1.001)


def test_at_real_pace_a_deadline_is_kept(tmp_path):
    with Recorder(tmp_path / "a.npz") as recorder:
        recorder.begin_segment(segment())
        recorder.add(block([1.0, 2.0], step_s=10.0), Loss(2))
        recorder.end_segment(Loss(2))
    clock = FakeClock()
    meter = ReplayMeter(MeterAddress.parse(f"replay:{tmp_path / 'a.npz'}?speed=real"), clock=clock)
    with meter:
        meter.open()
        meter.start()
        with pytest.raises(MeterTimeoutError):
            meter.read(4.0)
        assert clock.ns == 4_000_000_000
        assert meter.read(7.0).current_a.tolist() == [1.0]


@pytest.mark.parametrize(
    ("options", "what"),
    [("?segment=2", "no segment 2"), ("?speed=slow", "no speed"), ("?sped=max", "no option")],
)
def test_what_a_recording_has_not_is_refused(recorded, options, what):
    with pytest.raises(UsageError, match=what):
        ReplayMeter(MeterAddress.parse(f"replay:{recorded}{options}")).open()


def test_a_replay_takes_no_other_rate_and_no_supply(recorded):
    with ReplayMeter(MeterAddress.parse(f"replay:{recorded}"), clock=FakeClock()) as meter:
        meter.open()
        assert meter.configure(Settings(voltage_v=3.0)).voltage_v == 3.0
        with pytest.raises(UsageError, match="another rate"):
            meter.configure(Settings(rate_hz=5.0))
        with pytest.raises(UsageError, match="cannot switch"):
            meter.power(True)


def test_nrf_connect_with_one_field_of_pins(tmp_path):
    rows = "".join(f"{k / 100:.2f},{1000 + k},{'1000000' + str(k % 2)}\n" for k in range(50))
    info, whole = play(csv_meter(tmp_path, "Timestamp(ms),Current(uA),D0-D7\n" + rows))
    assert info.details["layout"] == "nRF Connect Power Profiler"
    assert whole.current_a[:2].tolist() == pytest.approx([1e-3, 1.001e-3])
    assert whole.markers[:2].tolist() == [0b0000_0001, 0b1000_0001]
    assert whole.time_s[-1] == pytest.approx(49e-5)
    assert np.broadcast_to(whole.duration_s, 50).tolist() == pytest.approx([1e-5] * 50)


def test_nrf_connect_with_separate_pins(tmp_path):
    head = "Timestamp(ms),Current(uA)," + ",".join(f"D{bit}" for bit in range(8))
    _, whole = play(csv_meter(tmp_path, head + "\n0,5,0,1,0,0,0,0,0,1\n0.01,5,0,0,0,0,0,0,0,0\n"))
    assert whole.markers.tolist() == [0b1000_0010, 0]


def test_monsoon_powertool_has_its_voltage(tmp_path):
    text = "Time (s),Main Avg Current (mA),Main Avg Power (mW),Main Avg Voltage (V)\n"
    meter = csv_meter(tmp_path, text + "0.0,10,40,4.0\n0.0002,20,82,4.1\n")
    info, whole = play(meter)
    assert info.details["layout"] == "Monsoon PowerTool"
    assert whole.watts(None).tolist() == pytest.approx([0.04, 0.082])
    assert MeterCapability.MEASURES_VOLTAGE in meter.capabilities


def test_pymonsoon_writes_seconds_under_a_header_that_says_milliseconds(tmp_path):
    text = "Time(ms),Main(mA),Main Voltage(V),\n0.0,10,4.0,\n0.5,20,4.0,\n1.0,20,4.0,\n"
    assert play(csv_meter(tmp_path, text))[1].time_s.tolist() == [0.0, 0.5, 1.0]
    _, named = play(csv_meter(tmp_path, text, "?time_unit=ms"))
    assert named.time_s.tolist() == pytest.approx([0.0, 5e-4, 1e-3])


def test_joulescope_comments_its_header(tmp_path):
    info, whole = play(csv_meter(tmp_path, "#time (s),current (A),voltage (V)\n0.0,1e-3,3.3\n0.1,2e-3,3.3\n"))
    assert info.details["layout"] == "Joulescope UI"
    assert whole.current_a.tolist() == pytest.approx([1e-3, 2e-3])


def test_otii_dates_and_quotes(tmp_path):
    text = '"Wall-clock time (UTC)","Arc Main Current (A)","Arc Main Voltage (V)","Arc Main Energy (J)"\n'
    rows = "".join(f'"2024-05-01 10:00:00.{k * 250:06}","0.0{k}","3.7","0"\n' for k in range(1, 6))
    info, whole = play(csv_meter(tmp_path, text + rows))
    assert info.details["unread_columns"] == ["Arc Main Energy (J)"]
    assert whole.time_s.tolist() == pytest.approx([k * 250e-6 for k in range(5)], abs=1e-6)
    assert whole.current_a[-1] == pytest.approx(0.05)


def test_otii_one_channel_says_what_it_is_in_its_name(tmp_path):
    text = "Timestamp,Value\n0,0.01\n0.00025,0.02\n"
    _, whole = play(csv_meter(tmp_path, text, name="Main current - Arc.csv"))
    assert whole.current_a.tolist() == pytest.approx([0.01, 0.02])
    with pytest.raises(RecordingError, match="current or a power"):
        csv_meter(tmp_path, text, name="GPI 1 - Arc.csv").open()


def test_a_gap_in_the_times_is_a_gap_and_is_counted(tmp_path):
    rows = "".join(f"{k},1\n" for k in [*range(10), *range(15, 20)])
    meter = csv_meter(tmp_path, "time (ms),current (mA)\n" + rows)
    _, whole = play(meter)
    assert meter.loss == Loss(15, 5)
    assert whole.lost == 5
    assert np.broadcast_to(whole.duration_s, 15).tolist() == pytest.approx([1e-3] * 15)


def test_samples_that_share_a_time_stamp_are_spread(tmp_path):
    rows = "".join(f"{k // 3 * 3},1\n" for k in range(12))
    _, whole = play(csv_meter(tmp_path, "time (ms),current (mA)\n" + rows))
    np.testing.assert_allclose(whole.time_s, np.arange(12) * 1e-3, atol=1e-9)


def test_a_long_trace_is_read_in_pieces_without_a_seam(tmp_path, monkeypatch):
    monkeypatch.setattr("edgesnn.meters.files.csv_trace.ROWS", 7)
    rows = "".join(f"{k},{k % 5}\n" for k in range(100))
    meter = csv_meter(tmp_path, "time (ms),current (mA)\n" + rows)
    _, whole = play(meter)
    np.testing.assert_allclose(whole.time_s, np.arange(100) * 1e-3, atol=1e-12)
    np.testing.assert_allclose(np.broadcast_to(whole.duration_s, 100), 1e-3, rtol=1e-9)
    assert meter.loss == Loss(100)


def test_time_stamps_that_are_shared_across_a_seam_leave_no_seam(tmp_path, monkeypatch):
    monkeypatch.setattr("edgesnn.meters.files.csv_trace.ROWS", 7)
    rows = "".join(f"{k // 3 * 3},{k % 5}\n" for k in range(99))
    meter = csv_meter(tmp_path, "time (ms),current (mA)\n" + rows)
    _, whole = play(meter)
    np.testing.assert_allclose(whole.time_s, np.arange(99) * 1e-3, atol=1e-9)
    assert whole.current_a.tolist() == pytest.approx([(k % 5) * 1e-3 for k in range(99)])
    assert meter.loss == Loss(99)


def test_semicolons_and_decimal_commas(tmp_path):
    _, whole = play(csv_meter(tmp_path, "Zeit;time (s);current (mA)\n;0,0;1,5\n;0,1;2,5\n"))
    assert whole.current_a.tolist() == pytest.approx([1.5e-3, 2.5e-3])


def test_columns_can_be_named(tmp_path):
    text = "a,b,c\n0,1,9\n1,2,9\n"
    with pytest.raises(RecordingError, match="'a', 'b', 'c'") as caught:
        csv_meter(tmp_path, text).open()
    assert "current=NAME" in caught.value.remedy
    options = "?time=a&time_unit=ms&current=b&current_unit=uA&voltage=3.0"
    meter = csv_meter(tmp_path, text, options)
    _, whole = play(meter)
    assert whole.current_a.tolist() == pytest.approx([1e-6, 2e-6])
    assert meter.configure(Settings()).voltage_v == 3.0
    with pytest.raises(UsageError, match="no column"):
        csv_meter(tmp_path, text, "?time=a&time_unit=ms&current=d&current_unit=uA").open()


def test_a_rate_takes_the_place_of_a_time_column(tmp_path):
    _, whole = play(csv_meter(tmp_path, "current (A)\n1\n2\n3\n", "?rate=10"))
    assert whole.time_s.tolist() == pytest.approx([0.0, 0.1, 0.2])


def test_two_columns_that_could_be_the_current_are_not_guessed_between(tmp_path):
    with pytest.raises(RecordingError, match="several columns"):
        csv_meter(tmp_path, "time (s),cpu current (A),radio current (A)\n0,1,2\n").open()


@pytest.mark.parametrize(
    ("rows", "what"),
    [("0,1\n1,x\n", "no number"), ("0,1\n2,1\n1,1\n", "fall"), ("0,1\n", "one row only"), ("", None)],
)
def test_a_broken_trace_says_what_is_wrong(tmp_path, rows, what):
    meter = csv_meter(tmp_path, "time (s),current (A)\n" + rows)
    meter.open()
    meter.start()
    with pytest.raises(RecordingError if what else MeterEndedError, match=what or "end"):
        meter.read(1e6)


def test_a_trace_of_an_unknown_instrument_is_uncertain_by_all_it_shows(tmp_path):
    text = "time (s),current (A)\n0,1\n1,1\n"
    assert csv_meter(tmp_path, text).accuracy.ranges[0].gain == 1.0
    assert csv_meter(tmp_path, text, "?accuracy=ppk2").accuracy.name == "ppk2"
