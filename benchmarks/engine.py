"""One token in the C engine against ONNX Runtime, one thread, all in turns.

    python benchmarks/engine.py [--vocab 8192 49152] [--tokens 400] [--json | --markdown]

The student is a random program of the flagship's shape. Every engine runs ten tokens in turn, after the
windows of attention are full, so that a noisy machine disturbs all of them alike; least and median are
given, and ratios of medians within a turn. An ONNX step includes the host's care for its state. Beside them:
the bytes that a token must read (rows of weights with a spike, and the readout's table), the bandwidth that
this machine reads so many bytes with, and the share of that bound which the engine reaches.

The dense competitor (``engine_dense.py``) is the same engine with dense linear layers: VNNI or AVX2, four
timesteps a load, spikes as bytes. ``--markdown`` prints the tables of ``docs/performance.md``.
Instructions are counted by ``engine_instructions.py``.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from engine_dense import DenseEngine, dense_sets
from onnx_step import float_student, machine, onnx_step

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn.exporters.onnx.exporter import integer_numbers
from edgesnn.exporters.onnx.files import build
from edgesnn.exporters.onnx.float32 import float_numbers
from edgesnn.program.golden import Golden
from edgesnn.program.ops import Linear
from edgesnn.program.program import Program
from edgesnn.program.snn_format import to_bytes
from edgesnn.program.state import State
from edgesnn.runners.native.build import library
from edgesnn.runners.native.engine import Engine, kernel_sets
from tests.support.random_program import FLAGSHIP, random_program

TURN = 10
WARM = 300


def read_bandwidth(size: int) -> float:
    """GB/s at which memory of this size is read again and again."""
    loaded = ctypes.CDLL(str(library()[0]))
    loaded.snn_host_read.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    memory = np.ones(size // 8, np.uint64)
    times = []
    for _ in range(30):
        started = time.perf_counter_ns()
        loaded.snn_host_read(memory.ctypes.data, len(memory))
        times.append(time.perf_counter_ns() - started)
    return size / min(times)


def token_bytes(program: Program, ids: np.ndarray) -> tuple[int, float]:
    """Bytes of weights and table that one token must read, and synaptic row additions per token."""
    rows: dict[str, float] = {}
    spikes: dict[str, float] = {}
    consumers = {op.input: op.weight.shape[1] for op in program.all(Linear)}

    def tap(name: str, value: np.ndarray) -> None:
        if name in consumers:
            rows[name] = float(value.any(axis=2).sum(axis=-1).mean()) * consumers[name]
            spikes[name] = float(value.sum(axis=(2, 3)).mean())

    Golden(program).sequence(ids[None, :64], tap)
    return int(sum(rows.values()) + program.readout.table.size), sum(spikes.values())


def native_steps(engine: Engine, vocab: int) -> dict[str, Callable[[int], None]]:
    """Steps that give all logits, and steps that give the best token only."""
    logits = np.empty(vocab, np.int32)

    def full(token: int, logits: np.ndarray = logits, address: int = logits.ctypes.data) -> None:
        engine.step(token, address)

    def best(token: int) -> None:
        engine.step(token, 0)
        engine.top(1)

    return {"all logits": full, "best token": best}


def in_turns(
    engines: dict[str, Callable[[int], None]], ids: np.ndarray, tokens: int
) -> dict[str, list[float]]:
    """Microseconds of every token, engine by engine."""
    for token in ids[:WARM]:
        for run in engines.values():
            run(int(token))
    times: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(max(3, tokens // TURN)):
        for name, run in engines.items():
            for i in range(TURN):
                token = int(ids[(turn * TURN + i) % len(ids)])
                started = time.perf_counter_ns()
                run(token)
                times[name].append((time.perf_counter_ns() - started) / 1e3)
    return times


def dense_step(engine: DenseEngine, logits: np.ndarray, token: int) -> None:
    engine.step(token, logits.ctypes.data)


def against_dense(name: str, times: dict[str, list[float]]) -> float | None:
    """Least time of the dense kernel over this engine's: of the same instruction set where it has one."""
    dense = [row for row in times if row.startswith("dense")]
    same = [row for row in dense if row.split(",")[0].split()[1] in name]
    chosen = (same or dense or [None])[0]
    return None if chosen is None else round(min(times[chosen]) / min(times[name]), 2)


def same_logits(dense: DenseEngine, native: Engine, ids: np.ndarray, vocab: int) -> None:
    """Make sure that the dense engine gives the same bits, token by token."""
    left, right = np.empty(vocab, np.int32), np.empty(vocab, np.int32)
    for token in ids:
        dense.step(int(token), left.ctypes.data)
        native.step(int(token), right.ctypes.data)
        np.testing.assert_array_equal(left, right)
    dense.reset()
    native.reset(1)


def prefills(
    engine: Engine, dense: DenseEngine | None, program: Program, vocab: int
) -> dict[str, dict[str, float]]:
    """Tokens per second of prompts of 64 and 512, native and ONNX int8 in turns.

    In CPU time of the thread: calls this long are interrupted on a machine with other work.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = build(program, "prefill", integer_numbers(program), {})[0]
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    table: dict[str, dict[str, float]] = {}
    for length in (64, 512):
        ids = np.random.default_rng(length).integers(0, vocab, (1, length))
        unsigned, logits = ids.astype(np.uint32), np.empty(vocab, np.int32)
        times: dict[str, list[float]] = {"native": [], "onnx int8": []}
        for _ in range(8):
            engine.reset(1)
            started = time.thread_time()
            engine.prefill(unsigned)
            times["native"].append(time.thread_time() - started)
            started = time.thread_time()
            session.run(["logits"], {"input_ids": ids})
            times["onnx int8"].append(time.thread_time() - started)
            if dense is not None:
                started = time.thread_time()
                dense.prefill(unsigned[0], logits)
                times.setdefault(f"dense {dense.kernels}", []).append(time.thread_time() - started)
        table[str(length)] = {name: round(length / min(values)) for name, values in times.items()}
    return table


def measure(vocab: int, tokens: int) -> dict[str, Any]:
    """Everything at one vocabulary size."""
    program = random_program(replace(FLAGSHIP, vocab=vocab))
    data, ids = to_bytes(program), np.random.default_rng(0).integers(0, vocab, 2000)
    engines: dict[str, Callable[[int], None]] = {}
    sources = (
        ("int8", program, integer_numbers(program), np.int8),
        ("float32", None, float_numbers, np.float32),
    )
    for name, source, numbers, dtype in sources:
        graph = build(source or float_student(program), "step", numbers, {})[0]
        engines[f"onnx {name}"] = onnx_step(graph, program, dtype, True)
    loaded = {name: Engine(data, name) for name in kernel_sets()}
    for name, engine in loaded.items():
        for what, run in native_steps(engine, vocab).items():
            if what == "all logits" or name == kernel_sets()[0]:
                engines[f"native {name}, {what}"] = run
    dense = {name: DenseEngine(data, name) for name in dense_sets()}
    logits = np.empty(vocab, np.int32)
    for name, made in dense.items():
        engines[f"dense {name}, all logits"] = partial(dense_step, made, logits)
    exact = Golden(program).step(ids[:1], State(program))
    for engine in loaded.values():
        np.testing.assert_array_equal(engine.sequence(ids[None, :1].astype(np.uint32))[0], exact)
        engine.reset(1)
    for made in dense.values():
        same_logits(made, next(iter(loaded.values())), ids[:300], vocab)
    times = in_turns(engines, ids, tokens)
    turns = {name: np.array(values).reshape(-1, TURN).min(axis=1) for name, values in times.items()}
    must, spikes = token_bytes(program, ids)
    bandwidth = read_bandwidth(must)
    rows = []
    for name, values in times.items():
        rows.append(
            {
                "engine": name,
                "min_us": round(min(values), 1),
                "median_us": round(float(np.median(values)), 1),
                "int8_over_it": round(float(np.median(turns["onnx int8"] / turns[name])), 2),
                "float32_over_it": round(float(np.median(turns["onnx float32"] / turns[name])), 2),
                "min_ratio_dense": against_dense(name, times),
                "min_ratio_int8": round(min(times["onnx int8"]) / min(values), 2),
                "min_ratio_float32": round(min(times["onnx float32"]) / min(values), 2),
            }
        )
    best = next(iter(loaded.values()))
    best.reset(1)
    return {
        "vocab": vocab,
        "rows": rows,
        "row_additions": round(spikes),
        "bytes": must,
        "gigabytes_per_second": round(bandwidth, 1),
        "bound_us": round(must / bandwidth / 1e3, 1),
        "prefill_tokens_per_second": prefills(best, next(iter(dense.values()), None), program, vocab),
    }


def report(result: dict[str, Any]) -> None:
    print(f"\nV = {result['vocab']}: {result['row_additions']} row additions a token;", end=" ")
    print(f"{result['bytes'] / 1e6:.2f} MB to read at {result['gigabytes_per_second']} GB/s:", end=" ")
    print(f"bound {result['bound_us']} us")
    print(
        f"{'engine':40} {'min us':>8} {'median':>8} {'int8 /':>7} {'fp32 /':>7} {'dense /':>7} {'bound':>9}"
    )
    for row in result["rows"]:
        share = result["bound_us"] / row["min_us"]
        ratios = " ".join(f"{row[f'min_ratio_{name}']:7.2f}" for name in ("int8", "float32", "dense"))
        print(
            f"{row['engine']:40} {row['min_us']:8.1f} {row['median_us']:8.1f} {ratios} {share:8.0%}", end=""
        )
        print(f"   (medians of turns: {row['int8_over_it']:.2f}, {row['float32_over_it']:.2f})")
    for length, speeds in result["prefill_tokens_per_second"].items():
        print(
            f"prefill of {length}: "
            + ", ".join(f"{name} {speed:,} tokens/s" for name, speed in speeds.items())
        )


def markdown(facts: dict[str, Any], bandwidths: str, results: list[dict[str, Any]]) -> None:
    """The tables of docs/performance.md."""
    print(", ".join(f"{key}: {value}" for key, value in facts.items()) + ". Read " + bandwidths + ".")
    for result in results:
        print(f"\n### One token, V = {result['vocab']:,}\n")
        print(
            f"{result['row_additions']} row additions a token; {result['bytes'] / 1e6:.2f} MB to read at "
            f"{result['gigabytes_per_second']} GB/s: bound {result['bound_us']} us.\n"
        )
        print(
            "| engine | least us | median us | ONNX float32 / it | ONNX int8 / it | dense / it | of bound |"
        )
        print("|---|---|---|---|---|---|---|")
        for row in result["rows"]:
            ratios = [row[f"min_ratio_{name}"] for name in ("float32", "int8", "dense")]
            cells = [row["engine"], row["min_us"], row["median_us"], *ratios]
            print("| " + " | ".join(map(str, cells)) + f" | {result['bound_us'] / row['min_us']:.0%} |")
    columns = list(results[0]["prefill_tokens_per_second"]["64"])
    print(f"\n### Prefill, tokens per second\n\n| V | prompt | {' | '.join(columns)} |")
    print("|---|---|" + "---|" * len(columns))
    for result in results:
        for length, speeds in result["prefill_tokens_per_second"].items():
            cells = " | ".join(f"{speeds[name]:,}" for name in columns)
            print(f"| {result['vocab']:,} | {length} | {cells} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--vocab", type=int, nargs="+", default=[8192, 49_152])
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    facts = {**machine(), "compiler": library()[1].name}
    results = [measure(vocab, arguments.tokens) for vocab in arguments.vocab]
    if arguments.json:
        print(json.dumps({"machine": facts, "results": results}, indent=2))
        return
    sizes = (256 << 10, 1 << 20, 4 << 20, 32 << 20)
    reads = "bandwidth: " + ", ".join(f"{s >> 10} KiB {read_bandwidth(s):.0f} GB/s" for s in sizes)
    if arguments.markdown:
        markdown(facts, reads, results)
        return
    print(", ".join(f"{key}: {value}" for key, value in facts.items()))
    print(f"read {reads}")
    for result in results:
        report(result)


if __name__ == "__main__":
    main()
