"""The C engine of an older checkout against this one: microseconds a token, prefill of 512, ratios.

    git worktree add /tmp/old COMMIT
    python benchmarks/engine_before.py /tmp/old [--vocab 8192 49152] [--rounds 40]

Each engine runs in a process of its own on the same random program of the flagship's shape, in turns of ten
tokens with all windows full; least times. Kernel sets that both checkouts have are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FAR_END = r"""
import json, sys, time
from dataclasses import replace
import numpy as np
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.native.engine import Engine, kernel_sets
from tests.support.random_program import FLAGSHIP, random_program

vocab = int(sys.argv[1])
data = to_bytes(random_program(replace(FLAGSHIP, vocab=vocab)))
engines = {name: Engine(data, name) for name in kernel_sets()}
ids = np.random.default_rng(0).integers(0, vocab, 812).astype(np.uint32)
logits = np.empty(vocab, np.int32)
address = logits.__array_interface__["data"][0]
print(json.dumps(list(engines)), flush=True)
for line in sys.stdin:
    name = line.strip()
    engine, least = engines[name], float("inf")
    engine.reset(1)
    started = time.perf_counter()
    engine.prefill(ids[None, :512])
    prefill = time.perf_counter() - started
    for token in ids[512:522].tolist():
        started = time.perf_counter()
        engine.step(token, address)
        least = min(least, time.perf_counter() - started)
    print(json.dumps([1e6 * least, 1e6 * prefill]), flush=True)
"""


class FarEnd:
    """One checkout's engines."""

    def __init__(self, checkout: Path, vocab: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FAR_END, str(vocab)],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.kernels: list[str] = self._answer()

    def _answer(self) -> list:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("an engine ended: see above")
        return json.loads(line)

    def ask(self, kernels: str) -> list[float]:
        """Microseconds of the best step and of the prefill."""
        self._process.stdin.write(kernels + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("old", type=Path, help="a checkout of the older engine")
    parser.add_argument("--vocab", type=int, nargs="+", default=[8192, 49_152])
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    print("| V | kernels | before us | now us | ratio | prefill of 512, ratio |\n|---|---|---|---|---|---|")
    for vocab in given.vocab:
        ends = [FarEnd(given.old.resolve(), vocab), FarEnd(ROOT, vocab)]
        try:
            for name in (n for n in ends[1].kernels if n in ends[0].kernels):
                best = [[float("inf")] * 2, [float("inf")] * 2]
                for _ in range(given.rounds):
                    for i, end in enumerate(ends):
                        best[i] = [min(a, b) for a, b in zip(best[i], end.ask(name), strict=True)]
                (old, old_fill), (new, new_fill) = best
                print(
                    f"| {vocab:,} | {name} | {old:.1f} | {new:.1f} | {old / new:.2f} "
                    f"| {old_fill / new_fill:.2f} |",
                    flush=True,
                )
        finally:
            for end in ends:
                end.close()


if __name__ == "__main__":
    main()
