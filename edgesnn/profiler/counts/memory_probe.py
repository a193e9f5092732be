"""The fresh process behind `profiler.counts.memory`: opens one runner, runs some tokens, says what it took.

``python -m edgesnn.profiler.counts.memory_probe`` reads one JSON request from stdin and answers as
`edgesnn.children` says. Peak memory is ``VmHWM`` of ``/proc/self/status`` on Linux: ``ru_maxrss`` would carry
over the parent's peak through exec.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def peak_resident() -> tuple[int, str]:
    """Peak resident set of this process in bytes, and how it was read."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024, "VmHWM of the process status"
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset), "peak working set (psutil)"
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "ru_maxrss of getrusage"


def main() -> int:
    """Run one request.

    Returns:
        0, or the exit code of the error that was met.
    """
    request = json.load(sys.stdin)
    interpreter, _ = peak_resident()
    from edgesnn.children import reply

    return reply(lambda: {"interpreter_bytes": interpreter, **_measure(request)})


def _measure(request: dict[str, Any]) -> dict[str, Any]:
    import numpy as np
    import psutil

    from edgesnn.bundle.bundle import Bundle
    from edgesnn.errors import RunnerError
    from edgesnn.plugins import load_runner
    from edgesnn.runners.base import Capability, RunnerOptions

    kind = load_runner(request["runner"])
    if (reason := kind.missing()) is not None:
        raise RunnerError(f"runner '{request['runner']}' cannot run here", actual=reason)
    libraries, _ = peak_resident()
    with kind() as runner:
        before = time.perf_counter_ns()
        bundle = Bundle(Path(request["bundle"]))
        info = runner.open(bundle, RunnerOptions(request["threads"], request["address"]))
        loaded_ns = time.perf_counter_ns() - before
        loaded = int(psutil.Process().memory_info().rss)
        token = np.zeros(1, np.int32)
        if bundle.reads_frames and (frames := bundle.program().frames) is not None:
            token = np.zeros((1, frames.channels), np.int8)
        steps = Capability.STEP in runner.capabilities
        if steps:
            runner.reset()
        first_ns = 0
        for _ in range(request["tokens"]):
            if steps:
                runner.step(token)
            else:
                runner.sequence(token[None, :])
            first_ns = first_ns or time.time_ns()
        peak, how = peak_resident()
    return {
        "baseline_bytes": libraries,
        "loaded_bytes": loaded,
        "peak_bytes": peak,
        "load_ms": loaded_ns / 1e6,
        "engine_load_ms": info.load_ms,
        "cold_start_ms": (first_ns - request["spawned_ns"]) / 1e6,
        "tokens": request["tokens"],
        "how": how,
    }


if __name__ == "__main__":
    raise SystemExit(main())
