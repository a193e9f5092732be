"""Without a C compiler a slower engine is used, and that is said."""

import json

import pytest

from edgesnn import plugins, targets
from edgesnn.api.runners import engine_notes
from edgesnn.record.files import read_run
from tests.cli.test_tables import TINY
from tests.support.bundles import shared_bundle

NOWHERE = {"EDGESNN_CC": "/nowhere/cc"}


@pytest.fixture
def said(edgesnn, tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    lines = {
        "generate": ("generate", shared_bundle(), "Hi", "--max-tokens", "2"),
        "profile": ("profile", shared_bundle(), "--profile", "tiny.toml", "-o", tmp_path / "run.json"),
    }
    return lambda name, *more, **environment: edgesnn(*lines[name], *more, environment=environment)


@pytest.mark.parametrize("name", ["generate", "profile"])
def test_a_slower_engine_is_named_on_stderr_with_reason_and_remedy_and_in_the_record(said, name, tmp_path):
    finished = said(name, "--json", **NOWHERE)
    assert finished.exit_code == 0, finished.stderr
    (line,) = [one for one in finished.stderr.splitlines() if one.startswith("warning:")]
    assert "target 'cpu' runs on " in line and "not on native" in line
    assert "/nowhere/cc" in line and "apt install gcc" in line and "EDGESNN_CC" in line
    kept = json.loads(finished.stdout)["notes" if name == "generate" else "marks"]
    assert any("not on native" in one for one in kept)
    if name == "profile":
        record = read_run(tmp_path / "run.json").record
        assert f"runs on {record.device.runner}," in line


def test_an_engine_that_was_named_and_one_that_can_run_give_no_warning(said):
    assert "warning" not in said("generate", "--target", "onnxruntime", **NOWHERE).stderr
    if targets.why_not("native") is None:
        assert "warning" not in said("generate").stderr


def test_with_an_empty_path_the_remedy_is_the_same(monkeypatch, tmp_path):
    from edgesnn import toolchain

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    for variable in toolchain.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    (sentence,) = engine_notes("cpu", shared_bundle())
    assert "no C compiler" in sentence and "apt install gcc" in sentence


def test_the_engine_that_is_named_is_the_one_whose_files_the_bundle_has(monkeypatch):
    monkeypatch.setenv("EDGESNN_CC", "/nowhere/cc")
    faster = [one for one in targets.resolve_target("cpu")]
    assert faster[0] in engine_notes("cpu", "no bundle at all")[0]
    (sentence,) = targets.passed_over("cpu", "onnxruntime")
    assert "runs on onnxruntime, not on native" in sentence
    assert targets.passed_over("onnxruntime") == [] and targets.passed_over("cpu", "browser") == []
    assert set(faster) <= set(plugins.names(plugins.RUNNERS))
