"""The clock of this machine, by which meters poll and play; a test hands in one that it moves itself."""

from __future__ import annotations

import time


class Clock:
    """Time, and waiting."""

    def now_ns(self) -> int:
        """Monotonic time, nanoseconds."""
        return time.monotonic_ns()

    def wait(self, seconds: float) -> None:
        """Let that much time pass; nothing where it is negative."""
        time.sleep(max(seconds, 0.0))
