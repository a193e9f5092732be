"""Hostile ``program.snn`` files whose hash and CRC-32 are right: an error of ours or a safe program."""

import random
import struct
import tracemalloc

import pytest

from edgesnn.errors import ProgramFormatError
from edgesnn.program.bounds import prove
from edgesnn.program.snn_format import from_bytes, to_bytes
from edgesnn.program.validate import check_program
from tests.support import snn_reader
from tests.support.programs import smallest
from tests.support.snn_reader import fix_up

EDITS = 1000
NUMBERS = (
    0,
    1,
    2,
    63,
    64,
    127,
    128,
    255,
    2**15,
    2**16 - 1,
    2**23 - 2,
    2**31 - 1,
    2**31,
    2**32 - 2,
    2**32 - 1,
)


@pytest.fixture(scope="module")
def data():
    return to_bytes(smallest())


def edited(data, rng):
    """One to four edits of random kinds, mostly in the tables."""
    copy = bytearray(data)
    tables_end = snn_reader.parse(data)["at"][2]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        top = tables_end if rng.random() < 0.7 else len(copy)
        at = rng.randrange(64, top)
        kind = rng.randrange(5)
        if kind == 0:
            copy[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            copy[at] = rng.randrange(256)
        elif kind == 2:
            at = min(at & ~3, len(copy) - 4)
            struct.pack_into("<I", copy, at, rng.choice(NUMBERS))
        elif kind == 3:
            size = rng.choice((8, 64, 128))
            to, source = (rng.randrange(64, max(65, tables_end - size)) for _ in range(2))
            copy[to : to + size] = copy[source : source + size]
        else:
            at = min(at & ~7, len(copy) - 8)
            struct.pack_into("<Q", copy, at, rng.choice((*NUMBERS, 2**63, 2**64 - 64)))
    return fix_up(copy)


def check(data):
    """Whether the reader took it; it must then be a program that every rule and proof accepts."""
    try:
        stored = from_bytes(data)
    except ProgramFormatError:
        return False
    check_program(stored.program)
    prove(stored.program)
    assert to_bytes(stored.program) == data
    return True


@pytest.mark.parametrize("seed", range(4))
def test_an_edited_file_is_refused_or_holds_a_safe_program(data, seed):
    rng = random.Random(seed)
    taken = sum(check(edited(data, rng)) for _ in range(EDITS))
    assert 0 < taken < EDITS


def test_a_file_cut_or_repeated_anywhere_is_refused(data):
    rng = random.Random(9)
    for _ in range(500):
        a, b = sorted(rng.sample(range(64, len(data)), 2))
        copy = bytearray(data[:a] + data[b:] if rng.random() < 0.5 else data[:b] + data[a:])
        struct.pack_into("<Q", copy, 16, len(copy))
        if len(copy) >= 128:
            assert not check(fix_up(copy))


def test_a_lying_file_costs_no_more_memory_than_an_honest_one(data):
    rng = random.Random(5)
    files = [edited(data, rng) for _ in range(200)]
    tracemalloc.start()
    check(data)
    honest = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    for file in files:
        check(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * honest + 2**20


def test_random_bytes_are_refused():
    rng = random.Random(7)
    for size in (0, 1, 63, 64, 127, 128, 129, 4096):
        for _ in range(20):
            raw = rng.randbytes(size)
            assert not check(raw)
            if size >= 128:
                assert not check(
                    fix_up(struct.pack("<8sHHIQ", b"EDGESNN\0", 1, 0, 0x01020304, size) + raw[24:])
                )
