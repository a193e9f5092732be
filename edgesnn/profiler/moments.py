"""Moments of one process's clock as a file keeps them, for a process that goes on with it later.

The clock of `time.perf_counter_ns` runs on from process to process until the machine starts again. Only where
it did (or where the system does not say) is the wall clock asked, which may have been set in between.
"""

from __future__ import annotations

import time

from pydantic import BaseModel

from edgesnn import system


class Moment(BaseModel):
    """A moment by three clocks.

    Attributes:
        boot: Which start of the machine; empty where the system does not say.
        steady_ns: `time.perf_counter_ns` since then.
        unix_ns: The wall clock, nanoseconds since 1970.
    """

    boot: str
    steady_ns: int
    unix_ns: int

    @classmethod
    def at(cls, steady_ns: int) -> Moment:
        """A moment of this process.

        Args:
            steady_ns: Its `time.perf_counter_ns`.
        """
        unix_ns = steady_ns + time.time_ns() - time.perf_counter_ns()
        return cls(boot=system.boot(), steady_ns=steady_ns, unix_ns=unix_ns)

    def here(self, not_before_ns: int | None = None) -> int:
        """The moment by this process's `time.perf_counter_ns`.

        Args:
            not_before_ns: What ended before it; a wall clock that was set back does not undo that.
        """
        if self.boot and self.boot == system.boot():
            return self.steady_ns
        moved = self.unix_ns - time.time_ns() + time.perf_counter_ns()
        return moved if not_before_ns is None else max(moved, not_before_ns)
