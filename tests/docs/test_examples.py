"""Every project below examples/ does what its README says (deploy-a-student: tests/docs/test_pages.py)."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
import yaml

import edgesnn
from edgesnn.meters.files.recording import Recording
from edgesnn.meters.samples.trace import Trace
from edgesnn.plugins import METERS, RUNNERS
from tests.docs.fences import ROOT
from tests.docs.small import make_small, smaller
from tests.support.bundles import shared_bundle
from tests.support.patience import patience

EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.slow


def test_every_example_has_a_line_in_the_list():
    said = (EXAMPLES / "README.md").read_text("utf-8")
    assert [
        one.name for one in EXAMPLES.iterdir() if one.is_dir() and f"({one.name}/README.md)" not in said
    ] == []


# --- notebook


def run_cells(path, namespace):
    """Run the cells of a notebook as Jupyter does, one after the other in one namespace."""
    for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"], 1):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), namespace)


def test_the_cells_of_the_notebook_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_small(tmp_path, monkeypatch.setattr)
    run_cells(EXAMPLES / "notebook/student.ipynb", {})
    said = capsys.readouterr().out
    assert "0 differ" in said and "#" in said.splitlines()[-1]


def test_the_notebook_is_kept_without_what_its_cells_said():
    cells = json.loads((EXAMPLES / "notebook/student.ipynb").read_text("utf-8"))["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)


# --- gate in GitHub Actions


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """The example as a checkout, a way to run its steps, and programs that stand for others."""
    folder = tmp_path / "repository"
    shutil.copytree(EXAMPLES / "gate-in-github-actions", folder)
    profile = folder / "edgesnn.toml"
    few = smaller(profile.read_text("utf-8")).replace("limit = 0.70", "limit = 0.50")  # few documents: wide
    profile.write_text(few, encoding="utf-8")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "pip").write_text('#!/bin/sh\necho "$@" >> "$INSTALLED"\n')
    (programs / "edgesnn").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edgesnn.cli.main "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "INSTALLED": str(tmp_path / "installed"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }

    def run(script):
        # what GitHub runs a step of `run` with, where no shell is named
        return subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=patience(),
        )

    return folder, run


def test_the_steps_of_the_workflow_run_and_a_worse_student_is_caught(repository, tmp_path):
    folder, run = repository
    (job,) = yaml.safe_load((folder / ".github/workflows/edgesnn.yml").read_text("utf-8"))["jobs"].values()
    steps = {step["name"]: step["run"] for step in job["steps"] if "run" in step}
    assert list(steps) == ["Install", "Export", "Profile", "Compare"]
    for name in ("Install", "Export", "Profile"):
        finished = run(steps[name])
        assert finished.returncode == 0, finished.stdout + finished.stderr
    assert (tmp_path / "installed").read_text() == f"install edgesnn=={edgesnn.__version__}\n"
    assert run("edgesnn baseline update build/edgesnn/run.json").returncode == 0
    finished = run(steps["Compare"])
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert (tmp_path / "summary.md").read_text("utf-8")
    record = folder / "build/edgesnn/run.json"
    worse = json.loads(record.read_text("utf-8"))
    worse["quantities"]["parity.mismatches"]["value"] = 1.0  # one wrong bit
    record.write_text(json.dumps(worse))
    finished = run(steps["Compare"])
    assert finished.returncode == 3 and "REGRESSION" in finished.stdout, finished.stdout + finished.stderr


# --- plug-in package


@pytest.fixture(scope="module")
def plugged(tmp_path_factory):
    """An environment in which the package was installed; edgesnn is this checkout."""
    if find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed: make setup-test")
    folder = tmp_path_factory.mktemp("plugged")
    source = shutil.copytree(EXAMPLES / "plugin-package", folder / "source")
    here = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index"]
    installed = subprocess.run(
        [*here, "--no-deps", "--no-build-isolation", "--target", str(folder / "target"), str(source)],
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert installed.returncode == 0, installed.stdout + installed.stderr

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "edgesnn.cli.main", *map(str, words)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder / 'target'}"},
            capture_output=True,
            text=True,
            timeout=patience(),
        )

    return run


def test_the_package_is_listed_by_its_name(plugged):
    for what, name in (("runners", "delayed"), ("meters", "hwmon")):
        finished = plugged("list", what, "--json")
        assert finished.returncode == 0, finished.stderr
        (item,) = [item for item in json.loads(finished.stdout)["items"] if item["name"] == name]
        assert item.get("error") is None and "edgesnn-bench" in json.dumps(item)


def test_the_slow_device_is_exact_and_slow(plugged):
    assert plugged("verify", shared_bundle(), "--target", "delayed", "--tokens", 20).returncode == 0
    refused = plugged("verify", shared_bundle(), "--target", "delayed:soon", "--tokens", 20)
    assert refused.returncode == 2 and "milliseconds" in refused.stderr


def test_the_sensor_is_recorded(plugged, tmp_path):
    sensor = tmp_path / "power1_input"
    sensor.write_text("250000\n")
    recorded = plugged(
        "meter", "record", f"hwmon:{sensor}", "-o", tmp_path / "t.npz", "--duration", 0.5, "--json"
    )
    assert recorded.returncode == 0, recorded.stderr
    with Recording(tmp_path / "t.npz") as recording:
        trace = Trace.of_segment(recording.segments[0])
        used = trace.between(trace.start_s, trace.start_s + 0.2)
    assert used.energy_j == pytest.approx(0.25 * 0.2, rel=1e-3)
    sensor.write_text("many\n")
    assert (
        plugged("meter", "record", f"hwmon:{sensor}", "-o", tmp_path / "u.npz", "--duration", 0.5).returncode
        == 4
    )


def test_the_groups_of_the_package_are_those_of_edgesnn():
    said = (EXAMPLES / "plugin-package/pyproject.toml").read_text("utf-8")
    assert set(re.findall(r'entry-points\."([^"]+)"', said)) == {RUNNERS, METERS}
