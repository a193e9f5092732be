"""The Joulescope driver against a driver object that publishes what the maker's package documents."""

from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesnn.errors import MeterError, MeterTimeoutError, MeterUnpluggedError, UsageError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import DriverStatus, MeterCapability, Settings
from edgesnn.meters.joulescope.driver import JoulescopeMeter
from edgesnn.meters.joulescope.join import Join

PATH = "u/js220/000415"
BASE_HZ, FACTOR = 2_000_000, 20


class Package:
    """Publishes as ``pyjoulescope_driver.Driver`` does, when told to."""

    def __init__(self, paths=(PATH,)):
        self.paths, self.subscribed, self.published, self.opened = list(paths), {}, [], []

    def device_paths(self):
        return self.paths

    def open(self, device_prefix, mode=None):
        if device_prefix.endswith("busy"):
            raise RuntimeError("jsdrv_open failed: IN_USE")
        self.opened.append((device_prefix, mode))

    def close(self, device_prefix):
        self.opened.clear()

    def publish(self, topic, value):
        self.published.append((topic, value))

    def query(self, topic):
        return 1 << 24 | 2 << 16 | 3

    def subscribe(self, topic, flags, fn):
        assert flags == "pub"
        self.subscribed[topic] = fn

    def unsubscribe(self, topic, fn):
        assert self.subscribed.pop(topic) == fn

    def finalize(self):
        raise AssertionError("a driver that was given is not ours to end")

    def send(self, number, amperes, volts, level, skip=()):
        """One message of every signal, samples ``number`` on."""
        signals = {"i": np.asarray(amperes, np.float32), "v": np.asarray(volts, np.float32)}
        for index in range(4):
            bits = np.asarray(level, np.uint8) >> index & 1
            signals[f"gpi/{index}"] = np.packbits(bits, bitorder="little")
        for name, data in signals.items():
            topic = f"{PATH}/s/{name}/!data"
            if name not in skip:
                self.subscribed[topic](topic, message(number, data))


class Clock:
    def __init__(self):
        self.ns = 0

    def now_ns(self):
        return self.ns

    def wait(self, seconds):
        self.ns += int(seconds * 1e9) + 1


def message(number, data, factor=FACTOR):
    return {
        "sample_id": number * factor,
        "sample_rate": BASE_HZ,
        "decimate_factor": factor,
        "field_id": 1,
        "index": 0,
        "utc": 0,
        "data": data,
    }


@pytest.fixture
def package():
    return Package()


def started(package):
    meter = JoulescopeMeter(MeterAddress("joulescope"), driver=package, clock=Clock())
    meter.open()
    meter.configure(Settings())
    meter.start()
    return meter


def test_it_opens_configures_and_streams_by_the_documented_topics(package):
    meter = started(package)
    assert package.opened == [(PATH, "defaults")]
    assert package.published[:3] == [
        (f"{PATH}/s/i/range/mode", "auto"),
        (f"{PATH}/s/v/range/mode", "auto"),
        (f"{PATH}/h/fs", 100_000),
    ]
    assert {topic for topic, value in package.published[3:] if value == 1} == {
        f"{PATH}/s/{name}/ctrl" for name in ("i", "v", "gpi/0", "gpi/1", "gpi/2", "gpi/3")
    }
    meter.close()
    assert package.subscribed == {}
    assert package.opened == []


def test_current_voltage_and_inputs_are_joined_by_sample_number(package):
    meter = started(package)
    package.send(1000, np.full(16, 0.027), np.full(16, 3.7), [0] * 5 + [5] * 11)
    block = meter.read(1.0)
    assert block.watts(None) == pytest.approx(np.full(16, 0.0999), rel=1e-6)
    assert block.markers.tolist() == [0] * 5 + [5] * 11
    assert block.time_s == pytest.approx(np.arange(16) * FACTOR / BASE_HZ)
    assert block.duration_s == pytest.approx(1e-5)
    assert meter.loss.received == 16


def test_a_gap_in_the_numbers_is_missing_and_a_jump_in_time(package):
    meter = started(package)
    package.send(1000, np.ones(8), np.ones(8), np.zeros(8))
    package.send(1040, np.ones(8), np.ones(8), np.zeros(8))
    first, second = meter.read(1.0), meter.read(1.0)
    assert second.time_s[0] - first.time_s[0] == pytest.approx(40 * 1e-5)
    assert (second.lost, meter.loss.missing) == (32, 32)


def test_a_message_that_only_one_signal_lost_is_missing_as_a_whole(package):
    meter = started(package)
    for at in range(5):
        package.send(8 * at, np.full(8, at), np.ones(8), np.zeros(8), skip=("v",) if at == 2 else ())
    amperes = np.concatenate([meter.read(1.0).current_a for _ in range(2)])
    assert sorted(set(amperes.tolist())) == [0, 1, 3, 4]
    assert meter.loss.missing == 8


def test_samples_that_are_no_numbers_are_left_out_and_counted(package):
    meter = started(package)
    package.send(0, [1, np.nan, 1, 1, np.nan, 1, 1, 1], np.ones(8), np.zeros(8))
    block = meter.read(1.0)
    assert np.isfinite(block.current_a).all()
    assert block.time_s[1] == pytest.approx(2e-5)
    assert (meter.loss.received, meter.loss.missing, block.lost) == (6, 2, 2)


def test_an_instrument_that_goes_away_is_unplugged(package):
    meter = started(package)
    package.subscribed["@"]("@/!remove", PATH)
    with pytest.raises(MeterUnpluggedError):
        meter.read(1.0)


def test_silence_ends_at_the_deadline(package):
    with pytest.raises(MeterTimeoutError, match="sent no sample in time"):
        started(package).read(0.2)


def test_which_instrument_is_meant_is_said_or_asked_for():
    for paths, device, says in [
        ([], None, "no Joulescope is attached"),
        ([PATH], "999", "no such Joulescope is attached"),
        ([PATH, "u/js110/000001"], None, "more than one Joulescope"),
        (["u/js220/busy"], None, "cannot be opened"),
    ]:
        with pytest.raises(MeterError, match=says):
            JoulescopeMeter(MeterAddress("joulescope", device), driver=Package(paths)).open()
    two = Package([PATH, "u/js110/000001"])
    info = JoulescopeMeter(MeterAddress("joulescope", "000001"), driver=two).open()
    assert (info.model, info.port) == ("JS110", "u/js110/000001")
    assert ("u/js110/000001/s/v/range/select", "15 V") in two.published


def test_what_it_cannot_do_is_refused(package):
    meter = started(package)
    for settings in (Settings(voltage_v=3.3), Settings(rate_hz=1e7), Settings(mode="x"), Settings(range="x")):
        with pytest.raises(UsageError):
            meter.configure(settings)
    with pytest.raises(UsageError, match="does not feed"):
        meter.power(True)
    assert meter.driver_status is DriverStatus.TWIN_ONLY
    assert MeterCapability.SIMULATED in meter.capabilities


@given(st.lists(st.tuples(st.sampled_from("iv"), st.integers(1, 30), st.integers(0, 5)), max_size=60))
def test_whatever_is_lost_a_sample_joins_what_belongs_together(messages):
    """Values are their own numbers: a joined sample must hold the same number twice."""
    join = Join(("i", "v"))
    at = {"i": 0, "v": 0}
    stretches = []
    for signal, count, skipped in messages:
        first = at[signal] + skipped
        join.add(signal, message(first, np.arange(first, first + count, dtype=np.float64)))
        at[signal] = first + count
        while (stretch := join.take()) is not None:
            stretches.append(stretch)
    for start_s, values, _ in stretches:
        assert np.array_equal(values["i"], values["v"])
        origin = stretches[0][1]["i"][0]
        assert start_s == pytest.approx((values["i"][0] - origin) * 1e-5)
    if stretches:
        last = stretches[-1][1]["i"][-1] - stretches[0][1]["i"][0] + 1
        assert join.received + join.missing == last


@pytest.mark.parametrize("factor", [10, 40])
def test_an_input_of_another_rate_is_brought_to_the_rate_of_the_current(factor):
    join = Join(("i", "g"))
    join.add("i", message(0, np.ones(16, np.float32)))
    levels = np.repeat([0, 1], 8 * FACTOR // factor).astype(np.uint8)
    join.add("g", message(0, np.packbits(levels, bitorder="little"), factor))
    _, values, _ = join.take()
    assert values["g"].tolist() == [0] * 8 + [1] * 8


@pytest.mark.skipif(find_spec("pyjoulescope_driver") is None, reason="edgesnn[joulescope] is not installed")
def test_the_makers_package_has_what_is_used_of_it():
    from pyjoulescope_driver import Driver

    for name in ("device_paths", "open", "close", "publish", "query", "subscribe", "unsubscribe", "finalize"):
        assert callable(getattr(Driver, name))
    assert isinstance(JoulescopeMeter.discover(), tuple)


def test_a_rate_in_the_address_is_set(package):
    meter = JoulescopeMeter(MeterAddress.parse("joulescope?rate=1000"), driver=package)
    meter.open()
    assert meter.configure(Settings()).rate_hz == 1000
