"""The C engine beside llama.cpp: tokens per second with as many bytes of weights, one thread.

    python3.11 -m venv ENV && ENV/bin/pip install xllamacpp gguf
    python benchmarks/llama_cpp.py ENV/bin/python [--vocab 8192] [--rounds 5] [--json]

llama.cpp comes as the package ``xllamacpp`` in an environment of its own. This script has models of random
weights written as GGUF there, the same vocabulary and so many layers that the bytes of its matrices come
nearest to the program's: in Q8_0 (34 bytes for 32 weights), in Q4_0 (18 bytes, so about twice the weights),
and with ternary weights as BitNet has them in TQ2_0 (66 bytes for 256). Both engines continue an empty
context greedily by 256 tokens, in turns; llama.cpp counts with its own clock, without turning tokens into
text. The models are different architectures: equal bytes are all that is equal.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from llama2c_runq import TOKENS, int8_bytes, native_speed
from onnx_step import machine

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.native.engine import Engine
from tests.support.random_program import FLAGSHIP, random_program

HEADS = 4
BITS = {"Q8_0": 34 * 8 / 32, "Q4_0": 18 * 8 / 32, "TQ2_0": 66 * 8 / 256}
"""Bits of a weight, the scale of its block included."""
BLOCK = {"Q8_0": 32, "Q4_0": 32, "TQ2_0": 256}
"""What widths must be a multiple of."""

FAR_END = r"""
import json, sys
import gguf, numpy as np, xllamacpp

shape, path = json.loads(sys.argv[1]), sys.argv[2]
rng, kind = np.random.default_rng(0), gguf.GGMLQuantizationType[shape["kind"]]
writer = gguf.GGUFWriter(path, "llama")
writer.add_context_length(512)
writer.add_embedding_length(shape["dim"])
writer.add_block_count(shape["layers"])
writer.add_feed_forward_length(shape["hidden"])
writer.add_head_count(shape["heads"])
writer.add_head_count_kv(shape["heads"])
writer.add_layer_norm_rms_eps(1e-5)
writer.add_rope_dimension_count(shape["dim"] // shape["heads"])
writer.add_vocab_size(shape["vocab"])
writer.add_tokenizer_model("llama")
tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
kinds = [2, 3, 3] + [6] * 256
tokens += [f"\u2581w{i}" for i in range(len(tokens), shape["vocab"])]
kinds += [1] * (len(tokens) - len(kinds))
writer.add_token_list(tokens)
writer.add_token_scores([0.0] * len(tokens))
writer.add_token_types(kinds)
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)

def matrix(name, rows, columns):
    values = rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

d, h = shape["dim"], shape["hidden"]
matrix("token_embd.weight", shape["vocab"], d)
writer.add_tensor("output_norm.weight", np.ones(d, np.float32))
for i in range(shape["layers"]):
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.{i}.{name}.weight", np.ones(d, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        matrix(f"blk.{i}.{name}.weight", d, d)
    matrix(f"blk.{i}.ffn_gate.weight", h, d)
    matrix(f"blk.{i}.ffn_up.weight", h, d)
    matrix(f"blk.{i}.ffn_down.weight", d, h)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

parameters = xllamacpp.CommonParams()
parameters.model.path = path
parameters.n_ctx, parameters.n_parallel, parameters.warmup = 512, 1, True
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
parameters.verbosity = -1
server = xllamacpp.Server(parameters)
print(json.dumps({"version": xllamacpp.BUILD_INFO, "system": xllamacpp.get_system_info()}), flush=True)
for line in sys.stdin:
    answer = server.handle_completions({
        "prompt": [1], "n_predict": int(line), "temperature": 0.0, "ignore_eos": True, "cache_prompt": False,
    })
    answer = answer if isinstance(answer, dict) else json.loads(answer)
    timings = answer.get("timings") or answer["choices"][0]["timings"]
    found = {"speed": timings["predicted_per_second"], "tokens": timings["predicted_n"]}
    print(json.dumps(found), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Llama:
    """Shape of a model for llama.cpp; embedding and classifier are one table."""

    vocab: int
    dim: int
    hidden: int
    layers: int
    kind: str
    heads: int = HEADS

    def bytes(self) -> int:
        """Bytes of all matrices."""
        layer = 4 * self.dim * self.dim + 3 * self.dim * self.hidden
        return round((self.vocab * self.dim + self.layers * layer) * BITS[self.kind] / 8)


def nearest(vocab: int, kind: str, size: int) -> Llama:
    """The shape of Llama's proportions whose bytes come nearest to a size."""
    shapes = [
        Llama(vocab, dim, -(-dim * 8 // 3 // BLOCK[kind]) * BLOCK[kind], layers, kind)
        for dim in range(2 * BLOCK["Q8_0"], 513, 32)
        if dim % BLOCK[kind] == 0
        for layers in range(4, 13)
    ]
    return min(shapes, key=lambda shape: abs(shape.bytes() - size))


class FarEnd:
    """llama.cpp in its own process."""

    def __init__(self, python: Path, shape: Llama, folder: Path) -> None:
        command = [str(python), "-c", FAR_END, json.dumps(asdict(shape)), str(folder / f"{shape.kind}.gguf")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.facts = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        raise SystemExit("llama.cpp ended: are xllamacpp and gguf installed there?")

    def speed(self) -> float:
        """Tokens per second of one answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{TOKENS}\n")
        self._process.stdin.flush()
        answer = self._answer()
        if answer["tokens"] != TOKENS:
            raise SystemExit(f"llama.cpp made {answer['tokens']} tokens instead of {TOKENS}")
        return float(answer["speed"])

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def measure(python: Path, vocab: int, rounds: int) -> dict[str, Any]:
    program = random_program(replace(FLAGSHIP, vocab=vocab))
    engine, size = Engine(to_bytes(program)), int8_bytes(program)
    speeds: dict[str, list[float]] = {"native": []}
    shapes = {kind: nearest(vocab, kind, size) for kind in BITS}
    with tempfile.TemporaryDirectory() as name:
        ends = {kind: FarEnd(python, shape, Path(name)) for kind, shape in shapes.items()}
        try:
            for _ in range(rounds):
                speeds["native"].append(native_speed(engine))
                for kind, end in ends.items():
                    speeds.setdefault(kind, []).append(end.speed())
        finally:
            for end in ends.values():
                end.close()
    best = {name: round(max(values)) for name, values in speeds.items()}
    return {
        "vocab": vocab,
        "bytes": {"native": size} | {kind: shape.bytes() for kind, shape in shapes.items()},
        "shapes": {kind: asdict(shape) for kind, shape in shapes.items()},
        "best_tokens_per_second": best,
        "median_tokens_per_second": {n: round(float(np.median(v))) for n, v in speeds.items()},
        "native_over": {kind: round(best["native"] / best[kind], 2) for kind in shapes},
        "llama_cpp": ends["Q8_0"].facts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("python", type=Path, nargs="?", help="of the environment; else nothing is measured")
    parser.add_argument("--vocab", type=int, nargs="+", default=[8192, 49_152])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.python is None:
        print("no environment of llama.cpp given, nothing measured: see --help")
        return
    results = [measure(given.python, vocab, given.rounds) for vocab in given.vocab]
    if given.json:
        print(json.dumps({"machine": machine(), "results": results}, indent=2))
        return
    print(f"llama.cpp {results[0]['llama_cpp']['version']}; {machine()['cpu']}")
    print("| V | kind | MB native, llama.cpp | shape | native tokens/s | llama.cpp tokens/s | ratio |")
    print("|---|---|---|---|---|---|---|")
    for row in results:
        for kind, shape in row["shapes"].items():
            sizes, best = row["bytes"], row["best_tokens_per_second"]
            text = f"dim {shape['dim']}, hidden {shape['hidden']}, {shape['layers']} layers"
            print(
                f"| {row['vocab']:,} | {kind} "
                f"| {sizes['native'] / 1e6:.2f}, {sizes[kind] / 1e6:.2f} | {text} "
                f"| {best['native']:,} | {best[kind]:,} | {row['native_over'][kind]} |"
            )


if __name__ == "__main__":
    main()
