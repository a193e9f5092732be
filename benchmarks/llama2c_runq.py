"""The C engine beside llama2.c's ``runq``: tokens per second with as many int8 bytes, one thread.

    python benchmarks/llama2c_runq.py PATH_OF_RUNQ [--vocab 8192] [--rounds 7] [--json]

``runq`` is built by you, outside this repository, from llama2.c's ``runq.c``: ``gcc -O3 -march=native
-o runq runq.c -lm`` (its makefile's ``runfast`` takes ``-Ofast``). This script writes a model of random
weights in its format: the same vocabulary, and so many layers that its int8 bytes come nearest to the
program's. Both continue an empty context greedily by 256 tokens, in turns; runq counts with its own clock
(milliseconds). The two models are different architectures: equal bytes are all that is equal.
"""

from __future__ import annotations

import argparse
import json
import re
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx_step import machine

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn.program.ops import Embed, Linear, Readout
from edgesnn.program.program import Program
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.native.engine import Engine
from tests.support.random_program import FLAGSHIP, random_program

TOKENS = 256
HEADS = 4
MAGIC, VERSION, HEADER_BYTES = 0x616B3432, 2, 256


@dataclass(frozen=True, slots=True)
class Llama:
    """Shape of the model for runq; embedding and classifier are one table."""

    vocab: int
    dim: int
    hidden: int
    layers: int
    group: int

    def matrices(self) -> list[int]:
        """Elements of every int8 tensor in the order of the file."""
        square, wide = self.dim * self.dim, self.dim * self.hidden
        return [self.vocab * self.dim, *([square] * 4 * self.layers), *([wide] * 3 * self.layers)]


def int8_bytes(program: Program) -> int:
    """Bytes of all int8 tensors; the table of embedding and readout counts once."""
    tensors = [op.weight for op in program.ops if isinstance(op, Linear | Readout)]
    embeds = [op for op in program.ops if isinstance(op, Embed)]
    return sum(t.size for t in tensors) + sum(op.table.size + op.projection.size for op in embeds)


def nearest(vocab: int, size: int) -> Llama:
    """The shape of llama2.c's proportions whose int8 bytes come nearest to a size."""
    shapes = [
        Llama(vocab, dim, dim * 8 // 3 // 64 * 64, layers, 32 if dim % 64 else 64)
        for dim in (64, 96, 128, 160, 192, 224, 256)
        for layers in range(4, 13)
    ]
    return min(shapes, key=lambda shape: abs(sum(shape.matrices()) - size))


def write_model(shape: Llama, path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = (shape.dim, shape.hidden, shape.layers, HEADS, HEADS, shape.vocab, TOKENS)
    head = struct.pack("<Ii7i", MAGIC, VERSION, *sizes)
    head += struct.pack("<Bi", 1, shape.group)
    with path.open("wb") as file:
        file.write(head.ljust(HEADER_BYTES, b"\0"))
        file.write(np.ones((2 * shape.layers + 1) * shape.dim, np.float32).tobytes())
        for number, size in enumerate(shape.matrices()):
            values = rng.integers(-127, 128, size, dtype=np.int8)
            if number == 0:
                values[shape.dim : 2 * shape.dim] = 0  # token 1 would end the text
            file.write(values.tobytes())
            file.write(np.full(size // shape.group, 0.02 / 127 * 8, np.float32).tobytes())


def write_tokenizer(vocab: int, path: Path) -> None:
    piece = struct.pack("<fi", 0.0, 1) + b"x"
    path.write_bytes(struct.pack("<i", 1) + piece * vocab)


def runq_speed(binary: Path, folder: Path) -> float:
    command = [str(binary), "model.bin", "-z", "tokenizer.bin", "-t", "0", "-n", str(TOKENS), "-i", ""]
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
    )
    found = re.search(r"achieved tok/s: ([0-9.]+)", done.stderr)
    if found is None:
        raise SystemExit(f"runq said nothing of its speed: {done.stderr.strip()}")
    return float(found[1])


def native_speed(engine: Engine) -> float:
    engine.reset(1)
    token = 1
    started = time.perf_counter()
    for _ in range(TOKENS):
        engine.step(token, 0)
        token = int(engine.top(1)[0][0])
    return TOKENS / (time.perf_counter() - started)


def measure(binary: Path, vocab: int, rounds: int) -> dict[str, Any]:
    program = random_program(replace(FLAGSHIP, vocab=vocab))
    engine = Engine(to_bytes(program))
    shape = nearest(vocab, int8_bytes(program))
    speeds: dict[str, list[float]] = {"native": [], "runq": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(shape, folder / "model.bin")
        write_tokenizer(vocab, folder / "tokenizer.bin")
        for _ in range(rounds):
            speeds["native"].append(native_speed(engine))
            speeds["runq"].append(runq_speed(binary.resolve(), folder))
    best = {name: round(max(values)) for name, values in speeds.items()}
    middle = {name: round(float(np.median(values))) for name, values in speeds.items()}
    return {
        "vocab": vocab,
        "int8_bytes": {"native": int8_bytes(program), "runq": sum(shape.matrices())},
        "runq_shape": {"dim": shape.dim, "hidden": shape.hidden, "layers": shape.layers, "heads": HEADS},
        "best_tokens_per_second": best,
        "median_tokens_per_second": middle,
        "native_over_runq": round(best["native"] / best["runq"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runq", type=Path, nargs="?", help="the binary; without it nothing is measured")
    parser.add_argument("--vocab", type=int, nargs="+", default=[8192, 49_152])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.runq is None:
        print("no runq given, nothing measured: see --help")
        return
    results = [measure(arguments.runq, vocab, arguments.rounds) for vocab in arguments.vocab]
    if arguments.json:
        print(json.dumps({"machine": machine(), "results": results}, indent=2))
        return
    print("| V | int8 MB native, runq | runq's shape | native tokens/s | runq tokens/s | ratio |")
    print("|---|---|---|---|---|---|")
    for row in results:
        sizes, speeds = row["int8_bytes"], row["best_tokens_per_second"]
        shape = ", ".join(f"{name} {value}" for name, value in row["runq_shape"].items())
        print(
            f"| {row['vocab']:,} | {sizes['native'] / 1e6:.2f}, {sizes['runq'] / 1e6:.2f} | {shape} "
            f"| {speeds['native']:,} | {speeds['runq']:,} | {row['native_over_runq']} |"
        )


if __name__ == "__main__":
    main()
