"""The SCPI driver over its twins in simulated time."""

import builtins

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn.errors import (
    ConfigError,
    MeterError,
    MeterProtocolError,
    MeterTimeoutError,
    MeterUnpluggedError,
    MissingExtraError,
    UsageError,
)
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import MeterCapability, SampleStatus, Settings
from edgesnn.meters.samples.accuracy import load_accuracy
from edgesnn.meters.scpi.driver import ScpiMeter
from edgesnn.meters.scpi.models import ScpiModel, models, recognise
from edgesnn.meters.scpi.talk import numbers, overloaded
from edgesnn.meters.scpi.twin import IDENTITIES, ScpiTwin
from edgesnn.meters.scpi.visa_link import VisaLink, resource_name
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.faults import Fault, FaultKind, FaultSchedule
from edgesnn.meters.twins.load import LoadStep, Shape, constant
from tests.support.instruments.virtual import VirtualLink

VOLTS = 3.7
#: The ripple has whole periods in an aperture of 20 ms and in an average of 10 ms.
LOAD = Shape((LoadStep(1.0, 0.09),), ripple_w=0.03, ripple_hz=100.0)
SUPPLIES = ["keithley-2450", "keysight-n6705"]
SUSPECT = SampleStatus.SUSPECT


class Bench:
    def __init__(self, model, load=LOAD, address="scpi", **conditions):
        self.load = load
        self.twin = ScpiTwin(Conditions(load, voltage_v=VOLTS, **conditions), model)
        self.link = VirtualLink(self.twin)
        self.meter = ScpiMeter(MeterAddress.parse(address), link=self.link)
        self.blocks = []

    def begin(self, faults=(), rate_hz=None):
        self.info = self.meter.open()
        self.meter.configure(Settings(voltage_v=VOLTS, rate_hz=rate_hz))
        if MeterCapability.SUPPLIES_POWER in self.meter.capabilities:
            self.meter.power(True)
        self.meter.start()
        now_s = (self.link.now_ns() - 1_000_000_000) / 1e9
        self.link._faults = FaultSchedule(Fault(one.kind, one.at_s + now_s, one.amount) for one in faults)
        return self

    def run(self, seconds):
        end = self.link.now_ns() + int(seconds * 1e9)
        while self.link.now_ns() < end:
            self.blocks.append(self.meter.read(5.0))
        last = self.meter.stop()
        self.blocks += [last] if last is not None else []
        return self

    def joules(self, skip=0):
        return sum(
            float((b.watts(VOLTS) * b.duration_s).sum()) for b in self.blocks if not (b.status & skip).any()
        )

    def seconds(self, skip=0):
        return sum(len(b) * b.duration_s for b in self.blocks if not (b.status & skip).any())


@pytest.mark.parametrize("model", IDENTITIES)
def test_mean_power_and_current_are_within_0_1_percent_of_the_twins_truth(model):
    bench = Bench(model).begin().run(4.0)
    truth = bench.twin.truth()
    assert bench.joules() / bench.seconds() == pytest.approx(
        truth.energy_j / (truth.stop_s - truth.start_s), rel=1e-3
    )
    charge = sum(float(b.current_a.sum(dtype=np.float64) * b.duration_s) for b in bench.blocks)
    assert charge / bench.seconds() == pytest.approx(
        truth.charge_c / (truth.stop_s - truth.start_s), rel=1e-3
    )
    assert bench.seconds() == pytest.approx(truth.stop_s - truth.start_s, abs=0.03)
    assert bench.meter.loss.missing == bench.meter.loss.discarded_bytes == 0
    assert bench.info.simulated and "SIMULATED" in bench.info.details["idn"]


def test_a_log_has_the_energy_of_a_load_that_changes_faster_than_anyone_could_ask():
    load = Shape((LoadStep(0.013, 0.01), LoadStep(0.004, 0.4)))
    bench = Bench("keysight-n6705", load=load).begin(rate_hz=200).run(3.0)
    time_s = np.concatenate([block.time_s for block in bench.blocks])
    assert np.allclose(np.diff(time_s), 0.005)
    start_s = bench.twin.truth().start_s
    true = float(np.diff(load.energy_j(np.array([start_s, start_s + bench.seconds()])))[0])
    assert bench.joules() == pytest.approx(true, rel=1e-3)


def test_each_model_says_what_it_can():
    able = {model: Bench(model).begin().meter.capabilities for model in IDENTITIES}
    assert MeterCapability.SUPPLIES_POWER not in able["keysight-34465a"]
    assert MeterCapability.MEASURES_VOLTAGE not in able["keysight-34465a"]
    assert MeterCapability.SAMPLE_CLOCK not in able["keysight-34465a"]
    assert {MeterCapability.SUPPLIES_POWER, MeterCapability.MEASURES_VOLTAGE, MeterCapability.COARSE} <= able[
        "keithley-2450"
    ]
    assert (
        MeterCapability.COARSE not in able["keysight-n6705"]
        and MeterCapability.SAMPLE_CLOCK in able["keysight-n6705"]
    )
    assert all(MeterCapability.SIMULATED in one for one in able.values())


def test_a_polled_reading_stands_for_the_time_since_the_one_before():
    bench = Bench("keithley-2450").begin().run(1.0)
    ends = [float(block.time_s[0]) + block.duration_s for block in bench.blocks]
    starts = [float(block.time_s[0]) for block in bench.blocks]
    assert starts[0] == 0.0
    assert starts[1:] == pytest.approx(ends[:-1])


def test_a_caller_that_stays_away_leaves_a_gap_and_not_a_long_reading():
    for model in ("keithley-2450", "keysight-34465a"):
        bench = Bench(model).begin()
        bench.blocks = [bench.meter.read(1.0) for _ in range(5)]
        bench.link.pass_time(2.0)
        bench.blocks += [bench.meter.read(1.0) for _ in range(5)]
        assert bench.meter.loss.missing == pytest.approx(2.0 / 0.022, rel=0.3)
        assert max(block.duration_s for block in bench.blocks) < 0.05
        gap = bench.blocks[5].time_s[0] - bench.blocks[4].time_s[0]
        assert gap == pytest.approx(2.0, abs=0.06)


def test_a_log_that_ran_over_is_missing_what_it_lost():
    bench = Bench("keysight-n6705").begin()
    bench.blocks = [bench.meter.read(1.0)]
    bench.link.pass_time(30.0)
    bench.run(2.0)
    loss, truth = bench.meter.loss, bench.twin.truth()
    assert loss.received + loss.missing == pytest.approx(truth.samples, abs=30)
    assert loss.missing == pytest.approx(1000, abs=60)
    assert loss.reasons


def test_averages_that_the_instrument_loses_are_missing():
    bench = Bench("keysight-n6705").begin([Fault(FaultKind.DROP_SAMPLES, 1.0, 100)]).run(3.0)
    assert bench.meter.loss.missing == pytest.approx(100, abs=4)
    assert any((block.status & SUSPECT).any() for block in bench.blocks)


@pytest.mark.parametrize("volts", [-0.1, 21.0])
def test_a_voltage_outside_the_supply_is_refused_before_powering(volts):
    bench = Bench("keithley-2450")
    bench.meter.open()
    with pytest.raises(UsageError, match="nothing was powered"):
        bench.meter.configure(Settings(voltage_v=volts))
    with pytest.raises(UsageError, match="the device under test"):
        bench.meter.configure(Settings(voltage_v=5.0, dut_max_v=4.2))
    with pytest.raises(UsageError, match="no voltage is named"):
        bench.meter.configure(Settings())
    assert not bench.twin.powered


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("keithley-2450", Settings(voltage_v=3.7, rate_hz=10)),
        ("keysight-n6705", Settings(voltage_v=3.7, rate_hz=10_000)),
        ("keysight-34465a", Settings(mode="ampere")),
        ("keysight-34465a", Settings(range="1 A")),
    ],
)
def test_a_setting_that_the_instrument_does_not_have_is_refused(model, wanted):
    bench = Bench(model)
    bench.meter.open()
    with pytest.raises(UsageError):
        bench.meter.configure(wanted)


def test_a_current_limit_that_the_instrument_cannot_hold_is_refused():
    bench = Bench("keithley-2450", address="scpi?limit=2")
    bench.meter.open()
    with pytest.raises(UsageError, match="current limit"):
        bench.meter.configure(Settings(voltage_v=3.7))


@pytest.mark.parametrize("model", SUPPLIES)
def test_closing_switches_the_output_off(model):
    bench = Bench(model).begin()
    assert bench.twin.powered
    bench.meter.close()
    bench.meter.close()
    assert not bench.twin.powered


def test_a_multimeter_cannot_switch_a_supply():
    bench = Bench("keysight-34465a")
    bench.meter.open()
    bench.meter.configure(Settings(voltage_v=VOLTS))
    with pytest.raises(UsageError, match="cannot switch a supply"):
        bench.meter.power(True)


def test_an_overload_is_clamped_and_flagged():
    bench = Bench("keysight-34465a", load=constant(20 * VOLTS)).begin().run(0.5)
    status = np.concatenate([block.status for block in bench.blocks])
    assert (status & SampleStatus.SATURATED).all()
    assert max(float(block.current_a.max()) for block in bench.blocks) == pytest.approx(3.0)


def test_a_supply_at_its_current_limit_is_saturated():
    bench = Bench("keithley-2450", load=constant(0.3 * VOLTS), address="scpi?limit=0.1").begin().run(0.5)
    status = np.concatenate([block.status for block in bench.blocks])
    assert (status & SampleStatus.SATURATED).all()


def test_an_instrument_that_is_not_in_the_table_is_named():
    bench = Bench("keithley-2450")
    IDENTITIES["keithley-2450"], kept = "ACME,Toaster 3,0,1", IDENTITIES["keithley-2450"]
    try:
        with pytest.raises(MeterError, match=r"none that edgesnn can drive \(found ACME,Toaster 3|Toaster 3"):
            bench.meter.open()
    finally:
        IDENTITIES["keithley-2450"] = kept


def test_an_instrument_that_refuses_a_command_is_told_with_its_own_words():
    bench = Bench("keithley-2450")
    bench.meter.open()
    bench.twin._errors.append('-102,"Syntax error"')
    bench.meter._talk.send("nonsense")
    with pytest.raises(MeterError, match="Undefined header"):
        bench.meter._talk.send("nonsense")
        bench.meter._talk.ask("SYST:ERR?", 1.0)
        bench.meter._talk.check("its set-up")


def test_silence_is_a_timeout_and_a_late_answer_does_not_shift_the_next_one():
    bench = Bench("keithley-2450").begin([Fault(FaultKind.STALL, 0.5, 2.0)])
    with pytest.raises(MeterTimeoutError, match="did not answer"):
        while True:
            bench.blocks.append(bench.meter.read(0.5))
    bench.link.pass_time(2.0)
    bench.run(1.0)
    assert bench.meter.loss.discarded_bytes > 0 and bench.meter.loss.missing > 0
    good = bench.joules(SUSPECT) / bench.seconds(SUSPECT)
    assert good == pytest.approx(0.09, rel=2e-3)


def test_unplugging_is_its_own_error_and_a_new_start_begins_at_zero():
    bench = Bench("keithley-2450").begin([Fault(FaultKind.UNPLUG, 0.5, 0)])
    with pytest.raises(MeterUnpluggedError):
        bench.run(5.0)
    bench.link.replug()
    bench.blocks = []
    bench.begin().run(0.5)
    assert bench.blocks[0].time_s[0] == 0.0


def test_answers_that_are_none_are_counted_and_in_the_end_given_up():
    bench = Bench("keithley-2450").begin()
    assert numbers("1,2,x", 3) is None
    bench.meter._reader._query = "*IDN?"
    with pytest.raises(MeterProtocolError, match="no readings"):
        bench.meter.read(5.0)
    assert bench.meter.loss.discarded_bytes > 0


def test_the_clock_of_a_source_measure_unit_that_is_100_ppm_fast_shows():
    bench = Bench("keithley-2450", clock_ppm=100.0).begin()
    first = bench.meter.sync()
    for _ in range(4000):
        bench.meter.read(1.0)
    last = bench.meter.sync()
    host_s = (last.host_after_ns - first.host_after_ns) / 1e9
    assert host_s > 80
    # a reading's answer is seen up to 5 ms late in simulated time
    assert (last.meter_s - first.meter_s) / host_s - 1 == pytest.approx(1e-4, abs=7e-5)


def test_a_log_tells_how_far_it_is_and_a_multimeter_has_no_clock():
    bench = Bench("keysight-n6705").begin()
    pair = bench.meter.sync()
    assert pair.host_before_ns <= pair.host_after_ns and pair.meter_s > 0
    assert bench.meter.read(1.0).time_s[0] == 0.0  # the block of the exchange is not lost
    with pytest.raises(UsageError, match="gives no time"):
        Bench("keysight-34465a").begin().meter.sync()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.builds(
            Fault,
            st.sampled_from([FaultKind.DROP_BYTES, FaultKind.DUPLICATE_BYTES, FaultKind.CORRUPT_BYTES]),
            st.floats(0.05, 1.5),
            st.integers(3, 12),
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(sorted(IDENTITIES)),
)
def test_under_random_damage_no_reading_is_believed_that_is_out_of_reach(faults, model):
    """Text has no checksum: a digit that became another one cannot be seen, only a value out of reach."""
    bench = Bench(model).begin(faults)
    try:
        bench.run(2.0)
    except (MeterTimeoutError, MeterProtocolError):
        bench.blocks += [last] if (last := bench.meter.stop()) is not None else []
    for block in bench.blocks:
        assert np.isfinite(block.current_a).all() and (np.abs(block.current_a) <= 3.0).all()
        assert (np.asarray(block.duration_s) >= 0).all()
    loss = bench.meter.loss
    assert loss.received == sum(len(block) for block in bench.blocks)
    starts = np.concatenate([block.time_s for block in bench.blocks]) if bench.blocks else np.zeros(0)
    assert (np.diff(starts) >= 0).all()
    if model != "keysight-n6705" and len(bench.blocks) > 20:
        means = np.array([float(block.current_a.mean()) for block in bench.blocks])
        assert np.median(means) == pytest.approx(0.09 / VOLTS, rel=2e-3)


def test_numbers_know_overload_and_not_a_number():
    assert overloaded(9.9e37) and overloaded(-9.9e37) and not overloaded(1e30)
    assert numbers("9.91E37", 1) is None
    assert numbers("+9.90000000E+37", 1) == [9.9e37]
    assert numbers("", 2) == [] and numbers("1,2,3", 2) is None


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("/dev/ttyUSB0", "ASRL/dev/ttyUSB0::INSTR"),
        ("COM3", "ASRLCOM3::INSTR"),
        ("192.0.2.7", "TCPIP::192.0.2.7::5025::SOCKET"),
        ("bench-psu:9221", "TCPIP::bench-psu::9221::SOCKET"),
        ("USB0::0x05E6::0x2450::04096331::INSTR", "USB0::0x05E6::0x2450::04096331::INSTR"),
    ],
)
def test_an_address_becomes_the_name_that_visa_knows(typed, name):
    assert resource_name(typed) == name


def test_a_host_with_a_port_that_is_no_number_is_refused():
    with pytest.raises(UsageError, match="port"):
        resource_name("bench:psu")


def test_the_table_is_whole_and_every_model_has_its_accuracy():
    names = [model.name for model in models()]
    assert sorted(names) == sorted(IDENTITIES)
    for model in models():
        assert load_accuracy(model.accuracy).source
        assert recognise(IDENTITIES[model.name]) is model


def test_a_model_of_the_table_that_lacks_a_part_is_refused():
    model = models()[0].model_dump()
    for change in ({"output_off": []}, {"fields": ["voltage"]}, {"kept_s": 1.0}):
        with pytest.raises((ValueError, ConfigError)):
            ScpiModel(**{**model, **change})


def test_without_pyvisa_the_driver_says_which_extra_to_install(monkeypatch):
    genuine = builtins.__import__

    def refuse(name, *rest, **more):
        if name == "pyvisa":
            raise ImportError(name)
        return genuine(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"edgesnn\[scpi\]"):
        VisaLink("TCPIP::127.0.0.1::5025::SOCKET")
    monkeypatch.setattr("edgesnn.meters.scpi.driver.find_spec", lambda name: None)
    assert "edgesnn[scpi]" in ScpiMeter.missing()


def test_without_an_address_or_before_opening_the_driver_says_what_it_needs():
    with pytest.raises(UsageError, match="needs an address"):
        ScpiMeter(MeterAddress("scpi")).open()
    meter = ScpiMeter(MeterAddress("scpi"))
    for call in (lambda: meter.accuracy, meter.start, lambda: meter.read(1.0), meter.sync):
        with pytest.raises(UsageError):
            call()
    assert meter.stop() is None and not meter.capabilities
    meter.close()
