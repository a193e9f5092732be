"""Whatever fails: one clear error, exit code 4, no process and no shared memory left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edgesnn.errors import RunnerError
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.lava import environment as lava_environment
from edgesnn.runners.lava.child import Deadlines
from edgesnn.runners.lava.runner import LavaRunner
from tests.parity.lava.conftest import ids_of, needs_lava, session_of, shared_memory_of
from tests.support.patience import patience, wait_for

pytestmark = needs_lava


def actors_of(runner):
    """The processes of Lava: those of the session that run the worker, without the worker itself."""
    worker = runner._running.pid
    return [
        pid
        for pid in session_of(worker)
        if pid != worker and b"worker.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


class Watched:
    """A running Lava whose traces are looked for after it has failed."""

    def __init__(self, bundle, form="single", **deadlines):
        self.runner = LavaRunner(Deadlines(**deadlines))
        self.runner.open(bundle, RunnerOptions(address=form))
        self.worker = self.runner._running.pid
        self.memory = shared_memory_of(self.worker)
        assert self.memory, "Lava uses shared memory"
        self.handles = len(os.listdir("/proc/self/fd"))

    def fails(self, call, message):
        """The call is one error with exit code 4, and nothing is left."""
        with pytest.raises(RunnerError, match=message) as caught:
            call()
        assert caught.value.exit_code == 4
        assert "\n" not in caught.value.sentence()
        self.is_gone()
        with pytest.raises(RunnerError, match="not running any more"):
            self.runner.step(np.array([0])) if self.runner._form == "single" else call()
        self.runner.close()
        assert len(os.listdir("/proc/self/fd")) < self.handles

    def is_gone(self):
        assert session_of(self.worker) == []
        assert [path for path in self.memory if path.exists()] == []


def test_an_orderly_end_leaves_nothing(bundle):
    watched = Watched(bundle)
    watched.runner.close()
    watched.is_gone()


@pytest.mark.parametrize(("form", "name"), [("single", "network"), ("graph", "embed")])
def test_an_exception_inside_a_process_is_said_with_the_process_and_what_was_raised(bundle, form, name):
    watched = Watched(bundle, form)
    beyond = np.array([[10**6]], np.int32)  # what the runner itself would never let through
    watched.fails(
        lambda: watched.runner._job(beyond, 0, fresh=True, every=False),
        f"exception in process '{name}' of Lava: IndexError: .*out of bounds",
    )


def test_an_idle_process_that_is_killed_is_said_with_its_name_and_the_signal(bundle):
    watched = Watched(bundle)
    os.kill(actors_of(watched.runner)[-1], signal.SIGKILL)
    watched.fails(lambda: watched.runner.step(np.array([0])), "of Lava died; actual: signal SIGKILL")


def test_a_busy_process_that_is_killed_is_said_with_its_name_and_the_signal(bundle, program):
    watched = Watched(bundle, "graph")
    victim = actors_of(watched.runner)[5]
    killer = threading.Timer(0.3, os.kill, (victim, signal.SIGKILL))
    killer.start()
    watched.fails(
        lambda: watched.runner.sequence(ids_of(program, 1, 3000)),
        r"(process '.*'|the runtime service) of Lava died; actual: signal SIGKILL",
    )
    killer.join()


def test_a_killed_child_is_said_with_the_signal(bundle):
    watched = Watched(bundle)
    os.kill(watched.worker, signal.SIGKILL)
    watched.fails(
        lambda: watched.runner.step(np.array([0])), "process that runs Lava died; actual: signal SIGKILL"
    )


def test_a_hang_ends_at_the_deadline(bundle):
    watched = Watched(bundle, job_s=0.4, token_s=0.1)
    for actor in actors_of(watched.runner):
        os.kill(actor, signal.SIGSTOP)
    watched.fails(
        lambda: watched.runner.step(np.array([0])), "Lava did not answer in time; actual: more than 0.5 s"
    )


def test_a_hang_while_starting_ends_at_the_deadline_and_leaves_nothing(bundle, monkeypatch):
    mark = f"test-{os.getpid()}-starting"  # in the environment of what this test starts, and of nothing else
    monkeypatch.setenv("EDGESNN_TEST_MARK", mark)
    before = {path.name for path in Path("/proc").iterdir() if path.name.isdigit()}
    with pytest.raises(RunnerError, match="Lava did not start in time"):
        LavaRunner(Deadlines(start_s=0.15)).open(bundle, RunnerOptions(address="graph"))
    started = {path.name for path in Path("/proc").iterdir() if path.name.isdigit()} - before
    for pid in started:
        try:
            assert mark.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue


def test_a_child_that_does_not_stop_is_ended(bundle):
    watched = Watched(bundle, stop_s=0.5)
    for actor in actors_of(watched.runner):
        os.kill(actor, signal.SIGSTOP)
    watched.runner.close()
    wait_for(lambda: session_of(watched.worker) == [])
    watched.is_gone()


HOST = """
import sys, time
from pathlib import Path
from edgesnn.bundle.bundle import Bundle
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.lava.runner import LavaRunner
runner = LavaRunner()
runner.open(Bundle(Path(sys.argv[1])), RunnerOptions(address="graph"))
print(runner._running.pid, flush=True)
time.sleep(600)
"""


def test_a_killed_host_takes_everything_along(bundle):
    host = subprocess.Popen([sys.executable, "-c", HOST, str(bundle.path)], stdout=subprocess.PIPE, text=True)
    try:
        worker = int(host.stdout.readline())
        memory = shared_memory_of(worker)
        assert len(session_of(worker)) > 20 and memory
    finally:
        host.kill()
        host.communicate()
    wait_for(lambda: session_of(worker) == [])
    assert [path for path in memory if path.exists()] == []


def test_ctrl_c_in_the_host_ends_lava(bundle):
    """The terminal sends the interrupt to the host; the child is in another session."""
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, str(bundle.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        worker = int(host.stdout.readline())
        memory = shared_memory_of(worker)
        host.send_signal(signal.SIGINT)
        host.communicate(timeout=patience())
    finally:
        host.kill()
        host.communicate()
    wait_for(lambda: session_of(worker) == [])
    assert [path for path in memory if path.exists()] == []


def fake_environment(folder, python):
    """An environment of Lava that has no Lava in it."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(python)
    (folder / "environment.json").write_text(json.dumps({"version": "3.11.0", "patched": True}))
    return folder


def test_an_environment_without_lava_is_said_with_what_makes_it_anew(bundle, tmp_path, monkeypatch):
    broken = fake_environment(tmp_path / "broken", sys.executable)
    (broken / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    monkeypatch.setattr(lava_environment, "_folders", lambda: [broken])
    with pytest.raises(
        RunnerError, match="Lava does not load: ModuleNotFoundError.*doctor --install lava"
    ) as caught:
        LavaRunner().open(bundle, RunnerOptions())
    assert caught.value.exit_code == 4


def test_an_interpreter_that_crashes_is_said_with_its_end(bundle, tmp_path, monkeypatch):
    crashing = tmp_path / "crash.sh"
    crashing.write_text("#!/bin/sh\necho no such luck >&2\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    broken = fake_environment(tmp_path / "env", crashing)
    monkeypatch.setattr(lava_environment, "_folders", lambda: [broken])
    with pytest.raises(
        RunnerError, match="process that runs Lava died; actual: signal SIGSEGV: no such luck"
    ):
        LavaRunner().open(bundle, RunnerOptions())
