"""The LPM01A driver over its twin in simulated time: what it measures, refuses and notices."""

import numpy as np
import pytest

from edgesnn.errors import (
    MeterError,
    MeterProtocolError,
    MeterTimeoutError,
    MeterUnpluggedError,
    UsageError,
)
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import MeterCapability, SampleStatus, Settings
from edgesnn.meters.lpm01a.driver import Lpm01aMeter
from edgesnn.meters.twins.faults import Fault, FaultKind
from edgesnn.meters.twins.load import LoadStep, Shape, constant
from tests.support.instruments.lpm01a import LOAD, VOLTS, Bench

RATES = [10, 1000, 5000, 20_000, 100_000]


@pytest.mark.parametrize("rate_hz", RATES)
def test_charge_and_energy_are_within_0_1_percent_of_the_twins_truth(rate_hz):
    bench = Bench(rate_hz).begin().run(3.1)
    truth = bench.twin.truth()
    assert bench.charge_c == pytest.approx(truth.charge_c, rel=1e-3)
    energy = sum(float((block.watts(VOLTS) * block.duration_s).sum()) for block in bench.blocks)
    assert energy == pytest.approx(truth.energy_j, rel=1e-3)
    assert bench.meter.loss.received == truth.samples
    assert bench.meter.loss.missing == bench.meter.loss.suspected == bench.meter.loss.discarded_bytes == 0
    assert np.allclose(np.diff(bench.column("time_s")), 1 / rate_hz)
    assert not bench.column("status").any()


def test_the_rate_chooses_the_format_and_only_ascii_has_markers():
    slow, fast = Bench(5000).begin(), Bench(10_000).begin()
    assert slow.twin.settings["format"] == "ascii_dec" and slow.twin.settings["eventsrc"] == "d7 fal"
    assert fast.twin.settings["format"] == "bin_hexa" and not fast.twin.settings["eventsrc"]
    assert MeterCapability.MARKER_INPUT in slow.meter.capabilities
    assert MeterCapability.MARKER_INPUT not in fast.meter.capabilities
    assert {
        MeterCapability.SUPPLIES_POWER,
        MeterCapability.SAMPLE_CLOCK,
        MeterCapability.SIMULATED,
    } <= fast.meter.capabilities


def test_the_info_names_firmware_and_says_that_it_is_a_twin():
    info = Bench().begin().info
    assert info.firmware == "1.0.6" and info.simulated and info.serial_number == "SIMULATED-0001"


def test_each_event_marks_the_sample_in_which_d7_fell():
    bench = Bench(1000).begin().run(3.0)
    marked = bench.column("time_s")[bench.column("markers") == 1]
    edges = bench.twin.truth().start_s + marked
    fall = np.round(edges / 0.37) * 0.37  # the load is busy until the end of its period
    assert len(marked) in (8, 9)
    assert np.abs(edges - fall).max() <= 1e-3 + 1e-9


def test_nul_bytes_in_front_of_samples_are_stripped():
    bench = Bench(1000, nul_bytes=True).begin().run(2.2)
    assert not bench.column("status").any()
    assert bench.charge_c == pytest.approx(bench.twin.truth().charge_c, rel=1e-3)


def test_closing_switches_the_supply_off_and_gives_control_back():
    bench = Bench().begin()
    assert bench.twin.powered
    bench.meter.close()
    bench.meter.close()
    assert not bench.twin.powered
    assert "host has not taken control" in str(bench.twin.receive(b"volt 3300m\r\n", 99.0))


@pytest.mark.parametrize("volts", [1.7, 3.4, 5.0])
def test_a_voltage_that_the_instrument_cannot_supply_is_refused_before_anything_is_powered(volts):
    bench = Bench()
    bench.meter.open()
    with pytest.raises(UsageError, match="nothing was powered") as error:
        bench.meter.configure(Settings(voltage_v=volts))
    assert "1.8 V to 3.3 V" in str(error.value) and not bench.twin.powered


def test_a_voltage_outside_the_limits_of_the_device_is_refused_even_if_it_is_the_instruments_own():
    for settings in (Settings(voltage_v=3.3, dut_max_v=1.95), Settings(dut_max_v=1.95)):
        bench = Bench()
        bench.meter.open()
        with pytest.raises(UsageError, match="the device under test"):
            bench.meter.configure(settings)
        assert not bench.twin.powered


def test_the_address_fills_in_what_the_settings_leave_open():
    bench = Bench()
    meter = Lpm01aMeter(MeterAddress.parse("lpm01a?voltage=1.8&rate=2000"), link=bench.link)
    meter.open()
    settings = meter.configure(Settings())
    assert (settings.voltage_v, settings.rate_hz) == (1.8, 2000.0)
    assert bench.twin.settings["volt"] == "1800m" and bench.twin.settings["freq"] == "2k"


@pytest.mark.parametrize(
    "settings",
    [Settings(rate_hz=3000), Settings(mode="ampere"), Settings(range="1 mA"), Settings(rate_hz=2e5)],
)
def test_a_setting_that_the_instrument_does_not_have_is_refused(settings):
    bench = Bench()
    bench.meter.open()
    with pytest.raises(UsageError):
        bench.meter.configure(settings)


def test_old_firmware_has_no_markers_and_its_refusal_of_pwr_off_names_the_remedy():
    bench = Bench(1000, firmware=(1, 0, 2))
    info = bench.meter.open()
    assert "1.0.6" in info.details["limitation"]
    bench.meter.configure(Settings(voltage_v=VOLTS, rate_hz=1000))
    assert MeterCapability.MARKER_INPUT not in bench.meter.capabilities
    with pytest.raises(MeterError, match=r"refuses 'pwr off'.*1\.0\.2.*1\.0\.6"):
        bench.meter.power(False)


def test_old_firmware_that_cannot_switch_off_is_told_to_do_so_at_the_end_of_an_acquisition():
    bench = Bench(1000, firmware=(1, 0, 2))
    bench.meter.open()
    bench.meter.configure(Settings(voltage_v=VOLTS, rate_hz=1000))
    bench.meter.start()
    assert bench.twin.powered
    bench.meter.close()
    assert not bench.twin.powered


def test_what_the_instrument_tells_may_stand_on_the_line_after_its_acknowledgement():
    bench = Bench()
    answer = bench.twin._answer
    told = {"version": "\r\n\r\n1.0.7", "powershield": "\r\nPowerShield present\r\n0034002F"}
    bench.twin._answer = lambda verb, *rest: told.get(verb) or answer(verb, *rest)
    info = bench.meter.open()
    assert (info.firmware, info.serial_number) == ("1.0.7", "0034002F")


def test_another_device_on_the_port_is_named_as_such():
    class Silent:
        name, buffer_bytes = "other", 1000

        def receive(self, data, now_s):
            return b"m-ready\r\n"

        def advance(self, now_s):
            return []

    from tests.support.instruments.virtual import VirtualLink

    with pytest.raises(MeterTimeoutError, match="does not answer as a PowerShield.*m-ready"):
        Lpm01aMeter(MeterAddress("lpm01a"), link=VirtualLink(Silent())).open()


def test_a_stream_that_someone_left_running_is_stopped_at_open():
    bench = Bench(1000).begin()
    again = Lpm01aMeter(MeterAddress("lpm01a"), link=bench.link)
    bench.link.pass_time(0.3)
    assert again.open().firmware == "1.0.6"


def test_saturation_is_clamped_and_flagged():
    bench = Bench(1000, load=constant(0.055 * VOLTS)).begin().run(1.2)
    assert bench.current_a.max() == pytest.approx(0.05, rel=1e-6)
    assert (bench.column("status") & SampleStatus.SATURATED).all()


@pytest.mark.parametrize("rate_hz", [1000, 20_000])
def test_overcurrent_is_told_after_the_samples_before_it(rate_hz):
    load = Shape((LoadStep(2.5, 0.03), LoadStep(10.0, 0.08 * VOLTS)), repeat=False)
    bench = Bench(rate_hz, load=load).begin()
    with pytest.raises(MeterProtocolError, match="more than the instrument can supply"):
        bench.run(6.0)
    assert bench.meter.loss.received >= 2.2 * rate_hz
    assert not bench.twin.powered
    bench.meter.close()


def test_an_error_line_becomes_its_sentence():
    bench = Bench(1000).begin()
    bench.link._ready += b"error: measurement board is not calibrated\r\n"
    with pytest.raises(MeterProtocolError, match="not calibrated"):
        bench.run(3.0)


def test_an_acquisition_that_ends_by_itself_is_told():
    bench = Bench(1000).begin()
    bench.twin.receive(b"stop\r\n", 1.0)
    with pytest.raises(MeterProtocolError, match="ended the acquisition by itself"):
        bench.run(3.0)


@pytest.mark.parametrize("rate_hz", [1000, 100_000])
def test_samples_that_the_instrument_loses_are_missing_and_jump_in_time(rate_hz):
    count = rate_hz // 20
    bench = Bench(rate_hz, faults=[Fault(FaultKind.DROP_SAMPLES, 1.4, count)]).begin().run(4.2)
    assert bench.meter.loss.missing == count
    assert sum(block.lost for block in bench.blocks) == count
    jumps = np.flatnonzero(np.diff(bench.column("time_s")) > 1.5 / rate_hz)
    assert len(jumps) == 1
    assert bench.suspect.sum() == rate_hz - count  # the second in which they are missing
    good = ~bench.suspect
    assert (bench.current_a * VOLTS / rate_hz)[good].sum() == pytest.approx(
        bench.true_joules()[good].sum(), rel=1e-3
    )


@pytest.mark.parametrize("rate_hz", [1000, 100_000])
@pytest.mark.parametrize("kind", [FaultKind.DROP_BYTES, FaultKind.DUPLICATE_BYTES])
def test_a_slip_of_one_byte_makes_its_second_suspect_and_no_other(rate_hz, kind):
    bench = Bench(rate_hz, faults=[Fault(kind, 1.5, 1)]).begin().run(4.2)
    at = bench.column("time_s")[bench.suspect]
    assert at.size and at.min() >= 1.0 and at.max() < 2.0
    assert bench.meter.loss.reasons
    good = ~bench.suspect
    assert good.sum() >= 3 * rate_hz
    assert (bench.current_a * VOLTS / rate_hz)[good].sum() == pytest.approx(
        bench.true_joules()[good].sum(), rel=1e-3
    )


def test_a_corrupted_binary_sample_cannot_be_seen_but_its_harm_is_bounded():
    """The line that the documentation draws: 16 bits of payload without a checksum."""
    bench = Bench(20_000, load=constant(0.03)).begin()
    while not bench.link._ready:
        bench.link.pass_time(0.001)
    at = bench.link._ready.rfind(b"\x00\xff\xff") + 3  # the sample behind a time stamp
    bench.link._ready[at + 1] ^= 0x40  # low byte: top nibble and framing stay
    bench.run(3.0)
    true_a = 0.03 / VOLTS
    wrong = np.abs(bench.current_a / true_a - 1) > 0.01
    assert wrong.sum() == 1 and not bench.suspect.any()
    assert bench.current_a.max() <= 0.05
    assert bench.charge_c == pytest.approx(bench.twin.truth().charge_c, rel=1e-3)


def test_a_corrupted_line_of_ascii_makes_its_second_suspect():
    bench = Bench(1000, faults=[Fault(FaultKind.CORRUPT_BYTES, 1.5, 20)]).begin().run(4.2)
    at = bench.column("time_s")[bench.suspect]
    assert at.size and at.min() >= 1.0 and at.max() < 2.0


def test_a_damaged_time_stamp_only_joins_two_seconds():
    bench = Bench(10_000).begin()
    stream = bench.meter._stream
    feed = stream.feed
    damaged = []

    def damage(data, elapsed_s):
        at = data.find(bytes.fromhex("f0f3000007d0"))
        if at >= 0 and not damaged:
            damaged.append(at)
            data = data[: at + 2] + b"\x11" + data[at + 3 :]  # 2 s become 79 hours
        feed(data, elapsed_s)

    stream.feed = damage
    bench.run(5.2)
    assert damaged
    assert bench.meter.loss.missing == 0
    at = bench.column("time_s")[bench.suspect]
    assert at.min() == pytest.approx(1.0) and at.max() < 3.0
    assert any("cannot be right" in one for one in bench.meter.loss.reasons)


def test_a_stalled_stream_is_a_timeout_and_goes_on_afterwards():
    bench = Bench(1000, faults=[Fault(FaultKind.STALL, 1.1, 4.0)]).begin()
    with pytest.raises(MeterTimeoutError, match="second of samples"):
        while True:
            bench.blocks.append(bench.meter.read(2.0))
    bench.run(5.0)
    loss = bench.meter.loss
    assert loss.received + loss.missing == pytest.approx(bench.twin.truth().samples, abs=1000)


def test_a_host_that_comes_late_loses_what_the_buffer_cannot_hold_and_knows_how_much():
    bench = Bench(100_000).begin()
    bench.blocks.append(bench.meter.read(3.0))
    bench.link.pass_time(5.0)
    bench.run(3.0)
    loss = bench.meter.loss
    assert bench.link.lost_pieces > 0
    assert loss.received + loss.missing == pytest.approx(bench.twin.truth().samples, abs=200)
    good = ~bench.suspect
    assert (bench.current_a * VOLTS / 1e5)[good].sum() == pytest.approx(
        bench.true_joules()[good].sum(), rel=1e-3
    )


def test_a_host_whose_clock_stood_still_while_it_slept_believes_the_second_stamp_that_agrees():
    bench = Bench(1000).begin()
    bench.blocks.append(bench.meter.read(3.0))
    bench.link.pass_time(20.0)
    bench.meter._began_ns += 20_000_000_000  # as a monotonic clock does that does not count sleep
    bench.run(4.0)
    loss = bench.meter.loss
    assert loss.received + loss.missing == pytest.approx(bench.twin.truth().samples, abs=10)


def test_unplugging_hands_out_what_waits_as_suspect_and_then_tells():
    bench = Bench(1000, faults=[Fault(FaultKind.UNPLUG, 2.5, 0)]).begin()
    with pytest.raises(MeterUnpluggedError):
        bench.run(6.0)
    assert bench.meter.loss.received == pytest.approx(2500, abs=20)
    assert bench.suspect.sum() == pytest.approx(500, abs=20)
    bench.meter.close()


def test_after_replugging_a_new_start_begins_at_zero():
    bench = Bench(1000, faults=[Fault(FaultKind.UNPLUG, 1.5, 0)]).begin()
    with pytest.raises(MeterUnpluggedError):
        bench.run(6.0)
    bench.link.replug()
    bench.blocks, bench.faults = [], []
    bench.begin().run(2.2)
    assert bench.column("time_s")[0] == 0.0
    assert bench.meter.loss.missing == 0 and not bench.suspect.any()


def test_a_nearly_full_buffer_is_a_warning_and_an_overflow_makes_its_second_suspect():
    bench = Bench(20_000).begin()
    bench.twin.buffer_percent = 95
    bench.blocks.append(bench.meter.read(3.0))
    assert any("95 % full" in one for one in bench.meter.loss.reasons) and not bench.suspect.any()
    bench.twin.overflow = True
    bench.blocks.append(bench.meter.read(3.0))
    assert (bench.blocks[-1].status & SampleStatus.SUSPECT).all()


def test_a_meter_clock_that_is_100_ppm_fast_shows_in_the_clock_pairs():
    bench = Bench(10, conditions={"clock_ppm": 100.0}).begin()
    bench.meter.read(3.0)
    first = bench.meter.sync()
    for _ in range(200):
        bench.meter.read(3.0)
    last = bench.meter.sync()
    host_s = (last.host_after_ns - first.host_after_ns) / 1e9
    assert (last.meter_s - first.meter_s) / host_s - 1 == pytest.approx(1e-4, abs=3e-5)
    assert last.host_after_ns - last.host_before_ns <= 105_000_000  # it reads at 10 Hz
    assert bench.meter.loss.missing == 0


def test_a_tail_that_is_too_short_for_the_hosts_clock_is_suspected():
    bench = Bench(1000, faults=[Fault(FaultKind.DROP_SAMPLES, 2.1, 200)]).begin()
    bench.blocks = [bench.meter.read(3.0), bench.meter.read(3.0)]
    bench.link.pass_time(0.6)
    bench.blocks.append(bench.meter.stop())
    assert bench.meter.loss.suspected == pytest.approx(150, abs=60)
    assert (bench.blocks[-1].status & SampleStatus.SUSPECT).all()


def test_calls_out_of_order_are_refused_with_a_sentence():
    bench = Bench()
    for call in (lambda: bench.meter.read(1.0), bench.meter.sync):
        with pytest.raises(UsageError):
            call()
    assert bench.meter.stop() is None
    bench.begin()
    for call in (lambda: bench.meter.power(False), lambda: bench.meter.configure(Settings())):
        with pytest.raises(UsageError, match="stop"):
            call()


def test_the_load_of_these_tests_is_within_the_instruments_range():
    peak = np.diff(LOAD.energy_j(np.arange(0, 1, 1e-4))).max() / 1e-4
    assert peak / VOLTS < 0.05
