"""Harnesses of what is C: built with the address and the undefined-behaviour sanitizer, fed over a pipe.

A sanitizer's complaint ends the process: that is the finding. Without a C compiler there are none of these.
"""

from __future__ import annotations

import os
import select
import shutil
import struct
import subprocess
import time
from pathlib import Path

from edgesnn import resources
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.board.frames import REPLY, BoardCommand, BoardFrameReader, encode_frame
from edgesnn.runners.native import build as native_build
from edgesnn.runners.remote.frames import MAGIC, Command, encode
from tests.support.frame_programs import smallest_frames
from tests.support.instruments import ina228 as bridge_in_c
from tests.support.programs import smallest
from tools.fuzz.harness import Harness, Subject

SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
#: An input may take so long before the process counts as hung.
ANSWER_S = 20.0
#: Rounds of the C reader's own loop for one input, which is the seed of its edits.
ROUNDS = 100


class Finding(Exception):
    """A process that was fed ended, or no longer answers."""


class Fed:
    """A sanitized program that is started again after each end that it has a right to."""

    def __init__(self, command: list[str], right_ends: tuple[int, ...] = ()) -> None:
        self._command, self._right = command, right_ends
        self._process: subprocess.Popen[bytes] | None = None

    def process(self) -> subprocess.Popen[bytes]:
        """The program at work."""
        if self._process is None or self._process.poll() is not None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}  # a leak check of every end takes long
            self._process = subprocess.Popen(self._command, bufsize=0, env=env, **pipes)  # type: ignore[call-overload]
            assert self._process is not None and self._process.stdout is not None
            os.set_blocking(self._process.stdout.fileno(), False)
        return self._process

    def feed(self, data: bytes) -> None:
        """Write everything, whatever becomes of it."""
        stdin = self.process().stdin
        assert stdin is not None
        try:
            stdin.write(data)
        except BrokenPipeError:
            self.ended()

    def answer(self, enough: int | None = None) -> bytes:
        """What it says next; nothing once it ended as it may.

        Raises:
            Finding: It died of a sanitizer, or says nothing.
        """
        process = self._process  # even if it has just ended: a new one would have nothing to say
        assert process is not None and process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], ANSWER_S)
        if not ready:
            process.kill()
            process.wait()
            raise Finding(f"no answer within {ANSWER_S:g} s")
        return process.stdout.read() or self.ended()

    def ended(self) -> bytes:
        """Look at how it ended.

        Raises:
            Finding: Not as it may.
        """
        assert self._process is not None and self._process.stderr is not None
        code, said = self._process.wait(), self._process.stderr.read().decode("utf-8", "replace")
        self._process = None
        if code not in self._right or "Sanitizer" in said or "runtime error" in said:
            raise Finding(f"exit code {code}: {said[:1500]}")
        return b""


def _compiled(folder: Path, name: str, sources: list[Path], *flags: str) -> str:
    target = folder / name
    subprocess.run(
        ["gcc", "-std=gnu99", *SANITIZED, *flags, *map(str, sources), "-o", str(target), "-lpthread"],
        check=True,
        capture_output=True,
    )
    return str(target)


def _engine_sources() -> list[Path]:
    return [resources.folder("engine") / name for name in native_build.SOURCES if name != "snn_host.c"]


# The reader of program.snn ---------------------------------------------------------------------------------


def _reader(text: bool) -> Harness:
    """Each input is the seed of a hundred files that the C program edits itself, without a checksum."""

    def opened(folder: Path) -> Subject:
        own = resources.folder("engine") / "fuzz" / "fuzz_reader.c"
        program = _compiled(folder, "fuzz_reader", [own, *_engine_sources()], "-DSNN_NO_CRC")
        model = folder / "program.snn"
        model.write_bytes(to_bytes(smallest() if text else smallest_frames()))

        def run(data: bytes) -> None:
            seed = str(int.from_bytes(data[:6].ljust(6, b"\0"), "little"))
            done = subprocess.run(
                [program, model, seed, str(ROUNDS)], capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise Finding(done.stderr[:1500])

        return Subject([b"\1\0\0\0\0\0"], run)

    return Harness(opened, share=1)


# Devices ---------------------------------------------------------------------------------------------------


def _remote(folder: Path) -> Subject:
    """The program on phones and Linux boards: commands in, with a right or a wrong checksum."""
    engine = resources.folder("engine")
    sources = [*sorted((engine / "remote").glob("*.c")), *_engine_sources()]
    program = _compiled(folder, "snn_remote", sources, f"-I{engine}", f"-I{engine / 'remote'}")
    model = folder / "program.snn"
    model.write_bytes(to_bytes(smallest()))
    # Asked to end, no frame, or the input ended between two frames.
    fed = Fed([program, str(model), "-", "-"], right_ends=(0, 4, 5))
    token = struct.pack("<I", 3)
    seeds = [
        encode(command, 1, payload)
        for command, payload in (
            (Command.HELLO, b""),
            (Command.STEP, token),
            (Command.PREFILL, 4 * token),
            (Command.SEQUENCE, 3 * token),
            (Command.EXTEND, 2 * token),
            (Command.WINDOW, struct.pack("<II", 2, 1) + 3 * token),
            (Command.SAVE, b""),
            (Command.RESTORE, bytes(60)),
            (Command.FILES, b"/sys/devices/system/cpu/online\n/etc/hostname"),
            (Command.AFFINITY, b""),
            (Command.CLOCK, b""),
        )
    ]

    def fix(data: bytes) -> bytes:
        if len(data) < 20 or data[4] == Command.PLAY:  # which waits as long as it is told
            return data[:20].ljust(20, b"\0")
        command, payload = data[4] % 15, data[20 : 20 + 4096]
        if command == Command.WINDOW and len(payload) >= 8:
            payload = b"".join(map(_few, struct.unpack_from("<II", payload))) + payload[8:]
        return encode(command, 1, payload)

    def run(data: bytes) -> None:
        whole = (
            len(data) >= 20 and data[:4] == MAGIC and len(data) == 20 + int.from_bytes(data[12:16], "little")
        )
        if data[4:5] == bytes((Command.PLAY,)):
            return
        fed.feed(data)
        if not whole:
            stdin = fed.process().stdin
            assert stdin is not None
            stdin.close()
        said = b""
        while fed._process is not None:  # to its end, where the input ended
            said += (more := fed.answer())
            if not more or (whole and _answered(said)):
                return

    return Subject(seeds, run, fix)


def _few(steps: int) -> bytes:
    """A number of steps that takes no minutes: what a window may have is cut, what it may not have stays."""
    return struct.pack("<I", steps if steps > 1 << 22 else steps % 8)


def _answered(said: bytes) -> bool:
    """Whether the last frame of an answer is whole: done, or failed."""
    at = 0
    while at + 20 <= len(said):
        kind, size = struct.unpack_from("<I4xI", said, at + 4)
        at += 20 + size
        if kind in (68, 69) and at <= len(said):
            return True
    return False


def _firmware(folder: Path) -> Subject:
    """The firmware of boards: its frames, and the text protocol of MLPerf Tiny on the same line."""
    from tests.support import shared
    from tests.support.devices.loopback import Loopback, build_host

    os.environ.setdefault(shared.VARIABLE, str(folder))
    board = Loopback(program=build_host("loopback-sanitized", flavour="sanitized"))
    seeds = [
        b"name%timestamp%profile%help%",
        b"th-load%th-db load 8%db 0102030405060708%db print%infer 3 1%results%",
        b"infer 1 0%\x00" + encode_frame(0, 0, BoardCommand.HELLO, bytes(12)),
        encode_frame(7, 1, BoardCommand.BEGIN, bytes(40)) + encode_frame(7, 2, BoardCommand.CLOCK),
    ]
    asked = encode_frame(0, 0, BoardCommand.HELLO, struct.pack("<BBBxII", 0, 1, 1, 1, 0))

    def run(data: bytes) -> None:
        reader = BoardFrameReader()
        try:
            board.ours.sendall(data + b"%\0" + asked)
        except OSError:
            raise Finding("the firmware ended") from None
        board.ours.settimeout(0.05)
        deadline = time.monotonic() + ANSWER_S
        while time.monotonic() < deadline:
            if board.process.poll() is not None:
                board.start()
                raise Finding(f"the firmware ended with code {board.process.returncode}")
            try:
                frames = reader.feed(board.ours.recv(1 << 16))
            except TimeoutError:
                continue
            if any(one.cmd == BoardCommand.HELLO | REPLY and one.is_of(0, 0) for one in frames):
                return
        raise Finding(f"no answer within {ANSWER_S:g} s")

    return Subject(seeds, run)


def _bridge(folder: Path) -> Subject:
    """The firmware of the INA228 bridge: what a host sends it."""
    from edgesnn.meters.ina228.protocol import Ina228FrameType, encode, shunt_payload

    core = bridge_in_c.CoreInC(str(bridge_in_c.build("gcc", folder / "bridge")))
    kinds = list(Ina228FrameType)
    seeds = [encode(kind, payload) for kind in kinds for payload in (b"", shunt_payload(0, 0.1), bytes(6))]

    def run(data: bytes) -> None:
        try:
            core.receive(data[:60000], 1000)
            core.sample(0, 2000, 5, 7)
            core.poll(3000)
        except (OSError, struct.error, IndexError):
            raise Finding(f"the bridge ended with code {core._process.wait()}") from None

    return Subject(seeds, run)


HARNESSES: dict[str, Harness] = {}
if shutil.which("gcc"):
    HARNESSES = {
        "c-program-text": _reader(text=True),
        "c-program-frames": _reader(text=False),
        "c-remote": Harness(_remote, share=5),
        "c-firmware": Harness(_firmware),
        "c-bridge": Harness(_bridge),
    }
