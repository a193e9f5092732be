"""Locks across processes and users."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from edgesnn.errors import DeviceError
from edgesnn.locks import VARIABLE, lock_path, locked, locked_file

NAME, WHAT = "meter x:1", "the meter 'x:1'"
ROOT = Path(__file__).parents[3]
NOBODY = "65534"  # a user without rights
#: Holds the lock until its input ends, as another user where one is named; its umask hides all from others.
HOLDER = f"""
import os, sys
import filelock
from edgesnn.errors import DeviceError
from edgesnn.locks import locked
os.umask(0o077)
for user in sys.argv[1:]:
    os.setgroups([])
    os.setgid(int(user))
    os.setuid(int(user))
try:
    with locked({NAME!r}, {WHAT!r}):
        print("held", flush=True)
        sys.stdin.read()
except DeviceError as error:
    print(error.sentence(), flush=True)
"""


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def started(*user):
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLDER, *user]
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)


@contextmanager
def holder(*user):
    """A process that asks for the lock, and what it says."""
    with started(*user) as process:
        yield process, process.stdout.readline().strip()


def refused(words):
    with pytest.raises(DeviceError, match=words) as caught, locked(NAME, WHAT):
        pass
    return caught.value


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_everybody_can_use_folder_and_file_whatever_the_umask_and_no_trace_is_left(place):
    with holder() as (_, said):
        assert said == "held"
    path = lock_path(NAME)
    assert mode_of(path.parent) == 0o1777 and mode_of(path) == 0o666
    assert list(place.iterdir()) == [path.parent] and list(path.parent.iterdir()) == [path]


def test_one_process_has_it_until_it_ends_however_it_ends():
    with holder() as (process, _):
        refused("the meter 'x:1' is in use by another process")
        with locked("another", WHAT):
            pass
        process.kill()
        process.wait()
        with locked(NAME, WHAT), holder() as (_, said):
            assert "in use by another process" in said


def test_processes_that_start_together_make_one_folder_and_one_of_them_holds(place):
    with ExitStack() as stack:
        together = [stack.enter_context(started()) for _ in range(4)]
        said = sorted(process.stdout.readline() for process in together)
    assert said[0] == "held\n" and all("in use by another process" in line for line in said[1:])
    assert [path.name for path in place.iterdir()] == ["edgesnn-locks"]


def test_it_can_be_waited_for():
    with holder() as (process, _):
        threading.Timer(0.1, process.stdin.close).start()
        with locked(NAME, WHAT, wait_s=60):
            pass


def test_a_name_makes_a_readable_file_of_its_own():
    first, second = lock_path("target adb:1/2"), lock_path("target adb:1:2")
    assert first != second and first.name.startswith("target_adb_1_2-") and first.parent == second.parent


def test_by_default_the_place_is_the_same_for_all_users(monkeypatch):
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("TMPDIR", "/somewhere/of/a/user")
    assert lock_path(NAME).parent == Path("/tmp/edgesnn-locks")


def test_a_folder_from_before_is_opened_to_all_by_its_owner(place):
    folder = place / "edgesnn-locks"
    folder.mkdir(mode=0o755)
    with locked(NAME, WHAT):
        assert mode_of(folder) == 0o1777


def test_a_strangers_folder_is_used_when_it_is_for_all_and_refused_when_not(place, monkeypatch):
    folder = place / "edgesnn-locks"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with locked(NAME, WHAT):
        pass
    folder.chmod(0o777)
    error = refused("not for all users")
    assert "chmod 1777" in error.remedy and VARIABLE in error.remedy
    assert mode_of(folder) == 0o777


@pytest.mark.parametrize("what", ["a file", "a link"])
def test_what_is_no_folder_is_refused(place, what):
    other = place / "other"
    other.mkdir(mode=0o700)
    if what == "a link":
        (place / "edgesnn-locks").symlink_to(other)
    else:
        (place / "edgesnn-locks").write_text("")
    refused("cannot be locked")
    assert mode_of(other) == 0o700 and not any(other.iterdir())


@pytest.mark.parametrize("there", [True, False])
def test_a_link_that_was_planted_for_a_lock_is_not_followed(place, there):
    victim = place / "victim"
    if there:
        victim.write_text("precious")
        victim.chmod(0o600)
    path = lock_path(NAME)
    path.parent.mkdir()
    path.symlink_to(victim)
    refused("cannot be locked")
    assert victim.exists() == there
    assert not there or (victim.read_text() == "precious" and mode_of(victim) == 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_users_of_one_machine_share_a_lock(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o1777)
        monkeypatch.setenv(VARIABLE, name)
        with locked(NAME, WHAT), holder(NOBODY) as (_, said):  # the folder and the file are root's
            assert "in use" in said
        with holder(NOBODY) as (_, said):
            assert said == "held"
            refused("in use")
        shutil.rmtree(lock_path(NAME).parent)
        with holder(NOBODY) as (_, said):
            assert said == "held" and str(lock_path(NAME).parent.stat().st_uid) == NOBODY
            with locked("mine", WHAT):
                refused("in use")


def test_a_users_own_lock_waits_and_is_for_its_user_only(tmp_path):
    path, order = tmp_path / "lock", []
    waiting = threading.Event()

    def second():
        waiting.set()
        with locked_file(path):
            order.append("second")

    with locked_file(path):
        thread = threading.Thread(target=second)
        thread.start()
        waiting.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"] and mode_of(path) == 0o600
    with pytest.raises(OSError), locked_file(tmp_path / "lock" / "below a file"):
        pass
