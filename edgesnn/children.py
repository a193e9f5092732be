"""A child process that talks JSON lines: the work of one process, done beside it and heard by it.

The child runs its work in `reply` and says on standard output, one JSON object a line,

``{"progress": [stage, done, total]}``  how far it is, as often as it likes
``{"result": ...}``                     how it ended; what follows is nobody's business
``{"error": {...}}``                    or the `EdgesnnError` that ended it, as plain data

and whatever else the two agree on. What is no such line was printed by a library: it is kept with standard
error, whose end is quoted when the child dies without a word.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import edgesnn
from edgesnn.closing import Closing
from edgesnn.errors import EdgesnnError, RunnerError

#: A child that has said its result may take so long to tidy up.
ENDING_S = 10.0


def say(message: Mapping[str, Any]) -> None:
    """In the child: one line for the parent."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def reply(work: Callable[[], Any]) -> int:
    """In the child: do the work and say its result, or the error that it met.

    Returns:
        The exit code.
    """
    try:
        say({"result": work()})
    except EdgesnnError as error:
        say({"error": error.as_dict()})
        return error.exit_code
    return 0


class Child(Closing):
    """A child of this process: a Python that finds this edgesnn, killed and reaped when it is closed.

    Args:
        arguments: What follows the interpreter on its command line.
        what: Names it in errors.
        given: All of its standard input; None leaves that open for `tell`.
        died: Class of the error when it dies without a word.
        late: Class of the error when it misses a deadline.
        remedy: What to do when it died.
        hear: Shown each line as it comes, in a thread of its own; True keeps the line from `expect`.
        patience_s: How long it may take to end by itself, when it is closed before it said its last line.
        python: The interpreter.

    Raises:
        EdgesnnError: It cannot be started; of the class ``died``.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        what: str,
        *,
        given: bytes | None = None,
        died: type[EdgesnnError] = RunnerError,
        late: type[EdgesnnError] = RunnerError,
        remedy: str | None = None,
        hear: Callable[[dict[str, Any]], bool] = lambda message: False,
        patience_s: float = 0.0,
        python: str = sys.executable,
    ) -> None:
        self._what, self._died, self._late, self._remedy = what, died, late, remedy
        self._hear, self._patience_s = hear, patience_s
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._failure: EdgesnnError | None = None
        self._done = False
        self._over = threading.Event()
        self._log = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the child
        paths = [str(Path(edgesnn.__file__).parents[1]), os.environ.get("PYTHONPATH")]
        with contextlib.ExitStack() as inputs:
            stdin: Any = subprocess.PIPE
            if given is not None:  # a file: a child that hangs before it reads would block the writer
                stdin = inputs.enter_context(tempfile.TemporaryFile())
                stdin.write(given)
                stdin.seek(0)
            try:
                self._process = subprocess.Popen(
                    [python, *arguments],
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=self._log,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                )
            except OSError as error:
                self._log.close()
                raise died(f"{what} cannot be started", actual=error.strerror) from None
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, name="child", daemon=True)
        self._reader.start()

    def tell(self, line: str) -> None:
        """Write a line to its standard input; of a child that is gone, its last line says why."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def expect(
        self,
        key: str,
        seconds: float,
        *,
        remedy: str | None = None,
        on_progress: Callable[[str, int, int], None] | None = None,
    ) -> Any:
        """The content of the next line with that key.

        Args:
            key: For example ``result``.
            seconds: Deadline from now.
            remedy: What to do when it passes.
            on_progress: Told the lines of progress until then.

        Raises:
            EdgesnnError: The error that the child met, in its words; or it died, or missed the deadline.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                message = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise self._late(
                    f"{self._what} did not answer in time", actual=f"more than {seconds:g} s", remedy=remedy
                ) from None
            if message is not None and key in message:
                return message[key]
            self.check()
            if message is None:
                raise self._died(f"{self._what} ended without '{key}'")
            if on_progress is not None:
                match message.get("progress"):
                    case [str() as stage, int() as done, int() as total]:
                        on_progress(stage, done, total)

    def check(self) -> None:
        """Raise what it met or died of, if it did.

        Raises:
            EdgesnnError: The error.
        """
        if self._failure is not None:
            raise self._failure

    def failure(self, seconds: float) -> EdgesnnError | None:
        """What it met or died of, waiting for its end at most so long; None when all is well."""
        self._over.wait(seconds)
        return self._failure

    def close(self) -> None:
        """End it, however it stands; safe to call twice."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it is gone already
                self._process.stdin.close()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(max(self._patience_s, ENDING_S if self._done else 0.0))
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            self._log.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if (message := _message(line)) is None:
                    self._log.write(line)
                elif not self._done:
                    self._take(message)
        code = self._process.wait()
        if not self._done:
            self._log.seek(0)
            how = f"died with {ending(code)}" if code else "ended without a result"
            said = last_words(self._log.read()) or "it said nothing"
            self._failure = self._died(f"{self._what} {how}", actual=said, remedy=self._remedy)
        self._over.set()
        self._lines.put(None)

    def _take(self, message: dict[str, Any]) -> None:
        self._done = "result" in message or "error" in message
        if "error" in message:
            self._failure = error_from(message["error"], self._died)
            self._over.set()
        if not self._hear(message):
            self._lines.put(message)


def error_from(data: Mapping[str, Any], otherwise: type[EdgesnnError]) -> EdgesnnError:
    """An error as one of this process: of its class, else of the branch with its exit code.

    Args:
        data: ``as_dict`` of the error.
        otherwise: The class where neither is known.
    """
    kinds: list[type[EdgesnnError]] = [EdgesnnError]
    for kind in kinds:  # grows: the tree, nearest to its root first
        kinds += kind.__subclasses__()
    same = [kind for kind in kinds if kind.code == data.get("code")]
    branch = [kind for kind in kinds if kind.exit_code == data.get("exit_code")]
    return (same or branch or [otherwise])[0](
        str(data.get("what")), actual=data.get("actual"), limit=data.get("limit"), remedy=data.get("remedy")
    )


def ending(code: int) -> str:
    """How a process ended: its exit code, or the signal that killed it."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"


def last_words(said: bytes | str) -> str:
    """The last three lines that a process wrote, as one; empty where it wrote none."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return " | ".join(line.strip() for line in text.strip().splitlines()[-3:])[-300:]


def _message(line: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
