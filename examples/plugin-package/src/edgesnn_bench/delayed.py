"""Runner ``delayed``: the definition of the program, and a wait after every token."""

from __future__ import annotations

import time
from typing import ClassVar

from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import UsageError
from edgesnn.runners.base import DeviceInfo, IntArray, Output, RunnerOptions
from edgesnn.runners.golden import GoldenRunner

#: A wait that a person still waits for, milliseconds.
MOST_MS = 10_000.0


class DelayedRunner(GoldenRunner):
    """Exact, and slower by what follows the colon: ``--target delayed:20`` waits 20 ms at every step."""

    name: ClassVar[str] = "delayed"
    summary: ClassVar[str] = "golden with a wait at every token: delayed:MILLISECONDS"
    _wait_s = 0.0

    def open(self, bundle: Bundle, options: RunnerOptions) -> DeviceInfo:
        """Load ``program.snn``.

        Raises:
            UsageError: The address is no number of milliseconds.
        """
        try:
            wait_ms = float(options.address or 0)
        except ValueError:
            wait_ms = -1.0
        if not 0 <= wait_ms <= MOST_MS:
            raise UsageError(
                "'delayed' takes milliseconds after its colon",
                actual=options.address,
                limit=f"0 to {MOST_MS:g}",
                remedy="--target delayed:20",
            )
        self._wait_s = wait_ms / 1000
        return super().open(bundle, options)

    def step(self, tokens: IntArray) -> Output:
        """Run one token and wait; the wait is part of the time."""
        started = time.perf_counter_ns()
        output = super().step(tokens)
        time.sleep(self._wait_s)
        return Output(output.logits, time.perf_counter_ns() - started)
