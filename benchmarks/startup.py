"""Time of ``edgesnn --help`` beyond a bare ``import typer, rich``, the two measured in turns.

Run: ``python benchmarks/startup.py``. The limit is 150 ms on the project's machines.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15
LIMIT_MS = 150.0
COMMANDS = {
    "import typer, rich": ("-c", "import typer, rich"),
    "edgesnn --help": ("-m", "edgesnn.cli.main", "--help"),
    "edgesnn --version": ("-m", "edgesnn.cli.main", "--version"),
}


def elapsed_ms(arguments: tuple[str, ...]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - started) * 1e3


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, arguments in COMMANDS.items():
            times[name].append(elapsed_ms(arguments))
    bare = times["import typer, rich"]
    for name, measured in times.items():
        print(f"{name:20} median {statistics.median(measured):6.1f} ms, least {min(measured):6.1f} ms")
    # The least time is what the code costs; the rest is what else the machine was doing.
    beyond, ratio = min(times["edgesnn --help"]) - min(bare), min(times["edgesnn --help"]) / min(bare)
    print(f"help beyond the bare import, least times: {beyond:.1f} ms (x{ratio:.2f})")
    print(f"limit {LIMIT_MS:.0f} ms: {'met' if beyond < LIMIT_MS else 'EXCEEDED'}")


if __name__ == "__main__":
    main()
