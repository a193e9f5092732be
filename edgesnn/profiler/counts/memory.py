"""Peak memory, load time and cold start of a fresh process that only opens the runner and runs tokens.

The baseline, interpreter plus libraries before the bundle is opened, stands beside the peak: a process of a
phone or a microcontroller has no Python in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import edgesnn
from edgesnn.errors import RunnerError
from edgesnn.runners.base import RunnerOptions

MODULE = "edgesnn.profiler.counts.memory_probe"
_STDERR_SHOWN = 300


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
        RunnerError: The process died, missed the deadline, or printed no report.
    """
    command = [python, "-m", MODULE, "--bundle", str(bundle), "--runner", runner]
    command += ["--threads", str(options.threads), "--tokens", str(tokens)]
    if options.address is not None:
        command += ["--address", options.address]
    root = str(Path(edgesnn.__file__).parents[1])
    path = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}
    command += ["--spawned-ns", str(time.time_ns())]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise RunnerError(
            "the memory probe did not finish",
            actual=f"more than {timeout_s:g} s",
            remedy="raise memory_timeout_seconds in the profile",
        ) from None
    except OSError as error:
        raise RunnerError("the memory probe cannot be started", actual=error.strerror) from None
    if done.returncode != 0:
        death = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        last = done.stderr.strip()[-_STDERR_SHOWN:] or "it said nothing"
        raise RunnerError(f"the memory probe died with {death}", actual=last)
    try:
        return Probe(**json.loads(done.stdout.strip().splitlines()[-1]))
    except (ValueError, TypeError, IndexError):
        raise RunnerError(
            "the memory probe printed no report", actual=done.stdout.strip()[-_STDERR_SHOWN:]
        ) from None
