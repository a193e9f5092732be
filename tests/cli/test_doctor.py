"""``edgesnn doctor``."""

import pytest

from edgesnn import plugins, targets
from edgesnn.cli import doctor
from edgesnn.cli.meter import doctor as doctor_meters
from edgesnn.errors import MeterBusyError, MeterTimeoutError
from edgesnn.meters.base import Found, MeterCapability, MeterInfo


def test_it_looks_at_everything_and_exits_0_and_what_is_missing_alone_has_a_remedy(edgesnn):
    finished = edgesnn("doctor", "--json")
    assert finished.exit_code == 0
    document = finished.document
    assert document["schema"] == "edgesnn.doctor/1"
    areas = {check["area"] for check in document["checks"]}
    assert areas == {"python", "package", "data", "folder", "runner", "exporter", "meter", "training"}
    assert document["missing"] == sum(not check["ok"] for check in document["checks"])
    assert all((check["remedy"] is None) == check["ok"] for check in document["checks"])


def test_without_torch_training_is_missing_with_one_remedy(monkeypatch, capsys):
    real = doctor.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "torch" else real(name))
    doctor.doctor(ask_meters=False, as_json=False)
    assert "training torch: pip install 'edgesnn[train]'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reason", "found", "remedy"),
    [
        ("needs the package 'lava'; remedy: pip install x", "needs the package 'lava'", "pip install x"),
        ("no phone is attached", "no phone is attached", "no phone is attached"),
    ],
)
def test_a_runner_that_cannot_run_says_why(monkeypatch, reason, found, remedy):
    monkeypatch.setattr(targets, "why_not", lambda name: reason)
    check = doctor._plugin("runner", plugins.Plugin("adb", "a:B", "edgesnn"))
    assert (check.ok, check.found, check.remedy) == (False, found, remedy)


def test_a_plugin_that_does_not_load_is_missing(monkeypatch):
    check = doctor._plugin("exporter", plugins.Plugin("nir", "a:B", "edgesnn-nir", "it does not load"))
    assert (check.ok, check.found, check.remedy) == (
        False,
        "it does not load",
        "reinstall the package 'edgesnn-nir'",
    )


class Attached:
    """A driver that finds one instrument."""

    trouble, able, opened, failure = None, frozenset(), 0, None

    def __init__(self, address):
        self.address = address

    @classmethod
    def missing(cls):
        return None

    @classmethod
    def discover(cls):
        return (Found("ppk2", "ppk2:ABC", "/dev/ttyACM0", "PPK2", cls.trouble),)

    @property
    def capabilities(self):
        return self.able

    def open(self):
        type(self).opened += 1
        if self.failure is not None:
            raise self.failure
        return MeterInfo("ppk2", "PPK2", "ABC", "1.2.4", "/dev/ttyACM0", False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
def attached(monkeypatch):
    """What doctor says of an attached instrument whose driver has those attributes."""

    def look(ask=False, **attributes):
        driver = type("Driver", (Attached,), attributes)
        monkeypatch.setattr(plugins, "load_meter", lambda name: driver)
        (check,) = doctor_meters._attached("ppk2", ask)
        return check, driver.opened

    return look


def test_an_attached_meter_tells_its_firmware(attached):
    check, opened = attached()
    assert (check.ok, check.name, check.found, opened) == (True, "ppk2:ABC", "PPK2, firmware 1.2.4", 1)


def test_a_port_that_may_not_be_opened_has_a_remedy(attached):
    check, opened = attached(trouble="this user may not open it")
    assert (check.ok, check.found, opened) == (False, "this user may not open it", 0)
    assert "udev" in check.remedy


def test_a_meter_that_could_cut_a_supply_is_asked_only_on_demand(attached):
    able = frozenset({MeterCapability.MAY_INTERRUPT_DUT})
    check, opened = attached(able=able)
    assert (check.ok, opened) == (True, 0)
    assert "--ask-meters" in check.found
    assert attached(ask=True, able=able)[1] == 1


def test_a_meter_in_use_is_no_trouble_and_a_silent_one_is(attached):
    assert attached(failure=MeterBusyError("another program owns it"))[0].ok
    check, _ = attached(failure=MeterTimeoutError("nothing answers", remedy="plug it in again"))
    assert (check.ok, check.remedy) == (False, "plug it in again")
