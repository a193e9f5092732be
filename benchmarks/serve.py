"""What `edgesnn serve` costs: its start, and memory over many requests.

    python benchmarks/serve.py [--requests 2000] [--rounds 5] [--model reference]

A server in a process of its own. Memory is its resident set after a tenth of the requests and after all of
them (streamed, greedy, 50 tokens each at most).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def served(model: str) -> Iterator[tuple[str, int, float]]:
    """A server: its address, its process id, and seconds from its start to its first answer."""
    began = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "edgesnn.cli.main",
        "serve",
        model,
        "--port",
        "0",
        "--max-tokens",
        "100000",
    ]
    root = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if " at http" in line)
        address = line.split(" at ")[1].strip().removesuffix("/v1")
        urllib.request.urlopen(f"{address}/healthz").read()
        yield address, process.pid, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def stream(address: str, tokens: int) -> int:
    """Tokens of one streamed answer, as the server counts them."""
    body = {"prompt": "Once upon a time", "max_tokens": tokens, "stream": True}
    body["stream_options"] = {"include_usage": True}
    request = urllib.request.Request(
        f"{address}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    made = 0
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            if b'"completion_tokens"' in line:
                made = json.loads(line.removeprefix(b"data: "))["usage"]["completion_tokens"]
    return made


def resident_mb(pid: int) -> float:
    """Resident memory of a process, MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="reference")
    given = parser.parse_args()
    starts = []
    for _ in range(given.rounds):
        with served(given.model) as (_, _, seconds):
            starts.append(seconds)
    print(f"start to the first answer: least {min(starts):.2f} s, all {[round(s, 2) for s in starts]}")
    with served(given.model) as (address, pid, _):
        before = 0.0
        for number in range(given.requests):
            if number == given.requests // 10:
                before = resident_mb(pid)
            stream(address, 50)
        after = resident_mb(pid)
        count = f"{given.requests:,} requests, at most {50 * given.requests:,} tokens"
        print(f"memory: {before:.1f} MB after a tenth, {after:.1f} MB after {count}")


if __name__ == "__main__":
    main()
