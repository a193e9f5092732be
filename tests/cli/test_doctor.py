"""``edgesnn doctor``."""

import re
import tomllib

import pytest

from edgesnn import plugins, targets
from edgesnn.cli import doctor
from edgesnn.cli.meter import doctor as doctor_meters
from edgesnn.errors import MeterBusyError, MeterTimeoutError
from edgesnn.meters.base import Found, MeterCapability, MeterInfo
from tests.conftest import ROOT


def test_it_looks_at_everything_and_exits_0_and_what_is_missing_alone_has_a_remedy(edgesnn):
    finished = edgesnn("doctor", "--json")
    assert finished.exit_code == 0
    document = finished.document
    assert document["schema"] == "edgesnn.doctor/1"
    areas = {check["area"] for check in document["checks"]}
    assert areas == {"python", "package", "data", "folder", "runner", "exporter", "meter", "extra"}
    assert document["missing"] == sum(not check["ok"] for check in document["checks"])
    assert all((check["remedy"] is None) == check["ok"] for check in document["checks"])
    assert all(check["present"] or check["ok"] for check in document["checks"])


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture
def not_installed(monkeypatch):
    """Hides packages from doctor: ``not_installed(*names)``."""
    real, hidden = doctor.metadata.version, set()

    def version(name):
        if name in hidden:
            raise doctor.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    return hidden.update


def test_every_package_of_every_extra_has_a_line(capsys):
    doctor.doctor(ask_meters=False, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    project = pyproject()
    named = {("package", one, None) for one in project["dependencies"]}
    named |= {
        ("extra", one, extra) for extra, all_ in project["optional-dependencies"].items() for one in all_
    }
    for area, line, extra in named:
        name = re.match(r"[\w.-]+", line)[0]
        (shown,) = [one for one in lines if f" {area} {name} " in f"{one} "]
        assert extra is None or extra in shown or "not installed" in shown
        assert re.search(r"\d|not installed \(pip install 'edgesnn\[\w+\]'\)", shown)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("torch", "extra torch: pip install 'edgesnn[train]'"),
        ("ai-edge-litert", "extra ai-edge-litert: pip install 'edgesnn[tflite]'"),
        ("matplotlib", "extra matplotlib: pip install 'edgesnn[train]'"),
        ("pydantic", "package pydantic: pip install --force-reinstall edgesnn"),
    ],
)
def test_a_package_that_is_not_installed_is_missing_with_one_remedy(not_installed, capsys, name, what):
    not_installed([name])
    doctor.doctor(ask_meters=False, as_json=False)
    assert capsys.readouterr().out.count(what) == 1


def test_the_tools_of_development_are_not_missing_where_they_are_not(not_installed):
    not_installed(["mypy", "hypothesis"])
    found = {check.name: check for check in doctor.examine()}
    for name in ("mypy", "hypothesis"):
        check = found[name]
        assert (check.ok, check.present, check.remedy) == (True, False, None)
        assert check.found == "not installed (pip install 'edgesnn[dev]')"


def test_an_installed_edgesnn_names_the_packages_of_its_own_metadata(monkeypatch, tmp_path):
    lines = [
        "typer>=0.28",
        "torch>=2.6; extra == 'train'",
        'pyvisa>=1 ; python_version > "3" and extra == "scpi"',
    ]
    lines += ["pyvisa>=1; extra == 'dev'"]
    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "edgesnn" / "cli" / "doctor.py"))
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: lines)
    assert doctor.requirements() == {"typer": [], "torch": ["train"], "pyvisa": ["scpi", "dev"]}


@pytest.mark.parametrize("name", ["battery", "rapl"])
def test_a_machine_without_battery_and_counters_misses_nothing(monkeypatch, name):
    from edgesnn.api import listing
    from edgesnn.cli import list as list_command

    driver = plugins.load_meter(name)
    monkeypatch.setattr(driver, "missing", classmethod(lambda cls: "this machine has none"))
    (check,) = [one for one in doctor_meters.meter_checks(False) if one.name == name]
    assert (check.ok, check.present, check.remedy) == (True, False, None)
    assert doctor._mark(check)[0] == "not present"
    (item,) = [one for one in listing.list_available("meters") if one["name"] == name]
    assert (item["missing"], item["present"]) == ("this machine has none", False)
    assert list_command._state(item) == "not present"


def test_a_counter_that_may_not_be_read_has_its_own_remedy_and_a_full_battery_needs_none():
    denied = doctor_meters._troubled("rapl:0", "cannot read it; remedy: sudo chmod", built_in=True)
    assert (denied.ok, denied.present, denied.remedy) == (False, True, "sudo chmod")
    idle = doctor_meters._troubled("battery:0", "it does not feed the machine now: Full", built_in=True)
    assert (idle.ok, idle.present, idle.remedy) == (True, False, None)


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
