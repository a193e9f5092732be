"""Warming up: by count, and until the running minimum settles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgesnn.record.timing import WarmUp
from edgesnn.runners.base import Runner

#: The minimum has settled when this many steps in a row lower it by less than `SETTLED_SHARE`.
SETTLED_STEPS = 32
SETTLED_SHARE = 0.01
#: Warming up ends after this many times the least count, settled or not.
GIVE_UP_FACTOR = 20


def warm_up(runner: Runner, ids: npt.NDArray[np.integer], least: int) -> WarmUp:
    """Run steps from a new context until the device is warm.

    Args:
        runner: An open runner with `Capability.STEP`.
        ids: Token ids ``[length]`` or frames ``[length, channels]``, repeated as often as needed.
        least: Least number of steps.

    Returns:
        What it took.
    """
    runner.reset()
    times: list[float] = []
    minimum, since = float("inf"), 0
    give_up = GIVE_UP_FACTOR * max(least, SETTLED_STEPS)
    while len(times) < give_up:
        elapsed = runner.step(ids[[len(times) % len(ids)]]).elapsed_ns / 1e6
        times.append(elapsed)
        since = 0 if elapsed < minimum * (1.0 - SETTLED_SHARE) else since + 1
        minimum = min(minimum, elapsed)
        if len(times) >= least and since >= SETTLED_STEPS:
            break
    return WarmUp(
        steps=len(times),
        settled=since >= SETTLED_STEPS,
        minimum_ms=minimum,
        typical_ms=float(np.median(times[-SETTLED_STEPS:])),
    )
