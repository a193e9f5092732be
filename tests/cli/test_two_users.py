"""Two users of one machine, one after the other and at once: the same locks, caches of their own."""

import json
import os
import shutil
import stat
import subprocess
import sys
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.bundles import shared_bundle
from tests.support.patience import patience

USERADD, USERDEL = (
    shutil.which("useradd", path="/usr/sbin:/sbin"),
    shutil.which("userdel", path="/usr/sbin:/sbin"),
)
NAMES = (f"edgesnn{os.getpid()}a", f"edgesnn{os.getpid()}b")  # another run of the tests has its own
#: Compiles without optimising: an engine for every user, in a fifth of the time.
COMPILER = '#!/bin/sh\nexec {} "$@" -O0\n'
#: What the demo does, as far as locks and caches go, in a moment.
PROFILE = (
    'schema = "edgesnn.profile/1"\nname = "p"\n[workload]\nwindows = 1\nmin_window_seconds = 0.0\n'
    "min_window_tokens = 4\nfirst_tokens = 2\nactivity_tokens = 0\nmemory_probes = 1\n"
    "accuracy_tokens = 0\nparity_tokens = 4\nwarmup_tokens = 2\n"
)


@cache
def interpreter():
    """One that other users may run, with this one's packages; None where there is none."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for path in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        command = [path, "-c", "import encodings, numpy, onnxruntime"]
        with suppress(OSError):
            tried = subprocess.run(
                command, user=65534, group=65534, extra_groups=[], cwd="/", capture_output=True, env=paths()
            )
            if tried.returncode == 0:
                return path
    return None


def paths():
    packages = [path for path in sys.path if path.endswith("-packages")]
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join([str(ROOT), *packages])}


def why_not():
    if sys.platform != "linux" or os.geteuid() != 0 or not USERADD or not USERDEL:
        return "only root on Linux can make users (useradd)"
    return None if interpreter() else "no interpreter here may be run by another user"


class User:
    """A user of this machine with a home of its own."""

    def __init__(self, name, place):
        self.name, self.home = name, place / name
        subprocess.run(
            [USERADD, "--no-create-home", "--home-dir", self.home, name], check=True, capture_output=True
        )
        self.home.mkdir()
        self.own(self.home)
        self.python = interpreter()
        self.settings = {**paths(), "HOME": str(self.home), "EDGESNN_CC": str(place / "cc")}

    def own(self, path):
        shutil.chown(path, self.name, self.name)

    def start(self, *arguments, **environment):
        return subprocess.Popen(
            [self.python, "-m", "edgesnn.cli.main", *map(str, arguments)],
            user=self.name, group=self.name, extra_groups=[], cwd=self.home, umask=0o077,
            env={**self.settings, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def remove(self):
        subprocess.run([USERDEL, self.name], check=False, capture_output=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that everybody reaches, with a bundle in it."""
    if why_not() is not None:
        pytest.skip(why_not())
    folder = Path("/tmp") / f"edgesnn-tests-users-{os.getpid()}"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    shutil.copytree(shared_bundle(), folder / "bundle")
    (folder / "p.toml").write_text(PROFILE)
    (folder / "p.toml").chmod(0o644)
    (folder / "cc").write_text(COMPILER.format(shutil.which("gcc") or shutil.which("cc")))
    (folder / "cc").chmod(0o755)
    for path in (folder / "bundle", *(folder / "bundle").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def users(place):
    with ExitStack() as stack:
        made = []
        for name in NAMES:
            made.append(User(name, place))
            stack.callback(shutil.rmtree, made[-1].home)
            stack.callback(made[-1].remove)
        shared = place / "shared"
        shared.mkdir()
        shared.chmod(0o1777)
        stack.callback(shutil.rmtree, shared)
        yield [*made, shared]


def finished(process):
    out, err = process.communicate(timeout=patience())
    assert process.returncode in (0, 3, 6), err
    return json.loads(out)


def profile(user, shared, place):
    options = ("--target", "native", "--profile", place / "p.toml", "--json", "-o", "run.json")
    return user.start("profile", place / "bundle", *options, EDGESNN_LOCKS=str(shared), TMPDIR=str(shared))


@pytest.mark.parametrize("order", ["one after the other", "at once"])
def test_two_users_profile_on_one_machine(users, place, order):
    one, two, shared = users
    if order == "at once":
        both = [profile(user, shared, place) for user in (one, two)]
        documents = [finished(process) for process in both]
    else:
        documents = [finished(profile(user, shared, place)) for user in (one, two)]
    assert all("error" not in document for document in documents)
    for user in (one, two):
        cache = user.home / ".cache" / "edgesnn"
        assert list((cache / "engine").glob("snn-*.so")) and cache.stat().st_uid == user.home.stat().st_uid
    locks = shared / "edgesnn-locks"
    assert stat.S_IMODE(locks.stat().st_mode) == 0o1777
    assert {path.stat().st_uid for path in locks.iterdir()} == {
        user.home.stat().st_uid for user in (one, two)
    }
    assert [path.name for path in shared.iterdir() if "edgesnn" in path.name] == ["edgesnn-locks"]


@pytest.mark.parametrize("why", ["read-only", "missing", "a file"])
def test_a_home_that_cannot_be_written_is_no_obstacle(users, place, why):
    one, _, shared = users
    home = {"read-only": place, "missing": place / "nowhere", "a file": place / "bundle" / "program.snn"}[why]
    process = subprocess.Popen(
        [one.python, "-m", "edgesnn.cli.main", "verify", place / "bundle", "--target", "native"],
        user=one.name, group=one.name, extra_groups=[], cwd=one.home, stderr=subprocess.PIPE, text=True,
        env={**one.settings, "HOME": str(home), "TMPDIR": str(shared), "EDGESNN_LOCKS": str(shared)},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    _, err = process.communicate(timeout=patience())
    assert process.returncode == 0, err
    cache = shared / f"edgesnn-cache-{one.home.stat().st_uid}"
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700 and list((cache / "engine").glob("snn-*.so"))


def test_doctor_says_where_cache_and_locks_are_and_what_is_wrong(users):
    one, two, shared = users
    document = finished(one.start("doctor", "--json", EDGESNN_LOCKS=str(shared)))
    checks = {check["name"]: check for check in document["checks"] if check["area"] == "folder"}
    assert checks["cache"]["ok"] and str(one.home) in checks["cache"]["found"]
    assert checks["locks"]["ok"] and str(shared) in checks["locks"]["found"]
    (shared / "edgesnn-locks").chmod(0o755)
    (shared / "edgesnn-cache").mkdir(mode=0o700)
    document = finished(
        two.start("doctor", "--json", EDGESNN_LOCKS=str(shared), EDGESNN_CACHE=str(shared / "edgesnn-cache"))
    )
    checks = {check["name"]: check for check in document["checks"] if check["area"] == "folder"}
    assert not checks["locks"]["ok"] and "chmod 1777" in checks["locks"]["remedy"]
    assert not checks["cache"]["ok"] and "EDGESNN_CACHE" in checks["cache"]["remedy"]
