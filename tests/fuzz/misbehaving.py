"""Parsers that do what none may do, so that the tests can see whether that is noticed."""

import ctypes
import time

from edgesnn.errors import UserError
from tools.fuzz.harness import Harness, Subject


def _one(act):
    """A parser that acts on a damaged input and takes the right one."""

    def run(data):
        if data != b"right":
            act(data)

    return Harness(lambda folder: Subject([b"right"], run))


def _refuse(data):
    raise UserError("no")


def _fail(data):
    raise KeyError(data[:4])


def _hang(data):
    end = time.process_time() + 600
    while time.process_time() < end:
        pass


def _grow(data):
    memory = bytearray(1100 << 20)
    memory[::4096] = bytes(len(range(0, len(memory), 4096)))  # a byte a page is enough, and quick


HARNESSES = {
    "good": _one(_refuse),
    "wrong-error": _one(_fail),
    "hang": _one(_hang),
    "crash": _one(lambda data: ctypes.string_at(0)),
    "memory": _one(_grow),
}
