"""``edgesnn list``."""

import pytest

from edgesnn.api import listing
from edgesnn.cli import list as command
from edgesnn.plugins import Plugin

KEYS = {
    "targets": {"name", "kind", "description", "runner", "missing"},
    "runners": {"name", "summary", "capabilities", "missing", "package", "error"},
    "exporters": {"name", "summary", "missing", "package", "error"},
    "profiles": {"name", "windows", "gates", "error"},
    "devices": {"name", "description", "runners", "limits", "missing", "error"},
    "meters": {"name", "kind", "status", "description", "missing", "present", "package", "error"},
    "chips": {"name", "description", "limits", "unsure", "error"},
}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No adb: it would start its server and keep a key in the home folder."""
    monkeypatch.setenv("EDGESNN_ADB", "no-such-adb")


@pytest.mark.parametrize("what", KEYS)
def test_every_listing_is_a_document_and_a_table(edgesnn_here, what):
    listed = edgesnn_here("list", what, "--json")
    assert listed.exit_code == 0
    assert listed.document["schema"] == "edgesnn.list/1"
    assert listed.document["items"], "nothing ships?"
    assert all(set(item) == KEYS[what] for item in listed.document["items"])
    table = edgesnn_here("list", what)
    assert table.exit_code == 0
    assert all(item["name"] in table.stdout for item in listed.document["items"])


def test_list_alone_shows_what_can_be_listed(edgesnn_here):
    shown = edgesnn_here("list")
    assert shown.exit_code == 0
    assert all(kind in shown.stdout for kind in KEYS)
    document = edgesnn_here("list", "--json").document
    assert document["what"] is None and {item["name"] for item in document["items"]} == set(KEYS)


def test_the_cpu_and_every_runner_are_targets(edgesnn_here):
    targets = {item["name"]: item for item in edgesnn_here("list", "targets", "--json").document["items"]}
    runners = [item["name"] for item in edgesnn_here("list", "runners", "--json").document["items"]]
    assert {"cpu", *runners} == set(targets)
    assert targets["cpu"]["runner"] in runners


def test_golden_can_run_everywhere_and_says_what_it_can(edgesnn_here):
    runners = {item["name"]: item for item in edgesnn_here("list", "runners", "--json").document["items"]}
    assert runners["golden"]["missing"] is None
    assert "exact" in runners["golden"]["capabilities"]


def test_a_plugin_that_failed_is_listed_and_said_loudly(monkeypatch, capsys):
    broken = Plugin("lava", "some:Runner", "edgesnn-lava", "runner 'lava' does not load")
    monkeypatch.setattr(listing.plugins, "available", lambda group: [broken])
    command.list_(command.Listing.RUNNERS)
    shown = capsys.readouterr()
    assert "failed" in shown.out
    assert "runner 'lava' failed to load" in shown.err


def test_a_broken_profile_is_listed_with_its_error(monkeypatch, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("x = = 1")
    monkeypatch.setattr(listing, "files", lambda *where: {str(path): path})
    (item,) = listing.list_available("profiles")
    assert "not valid TOML" in item["error"]
