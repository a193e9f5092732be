"""Faults on demand: when they happen, and what they do to a twin's stream.

Times are seconds since the twin was made. Bytes are damaged after the instrument sent them, as on a bad
cable; samples are dropped inside it, as when its own buffer overflows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from edgesnn.errors import UsageError
from edgesnn.names import unknown


class FaultKind(StrEnum):
    """What can go wrong with a stream."""

    DROP_BYTES = "drop-bytes"  #: ``amount`` bytes vanish
    DUPLICATE_BYTES = "duplicate-bytes"  #: ``amount`` bytes come twice
    CORRUPT_BYTES = "corrupt-bytes"  #: ``amount`` bytes change
    DROP_SAMPLES = "drop-samples"  #: the instrument loses ``amount`` samples
    STALL = "stall"  #: nothing is sent for ``amount`` seconds; the instrument buffers what it can
    UNPLUG = "unplug"  #: the cable is out for ``amount`` seconds (0: for ever)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        kind: What happens.
        at_s: When.
        amount: How much: bytes, samples or seconds.
    """

    kind: FaultKind
    at_s: float
    amount: float

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read ``KIND@SECONDS:AMOUNT``, for example ``drop-samples@2.5:64``.

        Raises:
            UsageError: The text is something else.
        """
        kind, _, rest = text.partition("@")
        if kind not in list(FaultKind):
            raise unknown("fault", kind, [one.value for one in FaultKind])
        when, _, amount = rest.partition(":")
        try:
            fault = cls(FaultKind(kind), float(when), float(amount))
        except ValueError:
            fault = None
        if fault is None or not (fault.at_s >= 0 and fault.amount >= 0):
            raise UsageError(f"the fault '{text}' is malformed", limit="KIND@SECONDS:AMOUNT, both at least 0")
        return fault


class FaultSchedule:
    """Faults in the order of their times, handed out once each.

    Args:
        faults: In any order.
        seed: Seed of which bits a corruption changes.
    """

    def __init__(self, faults: Iterable[Fault] = (), seed: int = 0) -> None:
        self._waiting = sorted(faults, key=lambda fault: fault.at_s)
        self._random = np.random.default_rng(seed)
        self._stalled_until_s = 0.0
        self._pending: list[Fault] = []

    def due(self, now_s: float) -> list[Fault]:
        """The faults whose time has come since the last call; those on bytes are kept for `damage`."""
        due = []
        while self._waiting and self._waiting[0].at_s <= now_s:
            fault = self._waiting.pop(0)
            due.append(fault)
            if fault.kind is FaultKind.STALL:
                self._stalled_until_s = max(self._stalled_until_s, now_s + fault.amount)
            elif fault.kind in (FaultKind.DROP_BYTES, FaultKind.DUPLICATE_BYTES, FaultKind.CORRUPT_BYTES):
                self._pending.append(fault)
        return due

    def stalled(self, now_s: float) -> bool:
        """Whether nothing may be sent now."""
        return now_s < self._stalled_until_s

    def damage(self, data: bytes) -> bytes:
        """Apply the pending faults on bytes to what is being sent; what is too short waits for more."""
        while self._pending and data:
            fault = self._pending.pop(0)
            count = min(int(fault.amount), len(data))
            # the middle of a piece is more telling than its end
            shift = (len(data) - count) // 2
            head, body, tail = data[:shift], data[shift : shift + count], data[shift + count :]
            if fault.kind is FaultKind.DROP_BYTES:
                data = head + tail
            elif fault.kind is FaultKind.DUPLICATE_BYTES:
                data = head + body + body + tail
            else:
                noise = self._random.integers(1, 256, count, dtype=np.uint8)
                data = head + (np.frombuffer(body, np.uint8) ^ noise).tobytes() + tail
        return data
