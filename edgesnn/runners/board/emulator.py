"""QEMU as a board: its serial port is a socket that nobody else can reach, and it ends with its host."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from edgesnn.children import last_words
from edgesnn.errors import RunnerError
from edgesnn.firmware import BoardKind
from edgesnn.runners.board.lines import SocketLine
from edgesnn.scratch import ScratchFolder

EMULATOR = "qemu-system-arm"
#: Every instruction takes 2**5 ns of the emulated clock, so that a difference of times is a count.
SHIFT = 5
INSTRUCTION_NS = float(2**SHIFT)
_END_S = 5.0
#: The shell waits for the end of a pipe that this process holds, however this process ends, and takes QEMU
#: along. QEMU's end of the socket is its standard input, and nobody else's.
_GUARD = (
    'exec 3<&0 </dev/null; "$@" <&3 3<&- >/dev/null & q=$!; exec 3<&-; '
    "read -r end <&1; kill -9 $q 2>/dev/null; wait $q 2>/dev/null"
)


def missing_emulator() -> str | None:
    """Why there is no QEMU here, or None."""
    return None if shutil.which(EMULATOR) else f"{EMULATOR} is not installed: apt install {EMULATOR}"


def emulator_version() -> str:
    """The first line of what QEMU says of itself."""
    try:
        done = subprocess.run(
            [EMULATOR, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.partition("\n")[0].strip()


class EmulatorLine(SocketLine):
    """A line to a board that is emulated for it.

    Args:
        board: The board.
        firmware: Its ELF file.
        program: The bytes of a model, which are laid into its memory; None for none.

    Raises:
        RunnerError: QEMU cannot be started.
    """

    def __init__(self, board: BoardKind, firmware: Path, program: bytes | None = None) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(ours, f"the emulated {board.name}")
        self._log = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the emulator
        self._folder = ScratchFolder("qemu")
        watched, self._held = os.pipe()
        command = [
            EMULATOR,
            "-M",
            board.name,
            "-display",
            "none",
            "-monitor",
            "none",
            "-icount",
            f"shift={SHIFT}",
        ]
        command += ["-kernel", str(firmware)]
        command += ["-chardev", "socket,id=line,fd=0", "-serial", "chardev:line"]
        if program is not None:
            image = self._folder.path / "program.snn"
            image.write_bytes(program)
            command += ["-device", f"loader,file={image},addr={board.region('MODEL')[0]:#x},force-raw=on"]
        try:
            self._process = subprocess.Popen(
                ["sh", "-c", _GUARD, "sh", *command],
                stdin=theirs.fileno(),
                stdout=watched,
                stderr=self._log,
                start_new_session=True,
            )
        except OSError as error:
            self._tidy()
            raise RunnerError(f"{EMULATOR} cannot be started", actual=error.strerror) from None
        finally:
            theirs.close()
            os.close(watched)

    def gone(self, why: str) -> RunnerError:
        self._log.seek(0)
        return RunnerError(
            f"{EMULATOR} ended, and {self.who} with it",
            actual=last_words(self._log.read()) or why,
            remedy="run it again; see: edgesnn doctor",
        )

    def close(self) -> None:
        if self._held < 0:
            return
        self._tidy()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tidy(self) -> None:
        super().close()
        os.close(self._held)
        self._held = -1
        self._folder.close()
        self._log.close()
