"""The child process of the runner ``lava``: runs an exported folder in Lava and does what it is told.

It runs in an environment of its own and imports nothing of edgesnn. Commands and answers are lines of JSON on
two pipes; token ids and logits go through two files. Lava answers every failure by waiting for ever, so:

* every process of this tree is killed by the kernel when its parent dies;
* a thread watches Lava's processes, and one that ends early ends this one, with its reason;
* the end is `os._exit`, because Lava's cleaning up at exit can hang; shared memory is freed by ``stop`` or,
  after a failure, by Python's resource tracker, which outlives this process.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import json
import os
import platform
import signal
import sys
import threading
import traceback
from multiprocessing import connection
from pathlib import Path

FAILED = 1
#: How long the watcher looks for the cause when processes have ended in order.
AFTERMATH_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; end now if that has happened already."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(FAILED)


class Answers:
    """The pipe to the host.

    Args:
        handle: File descriptor.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._lock = threading.Lock()

    def send(self, **answer: object) -> None:
        """Write one line; a host that is gone is no failure."""
        with self._lock:
            try:
                os.write(self._handle, json.dumps(answer).encode() + b"\n")
            except BrokenPipeError:
                os._exit(FAILED)

    def fail(self, what: str, detail: str) -> None:
        """Report a failure and end."""
        self.send(error=what, detail=detail)
        os._exit(FAILED)


def protect_children(handles: tuple) -> None:
    """Kill every forked process when its parent dies, and close what is the host's business in it.

    Args:
        handles: File descriptors that no child needs.
    """
    parent = [os.getpid()]

    def before() -> None:
        parent[0] = os.getpid()

    def in_child() -> None:
        die_with(parent[0])
        for handle in handles:
            with contextlib.suppress(OSError):
                os.close(handle)

    os.register_at_fork(before=before, after_in_child=in_child)


def watch(simulation: object, answers: Answers, stopping: threading.Event) -> None:
    """Report the first process of Lava that fails.

    Args:
        simulation: The started simulation.
        answers: The pipe to the host.
        stopping: Set when processes are told to end.
    """
    runtime = next(iter(simulation.processes.values()))._runtime
    # In Lava's order of building: the processes, then the service that keeps their time.
    names = [f"process '{process.name}'" for process in runtime._executable.proc_builders]
    actors = runtime._messaging_infrastructure.actors
    named = zip([*names, "the runtime service"], actors, strict=True)
    remaining = {actor.sentinel: (name, actor) for name, actor in named}
    for actor in actors:
        # Lava waits for all of its processes when one of them fails, and so for ever.
        actor.join = functools.partial(_join_when, stopping, actor.join)

    def wait() -> None:
        patience = None
        while True:
            ended = connection.wait(list(remaining), patience)
            if stopping.is_set():
                return
            for sentinel in ended:
                name, actor = remaining.pop(sentinel)
                failure = actor.exception
                if failure is not None:
                    answers.fail(f"exception in {name} of Lava: {last_line(failure[1])}", failure[1])
                code = actor._popen.wait()  # its pipes close a moment before it has ended
                if code:
                    answers.fail(f"{name} of Lava died", ending(code))
            # A failure makes others end in order; it may be seen after them.
            if not ended:
                answers.fail(
                    "processes of Lava ended early", f"{len(actors) - len(remaining)} of {len(actors)}"
                )
            patience = AFTERMATH_SECONDS

    threading.Thread(target=wait, name="watch", daemon=True).start()


def _join_when(event: threading.Event, join: object) -> None:
    event.wait()
    join()


def ending(code: int) -> str:
    """What an exit code means."""
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def last_line(text: str) -> str:
    """The last line of a traceback: what was raised."""
    return text.strip().rpartition("\n")[2].strip()


def versions(patched: bool) -> dict:
    """What runs here, for the record."""
    from importlib.metadata import version

    return {
        "python": platform.python_version(),
        "lava": version("lava-nc"),
        "numpy": version("numpy"),
        "patched": patched,
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="weights and manifest")
    parser.add_argument("--package", type=Path, required=True, help="folder that holds the process package")
    parser.add_argument("--shim", type=Path, required=True, help="folder that holds shim.py")
    parser.add_argument("--form", choices=("single", "graph"), required=True)
    parser.add_argument("--parent", type=int, required=True, help="process id of the host")
    for name in ("tokens", "logits", "commands", "answers"):
        parser.add_argument(f"--{name}", type=int, required=True, help="file descriptor")
    return parser.parse_args()


def main() -> None:
    """Make the simulation, then serve commands until ``stop`` or until the host is gone."""
    arguments = parse()
    die_with(arguments.parent)
    # Lava's processes stop with this one; an interrupt of the terminal is the host's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = Answers(arguments.answers)
    try:
        sys.path[:0] = [str(arguments.package), str(arguments.shim)]
        import shim

        patched = shim.import_on_newer_python()
        from snn_lava.build import Simulation

        found = versions(patched)
    except Exception:
        text = traceback.format_exc()
        answers.fail(f"Lava does not load: {last_line(text)}", text)
    stopping = threading.Event()
    try:
        protect_children((arguments.commands, arguments.answers))
        paths = (f"/proc/self/fd/{arguments.tokens}", f"/proc/self/fd/{arguments.logits}")
        simulation = Simulation(arguments.folder, arguments.form, *paths)
        simulation.start()
        watch(simulation, answers, stopping)
        simulation.warm_up()
        answers.send(ready=found, processes=len(simulation.processes))
        serve(simulation, arguments.commands, answers)
        stopping.set()
        simulation.stop()
    except Exception:
        text = traceback.format_exc()
        answers.fail(f"Lava failed: {last_line(text)}", text)
    answers.send(stopped=True)
    os._exit(0)


def serve(simulation: object, commands: int, answers: Answers) -> None:
    """Do one job per command until ``stop`` or the end of the pipe.

    Args:
        simulation: The running simulation.
        commands: File descriptor of the pipe from the host.
        answers: The pipe to the host.
    """
    with os.fdopen(commands, "rb", closefd=False) as lines:
        for line in lines:
            command = json.loads(line)
            if command["do"] == "stop":
                return
            simulation.advance(command["length"])
            answers.send(done=True)


if __name__ == "__main__":
    main()
