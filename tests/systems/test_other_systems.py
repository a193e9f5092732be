"""Commands on macOS and Windows, simulated; tests/systems/other_system.py says what that shows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundles import shared_bundle
from tests.support.patience import patience

ROOT = Path(__file__).parents[2]


@pytest.fixture
def on(tmp_path):
    """Runs ``edgesnn ARGUMENTS`` as if on another system, in an empty folder."""

    def run(name, *arguments, code=0):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "EDGESNN_CACHE": str(tmp_path / "cache")}
        finished = subprocess.run(
            [sys.executable, ROOT / "tests/systems/other_system.py", name, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=patience(),
        )
        assert finished.returncode == code, finished.stdout + finished.stderr
        return finished.stdout

    return run


@pytest.mark.parametrize("name", ["win32", "darwin"])
def test_a_student_is_profiled_compared_and_reported(on, tmp_path, name):
    run = ["--target", "onnxruntime", "--profile", "quick", "-o", "run.json", "--json"]
    assert json.loads(on(name, "profile", shared_bundle(), *run))["verdict"]["verdict"] == "PASS"
    on(name, "compare", "run.json", "run.json")
    on(name, "report", "run.json", "--html", "run.html")
    assert (tmp_path / "run.html").read_text("utf-8").startswith("<!doctype html>")


def test_what_windows_cannot_do_says_so(on, tmp_path):
    missing = {
        c["name"]: c["found"] for c in json.loads(on("win32", "doctor", "--json"))["checks"] if not c["ok"]
    }
    assert missing["native"] == "the native engine needs Linux or macOS"
    assert "Linux" in missing["lava"] and "ports" not in missing
    refused = json.loads(on("win32", "meter", "monitor", "sim:ppk2?voltage=3.7", "--json", code=4))
    assert "no pseudo-terminals" in json.dumps(refused)


def test_a_simulated_instrument_runs_where_there_are_pseudo_terminals(on):
    on("darwin", "meter", "monitor", "sim:ppk2?voltage=3.7", "--duration", "0.2")
