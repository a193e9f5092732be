"""One token in the C engine against ONNX Runtime, one thread, all in turns.

    python benchmarks/engine.py [--vocab 8192 49152] [--tokens 400] [--seconds 60] [--json | --markdown]

The student is a random program of the flagship's shape. Every engine of this processor's instruction sets
runs ten tokens in turn, after the windows of attention are full, so that a noisy machine disturbs all of them
alike. Turns end after ``--tokens``, or after ``--seconds`` where the machine is too busy for so many. A ratio
is given of least times, and as the median of the ratios of a turn's least times. An ONNX step includes the
host's care for its state. Beside them: the bytes that a token must read (rows of weights with a spike, and
the readout's table), the bandwidth that this machine reads so many bytes with, and the share of that bound
which the engine reaches.

The dense competitor (``engine_dense.py``) is the same engine, its attention, LIF and readout included, with
dense linear layers: VNNI or AVX2, four timesteps a load, spikes as bytes. *dense plain* has the attention and
the readout that the engine had before it kept running sums. Linear layers are also timed alone.
``--markdown`` prints the tables of ``docs/performance.md``. Instructions are counted by
``engine_instructions.py``.
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
from engine_tables import markdown, report
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
LEAST_TURNS = 3


def read_bandwidth(size: int) -> float:
    """GB/s at which memory of this size is read again and again."""
    loaded = ctypes.CDLL(str(library()[0]))
    loaded.snn_host_read.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    memory = np.ones(size // 8, np.uint64)
    times = []
    for _ in range(300):
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

    passes = ", two passes" if engine.two_pass() else ""
    return {"all logits": full, f"best token{passes}": best}


def dense_step(engine: DenseEngine, vocab: int) -> Callable[[int], None]:
    logits = np.empty(vocab, np.int32)

    def run(token: int, logits: np.ndarray = logits, address: int = logits.ctypes.data) -> None:
        engine.step(token, address)

    return run


def in_turns(
    engines: dict[str, Callable[[int], None]], ids: np.ndarray, tokens: int, seconds: float
) -> dict[str, np.ndarray]:
    """Microseconds ``[turns, TURN]`` of every token, engine by engine."""
    for token in ids[:WARM]:
        for run in engines.values():
            run(int(token))
    times: dict[str, list[float]] = {name: [] for name in engines}
    end = time.monotonic() + seconds
    for turn in range(max(LEAST_TURNS, tokens // TURN)):
        if turn >= LEAST_TURNS and time.monotonic() > end:
            break
        for name, run in engines.items():
            for i in range(TURN):
                token = int(ids[(turn * TURN + i) % len(ids)])
                started = time.perf_counter_ns()
                run(token)
                times[name].append((time.perf_counter_ns() - started) / 1e3)
    return {name: np.array(values).reshape(-1, TURN) for name, values in times.items()}


def over(other: np.ndarray | None, this: np.ndarray) -> tuple[float, float] | None:
    """How much longer the other takes: by least times, and the median over turns of their least times."""
    if other is None:
        return None
    turns = np.median(other.min(axis=1) / this.min(axis=1))
    return round(float(other.min() / this.min()), 2), round(float(turns), 2)


def same_logits(dense: DenseEngine, native: Engine, ids: np.ndarray, vocab: int) -> None:
    """Make sure that the dense engine gives the same bits, token by token."""
    left, right = np.empty(vocab, np.int32), np.empty(vocab, np.int32)
    for token in ids:
        dense.step(int(token), left.ctypes.data)
        native.step(int(token), right.ctypes.data)
        np.testing.assert_array_equal(left, right)
    dense.reset()
    native.reset(1)


def linear_layers(data: bytes, ids: np.ndarray, tokens: int, vocab: int) -> list[dict[str, Any]]:
    """Microseconds that a token spends in linear layers, the engine's and dense ones, in turns."""
    rows = []
    for kernels in dense_sets():
        engines = {dense: DenseEngine(data, kernels, dense=dense, timed=True) for dense in (False, True)}
        times: dict[bool, list[float]] = {False: [], True: []}
        logits = np.empty(vocab, np.int32)
        for turn in range(max(LEAST_TURNS, (WARM + tokens) // TURN)):
            for dense, engine in engines.items():
                engine.linear_us()
                for i in range(TURN):
                    engine.step(int(ids[(turn * TURN + i) % len(ids)]), logits.ctypes.data)
                    if turn * TURN >= WARM or turn >= LEAST_TURNS:
                        times[dense].append(engine.linear_us())
        sparse, full = (np.array(times[dense]).reshape(-1, TURN) for dense in (False, True))
        row = {
            "kernels": kernels,
            "native_us": round(float(sparse.min()), 1),
            "dense_us": round(float(full.min()), 1),
        }
        rows.append({**row, "dense_over_it": over(full, sparse)})
    return rows


def fresh_prefill(engine: Engine, ids: np.ndarray) -> None:
    engine.reset(1)
    engine.prefill(ids)


def prefills(program: Program, data: bytes, vocab: int, seconds: float) -> dict[str, dict[str, int]]:
    """Tokens per second of prompts of 64 and 512: native sets, dense ones and ONNX int8 in turns.

    In CPU time of the thread: calls this long are interrupted on a machine with other work.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = build(program, "prefill", integer_numbers(program), {})[0]
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    native = {name: Engine(data, name) for name in (dense_sets() or kernel_sets()[:1])}
    dense = {name: DenseEngine(data, name) for name in dense_sets()}
    logits = np.empty(vocab, np.int32)
    table: dict[str, dict[str, int]] = {}
    for length in (64, 512):
        ids = np.random.default_rng(length).integers(0, vocab, (1, length))
        unsigned = ids.astype(np.uint32)
        runs: dict[str, Callable[[], object]] = {}
        for name, engine in native.items():
            runs[f"native {name}"] = partial(fresh_prefill, engine, unsigned)
        for name, made in dense.items():
            runs[f"dense {name}"] = partial(made.prefill, unsigned[0], logits)
        runs["onnx int8"] = partial(session.run, ["logits"], {"input_ids": ids})
        times: dict[str, list[float]] = {name: [] for name in runs}
        end = time.monotonic() + seconds
        for turn in range(8):
            if turn >= LEAST_TURNS and time.monotonic() > end:
                break
            for name, run in runs.items():
                started = time.thread_time()
                run()
                times[name].append(time.thread_time() - started)
        table[str(length)] = {name: round(length / min(values)) for name, values in times.items()}
    return table


def measure(vocab: int, tokens: int, seconds: float) -> dict[str, Any]:
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
    exact = Golden(program).step(ids[:1], State(program))
    for engine in loaded.values():
        np.testing.assert_array_equal(engine.sequence(ids[None, :1].astype(np.uint32))[0], exact)
        engine.reset(1)
    for name in dense_sets():
        for label, plain in (("dense", False), ("dense plain", True)):
            made = DenseEngine(data, name, plain=plain)
            same_logits(made, loaded[name], ids[:300], vocab)
            engines[f"{label} {name}, all logits"] = dense_step(made, vocab)
    must, spikes = token_bytes(program, ids)
    bandwidth = read_bandwidth(must)
    times = in_turns(engines, ids, tokens, seconds)
    bandwidth = max(bandwidth, read_bandwidth(must))  # least times meet the best that the machine did
    rows = []
    for name, values in times.items():
        own = name.split(",")[0].split()[-1]  # a native engine without a dense one of its set meets the best
        kernels = own if own in dense_sets() else next(iter(dense_sets()), "")
        rows.append(
            {
                "engine": name,
                "min_us": round(float(values.min()), 1),
                "median_us": round(float(np.median(values)), 1),
                "float32_over_it": over(times["onnx float32"], values),
                "int8_over_it": over(times["onnx int8"], values),
                "dense_over_it": over(times.get(f"dense {kernels}, all logits"), values),
                "dense_plain_over_it": over(times.get(f"dense plain {kernels}, all logits"), values),
            }
        )
    for engine in loaded.values():
        engine.close()
    return {
        "vocab": vocab,
        "turns": len(times["onnx int8"]),
        "rows": rows,
        "row_additions": round(spikes),
        "bytes": must,
        "gigabytes_per_second": round(bandwidth, 1),
        "bound_us": round(must / bandwidth / 1e3, 1),
        "linear_layers": linear_layers(data, ids, tokens, vocab),
        "prefill_tokens_per_second": prefills(program, data, vocab, seconds / 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--vocab", type=int, nargs="+", default=[8192, 49_152])
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    facts = {**machine(), "compiler": library()[1].name, "kernel sets": " ".join(kernel_sets())}
    results = [measure(vocab, arguments.tokens, arguments.seconds) for vocab in arguments.vocab]
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
