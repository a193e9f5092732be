"""What a user gets: the wheel, in an environment of its own, and what the container file installs."""

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgesnn.runners.native.build import COMPILERS
from edgesnn.toolchain import host_compiler
from tests.support.patience import patience
from tests.support.strace import SWITCHES, foreign, misses, watching
from tools.build_wheels import compiled
from tools.wheel_hook import VARIABLE

ROOT = Path(__file__).parents[2]
BIN = "Scripts" if os.name == "nt" else "bin"

pytestmark = pytest.mark.slow


def run(*arguments, cwd, environment=None):
    """Run a program to its good end, without this checkout on its path; a None unsets a variable."""
    changed = {"PYTHONPATH": None, **(environment or {})}
    settings = {name: value for name, value in {**os.environ, **changed}.items() if value is not None}
    finished = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=settings,
        capture_output=True,
        text=True,
        timeout=patience(1800),
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def steps():
    """What the file says: pairs of an instruction and the rest of its line."""
    lines = (ROOT / "Containerfile").read_text("utf-8").replace("\\\n", " ").splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def cache():
    """Downloads are kept in the checkout's cache, or where pip is told to keep them."""
    return {"PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(ROOT / ".cache" / "pip"))}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, cache):
    """The wheel, made from the source distribution, with the engine compiled where there is a compiler."""
    folder, compiler = tmp_path_factory.mktemp("dist"), host_compiler(COMPILERS)
    if compiler is not None:
        made = compiled(platform.machine(), f"linux_{platform.machine()}", compiler, folder / "prebuilt")
        cache = {**cache, VARIABLE: str(made)}
    isolation = ["--no-isolation"] if find_spec("hatchling") else []
    run(sys.executable, "-m", "build", *isolation, "--outdir", folder, ROOT, cwd=folder, environment=cache)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def program(wheel, tmp_path_factory, cache):
    """``edgesnn`` as the container file installs it, with the oldest versions that it says it takes."""
    folder = tmp_path_factory.mktemp("user")
    (setup,) = [rest for kind, rest in steps() if kind == "RUN" and "venv /opt" in rest]
    here = {
        "python3 -m venv": f"{sys.executable} -m venv",
        "/opt/edgesnn": str(folder / "venv"),
        "--no-cache-dir": "--no-compile",  # a test downloads nothing twice
        "--constraint /src/constraints.txt /src": f"--constraint {ROOT / 'minima.txt'} {wheel}",
    }
    for theirs, ours in here.items():
        assert theirs in setup
        setup = setup.replace(theirs, ours)
    run("sh", "-ec", setup, cwd=folder, environment=cache)
    return folder / "venv" / BIN / "edgesnn"


def test_the_wheel_holds_the_data_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for kind in ("targets", "profiles", "reference"):
        shipped = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / kind).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert shipped, f"{kind} is empty"
        assert {f"edgesnn/_data/{name}" for name in shipped} <= set(names)
    for path in (ROOT / "firmware_bridge" / "engine").rglob("*"):
        if path.is_file():
            assert f"edgesnn/_data/engine/{path.relative_to(ROOT / 'firmware_bridge' / 'engine')}" in names
    for path in (ROOT / "firmware_bridge" / "lava").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert f"edgesnn/_data/lava/{path.relative_to(ROOT / 'firmware_bridge' / 'lava')}" in names
    assert "edgesnn/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "docs/", "tools/"))]


def test_the_wheel_says_its_licence_and_what_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (folder,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        for name in ("LICENSE", "NOTICE", "reference/NOTICE"):
            assert archive.read(f"{folder}/licenses/{name}") == (ROOT / name).read_bytes()
        bill = json.loads(archive.read(f"{folder}/sboms/sbom.cdx.json"))
        described = archive.read(f"{folder}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in described and "Author: the edgesnn contributors" in described
    needed = {line.split(":")[1] for line in described.splitlines() if line.startswith("Requires-Dist:")}
    named = {component["name"] for component in bill["components"] if component["type"] == "library"}
    assert named == {re.split(r"[<>=!~]", each)[0].strip() for each in needed if ";" not in each}


def test_the_oldest_versions_are_those_that_the_project_says_it_takes():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = (ROOT / "minima.txt").read_text("utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    for requirement in project["dependencies"]:
        name, least = requirement.split(">=")
        assert (pinned[name] + ".").startswith(least + ".") or pinned[name] == f"{least}.0", requirement


def test_the_source_distribution_holds_the_documentation(wheel):
    (path,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    pages = {page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert pages | {"README.md", "LICENSE", "NOTICE", "SECURITY.md", "CHANGELOG.md", "sbom.cdx.json"} <= names


def test_the_installed_program_shows_its_help_and_its_profiles(program, tmp_path):
    assert "Usage: edgesnn" in run(program, "--help", cwd=tmp_path)
    listed = json.loads(run(program, "list", "profiles", "--json", cwd=tmp_path))
    shipped = {path.stem for path in (ROOT / "profiles").glob("*.toml")}
    assert {item["name"] for item in listed["items"]} == shipped


def test_the_installed_program_finds_its_runners_and_exporters(program, tmp_path):
    for what in ("runners", "exporters", "targets"):
        items = json.loads(run(program, "list", what, "--json", cwd=tmp_path))["items"]
        assert items
        assert [item for item in items if item.get("error")] == []


def test_the_demo_runs_without_torch_speaks_to_nobody_and_leaves_the_folder_to_the_user(program, tmp_path):
    trace, watched = tmp_path / "trace", misses() is None
    unset = dict.fromkeys(SWITCHES, None)
    run(*(watching(trace) if watched else ()), program, "demo", cwd=tmp_path, environment=unset)
    if watched:
        assert foreign(trace.read_text(errors="replace")) == set(), "the demo spoke to a machine"
    checks = json.loads(run(program, "doctor", "--json", cwd=tmp_path))["checks"]
    (torch,) = [check for check in checks if check["name"] == "torch"]
    assert torch["found"] == "not installed (pip install 'edgesnn[train]')"
    missing = {check["name"]: check for check in checks if not check["ok"]}
    named = {check["name"] for check in missing.values() if check["area"] not in ("meter", "extra")}
    assert {"litert", "tflite"} <= named
    assert named <= {"litert", "tflite", "torchscript", "lava", "native", "adb", "ssh", "browser"}
    assert {check["area"] for check in missing.values() if check["name"] == "torch"} == {"extra"}
    assert all(check["remedy"] for check in missing.values())


@pytest.mark.skipif(host_compiler(COMPILERS) is None, reason="no C compiler made the engine of this wheel")
def test_the_native_engine_runs_where_there_is_no_compiler(program, wheel, tmp_path):
    assert wheel.name.endswith(f"-py3-none-linux_{platform.machine()}.whl")
    nothing = {"PATH": "", "EDGESNN_CC": "", "CC": "", "EDGESNN_CACHE": str(tmp_path / "cache")}
    targets = json.loads(run(program, "list", "targets", "--json", cwd=tmp_path, environment=nothing))
    (cpu,) = [item for item in targets["items"] if item["name"] == "cpu"]
    assert cpu["runner"] == "native"
    code = "from edgesnn.runners.native.engine import kernel_sets; print(*kernel_sets())"
    sets = run(program.with_name("python"), "-c", code, cwd=tmp_path, environment=nothing)
    assert "reference" in sets.split() and not (tmp_path / "cache").exists()


def test_an_engine_of_other_sources_is_not_taken(program, tmp_path):
    at = {"EDGESNN_CC": "", "CC": ""}
    code = (
        "from edgesnn.runners.native import build;"
        "found = build.prebuilt(); build.FLAGS = (*build.FLAGS, '-g');"
        "print(found is not None, build.prebuilt())"
    )
    said = run(program.with_name("python"), "-c", code, cwd=tmp_path, environment=at)
    assert said.split() == [str(host_compiler(COMPILERS) is not None), "None"]
    named = {**at, "EDGESNN_CC": "gcc"}
    code = "from edgesnn.runners.native import build; print(build.prebuilt())"
    assert run(program.with_name("python"), "-c", code, cwd=tmp_path, environment=named).strip() == "None"


def test_the_command_is_the_demo_of_a_plain_user():
    said = steps()
    assert said[0] == ("FROM", "docker.io/library/debian:12-slim")
    assert dict(said)["USER"] == "user" and ("RUN", "useradd --create-home user") in said
    assert said[-1][0] == "CMD" and json.loads(said[-1][1]) == ["edgesnn", "demo"]
    kinds = [kind for kind, _ in said]
    assert kinds.index("USER") > max(at for at, kind in enumerate(kinds) if kind in ("RUN", "COPY"))


@pytest.mark.skipif(shutil.which("apt-cache") is None, reason="no Debian: its packages are not known here")
def test_the_packages_are_debians():
    (install,) = [rest for kind, rest in steps() if kind == "RUN" and "apt-get" in rest]
    words = shlex.split(install.split("install", 1)[1].split("&&")[0])
    for package in (word for word in words if not word.startswith("--")):
        shown = subprocess.run(["apt-cache", "show", package], capture_output=True, check=False)
        assert shown.returncode == 0, package
