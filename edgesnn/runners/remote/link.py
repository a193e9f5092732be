"""The way to a device, and the one rule for what its shell says.

What a login shell prints is not the device's answer: a start-up file greets or sets a window's title (without
a newline), the shell may be csh or fish, and the transport's exit code may be its own. So every command runs
under ``sh -c``, in a form that every shell reads alike, and marks on both streams where its own words begin
and end, with its exit code in the last mark. What stands outside the marks is the shell's. A command without
marks did not run: the transport says why, or the shell does, and neither is a fault of the device.
"""

from __future__ import annotations

import re
import secrets
import subprocess
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgesnn.closing import Closing
from edgesnn.errors import RunnerError

SHELL_S = 20.0
KEEP_QUIET = "its login shell must run: sh -c COMMAND, and its start-up files leave commands alone"
_SAID = 200


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ran on the device.

    Attributes:
        code: Its exit code.
        out: What it wrote.
        err: What it complained of.
    """

    code: int
    out: str
    err: str


class Marks:
    """Where the words of one command begin and end.

    The token is put together by the device's ``sh``, so a shell that echoes the command marks nothing.

    Attributes:
        begin: What stands before the first byte of the command, on both streams.
    """

    def __init__(self) -> None:
        self._token = secrets.token_hex(12)
        self.begin = f"[{self._token}[\n".encode()

    def around(self, command: str) -> str:
        """A line for any login shell: the command between marks, with its exit code in the last."""
        end = 'c=$?; echo "]$m]$c."; echo "]$m]" >&2'
        return self._line(f"({command}); {end}")

    def before(self, command: str) -> str:
        """A line for any login shell: a mark, then the command alone on both streams."""
        return self._line(command)

    def cut(self, whole: Finished) -> Finished | None:
        """What the command itself said; None when it did not run to its end.

        Args:
            whole: All that came back for `around`.
        """
        end = re.escape(f"]{self._token}]")
        out = re.search(rf"\[{self._token}\[\r?\n(.*){end}(\d{{1,3}})\.", whole.out, re.DOTALL)
        err = re.search(rf"\[{self._token}\[\r?\n(.*?)(?:{end}|$)", whole.err, re.DOTALL)
        return out and Finished(int(out[2]), out[1], err[1] if err else "")

    def _line(self, script: str) -> str:
        begin = f'm={self._token}; echo "[$m["; echo "[$m[" >&2'
        return f"exec sh -c {quoted(f'{begin}; {script}')}"


def quoted(text: str) -> str:
    """A word that sh, csh, fish and their relatives read alike.

    Raises:
        RunnerError: It holds a line break, which csh cannot be given.
    """
    if "\n" in text or "\r" in text:
        raise RunnerError("a command for a device must stand in one line", actual=repr(text)[:_SAID])
    return "".join(
        f"\\{part}" if part in "'!\\" else f"'{part}'" for part in re.split(r"(['!\\])", text) if part
    )


def printable(text: str) -> str:
    """What a shell printed, fit for one line of an error: its end, without control sequences."""
    plain = re.sub(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b\[[0-?]*[ -/]*[@-~]|\x1b.?", "", text)
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", plain).split())[-_SAID:]


def reading(stdin: int | bytes | None) -> dict[str, Any]:
    """The arguments by which `subprocess.run` gives a command its input."""
    return (
        {"input": stdin}
        if isinstance(stdin, bytes)
        else {"stdin": subprocess.DEVNULL if stdin is None else stdin}
    )


class DeviceLink(Closing, Protocol):
    """The way to one device.

    Attributes:
        who: The device in messages, for example ``phone 0123``.
        base: The folder on it in which sessions make theirs.
    """

    who: str
    base: str

    @abstractmethod
    def exchange(self, line: str, *, seconds: float, stdin: int | bytes | None = None) -> Finished:
        """Hand a line to the device's login shell; whatever came back, with the transport's exit code.

        Args:
            line: The line.
            seconds: Deadline.
            stdin: What the command reads: bytes, or an open file; None for nothing.

        Raises:
            RunnerError: The transport cannot be started, or the deadline passed.
        """
        ...

    @abstractmethod
    def open_stream(self, line: str) -> subprocess.Popen[bytes]:
        """Hand a line to the device's login shell; its input and output are ours, byte for byte."""
        ...

    @abstractmethod
    def push(self, local: Path, remote: str, *, seconds: float) -> None:
        """Copy a file to the device.

        Raises:
            RunnerError: It did not arrive.
        """
        ...

    @abstractmethod
    def trouble(self, whole: Finished) -> RunnerError | None:
        """What the transport itself complained of when a command did not run; None when it is content."""
        ...

    @abstractmethod
    def gone(self) -> RunnerError | None:
        """Why the device cannot be reached now, or None when it can."""
        ...

    def shell(self, command: str, *, seconds: float = SHELL_S, stdin: int | bytes | None = None) -> Finished:
        """Run a command by ``sh`` on the device; its own words and its own exit code.

        Raises:
            RunnerError: The device cannot be reached, its shell did not run it, or the deadline passed.
        """
        marks = Marks()
        whole = self.exchange(marks.around(command), seconds=seconds, stdin=stdin)
        said = marks.cut(whole)
        if said is None:
            raise self.unanswered(whole)
        return said

    def start(self, command: str) -> tuple[subprocess.Popen[bytes], bytes]:
        """Start a command by ``sh`` on the device: the process, and the mark before its output."""
        marks = Marks()
        return self.open_stream(marks.before(command)), marks.begin

    def unanswered(self, whole: Finished) -> RunnerError:
        """Why a command came back without marks."""
        said = printable(whole.out) or printable(whole.err)
        return self.trouble(whole) or RunnerError(
            f"the shell of {self.who} did not run a command",
            actual=f"exit code {whole.code}; it printed: {said or 'nothing'}",
            remedy=KEEP_QUIET,
        )
