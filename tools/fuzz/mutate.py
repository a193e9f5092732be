"""Inputs number 0, 1, 2, ... of a parser: damaged copies of what the project's own writers write.

The same seed and number give the same bytes on every machine.
"""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

#: Numbers at which readers slip: limits of sizes, counts, shifts and signs.
NUMBERS = (
    *(0, 1, 2, 3, 4, 7, 8, 15, 16, 63, 64, 127, 128, 255, 256, 1000, 4095, 4096, 32767, 32768, 65535, 65536),
    *(2**23 - 2, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1),
)
#: Words at which readers of text slip.
WORDS = (
    *("null", "true", "false", "[]", "{}", '""', "-1", "0", "-0.0", "1e999", "-1e999", "NaN", "nan", "inf"),
    *("1e308", "9" * 40, "9" * 5000, "0x10", "1_000", "../../etc/passwd", "/dev/zero", "C:\\x", "\\ud800"),
    *("\u202e", "\x00", "\x1b[2J", "\r\n", "\ufeff", "\u0660", "'", '"', "[" * 2000, "{" * 2000, "a=" * 500),
    *(",", ";", "\t", "#", "=", "[[x]]", "\n\n", "1970-01-01", "é", "𝄞"),
)
#: Values that stand where others belong.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e300, 1e-300, "", "x", "0"),
    *("../x", "\ud800", "\x00", [], {}, [[]], [0], {"": 0}, float("inf"), float("nan"), "9" * 400),
)
#: Longest input; what is longer is cut.
LONGEST = 1 << 18
Fix = Callable[[bytes], bytes]


def mutated(seeds: Sequence[bytes], seed: int, number: int, fix: Fix | None = None) -> bytes:
    """Input number ``number``.

    Args:
        seeds: Right inputs.
        seed: Of the whole run.
        number: Which input.
        fix: Makes checksums right again, or the like; used for seven of eight inputs.
    """
    rng = random.Random(f"{seed}/{number}")
    data = rng.choice(seeds)
    as_json = _json(data) if rng.random() < 0.6 else None
    if as_json is not None:
        data = _edited_json(as_json, rng)
    if as_json is None or rng.random() < 0.15:
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            data = _edited(data, rng, seeds)
    data = data[:LONGEST]
    return fix(data) if fix is not None and rng.random() < 7 / 8 else data


def _edited(data: bytes, rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One edit of raw bytes: what stands from ``at`` to ``to`` is replaced."""
    at = rng.randrange(len(data) + 1)
    to = min(len(data), at + rng.choice((0, 1, 2, 4, 8, 16, 64, 512)))
    kind = rng.randrange(11)
    new = b""
    if kind == 0:  # one bit
        to, new = at + 1, bytes(one ^ 1 << rng.randrange(8) for one in data[at : at + 1])
    elif kind == 1:  # one byte
        to, new = at + 1, rng.randbytes(1)
    elif kind == 2:  # the rest is missing
        to = len(data)
    elif kind == 3:  # twice
        new = data[at:to] * 2
    elif kind == 4:  # a piece of another input
        other = rng.choice(seeds)
        begin = rng.randrange(len(other) + 1)
        new = other[begin : begin + rng.choice((1, 4, 16, 64, 1024))]
    elif kind == 5:
        new = rng.randbytes(rng.choice((1, 2, 4, 16, 64)))
    elif kind == 6:
        new = rng.choice(WORDS).encode("utf-8", "surrogatepass")
    elif kind == 7:
        return _with_other_digits(data, rng)
    elif kind in (8, 9):  # a number of the format's own width, in its place
        width = rng.choice((1, 2, 4, 8))
        at -= at % width
        to = at + width
        number = struct.pack("<Q", rng.choice(NUMBERS))[:width]
        new = number if rng.random() < 0.5 else number[::-1]
    return data[:at] + new + data[to:]


def _with_other_digits(data: bytes, rng: random.Random) -> bytes:
    """One run of digits replaced by another number."""
    runs = [found.span() for found in re.finditer(rb"\d+", data)]
    if not runs:
        return data
    at, end = rng.choice(runs)
    return data[:at] + str(rng.choice((*NUMBERS, -1, 10**400))).encode() + data[end:]


def _json(data: bytes) -> Any | None:
    if data[:1] not in (b"{", b"["):
        return None
    try:
        return json.loads(data)
    except ValueError:
        return None


def _edited_json(document: Any, rng: random.Random) -> bytes:
    """The document with one to three of its values replaced, removed, doubled or renamed."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(document))
        if not places:
            break
        holder, key = rng.choice(places)
        kind = rng.randrange(5)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[rng.choice(("x", "", "schema", "\x00", str(key).upper()))] = holder.pop(key)
        elif kind == 2:
            other, name = rng.choice(places)
            holder[key] = other.get(name) if isinstance(other, dict) else other[min(name, len(other) - 1)]
            if _depth(holder[key]) > 40:
                holder[key] = 0
        elif kind == 3 and isinstance(holder[key], int | float):
            holder[key] = rng.choice((*NUMBERS, -1, 0.5, -(2**63), 1e300))
        else:
            holder[key] = rng.choice(VALUES)
        document = json.loads(json.dumps(document))  # no part stands in two places, or in itself
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _places(document: Any) -> Sequence[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting and len(found) < 5000:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        found += [(one, key) for key in keys]
        waiting += [one[key] for key in keys]
    return found


def _depth(value: Any, limit: int = 50) -> int:
    if limit == 0 or not isinstance(value, dict | list) or not value:
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(_depth(one, limit - 1) for one in inner)
