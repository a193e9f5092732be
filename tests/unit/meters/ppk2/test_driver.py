"""The PPK2 driver on its twin, in simulated time."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn.errors import (
    MeterError,
    MeterProtocolError,
    MeterTimeoutError,
    MeterUnpluggedError,
    UsageError,
)
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import MeterCapability, SampleStatus, Settings
from edgesnn.meters.ppk2 import driver as ppk2
from edgesnn.meters.ppk2.driver import Ppk2Meter
from edgesnn.meters.ppk2.twin import Ppk2Twin
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.load import LoadStep, Shape, constant, square
from tests.support.instruments.ppk2 import LOAD, VOLTS, powered, record, recorded, virtual
from tests.support.instruments.virtual import VirtualLink


class LoggedLink(VirtualLink):
    """Keeps what the host sent; its clock can be moved on without the instrument's doing anything."""

    def __init__(self, device):
        super().__init__(device)
        self.sent, self.asleep_ns, self.closed = [], 0, False

    def write(self, data):
        self.sent.append(data)
        super().write(data)

    def now_ns(self):
        return super().now_ns() + self.asleep_ns

    def close(self):
        self.closed = True


def logged(conditions=None, **twin):
    link = LoggedLink(Ppk2Twin(conditions or Conditions(LOAD), **twin))
    return Ppk2Meter(MeterAddress("ppk2"), link=link), link


def test_it_tells_what_it_is_and_that_it_is_simulated():
    meter, _, _ = virtual()
    with meter:
        info = meter.open()
        assert (info.model, info.simulated, info.details["keys"]) == ("PPK2", True, 40)
        assert info.details["constants"]["R"][0] == 1000.625 and info.details["assumed_constants"] == []
        assert {
            MeterCapability.SIMULATED,
            MeterCapability.SUPPLIES_POWER,
            MeterCapability.MARKER_INPUT,
        } <= meter.capabilities


@pytest.mark.parametrize("stale", [bytes(range(128, 256)) * 9, b"\nEND\n", b"R0: 5\nEND\n\xff", b"Cal"])
def test_stale_bytes_are_no_trouble_at_open(stale):
    meter, _, _ = virtual(stale=stale)
    with meter:
        assert meter.open().details["constants"]["R"][0] == 1000.625


def test_an_instrument_that_still_streams_is_silenced_at_open():
    meter, link, twin = virtual()
    twin.receive(b"\x06", 0.0)
    link.pass_time(0.3)
    with meter:
        assert meter.open().details["keys"] == 40


def test_another_device_on_the_port_is_told_apart():
    meter, _, _ = virtual(metadata=b"OK\r\nERROR\r\n")
    with pytest.raises(MeterProtocolError, match="is not a PPK2") as caught:
        meter.open()
    assert "ERROR" in str(caught.value)


def test_a_silent_port_is_told_in_time():
    meter, link, _ = virtual(metadata=b"")
    began = link.now_ns()
    with pytest.raises(MeterTimeoutError, match="does not answer"):
        meter.open()
    assert link.now_ns() - began < 5e9


def test_missing_constants_make_samples_of_their_range_suspect():
    text = Ppk2Twin(Conditions(LOAD)).metadata_text()
    without = b"".join(
        line for line in text.splitlines(keepends=True) if not line.startswith((b"R3", b"GI4"))
    )
    meter, link, _ = virtual(metadata=without.replace(b"UG0: 1.0", b"UG0: -nan"))
    with meter:
        assert meter.open().details["assumed_constants"] == ["R3", "GI4"]
        meter.power(False)
        meter._settings = Settings(voltage_v=VOLTS)
        meter.power(True)
        seen = record(meter, link, 0.3)
    assert np.array_equal(seen.has(SampleStatus.SUSPECT), seen.ranges == 3)


@pytest.mark.parametrize(
    ("wanted", "limit"),
    [
        (Settings(voltage_v=5.5), "the instrument"),
        (Settings(voltage_v=0.5), "the instrument"),
        (Settings(voltage_v=3.7, dut_max_v=3.6), "the device under test"),
        (Settings(voltage_v=1.2, dut_min_v=1.7), "the device under test"),
        (Settings(rate_hz=1000), "sample rate"),
        (Settings(range="50 uA"), "its range"),
        (Settings(mode="ohm"), "no mode"),
    ],
)
def test_what_does_not_suit_is_refused_before_anything_is_sent(wanted, limit):
    meter, link = logged()
    with meter:
        meter.open()
        link.sent.clear()
        with pytest.raises(UsageError, match=limit):
            meter.configure(wanted)
        assert link.sent == []


def test_power_needs_a_voltage_that_someone_named():
    meter, link = logged()
    with meter:
        meter.open()
        meter.configure(Settings())
        link.sent.clear()
        with pytest.raises(UsageError, match="nobody named"):
            meter.power(True)
        assert link.sent == []


def test_a_voltage_that_was_not_taken_is_told_before_powering():
    text = Ppk2Twin(Conditions(LOAD)).metadata_text()
    meter, link = logged(metadata=text.replace(b"VDD: 3700", b"VDD: 5000"))
    with meter:
        meter.open()
        with pytest.raises(MeterProtocolError, match="voltage"):
            meter.configure(Settings(voltage_v=3.3))
        assert b"\x0c\x01" not in link.sent


def test_closing_stops_switches_off_and_makes_sure_that_it_was_heard():
    meter, link = logged()
    powered(meter)
    meter.start()
    meter.read(1.0)
    meter.close()
    meter.close()
    assert link.sent[-3:] == [b"\x07", b"\x0c\x00", b"\x19"] and link.closed


def test_closing_switches_off_even_when_stopping_fails():
    class Stuck(LoggedLink):
        def write(self, data):
            super().write(data)
            if data == b"\x07" and b"\x06" in self.sent:
                raise MeterTimeoutError("it takes no data")

    link = Stuck(Ppk2Twin(Conditions(LOAD)))
    meter = Ppk2Meter(MeterAddress("ppk2"), link=link)
    powered(meter)
    meter.start()
    meter.close()
    assert b"\x0c\x00" in link.sent[link.sent.index(b"\x06") :] and link.closed


def test_a_change_of_voltage_switches_off_first_and_the_same_voltage_does_not():
    meter, link = logged()
    with meter:
        powered(meter)
        link.sent.clear()
        meter.configure(Settings(voltage_v=VOLTS))
        assert b"\x0c\x00" not in link.sent
        meter.configure(Settings(voltage_v=3.0))
        assert link.sent.index(b"\x0c\x00") < link.sent.index(b"\x0d\x0b\xb8")


def test_settings_in_force_are_filled_in():
    meter, link = logged()
    with meter:
        meter.open()
        assert meter.configure(Settings(voltage_v=3.3)) == Settings(3.3, 100_000.0, "source")
        assert b"\x0d\x0c\xe4" in link.sent and b"\x11\x02" in link.sent


def test_in_ampere_mode_it_feeds_nothing_and_measures_what_another_supply_gives():
    meter, link = logged(Conditions(constant(0.020), voltage_v=4.0))
    with meter:
        meter.open()
        meter.configure(Settings(mode="ampere", voltage_v=4.0))
        assert MeterCapability.SUPPLIES_POWER not in meter.capabilities
        seen = record(meter, link, 0.2)
    assert seen.current_a.mean() == pytest.approx(0.005, rel=1e-3)


def test_calls_out_of_order_are_refused():
    meter, _, _ = virtual()
    with pytest.raises(UsageError, match="not open"):
        meter.start()
    with meter:
        powered(meter)
        with pytest.raises(UsageError, match="not started"):
            meter.read(1.0)
        assert meter.stop() is None
        meter.start()
        for forbidden in (meter.start, lambda: meter.configure(Settings())):
            with pytest.raises(UsageError, match="while it streams"):
                forbidden()


def test_an_unknown_option_is_refused_before_anything_is_opened():
    with pytest.raises(UsageError):
        Ppk2Meter(MeterAddress.parse("ppk2?volts=3"))


def test_charge_agrees_with_the_truth_over_all_ranges():
    load = Shape(
        (
            LoadStep(0.05, 5e-5),
            LoadStep(0.05, 5e-4),
            LoadStep(0.1, 5e-3),
            LoadStep(0.1, 5e-2, 1),
            LoadStep(0.02, 1.0, 2),
        )
    )
    seen, loss, twin = recorded(Conditions(load, noise_a=1e-6), seconds=1.3)
    assert set(seen.ranges) == {0, 1, 2, 3, 4}
    assert seen.charge_c == pytest.approx(twin.truth().charge_c, rel=1e-3)
    assert (loss.received, loss.missing, loss.suspected) == (twin.truth().samples, 0, 0)


@pytest.mark.parametrize("watts", [2e-5, 1e-3, 1e-2, 0.1, 1.5])
def test_a_steady_current_is_right_in_every_range(watts):
    seen, _, twin = recorded(Conditions(constant(watts)), seconds=0.3)
    assert len(set(seen.ranges[10:])) == 1
    assert seen.current_a[10:].mean() == pytest.approx(watts / VOLTS, rel=1e-3)


def test_errors_of_the_instrument_are_seen_as_they_are():
    load = constant(0.05)
    seen, _, twin = recorded(Conditions(load, gain=0.02, offset_a=1e-4, noise_a=1e-4), seconds=0.3)
    assert seen.current_a[10:].mean() == pytest.approx(0.05 / VOLTS * 1.02 + 1e-4, rel=1e-3)


@pytest.mark.parametrize("ppm", [-100.0, 100.0])
def test_a_clock_100_ppm_off_is_neither_loss_nor_error(ppm):
    seen, loss, twin = recorded(Conditions(constant(0.05), clock_ppm=ppm), seconds=2.0)
    assert (loss.missing, loss.suspected, loss.reasons) == (0, 0, ()) and not seen.status[10:].any()
    true_s = twin.truth().stop_s - twin.truth().start_s
    assert seen.time_s[-1] + 1e-5 == pytest.approx(true_s * (1 + ppm * 1e-6), rel=1e-9)


def test_markers_come_with_their_samples():
    seen, _, twin = recorded(Conditions(square(0.001, 0.05, 0.02, 0.25, marker=0x81)))
    expected = square(0.001, 0.05, 0.02, 0.25, marker=0x81).markers(twin.truth().start_s + seen.time_s)
    edges = np.flatnonzero(np.diff(seen.markers.astype(int)))
    assert set(seen.markers) == {0, 0x81} and edges.size >= 98
    assert np.count_nonzero(seen.markers != expected) <= edges.size  # rounding at an edge: one sample


def test_too_much_current_is_clamped_and_marked():
    seen, _, _ = recorded(Conditions(constant(5.0)), seconds=0.1)
    assert seen.current_a.max() == 1.0 and seen.has(SampleStatus.SATURATED)[10:].all()


def test_a_change_of_range_is_marked_for_three_samples():
    seen, _, _ = recorded(Conditions(LOAD), seconds=0.3)
    changes = np.flatnonzero(np.diff(seen.ranges.astype(int))) + 1
    assert changes.size >= 5
    assert np.flatnonzero(seen.has(SampleStatus.RANGE_SWITCH)).tolist() == [
        at + after for at in changes for after in range(3)
    ]


def test_a_second_stream_begins_anew():
    meter, link, twin = virtual()
    with meter:
        powered(meter)
        record(meter, link, 0.15)
        seen = record(meter, link, 0.25)
        assert seen.time_s[0] == 0.0 and meter.loss.received == seen.time_s.size == twin.truth().samples
        assert seen.charge_c == pytest.approx(twin.truth().charge_c, rel=1e-3)


def test_a_long_stall_is_a_timeout_and_then_an_accounted_loss():
    meter, link, twin = virtual(faults=["stall@0.4:1.5"])
    with meter:
        powered(meter)
        meter.start()
        with pytest.raises(MeterTimeoutError, match="no sample"):
            while True:
                meter.read(0.5)
        link.pass_time(1.2)
        seen = [meter.read(1.0) for _ in range(100)]
        meter.stop()
    loss = meter.loss
    assert link.lost_pieces and loss.missing + loss.suspected > 100_000
    assert loss.received + loss.missing + loss.suspected == pytest.approx(twin.truth().samples, abs=64)
    assert any(one.lost for one in seen)


def test_a_short_stall_loses_nothing():
    seen, loss, twin = recorded(faults=["stall@0.5:0.1"])
    assert (loss.received, loss.missing, loss.suspected) == (twin.truth().samples, 0, 0)
    assert seen.charge_c == pytest.approx(twin.truth().charge_c, rel=1e-3)


@pytest.mark.parametrize("lost", [1, 63, 1600, 6400, 12_800])
def test_samples_lost_in_the_instrument_are_accounted_for(lost):
    seen, loss, twin = recorded(faults=[f"drop-samples@0.5:{lost}"], seconds=1.2)
    assert loss.missing + loss.suspected == lost == seen.lost
    assert np.diff(seen.time_s).max() * 1e5 == pytest.approx(lost + 1, abs=1)
    assert loss.missing == lost % 64 and loss.reasons
    expected = LOAD.markers(twin.truth().start_s + seen.time_s + 2e-6)
    edges = np.count_nonzero(np.diff(seen.markers.astype(int)))
    assert np.count_nonzero((expected != seen.markers) & seen.good) <= edges  # rounding: one sample an edge


def test_65_lost_samples_look_like_one_and_less_than_the_stated_bound_are_not_seen():
    _, loss, _ = recorded(faults=["drop-samples@0.5:65"], seconds=1.2)
    assert (loss.missing, loss.suspected) == (1, 0) and loss.undetectable > 64


def test_a_system_that_slept_is_marked_and_not_bridged():
    meter, link = logged()
    with meter:
        powered(meter)
        meter.start()
        for _ in range(100):
            meter.read(1.0)
        link.asleep_ns = 30_000_000_000
        after = [meter.read(1.0) for _ in range(100)]
        meter.stop()
    assert meter.loss.suspected == pytest.approx(3_000_000, abs=64) and "slept" in meter.loss.reasons[0]
    jump = after[0].time_s[0]
    assert jump > 30 and after[0].status.all() and after[0].status[0] & SampleStatus.SUSPECT
    assert not after[-1].status.any() or not (after[-1].status & SampleStatus.SUSPECT).any()


def test_after_unplugging_a_new_segment_can_begin():
    meter, link, twin = virtual(faults=["unplug@0.5:0"])
    powered(meter)
    meter.start()
    with pytest.raises(MeterUnpluggedError):
        for _ in range(1000):
            meter.read(1.0)
    assert meter.loss.received > 10_000
    meter.close()
    link.replug()
    powered(meter)
    seen = record(meter, link, 0.2)
    assert seen.time_s[0] == 0.0 and seen.charge_c == pytest.approx(twin.truth().charge_c, rel=1e-3)
    meter.close()


FAULTS = st.one_of(
    st.tuples(st.just("drop-samples"), st.integers(1, 20_000)),
    st.tuples(st.sampled_from(["drop-bytes", "duplicate-bytes"]), st.integers(1, 60)),
    st.tuples(st.just("stall"), st.floats(0.01, 0.4)),
)


@given(st.lists(st.tuples(FAULTS, st.floats(0.2, 0.7)), max_size=3), st.floats(-100, 100))
@settings(max_examples=14)
def test_whatever_happens_the_energy_is_right_where_nothing_is_marked_and_the_rest_is_accounted_for(
    faults, ppm
):
    written = [f"{kind}@{at:.3f}:{amount}" for (kind, amount), at in faults]
    seen, loss, twin = recorded(Conditions(LOAD, clock_ppm=ppm), written, seconds=1.2)
    truth = twin.truth()
    start = truth.start_s + seen.time_s / (1 + ppm * 1e-6)
    drawn = LOAD.energy_j(start + 1e-5) - LOAD.energy_j(start)
    right = float(drawn[seen.good].sum())
    # The stated bounds: the twin's own 0.1 %, and per fault what the stream cannot show of a loss.
    unseen = loss.undetectable * len(faults)
    told = float(seen.current_a[seen.good].sum(dtype=np.float64)) * VOLTS * 1e-5
    assert abs(told - right) <= 1e-3 * right + unseen * 1e-5 * 0.088
    assert abs(loss.received + loss.missing + loss.suspected - truth.samples) <= unseen
    assert loss.received == seen.time_s.size and seen.lost == loss.missing + loss.suspected
    if not faults:
        assert seen.good.all() and loss.reasons == ()


def test_noise_instead_of_a_stream_is_told():
    class Noise(VirtualLink):
        def read(self, timeout_s):
            data = super().read(timeout_s)
            noise = np.random.default_rng(len(data)).integers(0, 256, len(data)).astype(np.uint8)
            return noise.tobytes() if self.now_ns() > 1_500_000_000 else data

    meter = Ppk2Meter(MeterAddress("ppk2"), link=Noise(Ppk2Twin(Conditions(LOAD))))
    with meter:
        powered(meter)
        meter.start()
        with pytest.raises(MeterProtocolError, match="not the sample stream"):
            for _ in range(1000):
                meter.read(1.0)


def test_a_clock_pair_holds_the_true_time_and_costs_no_sample():
    meter, link, twin = virtual()
    with meter:
        powered(meter)
        with pytest.raises(UsageError, match="not started"):
            meter.sync()
        meter.start()
        received = 0
        for _ in range(50):
            pair = meter.sync()
            true_ns = 1e9 + (twin.truth().start_s + pair.meter_s) * 1e9
            assert pair.host_before_ns <= true_ns <= pair.host_after_ns
            received += len(meter.read(1.0))
        last = meter.stop()
    assert received + len(last) == twin.truth().samples


def port(device, number, location, product="PPK2", ids=(0x1915, 0xC00A)):
    return SimpleNamespace(
        device=device, serial_number=number, location=location, product=product, vid=ids[0], pid=ids[1]
    )


def attach(monkeypatch, *ports):
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: list(ports))
    opened = []

    def link(name, gather_s=0.0):
        opened.append(name)
        answers = b"" if name.endswith("shell") else None
        return VirtualLink(Ppk2Twin(Conditions(LOAD), metadata=answers))

    monkeypatch.setattr(ppk2, "SerialLink", link)
    return opened


def test_of_two_ports_the_lowest_interface_measures(monkeypatch):
    opened = attach(
        monkeypatch,
        port("/dev/ttyACM0", "AB12", "1-4:1.3"),
        port("/dev/ttyACM1", "AB12", "1-4:1.1"),
        port("/dev/ttyACM2", "X", "1-5:1.0", ids=(0x0483, 0x5740)),
    )
    assert [(one.address, one.port) for one in Ppk2Meter.discover()] == [("ppk2:AB12", "/dev/ttyACM1")]
    with Ppk2Meter(MeterAddress("ppk2")) as meter:
        assert meter.open().serial_number == "AB12"
    assert opened == ["/dev/ttyACM1"]


def test_where_interfaces_are_not_told_the_ports_are_asked(monkeypatch):
    opened = attach(monkeypatch, port("/dev/a-shell", "AB12", "20-1"), port("/dev/b", "AB12", "20-1"))
    with Ppk2Meter(MeterAddress("ppk2", "AB12")) as meter:
        assert meter.open().port == "/dev/b"
    assert opened == ["/dev/a-shell", "/dev/b"]


def test_which_instrument_is_meant_must_be_clear(monkeypatch):
    attach(monkeypatch, port("/dev/ttyACM0", "AB12", "1-4:1.0"), port("/dev/ttyACM1", "CD34", "1-5:1.0"))
    with pytest.raises(MeterError, match="more than one") as caught:
        Ppk2Meter(MeterAddress("ppk2")).open()
    assert "AB12, CD34" in str(caught.value)
    with pytest.raises(MeterError, match="serial number 'EF56'"):
        Ppk2Meter(MeterAddress("ppk2", "EF56")).open()
    with Ppk2Meter(MeterAddress("ppk2", "CD34")) as meter:
        assert meter.open().port == "/dev/ttyACM1"
    attach(monkeypatch)
    with pytest.raises(MeterError, match="no PPK2 is attached"):
        Ppk2Meter(MeterAddress("ppk2")).open()


def test_the_accuracy_has_a_range_for_every_range_of_the_instrument():
    meter, _, _ = virtual()
    accuracy = meter.accuracy
    assert [one.max_a for one in accuracy.ranges] == [50e-6, 500e-6, 5e-3, 50e-3, 1.0]
    assert [one.gain for one in accuracy.ranges] == [0.1, 0.1, 0.1, 0.1, 0.15] and accuracy.kind == "typical"
