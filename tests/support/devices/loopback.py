"""The firmware of a board on this computer: the same C at the end of a socket or of a pseudo-terminal."""

import os
import socket
import subprocess
import time
from functools import cache
from pathlib import Path

from edgesnn import resources
from edgesnn.errors import RunnerError
from edgesnn.firmware import firmware_sources
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.board.lines import SocketLine
from edgesnn.runners.board.session import BoardSession, BoardTiming
from edgesnn.toolchain import host_compiler
from tests.support.patience import FACTOR, patience
from tests.support.random_program import RandomShape, random_program
from tests.support.shared import shared

STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2")
FLAVOURS = {
    "plain": STRICT,
    "sanitized": (*STRICT, "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
}
COMPILERS = ("gcc", "clang", "cc")
#: Short silences: nothing on this computer takes longer, unless it is very busy.
QUICK = BoardTiming(resend=0.03 * FACTOR, resend_most=0.06 * FACTOR, silence=0.5 * FACTOR)
SHAPE = RandomShape(vocab=37, dim=12, depth=2, windows=(1, 3, 5), mlp=9, rank=6, shifted=6)


@cache
def small_program():
    return random_program(SHAPE, seed=5)


@cache
def small_model() -> bytes:
    return to_bytes(small_program())


def why_no_compiler():
    """Why the firmware cannot be compiled for this computer, or None."""
    return None if host_compiler(COMPILERS) else "there is no C compiler"


def build_host(name: str, *flags: str, main: str = "loopback.c", flavour: str = "plain") -> Path:
    """A program of the firmware's sources for this computer, made once in a run of the tests.

    Args:
        name: Name of the program.
        *flags: More for its own sources.
        main: The file that stands in for a board.
        flavour: ``plain`` or ``sanitized``.
    """
    own = [path for path in firmware_sources() if path.parent == resources.folder("dut")]
    rest = [path for path in firmware_sources() if path not in own]

    def compile_engine(folder):
        folder.mkdir(exist_ok=True)
        _compile([*FLAVOURS[flavour], "-c", *map(str, rest)], folder)

    objects = shared(f"board-engine-{flavour}", compile_engine)

    def make(folder):
        folder.mkdir(exist_ok=True)
        parts = [resources.folder("dut") / "host" / main, *own, *sorted(objects.glob("*.o"))]
        _compile([*FLAVOURS[flavour], *flags, *map(str, parts), "-o", name], folder)

    return shared(f"board-{name}", make) / name


def _compile(arguments, folder):
    host_compiler(COMPILERS).run(arguments, label="the compiler", error=RunnerError, folder=folder)


class Loopback:
    """A board that is a process.

    Args:
        model_bytes: Room for a model.
        arena_bytes: Room for the engine.
        flags: More for the compiler.
    """

    def __init__(self, model_bytes=1 << 20, arena_bytes=1 << 22, *, program=None):
        self.program = program or build_host("loopback")
        self.room = (str(model_bytes), str(arena_bytes))
        self.ours, self.theirs = socket.socketpair()
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen([self.program, *self.room], stdin=self.theirs)

    def kill(self):
        self.process.kill()
        self.process.wait(patience())

    def line(self, who="the board"):
        return SocketLine(self.ours.dup(), who)

    def session(self, timing=QUICK):
        return BoardSession(self.line(), timing)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.ours.close()
        self.theirs.close()


class TerminalBoard:
    """A board behind a pseudo-terminal, which is what a serial port is to a program."""

    def __init__(self, model_bytes=1 << 20, arena_bytes=1 << 22):
        master, slave = os.openpty()
        self.port = os.ttyname(slave)
        self._held = slave  # a port does not vanish when its user does
        program = build_host("loopback")
        self.process = subprocess.Popen([program, str(model_bytes), str(arena_bytes)], stdin=master)
        os.close(master)

    def unplug(self):
        self.process.kill()
        self.process.wait(patience())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.unplug()
        os.close(self._held)


class FaultyLine(SocketLine):
    """A line that damages bytes on their way.

    Args:
        end: Our end.
        faults: Of each: the direction (``to`` or ``from`` the board), the number of the byte, what happens
            (``drop``, ``twice``, ``flip``, ``insert``, ``late``), and a number that says how.
    """

    def __init__(self, end, faults):
        super().__init__(end, "the board")
        self._faults = {(way, at): (kind, how) for way, at, kind, how in faults}
        self._passed = {"to": 0, "from": 0}
        self._held = {"to": b"", "from": b""}

    def read(self, seconds):
        deadline = time.monotonic() + seconds
        while True:
            data = super().read(max(0.0, deadline - time.monotonic()))
            got = self._pass("from", data)
            if got or not data:
                return got

    def write(self, data, seconds):
        super().write(self._pass("to", data), seconds)

    def _pass(self, way, data):
        out = bytearray()
        for byte in data:
            kind, how = self._faults.get((way, self._passed[way]), (None, 0))
            self._passed[way] += 1
            piece = bytes((byte,))
            if kind == "drop":
                piece = b""
            elif kind == "twice":
                piece *= 2
            elif kind == "flip":
                piece = bytes((byte ^ (1 << how % 8),))
            elif kind == "insert":
                piece = bytes((how % 256,)) + piece
            elif kind == "late":  # it comes after its follower
                self._held[way] += piece
                continue
            out += piece + self._held[way]
            self._held[way] = b""
        return bytes(out)
