"""``edgesnn doctor``."""

import pytest

from edgesnn import plugins, targets
from edgesnn.cli import doctor


def test_it_looks_at_everything_and_exits_0(edgesnn):
    finished = edgesnn("doctor", "--json")
    assert finished.exit_code == 0
    document = finished.document
    assert document["schema"] == "edgesnn.doctor/1"
    areas = {check["area"] for check in document["checks"]}
    assert areas == {"python", "package", "data", "runner", "exporter", "training"}
    assert document["missing"] == sum(not check["ok"] for check in document["checks"])


def test_what_is_missing_has_a_remedy_and_what_is_there_has_none(edgesnn):
    for check in edgesnn("doctor", "--json").document["checks"]:
        assert (check["remedy"] is None) == check["ok"]


def test_without_torch_training_is_missing_with_one_remedy(monkeypatch, capsys):
    real = doctor.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "torch" else real(name))
    doctor.doctor()
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
