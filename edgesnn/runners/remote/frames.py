"""Frames of the program on a device: written to its input, read from its output with a deadline.

The layout is drawn in ``engine/remote/remote.h``. A thread reads the pipe, so that a deadline holds on every
system; the hash of all that came is kept, because the device sends it along.
"""

from __future__ import annotations

import hashlib
import os
import queue
import struct
import threading
import time
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import IO

from edgesnn.errors import RunnerError

MAGIC = b"SNRF"
PROTOCOL = 1
#: Longest payload that is believed: the logits of one token, generously.
PAYLOAD_MAX = 64 << 20
#: Longest command (``REMOTE_REQUEST_MAX``).
REQUEST_MAX = 16 << 20
_HEADER = struct.Struct("<4sIIII")
_CHUNK = 1 << 16
_SKIPPED_KEPT = 4096


class Command(IntEnum):
    """What a device is asked."""

    HELLO = 1
    RESET = 2
    STEP = 3
    PREFILL = 4
    SEQUENCE = 5
    WINDOW = 6
    PLAY = 7
    CLOCK = 8
    FILES = 9
    AFFINITY = 10
    END = 11
    EXTEND = 12
    SAVE = 13
    RESTORE = 14


class Reply(IntEnum):
    """What it answers."""

    TEXT = 64
    LOGITS = 65
    STAMPS = 66
    FILE = 67
    DONE = 68
    FAILED = 69
    STATE = 70


@dataclass(frozen=True, slots=True)
class RemoteFrame:
    """One frame.

    Attributes:
        kind: A value of `Command` or `Reply`.
        sequence: Number of the command that it belongs to.
        payload: Its bytes.
    """

    kind: int
    sequence: int
    payload: bytes


def encode(kind: int, sequence: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    words = struct.pack("<III", kind, sequence, len(payload))
    return MAGIC + words + struct.pack("<I", zlib.crc32(payload, zlib.crc32(words))) + payload


class RemoteFrameReader:
    """Frames from a pipe.

    Args:
        pipe: The output of the process that leads to the device; its file descriptor is read.
        who: The device, for errors.
        after: The mark behind which the frames begin; what stands before it is passed over.

    Attributes:
        begun: Whether the mark was seen.
        skipped: The end of what stood before it.
    """

    def __init__(self, pipe: IO[bytes], who: str, after: bytes = b"") -> None:
        self._who = who
        self._after = after
        self.begun = not after
        self.skipped = b""
        self._chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._buffer = bytearray()
        self._digest = hashlib.sha256()
        self._ended = False
        self._thread = threading.Thread(target=self._pump, args=(pipe.fileno(),), daemon=True)
        self._thread.start()

    def read(self, deadline: float) -> tuple[RemoteFrame, bytes] | None:
        """The next frame, and the SHA-256 of everything before it.

        Args:
            deadline: ``time.monotonic`` by which it must be there.

        Returns:
            None when the stream ended.

        Raises:
            RunnerError: The deadline passed, or what came is no frame.
        """
        if not self._begin(deadline) or not self._fill(_HEADER.size, deadline):
            return None
        magic, kind, sequence, length, crc = _HEADER.unpack_from(self._buffer)
        if magic != MAGIC or length > PAYLOAD_MAX:
            raise self._corrupt(bytes(self._buffer[:64]))
        if not self._fill(_HEADER.size + length, deadline):
            return None
        whole = bytes(self._buffer[: _HEADER.size + length])
        del self._buffer[: len(whole)]
        payload = whole[_HEADER.size :]
        if zlib.crc32(payload, zlib.crc32(whole[4:16])) != crc:
            raise self._corrupt(whole[:64])
        before = self._digest.digest()
        self._digest.update(whole)
        return RemoteFrame(kind, sequence, payload), before

    def join(self, seconds: float) -> None:
        """Wait for the thread after the other end was closed."""
        self._thread.join(seconds)

    def _begin(self, deadline: float) -> bool:
        """Pass over what stands before the mark."""
        while not self.begun:
            before, found, rest = bytes(self._buffer).partition(self._after)
            self.begun = bool(found)
            kept = 0 if found else len(self._after) - 1  # the mark may come in pieces
            self.skipped = (self.skipped + before[: len(before) - kept])[-_SKIPPED_KEPT:]
            self._buffer = bytearray(rest if found else before[len(before) - kept :])
            if not found and not self._fill(len(self._buffer) + 1, deadline):
                return False
        return True

    def _fill(self, size: int, deadline: float) -> bool:
        while len(self._buffer) < size and not self._ended:
            try:
                chunk = self._chunks.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise RunnerError(
                    f"{self._who} did not answer in time",
                    remedy="look whether it is still attached and awake",
                ) from None
            self._ended = not chunk
            self._buffer += chunk
        return len(self._buffer) >= size

    def _pump(self, descriptor: int) -> None:
        chunk = b"start"
        while chunk:
            try:
                chunk = os.read(descriptor, _CHUNK)
            except OSError:
                chunk = b""
            self._chunks.put(chunk)

    def _corrupt(self, start: bytes) -> RunnerError:
        shown = start.decode("ascii", "replace").strip()
        return RunnerError(
            f"what {self._who} sent is no frame of the engine",
            actual=repr(shown[:60]),
            remedy="something on the device writes into the stream, or a byte was lost",
        )
