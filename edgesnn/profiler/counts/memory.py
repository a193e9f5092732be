"""Peak memory, load time and cold start of a fresh process that only opens the runner and runs tokens.

The baseline, interpreter plus libraries before the bundle is opened, stands beside the peak: a process of a
phone or a microcontroller has no Python in it.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from edgesnn.children import Child
from edgesnn.runners.base import RunnerOptions

MODULE = "edgesnn.profiler.counts.memory_probe"


@dataclass(frozen=True, slots=True)
class Probe:
    """What one fresh process said of itself.

    Attributes:
        interpreter_bytes: Peak resident set of the bare interpreter.
        baseline_bytes: The same with edgesnn and the engine's libraries imported, no bundle opened.
        loaded_bytes: Resident set after the runner opened the bundle.
        peak_bytes: Peak resident set at the end.
        load_ms: Time to check the bundle's hashes and open the runner.
        engine_load_ms: The runner's own part of it, as it reports it.
        cold_start_ms: From spawning the process to the first token's logits; the page cache is as it was.
        tokens: Tokens it ran.
        how: How the peak was read.
    """

    interpreter_bytes: int
    baseline_bytes: int
    loaded_bytes: int
    peak_bytes: int
    load_ms: float
    engine_load_ms: float
    cold_start_ms: float
    tokens: int
    how: str


def probe_memory(
    bundle: Path,
    runner: str,
    options: RunnerOptions,
    *,
    tokens: int,
    timeout_s: float,
    python: str = sys.executable,
) -> Probe:
    """Start one fresh process and read what it says.

    Args:
        bundle: Folder of the bundle.
        runner: Name of the runner, as its entry point says.
        options: How it executes.
        tokens: Tokens to run.
        timeout_s: Deadline; the process is killed when it passes.
        python: The interpreter.

    Returns:
        The process's report.

    Raises:
        EdgesnnError: What the process met, in its words.
        RunnerError: It died, missed the deadline, or printed no report.
    """
    request = {
        "bundle": str(bundle),
        "runner": runner,
        "address": options.address,
        "threads": options.threads,
        "tokens": tokens,
        "spawned_ns": time.monotonic_ns(),
    }
    given = json.dumps(request).encode()
    with Child(["-m", MODULE], "the memory probe", given=given, python=python) as child:
        report = child.expect("result", timeout_s, remedy="raise memory_timeout_seconds in the profile")
    return Probe(**report)
