"""The container file without a container engine: its steps install what its command needs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.support.patience import patience

pytestmark = pytest.mark.slow


def steps():
    """What the file says: pairs of an instruction and the rest of its line."""
    lines = (ROOT / "Containerfile").read_text("utf-8").replace("\\\n", " ").splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]


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


def test_the_steps_install_the_program(tmp_path):
    (setup,) = [rest for kind, rest in steps() if kind == "RUN" and "venv /opt" in rest]
    here = {"/opt/edgesnn": str(tmp_path / "opt"), "/src": str(ROOT), "python3 -m": f"{sys.executable} -m"}
    for theirs, ours in here.items():
        setup = setup.replace(theirs, ours)
    # the checkout's cache in place of no cache: a test downloads nothing twice
    setup = setup.replace("--no-cache-dir", f"--cache-dir {ROOT / '.cache' / 'pip'}")
    subprocess.run(["sh", "-ec", setup], check=True, capture_output=True, timeout=patience(), cwd=tmp_path)
    path = dict(steps())["ENV"].removeprefix("PATH=").replace("/opt/edgesnn", str(tmp_path / "opt"))
    environment = {
        "PATH": path,
        "HOME": str(tmp_path),
        **{k: v for k, v in os.environ.items() if k == "TMPDIR"},
    }
    done = subprocess.run(
        ["edgesnn", "list", "targets", "--json"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    names = {item["name"] for item in json.loads(done.stdout)["items"] if not item.get("missing")}
    assert {"native", "golden"} <= names
