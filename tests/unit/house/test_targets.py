"""Targets, and the data that ships."""

import pytest

from edgesnn import plugins, resources, targets
from edgesnn.errors import ConfigError, DeviceError, InternalError, UsageError


class Present:
    name, summary, capabilities, open, close = "present", "", frozenset(), None, None

    @classmethod
    def missing(cls):
        return None


class Absent(Present):
    @classmethod
    def missing(cls):
        return "no such engine"


class Broken(Present):
    @classmethod
    def missing(cls):
        raise OSError("bus error")


@pytest.fixture
def runners(monkeypatch):
    """Replaces the runners by name."""

    def replace(**classes):
        monkeypatch.setattr(plugins, "names", lambda group: sorted(classes))
        monkeypatch.setattr(plugins, "load_runner", classes.__getitem__)

    return replace


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("cpu", "cpu", None),
        ("adb:0123", "adb", "0123"),
        ("serial:/dev/ttyUSB0", "serial", "/dev/ttyUSB0"),
        ("tcp:host:80", "tcp", "host:80"),
    ],
)
def test_a_target_is_a_name_and_an_address_after_the_first_colon(text, name, address):
    assert targets.parse_target(text) == targets.TargetName(name, address)


@pytest.mark.parametrize("text", ["", " ", ":x", "adb:"])
def test_half_a_target_is_a_usage_error(text):
    with pytest.raises(UsageError, match="incomplete"):
        targets.parse_target(text)


def test_a_form_is_an_address_unless_there_is_one():
    assert targets.with_form("lava", "graph") == "lava:graph"
    assert targets.with_form("lava:graph", None) == "lava:graph"
    with pytest.raises(UsageError, match="'lava:single' has an address already"):
        targets.with_form("lava:single", "graph")


def test_a_device_resolves_to_its_runners_that_are_present_best_first(runners):
    runners(native=Present, litert=Present, onnxruntime=Present, golden=Present)
    assert targets.resolve_target("cpu") == ["native", "litert", "onnxruntime", "golden"]
    runners(native=Absent, litert=Absent, onnxruntime=Present, golden=Present)
    assert targets.resolve_target("cpu") == ["onnxruntime", "golden"]


def test_a_runner_is_a_target_too_with_or_without_address(runners):
    runners(golden=Present)
    assert targets.resolve_target("golden") == ["golden"]
    assert targets.resolve_target("golden:somewhere") == ["golden"]


def test_a_device_description_of_the_user_is_a_target(runners, tmp_path):
    runners(golden=Present)
    path = tmp_path / "mine.toml"
    text = 'name = "mine"\ndescription = "a board"\nrunners = ["golden"]\n'
    path.write_text(text + "[limits]\nram_bytes = 1024\n")
    assert targets.resolve_target(str(path)) == ["golden"]
    path.write_text(text.replace('"golden"', ""))
    with pytest.raises(ConfigError, match="runners"):
        targets.resolve_target(str(path))


def test_a_target_of_which_nothing_is_present_says_why(runners):
    runners(native=Absent, litert=Absent, onnxruntime=Absent, golden=Broken)
    with pytest.raises(DeviceError) as caught:
        targets.resolve_target("cpu")
    assert "onnxruntime: no such engine" in caught.value.actual
    assert "bus error" in caught.value.actual


def test_an_unknown_target_is_a_usage_error_that_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'golden'"):
        targets.resolve_target("goldne")


def test_every_shipped_device_has_the_name_of_its_file_and_runners_that_exist():
    for device in targets.devices():
        assert device.name in resources.files("targets", "devices")
        assert set(device.runners) <= set(plugins.names(plugins.RUNNERS))


def test_the_cpu_target_can_run_here():
    assert "golden" in targets.resolve_target("cpu")


@pytest.mark.parametrize("kind", resources.KINDS)
def test_a_checkout_has_the_data_that_a_wheel_carries(kind):
    assert resources.folder(kind).is_dir()


def test_data_inside_the_package_wins_over_a_folder_beside_it(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "edgesnn")
    (tmp_path / "profiles").mkdir()
    assert resources.folder("profiles") == tmp_path / "profiles"
    inside = tmp_path / "edgesnn" / "_data" / "profiles"
    inside.mkdir(parents=True)
    assert resources.folder("profiles") == inside


def test_a_checkout_keeps_the_engine_with_the_firmware():
    assert (resources.folder("engine") / "snn.h").is_file()


def test_missing_data_is_an_error_with_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "edgesnn")
    with pytest.raises(InternalError, match="pip install"):
        resources.folder("profiles")
