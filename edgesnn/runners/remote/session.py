"""One session with the engine on a device: pushed, checked, started, asked, ended, removed.

The way to the device is a `DeviceLink` (adb, ssh). A session has a folder of its own there and leaves
nothing: the program removes its folder when its input ends, `close` removes it and looks, and what a killed
host and a killed program leave together is removed by the next session on the device.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import shlex
import struct
import subprocess
import threading
import time
from dataclasses import dataclass

from edgesnn.errors import RunnerError
from edgesnn.runners.remote.build import Binary
from edgesnn.runners.remote.frames import (
    PROTOCOL,
    REQUEST_MAX,
    Command,
    RemoteFrame,
    RemoteFrameReader,
    Reply,
    encode,
)
from edgesnn.runners.remote.link import DeviceLink, Finished, printable
from edgesnn.scratch import ScratchFolder

#: Folders of sessions begin with this (``REMOTE_PREFIX``).
PREFIX = "edgesnn-"
PROGRAM, ENGINE = "program.snn", "snn_remote"
#: Deadlines in seconds: the program's start, its end, a call beside its computing time.
START_S, END_S, ANSWER_S = 60.0, 10.0, 30.0
#: A push may take this long and a second more for every `PUSH_BYTES_PER_S`.
PUSH_S, PUSH_BYTES_PER_S = 30.0, 200_000
_STDERR_KEPT = 4096
#: Exit codes of a shell that found a program and could not execute it, or did not find it (POSIX).
_NOT_EXECUTED = (126, 127)
#: What a pipe takes without a reader, at least (POSIX systems: 64 KiB; macOS may give 16).
_PIPE_BYTES = 16_000
_DONE = struct.Struct("<32sQQ")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the device answered to one command.

    Attributes:
        frames: Its data frames, in order.
        start: Time at the start by the device's clock, ns.
        end: Time at the end.
        more: What the last frame carried besides.
    """

    frames: tuple[RemoteFrame, ...]
    start: int
    end: int
    more: bytes


class DeviceSession:
    """The engine on a device, started.

    Args:
        link: The way to the device.
        binary: The program for its processor.
        program: The bytes of ``program.snn``.
        kernels: Name of a kernel set, or None for the best of the processor.

    Raises:
        RunnerError: The device is full, changed what was pushed, or did not start the program.
    """

    def __init__(self, link: DeviceLink, binary: Binary, program: bytes, kernels: str | None = None) -> None:
        self.link = link
        self.folder = f"{link.base}/{PREFIX}{secrets.token_hex(16)}"
        self.hello: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: RemoteFrameReader | None = None
        self._complaint = bytearray()
        self._listener: threading.Thread | None = None
        self._mark = b""
        self._sequence = 0
        self._broken = False
        try:
            self._push(binary, program)
            self._start(kernels)
        except BaseException:
            self.close(orderly=False)
            raise

    def call(self, command: Command, payload: bytes = b"", *, seconds: float = ANSWER_S) -> Answer:
        """Give a command and wait for its whole answer.

        Args:
            command: The command.
            payload: What it needs.
            seconds: Deadline.

        Raises:
            RunnerError: The device refused, went away, answered too late or not what was asked.
        """
        process, reader = self._process, self._reader
        if process is None or reader is None:
            raise RunnerError("the session with the device is over", remedy="open it again")
        if len(payload) > REQUEST_MAX:
            raise RunnerError(
                "too much for one command to the device", actual=len(payload), limit=f"{REQUEST_MAX} bytes"
            )
        self._sequence += 1
        self._broken = True  # until the whole answer is here
        answer = self._exchange(process, reader, encode(command, self._sequence, payload), seconds)
        self._broken = False
        if isinstance(answer, str):
            raise RunnerError(f"the engine on {self.link.who} refused: {answer}")
        return answer

    def files(self, *patterns: str) -> dict[str, str]:
        """Text of every readable file that matches, by path; what cannot be read is not there."""
        answer = self.call(Command.FILES, "\n".join(patterns).encode())
        found = {}
        for frame in answer.frames:
            path, _, text = frame.payload.partition(b"\0")
            found[path.decode("utf-8", "replace")] = text.decode("utf-8", "replace").strip("\0\n ")
        return found

    def close(self, *, orderly: bool = True) -> None:
        """End the program and remove its folder; safe to call twice.

        Args:
            orderly: Ask for the end marker, and raise where it is missing or something was left behind.

        Raises:
            RunnerError: The end marker is missing or wrong, or the folder is still there.
        """
        trouble: RunnerError | None = None
        orderly = orderly and not self._broken
        process, self._process = self._process, None
        if process is not None:
            if orderly:
                self._process = process
                try:
                    self.call(Command.END, seconds=END_S)
                except RunnerError as error:
                    trouble = error
                self._process = None
            self._stop(process, kill=trouble is not None or not orderly)
        if self.folder:
            left = self._remove()
            trouble = trouble or left
        self._reader, self.folder = None, ""
        if orderly and trouble is not None:
            raise trouble

    def _exchange(
        self, process: subprocess.Popen[bytes], reader: RemoteFrameReader, request: bytes, seconds: float
    ) -> Answer | str:
        """The answer to a request, or the device's refusal."""
        if process.stdin is None:
            raise RunnerError("the way to the device has no input")
        deadline = time.monotonic() + seconds
        guard = threading.Timer(seconds, process.kill)
        if len(request) > _PIPE_BYTES:
            guard.start()  # a full pipe holds the writer for as long as the device does not read
        try:
            process.stdin.write(request)
            process.stdin.flush()
        except OSError:
            raise self._died() from None
        finally:
            guard.cancel()
        frames: list[RemoteFrame] = []
        while True:
            got = reader.read(deadline)
            if got is None:
                raise self._died()
            frame, before = got
            if frame.sequence != self._sequence:
                raise RunnerError(
                    f"{self.link.who} answered another command", actual=frame.sequence, limit=self._sequence
                )
            if frame.kind == Reply.FAILED:
                return frame.payload.decode("utf-8", "replace")
            if frame.kind == Reply.DONE and len(frame.payload) >= _DONE.size:
                digest, start, end = _DONE.unpack_from(frame.payload)
                if digest != before:
                    raise RunnerError(
                        f"the stream from {self.link.who} lost or changed bytes",
                        actual="its end marker has another hash",
                    )
                return Answer(tuple(frames), start, end, frame.payload[_DONE.size :])
            frames.append(frame)

    def _push(self, binary: Binary, program: bytes) -> None:
        made = self.link.shell(f"mkdir -m 700 {shlex.quote(self.folder)}")
        if made.code != 0:
            raise self._cannot("make a folder", made)
        with ScratchFolder("push") as scratch:
            copy = scratch.path / PROGRAM
            copy.write_bytes(program)
            for local, remote in ((copy, PROGRAM), (binary.path, ENGINE)):
                seconds = PUSH_S + local.stat().st_size / PUSH_BYTES_PER_S
                self.link.push(local, f"{self.folder}/{remote}", seconds=seconds)
        folder = shlex.quote(self.folder)
        checked = self.link.shell(f"cd {folder} && chmod 700 {ENGINE} && sha256sum {PROGRAM} {ENGINE}")
        sums = re.findall(r"^([0-9a-f]{64})\b", checked.out, re.MULTILINE)
        wanted = [hashlib.sha256(program).hexdigest(), binary.sha256]
        if checked.code != 0 or sums != wanted:
            if checked.code != 0 and not sums:
                raise self._cannot("check what was pushed", checked)
            raise RunnerError(
                f"what was pushed arrived changed on {self.link.who}",
                actual=", ".join(value[:12] for value in sums),
                limit=", ".join(value[:12] for value in wanted),
                remedy="try again; if it stays so, the cable or the device's storage is bad",
            )

    def _start(self, kernels: str | None) -> None:
        folder = shlex.quote(self.folder)
        run = f"exec ./{ENGINE} {PROGRAM} {shlex.quote(kernels or '-')} {folder}"
        process, mark = self.link.start(f"cd {folder} && {run}")
        if process.stdout is None or process.stderr is None:
            raise RunnerError("the way to the device has no output")
        self._process, self._mark = process, mark
        self._reader = RemoteFrameReader(process.stdout, self.link.who, after=mark)
        self._listener = threading.Thread(target=self._listen, args=(process,), daemon=True)
        self._listener.start()
        text = self.call(Command.HELLO, seconds=START_S).frames[0].payload.decode("utf-8", "replace")
        self.hello = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        if self.hello.get("protocol") != str(PROTOCOL):
            raise RunnerError(
                "the program on the device speaks another protocol",
                actual=self.hello.get("protocol"),
                limit=PROTOCOL,
                remedy="build it from this version of edgesnn",
            )

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        if process.stderr is None:
            return
        with contextlib.suppress(OSError, ValueError):
            while chunk := process.stderr.read1(1024):  # type: ignore[attr-defined]
                self._complaint += chunk
                del self._complaint[:-_STDERR_KEPT]

    def _died(self) -> RunnerError:
        """Why the stream ended before its end marker: the device is gone, or only the program is."""
        reason = self.link.gone()
        if reason is not None:
            return reason
        code: int | None = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(2.0)
        if self._listener is not None:
            self._listener.join(2.0)  # the last words may still be on their way when the program has ended
        before, marked, own = bytes(self._complaint).rpartition(self._mark)
        said = printable(own.decode("utf-8", "replace"))
        reader = self._reader
        if reader is not None and not reader.begun and code not in _NOT_EXECUTED:
            outside = (reader.skipped, before if marked else own)
            return self.link.unanswered(
                Finished(code or 0, *(text.decode("utf-8", "replace") for text in outside))
            )
        refused = any(word in said for word in ("not executable", "Exec format", "cannot execute"))
        remedy = "run it again; a phone that is short of memory kills what runs in the background"
        if refused:
            remedy = "the binary is for another processor; name one for this device, or none"
        elif "Permission denied" in said:
            remedy = f"'{self.link.base}' does not let programs run; name another: ?folder=PATH"
        return RunnerError(
            f"the engine on {self.link.who} {'cannot be started' if refused else 'died'}",
            actual=f"exit code {code}" + (f": {said}" if said else ""),
            remedy=remedy,
        )

    def _cannot(self, what: str, finished: Finished) -> RunnerError:
        said = printable(finished.err) or printable(finished.out)
        return RunnerError(f"cannot {what} on {self.link.who}", actual=said or f"exit code {finished.code}")

    def _stop(self, process: subprocess.Popen[bytes], *, kill: bool) -> None:
        """End the local end of the stream; the program on the device ends with its input."""
        if kill:
            process.kill()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._reader is not None:
            self._reader.join(END_S)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _remove(self) -> RunnerError | None:
        """Kill the program if it still runs in this folder, remove the folder, look whether it is gone."""
        folder, pid = shlex.quote(self.folder), self.hello.get("pid", "")
        kill = f'[ "$(readlink /proc/{pid}/cwd)" = {folder} ] && kill -9 {pid}; ' if pid.isdigit() else ""
        try:
            done = self.link.shell(f"{kill}rm -rf {folder}; [ -e {folder} ] || echo removed")
        except RunnerError:
            return None  # nobody answers: the next session on this device removes it
        if "removed" in done.out:
            return None
        return self._cannot("remove the folder of the session", done)
