"""The fresh process behind `profiler.counts.memory`: opens one runner, runs some tokens, says what it took.

``python -m edgesnn.profiler.counts.memory_probe --bundle DIR --runner NAME`` prints one JSON object. Peak
memory is ``VmHWM`` of ``/proc/self/status`` on Linux: ``ru_maxrss`` would carry over the parent's peak
through exec.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path


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


def main(arguments: list[str] | None = None) -> int:
    """Run the probe.

    Args:
        arguments: The command line without the program's name.

    Returns:
        0, or the exit code of the error that was met.
    """
    parser = argparse.ArgumentParser(
        prog="python -m edgesnn.profiler.counts.memory_probe", description=__doc__
    )
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--runner", required=True, help="name of the runner")
    parser.add_argument("--address", default=None, help="what followed the colon of the target")
    parser.add_argument("--threads", type=int, default=1, help="threads inside one inference")
    parser.add_argument("--tokens", type=int, default=32, help="tokens to run")
    parser.add_argument("--spawned-ns", type=int, default=None, help="time.time_ns() of the parent at spawn")
    options = parser.parse_args(arguments)
    interpreter, _ = peak_resident()

    import numpy as np
    import psutil

    from edgesnn.bundle.bundle import Bundle
    from edgesnn.errors import EdgesnnError, RunnerError
    from edgesnn.plugins import load_runner
    from edgesnn.runners.base import Capability, RunnerOptions

    try:
        kind = load_runner(options.runner)
        if (reason := kind.missing()) is not None:
            raise RunnerError(f"runner '{options.runner}' cannot run here", actual=reason)
        libraries, how = peak_resident()
        with kind() as runner:
            before = time.perf_counter_ns()
            bundle = Bundle(options.bundle)
            info = runner.open(bundle, RunnerOptions(threads=options.threads, address=options.address))
            loaded_ns = time.perf_counter_ns() - before
            loaded = int(psutil.Process().memory_info().rss)
            token = np.zeros(1, np.int32)
            steps = Capability.STEP in runner.capabilities
            if steps:
                runner.reset()
            first_ns = None
            for _ in range(options.tokens):
                if steps:
                    runner.step(token)
                else:
                    runner.sequence(token[None, :])
                first_ns = time.time_ns() if first_ns is None else first_ns
            peak, how = peak_resident()
            report = {
                "interpreter_bytes": interpreter,
                "baseline_bytes": libraries,
                "loaded_bytes": loaded,
                "peak_bytes": peak,
                "load_ms": loaded_ns / 1e6,
                "engine_load_ms": info.load_ms,
                "cold_start_ms": None
                if options.spawned_ns is None or first_ns is None
                else (first_ns - options.spawned_ns) / 1e6,
                "tokens": options.tokens,
                "how": how,
            }
    except EdgesnnError as error:
        sys.stderr.write(f"{error.sentence()}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
