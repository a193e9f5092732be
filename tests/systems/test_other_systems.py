"""Commands on macOS and Windows, simulated; tests/systems/other_system.py says what that shows."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundles import shared_bundle
from tests.support.patience import patience

ROOT = Path(__file__).parents[2]


@pytest.fixture
def on(tmp_path):
    """Runs commands, one after another in one process, as if on another system, in an empty folder."""

    def run(name, *commands, code=0):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        finished = subprocess.run(
            [sys.executable, ROOT / "tests/systems/other_system.py", name, *commands],
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
    on(
        name,
        f"profile {shlex.quote(str(shared_bundle()))} --target onnxruntime --profile quick -o run.json",
        "compare run.json run.json",
        "report run.json --html run.html",
        "baseline update run.json",
    )
    assert json.loads((tmp_path / "run.json").read_text("utf-8"))["verdict"]["verdict"] == "PASS"
    assert (tmp_path / "run.html").read_text("utf-8").startswith("<!doctype html>")


def test_what_windows_cannot_do_says_so(on):
    said = on("win32", "doctor --json", "meter monitor sim:ppk2?voltage=3.7 --json", code=4)
    doctor, end = json.JSONDecoder().raw_decode(said)
    missing = {check["name"]: check["found"] for check in doctor["checks"] if not check["ok"]}
    assert missing["native"] == "the native engine needs Linux or macOS"
    assert "Linux" in missing["lava"] and "ports" not in missing
    assert "no pseudo-terminals" in json.dumps(json.loads(said[end:]))


def test_a_simulated_instrument_runs_where_there_are_pseudo_terminals(on):
    on("darwin", "meter monitor sim:ppk2?voltage=3.7 --duration 0.2")
