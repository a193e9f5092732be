"""The system's ``ssh`` as a subprocess: one connection, shared by every call, and the way to one board.

Files go through ``cat`` on the other side, so that a board needs no scp and no sftp. Nothing is asked at the
terminal (BatchMode): keys and known hosts are set up as for any use of ssh.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from edgesnn.errors import RunnerError
from edgesnn.runners.remote.link import KEEP_QUIET, DeviceLink, Finished, printable, reading
from edgesnn.scratch import ScratchFolder

#: Names a configuration in place of the user's.
CONFIG_VARIABLE = "EDGESNN_SSH_CONFIG"
INSTALL = "install it: apt install openssh-client"
#: On the board; a folder of a random name is made there.
BASE = "/tmp"  # nosec B108
#: ssh's own exit code for trouble of its own (its manual).
TROUBLE = 255
CONNECT_S = 10
#: The shared connection ends itself when it was unused for so long: after a host that was killed.
PERSIST_S = 60
_CLOSE_S = 5.0
_HINTS = (
    ("Permission denied", "refuses every key", "set up a key: ssh-copy-id HOST"),
    (
        "Host key verification failed",
        "is not known, or has another key than before",
        "connect once by hand: ssh HOST",
    ),
    ("REMOTE HOST IDENTIFICATION", "has another key than before", "see what ssh says by hand: ssh HOST"),
    ("Connection refused", "takes no ssh connections", "start its ssh server, or name its port: ?port=N"),
    ("Could not resolve", "has a name that nobody knows", "name its address"),
    ("timed out", "does not answer", "look whether it is on and in this network"),
    ("No route to host", "cannot be reached", "look whether it is on and in this network"),
)


def missing() -> str | None:
    """Why ssh cannot be used here, or None."""
    return None if shutil.which("ssh") else f"ssh is not installed; remedy: {INSTALL}"


class SshLink(DeviceLink):
    """The way to one board.

    Args:
        host: ``user@host``, or a name of ssh's configuration.
        base: Folder on it in which sessions make theirs.
        port: Port, or None for ssh's own choice.
    """

    def __init__(self, host: str, base: str = BASE, *, port: str | None = None) -> None:
        config = os.environ.get(CONFIG_VARIABLE)
        self.who = f"board '{host}'"
        self.base = base
        self._host = host
        # Short: the path of a socket may hold about a hundred bytes.
        self._scratch = ScratchFolder("ssh")
        self._private = str(self._scratch.path)
        self._options = [
            *(["-F", config] if config else []),
            *(["-p", port] if port else []),
            "-T",
            *("-o", "BatchMode=yes"),
            *("-o", f"ConnectTimeout={CONNECT_S}"),
            *("-o", "ServerAliveInterval=5"),
            *("-o", "ServerAliveCountMax=3"),
            *("-o", "ControlMaster=auto"),
            *("-o", f"ControlPath={self._private}/c"),
            *("-o", f"ControlPersist={PERSIST_S}"),
            *("-o", "LogLevel=ERROR"),
        ]

    def connect(self) -> None:
        """Make the shared connection.

        Raises:
            RunnerError: The board cannot be reached or does not let us in.
        """
        token = secrets.token_hex(8)
        said = self.shell("read line; echo $line", stdin=f"{token}\n".encode()).out.strip()
        if said != token:
            raise RunnerError(
                f"the shell of {self.who} reads what is meant for a command",
                actual=printable(said) or "nothing was left",
                remedy=KEEP_QUIET,
            )

    def push(self, local: Path, remote: str, *, seconds: float) -> None:
        with local.open("rb") as source:
            done = self.shell(f"cat > {shlex.quote(remote)}", seconds=seconds, stdin=source.fileno())
        if done.code != 0:
            said = printable(done.err)
            if "No space left" in said:
                raise RunnerError(f"{self.who} is full", actual=f"{local.stat().st_size} bytes to push")
            raise RunnerError(f"cannot push '{local.name}' to {self.who}", actual=said)

    def open_stream(self, line: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command(line),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us: the board is told in order
        )

    def gone(self) -> RunnerError | None:
        try:
            self.connect()
        except RunnerError as error:
            return RunnerError(f"{self.who} went away in the middle", actual=error.what, remedy=error.remedy)
        return None

    def close(self) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                ["ssh", *self._options, "-O", "exit", "--", self._host],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_CLOSE_S,
                check=False,
            )
        self._scratch.close()

    def _command(self, command: str) -> list[str]:
        return ["ssh", *self._options, "--", self._host, command]

    def exchange(self, line: str, *, seconds: float, stdin: int | bytes | None = None) -> Finished:
        # The shared connection stays in the background with the error output of whoever made it: a file
        # takes it, as a pipe would not end.
        with tempfile.TemporaryFile() as errors:
            try:
                done = subprocess.run(
                    self._command(line),
                    **reading(stdin),
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    timeout=seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise RunnerError(f"{self.who} did not answer in time", limit=f"{seconds:g} s") from None
            except OSError as error:
                raise RunnerError("ssh cannot be started", actual=error.strerror, remedy=INSTALL) from None
            errors.seek(0)
            complaint = errors.read().decode("utf-8", "replace")
        return Finished(done.returncode, done.stdout.decode("utf-8", "replace"), complaint)

    def trouble(self, whole: Finished) -> RunnerError | None:
        if whole.code != TROUBLE:
            return None
        said = printable((whole.err.strip().splitlines() or [""])[-1])
        for words, what, remedy in _HINTS:
            if words in whole.err:
                return RunnerError(
                    f"{self.who} {what}", actual=said, remedy=remedy.replace("HOST", self._host)
                )
        return RunnerError(f"{self.who} cannot be reached", actual=said or None)
