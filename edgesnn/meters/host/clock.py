"""The clock of meters that poll this machine: the real one, or one that a test moves."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Time, and waiting."""

    def now_ns(self) -> int:
        """Monotonic time, nanoseconds."""
        ...

    def wait(self, seconds: float) -> None:
        """Let that much time pass."""
        ...


class HostClock:
    """This machine's clock."""

    def now_ns(self) -> int:
        """``time.monotonic_ns``."""
        return time.monotonic_ns()

    def wait(self, seconds: float) -> None:
        """``time.sleep``."""
        time.sleep(max(seconds, 0.0))
