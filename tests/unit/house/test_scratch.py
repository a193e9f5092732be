"""What a killed process left is removed by the next one; what is alive, a stranger's or not ours never is."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgesnn import scratch, system
from edgesnn.bundle.writer import new_folder
from edgesnn.scratch import ScratchFile, ScratchFolder, hold, old_name, release, sweep
from edgesnn.whole_files import write_whole

ROOT = Path(__file__).parents[3]
#: Makes a folder and a file, and waits to be killed.
WORKER = """
import sys
from pathlib import Path
from edgesnn.scratch import ScratchFile, ScratchFolder
place = Path(sys.argv[1])
folder, file = ScratchFolder("bun", place), ScratchFile("run.json", place)
(folder.path / "deep").mkdir()
(folder.path / "deep" / "half").write_text("half")
print(folder.path.name, file.path.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """As in a process that has not looked anywhere yet."""
    monkeypatch.setattr(scratch, "_looked_in", set())


@contextmanager
def worker(place):
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", WORKER, str(place)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        yield process, process.stdout.readline().split()


def names(place):
    return sorted(path.name for path in place.iterdir())


def test_what_a_killed_process_left_is_removed_and_what_lives_stays(tmp_path):
    with worker(tmp_path) as (alive, living), worker(tmp_path) as (dead, left):
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        assert names(tmp_path) == sorted(living + left)
        with ScratchFolder("bun", tmp_path) as mine:
            assert names(tmp_path) == sorted([*living, mine.path.name])
            sweep(tmp_path)
            assert names(tmp_path) == sorted([*living, mine.path.name])
        alive.kill()


def test_what_is_not_ours_stays(tmp_path):
    for name in (
        ".bun.abcdefgh",
        ".bun.edgesnn-abcdefgh",
        "bun",
        ".bun.edgesnn-0123456789abABCDEFGH",
        "edgesnn-x",
    ):
        (tmp_path / name).mkdir()
    other_machine = ".bun.edgesnn-" + "f" * 12 + "abcdefgh"
    (tmp_path / other_machine).mkdir()
    victim = tmp_path / "victim"
    victim.mkdir()
    link = tmp_path / f".bun.edgesnn-{''.join(scratch._machine())}abcdefgh"
    link.symlink_to(victim)
    before = names(tmp_path)
    sweep(tmp_path)
    assert names(tmp_path) == before and len(before) == 8


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_another_user_left_stays(tmp_path):
    with worker(tmp_path) as (process, left):
        process.kill()
    os.chown(tmp_path / left[0], 65534, 65534)
    sweep(tmp_path)
    assert names(tmp_path) == [left[0]]


@pytest.mark.parametrize("same", ["name", "start", "neither"])
def test_leftovers_of_this_machine_are_known_by_its_name_or_its_start(tmp_path, monkeypatch, same):
    with worker(tmp_path) as (process, left):
        process.kill()
    name, start = scratch._machine()
    here = {"name": (name, "0" * 6), "start": ("0" * 6, start), "neither": ("0" * 6, "0" * 6)}[same]
    monkeypatch.setattr(scratch, "_machine", lambda: here)
    sweep(tmp_path)
    assert names(tmp_path) == (sorted(left) if same == "neither" else [])


def test_a_second_process_that_uses_a_folder_keeps_it(tmp_path):
    with worker(tmp_path) as (process, left):
        held = hold(tmp_path / left[0])
        process.kill()
        process.wait()
    sweep(tmp_path)
    assert names(tmp_path) == [left[0]]
    release(held)
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_one_that_is_found_before_it_is_held_is_made_again(tmp_path, monkeypatch):
    lock, tries = system.lock, []

    def late(path, *, shared):
        tries.append(path)
        if len(tries) == 1:
            path.rmdir()
        elif len(tries) == 2:
            raise BlockingIOError
        return lock(path, shared=shared)

    monkeypatch.setattr(system, "lock", late)
    with ScratchFolder("bun", tmp_path) as made:
        assert made.path.is_dir() and made.path == tries[2]
    tries[1].rmdir()
    assert names(tmp_path) == []


def test_many_at_once_never_take_each_others(tmp_path):
    failures = []

    def work():
        try:
            for _ in range(100):
                sweep(tmp_path)
                with ScratchFile("x", tmp_path) as file:
                    os.close(file.handle)
                    file.path.write_text("mine")
                    sweep(tmp_path)
                    assert file.path.read_text() == "mine"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and names(tmp_path) == []


def test_names_of_any_length_and_alphabet_are_taken(tmp_path):
    for name in ("x" * 250, "ü" * 120, "a b\nc"):
        with ScratchFolder(name, tmp_path) as made:
            sweep(tmp_path)
            assert made.path.is_dir()
        write_whole(tmp_path / name, b"whole")
    assert len(names(tmp_path)) == 3


EXPORT = """
import os, sys, signal
from pathlib import Path
from edgesnn.bundle import writer
target, where = Path(sys.argv[1]), sys.argv[2]
rename = Path.replace
def replace(self, to):
    done = rename(self, to)
    if where == "between" and self == target:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
Path.replace = replace
with writer.new_folder(target, overwrite=True) as folder:
    (folder / "content").write_text("new")
    if where == "inside":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("where", "content"), [("inside", "old"), ("between", "old")])
def test_a_folder_that_was_to_be_replaced_is_there_after_a_kill(tmp_path, where, content):
    target = tmp_path / "bun"
    with new_folder(target, overwrite=False) as folder:
        (folder / "content").write_text("old")
    killed = subprocess.run(
        [sys.executable, "-c", EXPORT, target, where], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert killed.returncode == -signal.SIGKILL and len(names(tmp_path)) == 2
    sweep(tmp_path)
    assert names(tmp_path) == ["bun"] and (target / "content").read_text() == content


def test_an_old_folder_is_removed_once_the_new_one_is_there(tmp_path):
    (tmp_path / "bun").mkdir()
    old_name(tmp_path / "bun").mkdir()
    sweep(tmp_path)
    assert names(tmp_path) == ["bun"]


def test_without_such_locks_nothing_is_removed(tmp_path, monkeypatch):
    with worker(tmp_path) as (process, left):
        process.kill()
    monkeypatch.setattr(system, "fcntl", None)
    with ScratchFolder("bun", tmp_path) as made:
        assert names(tmp_path) == sorted([*left, made.path.name])
    assert names(tmp_path) == sorted(left)


def test_files_of_locks_go_when_nobody_used_them_for_long(tmp_path):
    long_ago = time.time() - 2 * 86400
    for name in (
        "a-01234567.lock",
        "held-01234567.lock",
        "fresh-01234567.lock",
        "uv.lock",
        "full-01234567.lock",
    ):
        (tmp_path / name).write_text("x" if name.startswith("full") else "")
        if not name.startswith("fresh"):
            os.utime(tmp_path / name, (long_ago, long_ago))
    held = hold(tmp_path / "held-01234567.lock")
    scratch.sweep_files(tmp_path, scratch.re.compile(r".*-[0-9a-f]{8}\.lock"), older_s=86400)
    release(held)
    assert names(tmp_path) == ["fresh-01234567.lock", "full-01234567.lock", "held-01234567.lock", "uv.lock"]
