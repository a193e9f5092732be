"""The INA228 driver over its twin in simulated time: what it reports, what it says when things go wrong."""

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
from edgesnn.meters.ina228 import protocol as wire
from edgesnn.meters.ina228.bridge_twin import Bridge
from edgesnn.meters.ina228.driver import Ina228Meter
from edgesnn.meters.twins.faults import Fault, FaultKind
from edgesnn.meters.twins.load import constant, square
from tests.support.instruments.ina228_bench import PERIOD_S, Bench
from tests.support.instruments.virtual import VirtualLink


def test_charge_and_energy_agree_with_the_truth_to_a_tenth_of_a_percent():
    bench = Bench(clock_ppm=50.0, conversion_error=0.004, timer_us=123).record(3.0)
    truth = bench.twin.truth()
    assert bench.energy_j == pytest.approx(truth.energy_j, rel=1e-3)
    assert bench.charge_c == pytest.approx(truth.charge_c, rel=1e-3)
    assert bench.meter.loss.received == truth.samples
    assert bench.meter.loss.fraction == 0
    assert bench.joined("voltage_v") == pytest.approx(3.7, abs=2e-4)


def test_samples_touch_each_other_and_begin_at_time_zero():
    bench = Bench(constant(0.05)).record(0.5)
    start, length = bench.joined("time_s"), bench.joined("duration_s")
    assert start[0] == pytest.approx(0, abs=2e-6)
    assert start[1:] == pytest.approx((start + length)[:-1], abs=1e-9)


def test_a_wrap_of_the_32_bit_timer_is_no_jump():
    bench = Bench(constant(0.05), timer_us=2**32 - 700_000).record(1.5)
    assert np.diff(bench.joined("time_s")).max() < 0.001
    assert bench.joined("time_s")[-1] > 1.4
    assert bench.meter.loss.missing == 0


def test_the_sync_input_is_marked_on_the_sample_and_told_to_the_microsecond():
    bench = Bench().record(1.0)
    middles = bench.joined("time_s") + bench.joined("duration_s") / 2
    wanted = bench.load.markers(bench.true_s(middles))
    assert np.array_equal(bench.joined("markers"), wanted)
    edges = [edge for edge in bench.meter.take_edges() if edge.time_s > 0]
    moments = bench.true_s([edge.time_s for edge in edges])
    assert len(edges) >= 9
    assert np.mod(moments + 1e-5, PERIOD_S / 2) == pytest.approx(1e-5, abs=3e-6)
    assert [edge.level for edge in edges[:4]] == [1, 0, 1, 0]


def test_picowatts_own_firmware_works_without_a_sync_input():
    bench = Bench(core=Bridge(1, wire.shunt_cal(0.015), marks=False)).record(1.0)
    assert bench.energy_j == pytest.approx(bench.twin.truth().energy_j, rel=2e-3)
    assert MeterCapability.MARKER_INPUT not in bench.meter.capabilities
    bench.meter.start()
    with pytest.raises(UsageError, match="cannot tell its time"):
        bench.meter.sync()


def test_a_clock_pair_holds_the_true_time_between_its_bounds():
    bench = Bench(clock_ppm=100.0)
    bench.meter.open()
    bench.meter.start()
    began_ns = bench.link.now_ns()
    for _ in range(3):
        bench.meter.read(0.5)
        pair = bench.meter.sync()
        elapsed_s = (np.array([pair.host_before_ns, pair.host_after_ns]) - began_ns) / 1e9 * (1 + 1e-4)
        assert elapsed_s[0] - 2e-6 <= pair.meter_s <= elapsed_s[1] + 2e-6


def test_what_is_beyond_the_range_is_clamped_and_flagged():
    bench = Bench(square(1.0, 20.0, 0.02)).record(0.2)
    status, amperes = bench.joined("status"), bench.joined("current_a")
    saturated = (status & SampleStatus.SATURATED) != 0
    assert 0.3 < saturated.mean() < 0.7
    assert amperes.max() == pytest.approx(1.048574, rel=1e-6)
    wide = Bench(square(1.0, 14.0, 0.02)).record(0.2, Settings(range="wide"))
    assert not (wide.joined("status") & SampleStatus.SATURATED).any()
    assert wide.joined("current_a").max() == pytest.approx(14 / 3.7, rel=1e-3)


def test_a_large_shunt_saturates_at_the_converter_not_at_the_register():
    bench = Bench(constant(3.0), shunt_ohm=0.1).record(0.1)
    assert (bench.joined("status") & SampleStatus.SATURATED).all()
    assert bench.joined("current_a").max() == pytest.approx(0.4096, rel=1e-3)
    assert bench.meter.accuracy.ranges[0].max_a == pytest.approx(0.4096, rel=1e-3)


def test_accuracy_is_scaled_to_the_shunt_and_its_tolerance():
    plain = Bench()
    plain.meter.open()
    finer = Bench(address="ina228?tolerance=0.001", shunt_ohm=0.1)
    finer.meter.open()
    assert plain.meter.accuracy.ranges[0].offset_a == pytest.approx(1e-6 / 0.015, rel=1e-2)
    assert finer.meter.accuracy.ranges[0].offset_a == pytest.approx(1e-6 / 0.1, rel=1e-2)
    assert plain.meter.accuracy.ranges[0].gain - finer.meter.accuracy.ranges[0].gain == pytest.approx(0.009)


def test_a_shunt_named_in_the_address_is_written_to_the_bridge():
    bench = Bench(constant(0.1), address="ina228?shunt=0.1", shunt_ohm=0.1, core=Bridge(1, 4096))
    info = bench.meter.open()
    assert info.details["shunt_ohm"] == pytest.approx(0.1, rel=1e-4)
    bench.record(0.3)
    assert bench.energy_j == pytest.approx(bench.twin.truth().energy_j, rel=1e-3)


def test_every_rate_gives_samples_of_its_period():
    for rate in (3000, 900, 119, 30):
        bench = Bench(constant(0.05)).record(0.5, Settings(rate_hz=rate))
        got = bench.meter.configure(Settings(rate_hz=rate)).rate_hz
        assert got == pytest.approx(rate, rel=0.2)
        assert bench.joined("duration_s") == pytest.approx(1 / got, abs=3e-6)


def test_identity_says_that_it_is_simulated():
    bench = Bench()
    info = bench.meter.open()
    assert (info.simulated, info.firmware, info.model) == (True, "1.0.0", "INA228 bridge")
    assert {
        MeterCapability.SIMULATED,
        MeterCapability.MEASURES_VOLTAGE,
        MeterCapability.SAMPLE_CLOCK,
    } <= bench.meter.capabilities


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (Settings(voltage_v=3.7), "does not feed it"),
        (Settings(mode="source"), "no modes"),
        (Settings(range="auto"), "no range"),
        (Settings(rate_hz=1e6), "no such sample rate"),
    ],
)
def test_settings_that_it_cannot_take_are_refused(asked, says):
    bench = Bench()
    bench.meter.open()
    with pytest.raises(UsageError, match=says):
        bench.meter.configure(asked)


def test_it_supplies_no_power_and_says_so():
    with pytest.raises(UsageError, match="does not feed it"):
        Bench().meter.power(True)


def test_another_version_of_the_protocol_is_named():
    bench = Bench(core=Bridge(version=2))
    with pytest.raises(MeterError, match="another version of the protocol"):
        bench.meter.open()


class Deaf:
    """A device that says something else, or nothing."""

    name, buffer_bytes = "deaf", 1000

    def __init__(self, chatter):
        self.chatter = chatter

    def receive(self, data, now_s):
        return self.chatter

    def advance(self, now_s):
        return []


def test_another_device_on_the_port_is_told_from_a_silent_one():
    for chatter, error, says in [
        (b"PowerShield > error\r\n", MeterError, "is no INA228 bridge"),
        (b"", MeterTimeoutError, "nothing answers"),
    ]:
        link = VirtualLink(Deaf(chatter))
        with pytest.raises(error, match=says):
            Ina228Meter(MeterAddress("ina228"), link=link).open()


def test_a_bridge_without_its_ina228_is_said():
    bench = Bench(core=Bridge(present=2))
    with pytest.raises(MeterError, match="finds no INA228"):
        bench.meter.open()


def test_a_bridge_that_a_dead_session_left_streaming_is_opened():
    bench = Bench()
    bench.meter.open()
    bench.meter.start()
    bench.link.pass_time(0.3)
    other = Ina228Meter(MeterAddress("ina228"), link=bench.link)
    other.open()
    other.start()
    assert other.read(0.5).time_s[0] < 0.01


@pytest.mark.parametrize(("code", "sentence"), sorted(wire.REFUSALS.items()))
def test_a_refusal_is_a_sentence(code, sentence):
    bench = Bench()
    bench.meter.open()
    bench.link.write = lambda data: bench.link._ready.extend(  # the bridge refuses whatever it is told
        wire.encode(wire.Ina228FrameType.NACK, bytes([wire.Ina228FrameType.SET_ADC, code]))
    )
    with pytest.raises(MeterProtocolError, match=sentence):
        bench.meter.configure(Settings())


def test_no_answer_to_a_command_ends_after_half_a_second():
    bench = Bench()
    bench.meter.open()
    bench.link.write = lambda data: None
    before_ns = bench.link.now_ns()
    with pytest.raises(MeterTimeoutError, match="did not answer SET_ADC"):
        bench.meter.configure(Settings())
    assert 0.5 <= (bench.link.now_ns() - before_ns) / 1e9 < 0.6


def test_a_read_ends_at_its_deadline_when_nothing_comes():
    bench = Bench(faults=[Fault(FaultKind.STALL, 0.0, 60.0)])
    bench.meter._given = bench.link
    bench.meter.open()
    bench.meter.start()
    bench.link.pass_time(0.01)
    before_ns = bench.link.now_ns()
    with pytest.raises(MeterTimeoutError, match="sent no sample in time"):
        while True:
            bench.meter.read(0.25)
            before_ns = bench.link.now_ns()
    assert (bench.link.now_ns() - before_ns) / 1e9 == pytest.approx(0.25, abs=0.02)


def test_samples_that_the_bridge_threw_away_are_missing_and_a_jump_in_time():
    bench = Bench(constant(0.05), [Fault(FaultKind.DROP_SAMPLES, 0.3, 200)]).record(1.0)
    loss = bench.meter.loss
    assert loss.missing == 200
    assert loss.received + loss.missing == bench.twin.truth().samples
    assert any("200 samples: its ring was full" in reason for reason in loss.reasons)
    assert np.diff(bench.joined("time_s")).max() == pytest.approx(201 * 590e-6, rel=1e-2)
    assert sum(block.lost for block in bench.blocks) == 200


def test_frames_that_were_damaged_are_missing_and_said():
    faults = [Fault(FaultKind.CORRUPT_BYTES, 0.3, 5), Fault(FaultKind.DROP_BYTES, 0.5, 30)]
    bench = Bench(constant(0.05), faults).record(1.0)
    loss = bench.meter.loss
    assert loss.missing > 0
    assert loss.received + loss.missing == bench.twin.truth().samples
    assert loss.discarded_bytes > 100
    assert any("frames before it did not come" in reason for reason in loss.reasons)
    assert any("damaged frames were thrown away" in reason for reason in loss.reasons)


def test_a_silent_end_is_suspected_by_the_hosts_clock():
    bench = Bench(constant(0.05), [Fault(FaultKind.STALL, 0.5, 60.0)]).record(1.5)
    loss = bench.meter.loss
    assert loss.received + loss.suspected == pytest.approx(bench.twin.truth().samples, abs=40)
    assert any("nothing came for the last" in reason for reason in loss.reasons)


def test_an_unplugged_bridge_is_its_own_error_and_opens_again_from_time_zero():
    bench = Bench(constant(0.05), [Fault(FaultKind.UNPLUG, 0.5, 0.0)])
    with pytest.raises(MeterUnpluggedError):
        bench.record(1.0)
    bench.meter.close()
    assert bench.meter.loss.received > 100
    bench.link.replug()
    bench.meter.open()
    bench.meter.start()
    assert bench.meter.read(0.5).time_s[0] == pytest.approx(0, abs=1e-5)


def test_a_host_that_slept_is_said_and_the_stream_goes_on():
    bench = Bench(constant(0.05))
    bench.meter.open()
    bench.meter.start()
    bench.meter.read(0.5)
    # the bridge lived on for 20 s that the host's clock does not know
    bench.link._start_ns -= 20_000_000_000
    times = np.concatenate([bench.meter.read(0.5).time_s for _ in range(20)])
    assert 18 < np.diff(times).max() <= 20.1  # the bridge's buffer kept the first second
    assert any("stood still" in reason for reason in bench.meter.loss.reasons)


def test_reading_before_start_and_syncing_before_start_are_refused():
    bench = Bench()
    bench.meter.open()
    with pytest.raises(UsageError, match=r"call start\(\) first"):
        bench.meter.read(0.1)
    with pytest.raises(UsageError, match=r"begins with start\(\)"):
        bench.meter.sync()


def test_what_the_address_names_is_set_where_the_settings_leave_it_open():
    bench = Bench(address="ina228?rate=3000&range=wide")
    bench.meter.open()
    assert bench.meter.configure(Settings()).range == "wide"
    assert bench.meter.configure(Settings()).rate_hz == pytest.approx(1e6 / 330)
    assert bench.meter.configure(Settings(range="fine")).range == "fine"
