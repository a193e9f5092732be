"""TFLite against int8 ONNX: one token, and prefill, on the flagship shape, one thread, in turns.

Run: ``OMP_NUM_THREADS=1 python benchmarks/tflite_step.py [--rounds 60] [--vocab 8192 49152]``. Both engines
run behind the runner contract, so a time includes the host's care for the state. Every round gives each
engine the same tokens; their logits are compared bit for bit. The ratio is the median over rounds of the
ratio of medians within a round: noise of the machine meets both.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn.bundle.bundle import Bundle
from edgesnn.bundle.export import BundleSource, write_bundle
from edgesnn.exporters.base import Exporter
from edgesnn.exporters.onnx.exporter import OnnxExporter
from edgesnn.exporters.tflite.exporter import TfliteExporter
from edgesnn.program.bounds import prove
from edgesnn.program.compile import Compiled
from edgesnn.runners.base import Runner, RunnerOptions
from edgesnn.runners.host import cpu_name
from edgesnn.runners.litert.runner import LiteRtRunner
from edgesnn.runners.onnxruntime.runner import OnnxRuntimeRunner
from tests.support.random_program import FLAGSHIP, random_program

BURST = 12  # tokens of one engine before the other's turn
PREFILLS = (64, 512)
REPEATS = 7


def bundle_of(vocab: int, folder: Path) -> Bundle:
    program = random_program(replace(FLAGSHIP, vocab=vocab), seed=1)
    compiled = Compiled(program, prove(program), (), (), {}, None)
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text("{}", encoding="utf-8")
    nothing: Any = None  # no float student: the int8 exporters do not ask for it
    source = BundleSource("flagship", compiled, nothing, tokenizer, None, {}, {})
    exporters: dict[str, Exporter] = {"onnx": OnnxExporter(), "tflite": TfliteExporter()}
    return write_bundle(source, exporters, folder / "bundle", overwrite=False)


def compare_steps(runners: Mapping[str, Runner], vocab: int, rounds: int) -> dict[str, list[list[float]]]:
    """Times in microseconds by engine and round; the first rounds fill the rings and are dropped."""
    rng = np.random.default_rng(0)
    times: dict[str, list[list[float]]] = {name: [] for name in runners}
    warmup = -(-FLAGSHIP.windows[-1] // BURST)
    for runner in runners.values():
        runner.reset(1)
    for number in range(warmup + rounds):
        tokens = rng.integers(0, vocab, (BURST, 1))
        seen = []
        for name, runner in runners.items():
            outputs = [runner.step(token) for token in tokens]
            seen.append(np.stack([output.logits for output in outputs]))
            if number >= warmup:
                times[name].append([output.elapsed_ns / 1e3 for output in outputs])
        if not np.array_equal(seen[0], seen[1]):
            raise SystemExit(f"the engines differ in round {number}")
    return times


def report(vocab: int, times: dict[str, list[list[float]]]) -> None:
    for name, rounds in times.items():
        flat = [value for one in rounds for value in one]
        print(f"V={vocab:6} {name:12} min {min(flat):7.0f} us   median {statistics.median(flat):7.0f} us")
    ours, theirs = times["litert"], times["onnxruntime"]
    ratios = [statistics.median(a) / statistics.median(b) for a, b in zip(ours, theirs, strict=True)]
    least = min(min(one) for one in ours) / min(min(one) for one in theirs)
    print(f"V={vocab:6} litert / onnxruntime: {statistics.median(ratios):.2f} (minima {least:.2f})")


def report_prefill(runners: Mapping[str, Runner], vocab: int) -> None:
    ids = np.random.default_rng(1).integers(0, vocab, (1, max(PREFILLS)))
    for length in PREFILLS:
        best = dict.fromkeys(runners, float("inf"))
        for _ in range(REPEATS):
            for name, runner in runners.items():
                best[name] = min(best[name], runner.prefill(ids[:, :length]).elapsed_ns / 1e9)
        for name, seconds in best.items():
            print(f"V={vocab:6} {name:12} prefill {length:4}: {length / seconds:8.0f} tokens/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--vocab", type=int, nargs="+", default=[8192, 49152])
    arguments = parser.parse_args()
    print(f"{cpu_name()}, one thread")
    for vocab in arguments.vocab:
        with tempfile.TemporaryDirectory() as scratch, LiteRtRunner() as lite, OnnxRuntimeRunner() as onnx:
            bundle = bundle_of(vocab, Path(scratch))
            runners: dict[str, Runner] = {"litert": lite, "onnxruntime": onnx}
            for runner in runners.values():
                info = runner.open(bundle, RunnerOptions(threads=1))
                print(f"V={vocab:6} {info.engine} {info.engine_version}, {info.model_bytes} bytes")
            report(vocab, compare_steps(runners, vocab, arguments.rounds))
            report_prefill(runners, vocab)


if __name__ == "__main__":
    main()
