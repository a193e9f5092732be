"""How long a test waits before it calls something hung.

No test is about speed, so these limits are far beyond what an idle machine needs: they end a run that would
never end. ``EDGESNN_TEST_PATIENCE=3`` waits three times as long, for an emulated or a very busy machine.
"""

import os
import time

#: What every limit is multiplied with.
FACTOR = float(os.environ.get("EDGESNN_TEST_PATIENCE") or 1)


def patience(seconds: float = 600.0) -> float:
    """A limit in seconds, for whatever would otherwise be waited for in vain."""
    return seconds * FACTOR


def wait_for(condition, what="the condition", every=0.01):
    """Wait until a condition, looked at every so many seconds, gives something true; return that."""
    deadline = time.monotonic() + patience()
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come about in {patience():g} s"
        time.sleep(every)
    return found
