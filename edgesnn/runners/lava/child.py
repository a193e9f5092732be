"""The guarded child process that runs Lava: hard deadlines, no orphans, no shared memory left behind.

Lava answers every failure by waiting for ever, so nothing here waits without a deadline. The child has a
session of its own, and every process in it dies with its parent (``firmware_bridge/lava/worker.py``). When it
fails, only the child itself is killed: its children follow, and Python's resource tracker, the last of the
session, frees their shared memory. Token ids and logits stand in memory without a file name, which needs no
freeing at all.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgesnn import resources
from edgesnn.children import ending, last_words
from edgesnn.errors import RunnerError
from edgesnn.runners.lava.environment import REMEDY, Environment

Int32Array = npt.NDArray[np.int32]

_CHUNK = 65536
_POLL_SECONDS = 0.005
_WORD = 4


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long the host waits, in seconds.

    Attributes:
        start_s: For Lava to start.
        job_s: For one job, whatever its length.
        token_s: For every token of a job beside that.
        stop_s: For Lava to stop, and for killed processes to vanish.
    """

    start_s: float = 120.0
    job_s: float = 60.0
    token_s: float = 5.0
    stop_s: float = 15.0


class SharedWords:
    """int32 words in memory that the child maps too; gone with the last process that holds it.

    Args:
        name: For the process table.
        words: Initial size.

    Attributes:
        handle: File descriptor.
        words: The content.
    """

    def __init__(self, name: str, words: int) -> None:
        self.handle = os.memfd_create(name)
        self.words: Int32Array = np.empty(0, np.int32)
        self.grow(words)

    def grow(self, words: int) -> None:
        """Have room for at least so many words; what is there stays."""
        if words > len(self.words):
            os.ftruncate(self.handle, words * _WORD)
            self.words = np.frombuffer(mmap.mmap(self.handle, words * _WORD), np.int32)

    def close(self) -> None:
        """Let it go."""
        self.words = np.empty(0, np.int32)
        if self.handle >= 0:
            os.close(self.handle)
        self.handle = -1


class LavaChild:
    """One running Lava.

    Args:
        environment: Where Lava is installed.
        folder: The exported folder: weights and manifest.
        form: ``single`` or ``graph``.
        words: Initial sizes of the files of tokens and logits, in words.
        threads: Threads of its matrix products.
        deadlines: How long to wait.

    Raises:
        RunnerError: Lava does not load, does not start or does not answer in time.

    Attributes:
        tokens: Where jobs are written.
        logits: Where logits are read.
        facts: What the child said of itself: versions, processes.
        pid: Its process id.
    """

    def __init__(
        self,
        environment: Environment,
        folder: Path,
        form: str,
        *,
        words: tuple[int, int],
        threads: int = 1,
        deadlines: Deadlines,
    ) -> None:
        self._deadlines = deadlines
        self._log: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        self._pending = b""
        self.tokens = SharedWords("edgesnn-tokens", words[0])
        self.logits = SharedWords("edgesnn-logits", words[1])
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        handles = {"commands": commands, "answers": answers}
        shared = {"tokens": self.tokens.handle, "logits": self.logits.handle}
        try:
            self._process = self._spawn(environment, folder, form, threads, {**handles, **shared})
        except OSError as error:
            self._release()
            raise RunnerError(
                f"the interpreter of Lava cannot be started: {error.strerror or error}", remedy=REMEDY
            ) from None
        finally:
            for handle in handles.values():
                os.close(handle)
        self.pid = self._process.pid
        try:
            self.facts = self._answer(deadlines.start_s, "start")
        except BaseException:
            self.kill()
            raise

    @property
    def ended(self) -> bool:
        """Whether it was stopped or has failed."""
        return self._commands < 0

    def advance(self, length: int) -> None:
        """Have the job in `tokens` done.

        Args:
            length: Tokens of the job.

        Raises:
            RunnerError: A process of Lava failed or died, or the deadline passed; everything is cleaned up.
        """
        try:
            self._send({"do": "job", "length": length})
            self._answer(self._deadlines.job_s + self._deadlines.token_s * length, "answer")
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End Lava in order, or by force where it does not end; safe to call twice."""
        if not self.ended:
            with contextlib.suppress(RunnerError, subprocess.TimeoutExpired):
                self._send({"do": "stop"})
                self._answer(self._deadlines.stop_s, "stop")
                self._process.wait(self._deadlines.stop_s)
        self.kill()

    def kill(self) -> None:
        """End Lava by force and wait until nothing of it is left; safe to call twice."""
        if self.ended:
            return
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        deadline = time.monotonic() + self._deadlines.stop_s
        while _session(self.pid) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        for straggler in _session(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(straggler, signal.SIGKILL)
        self._release()

    def _spawn(
        self, environment: Environment, folder: Path, form: str, threads: int, handles: dict[str, int]
    ) -> subprocess.Popen[bytes]:
        shipped = resources.folder("lava")
        command = [*environment.command(), str(shipped / "worker.py")]
        command += ["--folder", str(folder.resolve()), "--form", form]
        command += ["--package", str(shipped / "export"), "--shim", str(shipped)]
        command += ["--parent", str(os.getpid())]
        for name, handle in handles.items():
            command += [f"--{name}", str(handle)]
        count = str(threads)
        limits = {"OPENBLAS_NUM_THREADS": count, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **limits},
            pass_fds=tuple(handles.values()),
            start_new_session=True,
        )

    def _send(self, command: dict[str, Any]) -> None:
        # Of a child that has ended, the answer that comes next says why.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._commands, json.dumps(command).encode() + b"\n")

    def _answer(self, seconds: float, what: str) -> dict[str, Any]:
        """The next answer.

        Raises:
            RunnerError: It is a failure, or the child died, or the deadline passed.
        """
        deadline = time.monotonic() + seconds
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                raise RunnerError(
                    f"Lava did not {what} in time",
                    actual=f"more than {seconds:g} s",
                    remedy="run it again; Lava hangs where one of its processes fails unseen",
                )
            chunk = os.read(self._answers, _CHUNK)
            if not chunk:
                raise self._died()
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            broken = answer["error"].startswith("Lava does not load")
            raise RunnerError(
                answer["error"],
                actual=None if "\n" in answer["detail"] else answer["detail"],
                remedy=REMEDY if broken else None,
            )
        return answer

    def _died(self) -> RunnerError:
        """The error of a child that is gone without a word."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self._deadlines.stop_s)
        code = self._process.returncode
        how = "closed its pipe" if code is None else ending(code)
        self._log.seek(0)
        said = last_words(self._log.read())
        return RunnerError("the process that runs Lava died", actual=f"{how}: {said}" if said else how)

    def _release(self) -> None:
        for handle in (self._commands, self._answers):
            os.close(handle)
        self._commands = self._answers = -1
        self.tokens.close()
        self.logits.close()
        self._log.close()


def _session(leader: int) -> list[int]:
    """Living processes of a session, zombies left out: who reaps them is not ours to say."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_text("ascii", "replace")
        except OSError:
            continue
        # After the name, which may hold anything, in brackets: state, parent, group, session.
        state, _, _, session = stat.rpartition(")")[2].split()[:4]
        if int(session) == leader and state not in "ZX":
            found.append(int(entry))
    return found
