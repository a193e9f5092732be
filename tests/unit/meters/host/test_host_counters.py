"""RAPL counters and fuel gauges from folders that look like the kernel's."""

import os

import numpy as np
import pytest

from edgesnn.errors import MeterError, MeterTimeoutError, MeterUnpluggedError, UsageError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import MeterCapability, SampleStatus, Settings
from edgesnn.meters.host.battery import HOLD_S, BatteryMeter, parse_gauge
from edgesnn.meters.host.rapl import RaplMeter


class Clock:
    """Time that passes when someone waits, and what happens meanwhile."""

    def __init__(self, happens=lambda seconds: None):
        self.ns, self.happens = 10**9, happens

    def now_ns(self):
        return self.ns

    def wait(self, seconds):
        self.ns += max(int(seconds * 1e9), 1)
        self.happens((self.ns - 10**9) / 1e9)


def zone(root, name, label, energy_uj=0, range_uj=262_143_328_850):
    folder = root / name
    folder.mkdir()
    (folder / "name").write_text(label + "\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    return folder


def rapl(root, clock, address="rapl"):
    meter = RaplMeter(MeterAddress.parse(address), root=root, clock=clock)
    meter.open()
    meter.configure(Settings(rate_hz=10))
    return meter


def test_rapl_sums_the_packages_and_survives_the_wrap(tmp_path):
    one = zone(tmp_path, "intel-rapl:0", "package-0", range_uj=300_000_000)
    two = zone(tmp_path, "intel-rapl:1", "package-1")
    zone(tmp_path, "intel-rapl:0:0", "core", 77)

    def draw(seconds):
        (one / "energy_uj").write_text(str(int(seconds * 300e6) % 300_000_001))
        (two / "energy_uj").write_text(str(int(seconds * 200e6)))

    meter = rapl(tmp_path, Clock(draw))
    meter.start()
    blocks = [meter.read(1.0) for _ in range(40)]
    joules = sum(float(block.power_w[0]) * block.duration_s for block in blocks)
    assert joules == pytest.approx(500 * (blocks[-1].time_s[0] + blocks[-1].duration_s), rel=1e-5)
    assert meter.loss.received == 40
    assert meter.loss.reasons == ()
    assert not any(block.status[0] for block in blocks)
    assert meter.capabilities == {MeterCapability.COARSE}
    assert all(block.time_s[0] == pytest.approx(0.1 * at) for at, block in enumerate(blocks))


def test_rapl_takes_one_zone_by_name_or_folder(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0")
    core = zone(tmp_path, "intel-rapl:0:0", "core")
    for wanted in ("core", "intel-rapl:0:0"):
        meter = RaplMeter(MeterAddress("rapl", wanted), root=tmp_path, clock=Clock())
        assert meter.open().port == str(core)
    with pytest.raises(MeterError, match="no RAPL counter 'dram'"):
        RaplMeter(MeterAddress("rapl", "dram"), root=tmp_path).open()


def test_a_rapl_counter_that_stands_still_is_said_at_the_deadline(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 5)
    meter = rapl(tmp_path, Clock())
    meter.start()
    with pytest.raises(MeterTimeoutError, match="stands still"):
        meter.read(0.5)


@pytest.mark.parametrize(
    "jumps",
    [
        {30: 0},  # reset
        {30: 100_000_000_000 - 1_000_000},  # one joule back
        {30: 250_000_000_000},  # a leap ahead
        {30: 5_000, 31: 100_000_300_000},  # a glitch, there and back
        {30: 262_143_328_851 + 7},  # beyond its own range
    ],
)
def test_a_rapl_counter_that_resets_or_leaps_never_gives_a_number(tmp_path, jumps):
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 100_000_000_000)
    shown = [100_000_000_000]

    def draw(seconds):
        tick = round(seconds * 10)
        shown[0] = jumps.get(tick, shown[0] + 1_000_000)  # 10 W
        (folder / "energy_uj").write_text(str(shown[0]))

    meter = rapl(tmp_path, Clock(draw))
    meter.start()
    blocks = [meter.read(1.0) for _ in range(40)]
    good = [float(block.power_w[0]) for block in blocks if not block.status[0]]
    assert good == pytest.approx([10.0] * (40 - len(blocks) + len(good)))
    assert 1 <= 40 - len(good) <= 2
    assert all(float(block.power_w[0]) <= 2000 for block in blocks)
    assert "package-0" in meter.loss.reasons[0] and "began again, or leapt" in meter.loss.reasons[0]


def test_a_counter_over_which_the_machine_slept_is_suspect(tmp_path, monkeypatch):
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    slept = [0]
    monkeypatch.setattr("edgesnn.meters.host.counter.asleep_ns", lambda: slept[0])

    def draw(seconds):
        (folder / "energy_uj").write_text(str(int(seconds * 10e6)))
        slept[0] = 0 if seconds < 0.45 else 3_000_000_000

    meter = rapl(tmp_path, Clock(draw))
    meter.start()
    assert [int(meter.read(1.0).status[0]) for _ in range(8)].count(SampleStatus.SUSPECT) == 1
    assert "slept for 3 s" in meter.loss.reasons[0]


def test_a_rapl_counter_that_nobody_read_for_long_is_suspect(tmp_path):
    folder = zone(tmp_path, "intel-rapl:0", "package-0")
    clock = Clock()
    meter = rapl(tmp_path, clock)
    meter.start()
    clock.ns += 150 * 10**9
    (folder / "energy_uj").write_text("1000000")
    assert meter.read(1.0).status[0] == SampleStatus.SUSPECT
    assert "wrapped unseen" in meter.loss.reasons[0]


def test_a_machine_without_rapl_says_so(tmp_path):
    with pytest.raises(MeterError, match="shows no RAPL counter"):
        RaplMeter(MeterAddress("rapl"), root=tmp_path).open()


def test_a_counter_for_root_only_is_explained(tmp_path, monkeypatch):
    folder = zone(tmp_path, "intel-rapl:0", "package-0")
    (folder / "energy_uj").chmod(0)
    if os.access(folder / "energy_uj", os.R_OK):  # root reads everything: let the kernel's answer be made
        from pathlib import Path

        plain = Path.read_text

        def refuse(path, *arguments):
            if path.name == "energy_uj":
                raise PermissionError(13, "Permission denied", str(path))
            return plain(path, *arguments)

        monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(MeterError, match="may not read") as caught:
        RaplMeter(MeterAddress("rapl"), root=tmp_path).open()
    assert "chmod a+r" in str(caught.value)


def uevent(**values):
    fields = {"NAME": "BAT0", "TYPE": "Battery", "STATUS": "Discharging", **values}
    return "".join(f"POWER_SUPPLY_{key}={value}\n" for key, value in fields.items())


@pytest.mark.parametrize(
    ("shown", "status", "taken"),
    [
        (-386000, "Discharging", 0.386),
        (386000, "Discharging", 0.386),
        (1200000, "Charging", -1.2),
        (-1200000, "Charging", -1.2),
    ],
)
def test_the_sign_of_the_current_comes_from_the_status(shown, status, taken):
    gauge = parse_gauge(uevent(STATUS=status, CURRENT_NOW=shown, VOLTAGE_NOW=12233000))
    assert gauge.current_a == pytest.approx(taken)
    assert gauge.voltage_v == pytest.approx(12.233)
    assert gauge.discharging == (status == "Discharging")


@pytest.mark.parametrize(
    "text",
    [
        "POWER_SUPPLY_NAME=AC\nPOWER_SUPPLY_TYPE=Mains\nPOWER_SUPPLY_ONLINE=1\n",
        "POWER_SUPPLY_NAME=mouse\nPOWER_SUPPLY_TYPE=Battery\nPOWER_SUPPLY_SCOPE=Device\nPOWER_SUPPLY_STATUS=Discharging\n",
        "",
        "garbage\n\x00=\n",
    ],
)
def test_what_is_no_battery_of_the_machine_is_none(text):
    assert parse_gauge(text) is None


def battery(tmp_path, text):
    folder = tmp_path / "BAT0"
    folder.mkdir()
    (folder / "uevent").write_text(text)
    return folder


def test_a_gauge_is_read_at_its_own_pace_and_the_pace_is_measured(tmp_path):
    folder = battery(tmp_path, uevent(CURRENT_NOW=-500000, VOLTAGE_NOW=4000000))

    def update(seconds):
        step = int(seconds / 1.5)
        (folder / "uevent").write_text(uevent(CURRENT_NOW=-(500000 + 1000 * step), VOLTAGE_NOW=4000000))

    meter = BatteryMeter(MeterAddress("battery"), root=tmp_path, clock=Clock(update))
    info = meter.open()
    meter.start()
    blocks = [meter.read(5.0) for _ in range(8)]
    assert info.details["tells"] == "current and voltage"
    assert meter.update_s == pytest.approx(1.5, abs=0.06)
    assert [round(float(block.current_a[0]), 3) for block in blocks[:3]] == [0.501, 0.502, 0.503]
    assert np.diff([block.time_s[0] for block in blocks[1:]]) == pytest.approx(1.5, abs=0.06)
    assert MeterCapability.MEASURES_VOLTAGE in meter.capabilities


def test_a_steady_gauge_still_brings_a_sample_and_power_is_taken_where_there_is_no_current(tmp_path):
    battery(tmp_path, uevent(POWER_NOW=4721000))
    meter = BatteryMeter(MeterAddress("battery"), root=tmp_path, clock=Clock())
    meter.open()
    meter.start()
    block = meter.read(20.0)
    assert block.duration_s == pytest.approx(HOLD_S, abs=0.06)
    assert block.watts(None)[0] == pytest.approx(4.721)


def test_a_battery_that_is_charged_is_suspect_and_said_once(tmp_path):
    battery(tmp_path, uevent(STATUS="Charging", CURRENT_NOW=100, VOLTAGE_NOW=4000000))
    meter = BatteryMeter(MeterAddress("battery"), root=tmp_path, clock=Clock())
    meter.open()
    meter.start()
    assert {int(meter.read(20.0).status[0]) for _ in range(3)} == {SampleStatus.SUSPECT}
    assert len(meter.loss.reasons) == 1


def test_a_battery_tells_nothing_of_the_time_when_a_charger_came_or_went(tmp_path):
    folder = battery(tmp_path, uevent(CURRENT_NOW=-500000, VOLTAGE_NOW=4000000))

    def update(seconds):
        charger = 2 <= seconds < 4
        text = uevent(
            STATUS="Charging" if charger else "Discharging",
            CURRENT_NOW=-(500000 + 1000 * int(seconds)), VOLTAGE_NOW=4000000,
        )  # fmt: skip
        (folder / "uevent").write_text(text)

    meter = BatteryMeter(MeterAddress("battery"), root=tmp_path, clock=Clock(update))
    meter.open()
    meter.start()
    assert [int(meter.read(5.0).status[0]) for _ in range(6)] == [0, 4, 4, 4, 0, 0]


@pytest.mark.parametrize("shown", [0, 65_535_000_000, -(2**31) * 1000])
def test_a_gauge_that_tells_what_cannot_be_is_suspect(tmp_path, shown):
    battery(tmp_path, uevent(CURRENT_NOW=shown, VOLTAGE_NOW=12_000_000))
    meter = BatteryMeter(MeterAddress("battery"), root=tmp_path, clock=Clock())
    meter.open()
    meter.start()
    assert meter.read(20.0).status[0] == SampleStatus.SUSPECT
    assert "cannot be" in meter.loss.reasons[0]


def test_a_battery_that_is_taken_out_is_unplugged(tmp_path):
    folder = battery(tmp_path, uevent(CURRENT_NOW=100, VOLTAGE_NOW=4000000))
    meter = BatteryMeter(MeterAddress("battery"), root=tmp_path, clock=Clock())
    meter.open()
    meter.start()
    (folder / "uevent").unlink()
    with pytest.raises(MeterUnpluggedError):
        meter.read(1.0)


def test_two_batteries_must_be_told_apart(tmp_path):
    for name in ("BAT0", "BAT1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "uevent").write_text(uevent(CURRENT_NOW=1, VOLTAGE_NOW=4000000))
    with pytest.raises(MeterError, match="more than one battery"):
        BatteryMeter(MeterAddress("battery"), root=tmp_path).open()
    assert BatteryMeter(MeterAddress("battery", "BAT1"), root=tmp_path).open().port.endswith("BAT1")


@pytest.mark.parametrize("settings", [Settings(voltage_v=3.3), Settings(rate_hz=5000), Settings(mode="x")])
def test_a_host_counter_refuses_what_it_cannot_set(tmp_path, settings):
    zone(tmp_path, "intel-rapl:0", "package-0")
    meter = rapl(tmp_path, Clock())
    with pytest.raises(UsageError):
        meter.configure(settings)
    with pytest.raises(UsageError, match="supplies no power"):
        meter.power(True)


def test_a_rate_in_the_address_is_set(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0")
    meter = RaplMeter(MeterAddress.parse("rapl?rate=5"), root=tmp_path, clock=Clock())
    meter.open()
    assert meter.configure(Settings()).rate_hz == 5
