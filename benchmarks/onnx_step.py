"""One token in ONNX Runtime: int8 against float32 against PyTorch eager, one thread, one student.

    python benchmarks/onnx_step.py [--vocab 8192 49152] [--depth 4] [--decay 230] [--tokens 600] [--json]

The student is a random program of the flagship's shape. Every engine runs ten tokens in turn, so that a
noisy machine disturbs all of them alike; the table gives minimum and median. A step includes the host's care
for the state (`State.push`). Sequences are 64 tokens; their times are per token.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn.exporters.onnx.exporter import integer_numbers
from edgesnn.exporters.onnx.files import build
from edgesnn.exporters.onnx.float32 import float_numbers
from edgesnn.program.float_program import (
    FloatEmbed,
    FloatLIF,
    FloatLinear,
    FloatProgram,
    FloatReadout,
)
from edgesnn.program.ops import LIF, Add, Attend, Count, Embed, Linear, Readout, Saturate, Shift
from edgesnn.program.program import Program
from edgesnn.program.state import State
from tests.support.random_program import FLAGSHIP, random_program

SEQUENCE = 64
TOKENS_IN_TURN = 10
_DTYPES = {"tensor(float)": np.float32, "tensor(int8)": np.int8}


@dataclass(frozen=True, slots=True)
class Row:
    """Times of one engine at one vocabulary size, microseconds per token."""

    vocab: int
    engine: str
    min_us: float
    median_us: float
    int8_is_faster_by: float
    nodes: int | None


def float_student(program: Program) -> FloatProgram:
    """A float student of the same shape that fires alike."""
    ops: list[Any] = []
    for op in program.ops:
        if isinstance(op, Embed):
            projection = (op.projection * op.multiplier / 2.0**op.shift).astype(np.float32)
            ops.append(FloatEmbed(op.name, op.out, op.table.astype(np.float32), projection))
        elif isinstance(op, Linear):
            ops.append(FloatLinear(op.name, op.input, op.out, op.weight.astype(np.float32)))
        elif isinstance(op, LIF):
            theta, bias = (op.threshold + 0.5) / 64, op.bias / 64
            ops.append(
                FloatLIF(op.name, op.input, op.out, op.decay, np.float32(theta), bias.astype(np.float32))
            )
        elif isinstance(op, Readout):
            scale = op.multiplier / 2.0**op.shift
            weight, bias = (op.weight * scale).astype(np.float32), (op.bias * scale).astype(np.float32)
            table = (op.table * 2.0**-op.exponent).astype(np.float32)
            ops.append(FloatReadout(op.name, op.input, op.out, weight, bias, table))
        elif not isinstance(op, Saturate):
            ops.append(op)
    return FloatProgram(program.timesteps, tuple(ops))


def open_session(model: Any) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def onnx_step(model: Any, program: Program, dtype: Any, bound: bool) -> Callable[[int], None]:
    """One step and the care for its state; bound: inputs and outputs are bound once, without copies."""
    session, state = open_session(model), State(program, 1, dtype)
    ids = np.zeros((1, 1), np.int64)
    names = [item.name for item in session.get_outputs()]
    feed = {"input_ids": ids, **state.tensors}
    if not bound:

        def run(token: int) -> None:
            ids[0, 0] = token
            out = session.run(names, feed)
            state.push({name.removeprefix("new."): part for name, part in zip(names, out, strict=True)})

        return run
    binding, new, kept = session.io_binding(), {}, []
    for name, array in feed.items():
        kept.append(ort.OrtValue.ortvalue_from_numpy(array))
        binding.bind_ortvalue_input(name, kept[-1])
    for item in session.get_outputs():
        shape = [1 if isinstance(dim, str) else dim for dim in item.shape]
        array = new[item.name.removeprefix("new.")] = np.zeros(shape, _DTYPES[item.type])
        kept.append(ort.OrtValue.ortvalue_from_numpy(array))
        binding.bind_ortvalue_output(item.name, kept[-1])

    def run_bound(token: int) -> None:
        ids[0, 0] = token
        session.run_with_iobinding(binding)
        state.push(new)

    return run_bound


class TorchStep:
    """The same student in PyTorch eager, all timesteps of a layer in one product."""

    def __init__(self, student: FloatProgram) -> None:
        import torch

        self.torch, self.student, self.count = torch, student, 0
        self.weights: dict[str, Any] = {}
        self.state: dict[str, Any] = {}
        torch.set_num_threads(1)
        for op in student.ops:
            if isinstance(op, Shift):
                self.state[op.name] = torch.zeros(student.timesteps, len(op.channels))
            elif isinstance(op, Attend):
                self.state[op.name] = self._rings(op)
            elif not isinstance(op, Add | Count):
                fields = ("table", "projection", "weight", "threshold", "bias")
                arrays = {name: getattr(op, name) for name in fields if hasattr(op, name)}
                self.weights[op.name] = {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _rings(self, op: Attend) -> Any:
        torch, steps = self.torch, self.student.timesteps
        heads = torch.arange(len(op.windows))
        owner = torch.repeat_interleave(heads, torch.tensor(op.windows) - 1)
        mask = (owner[None] == heads[:, None]).float()
        return torch.zeros(steps, op.head_dim, op.slots), torch.zeros(steps, op.slots, op.head_dim), mask

    def _lif(self, op: FloatLIF, current: Any) -> Any:
        torch, own = self.torch, self.weights[op.name]
        drive, beta, fired = current + own["bias"], op.decay / 256, []
        membrane = drive[0]
        for t in range(self.student.timesteps):
            if t > 0:
                membrane = torch.where(fired[-1], 0.0, membrane).mul_(beta).add_(drive[t])
            fired.append(membrane >= own["threshold"])
        return torch.stack(fired).float()

    def _attend(self, op: Attend, spikes: Any) -> Any:
        keys, values, mask = self.state[op.name]
        steps = self.student.timesteps
        query, key, value = spikes.view(steps, 3, len(op.windows), op.head_dim).unbind(1)
        out = (query * key).sum(-1, keepdim=True) * value + ((query @ keys) * mask) @ values
        for head, (first, size) in enumerate(op.rings):
            if size > 0:
                keys[:, :, first + self.count % size] = key[:, head]
                values[:, first + self.count % size] = value[:, head]
        return out.view(steps, -1)

    def _shift(self, op: Shift, spikes: Any) -> Any:
        moved, before = len(op.channels), self.state[op.name]
        self.state[op.name] = spikes[:, :moved]
        return self.torch.cat([before, spikes[:, moved:]], dim=1)

    def _op(self, op: Any, values: dict[str, Any], token: int) -> Any:
        if isinstance(op, FloatLIF):
            return self._lif(op, values[op.input])
        if isinstance(op, Shift):
            return self._shift(op, values[op.input])
        if isinstance(op, Attend):
            return self._attend(op, values[op.input])
        if isinstance(op, Add):
            return values[op.left] + values[op.right]
        if isinstance(op, Count):
            return values[op.input].sum(0)
        own = self.weights[op.name]
        if isinstance(op, FloatEmbed):
            return (own["table"][token] @ own["projection"]).expand(self.student.timesteps, -1)
        if isinstance(op, FloatReadout):
            return (values[op.input] @ own["weight"] + own["bias"]) @ own["table"].T
        return values[op.input] @ own["weight"]

    def __call__(self, token: int) -> None:
        """Run one token and keep its state."""
        values: dict[str, Any] = {}
        with self.torch.inference_mode():
            for op in self.student.ops:
                values[op.out] = self._op(op, values, token)
        self.count += 1


def torch_step(student: FloatProgram) -> Callable[[int], None] | None:
    """The step in PyTorch, or None without torch."""
    return TorchStep(student) if find_spec("torch") else None


def node_count(model: onnx.ModelProto) -> int:
    """Nodes of a model, those of subgraphs included."""

    def count(graph: Any) -> int:
        inner = (a.g for n in graph.node for a in n.attribute if a.type == onnx.AttributeProto.GRAPH)
        return len(graph.node) + sum(count(subgraph) for subgraph in inner)

    return count(model.graph)


def measure(vocab: int, depth: int, decay: int, tokens: int) -> list[Row]:
    """Times of all engines at one vocabulary size."""
    program = random_program(replace(FLAGSHIP, vocab=vocab, depth=depth, decay=decay))
    student, ids = float_student(program), np.random.default_rng(0).integers(0, vocab, (1, SEQUENCE))
    engines: dict[str, tuple[Callable[[int], Any], int | None, int]] = {}
    for name, source, numbers, dtype in (
        ("int8", program, integer_numbers(program), np.int8),
        ("float32", student, float_numbers, np.float32),
    ):
        step = build(source, "step", numbers, {})[0]
        for bound in (True, False):
            how = "bound" if bound else "session.run"
            engines[f"onnx {name} step, {how}"] = (
                onnx_step(step, program, dtype, bound), node_count(step), 1
            )  # fmt: skip
        for role in ("sequence", "prefill"):
            model = build(source, role, numbers, {})[0]
            session = open_session(model)

            def whole(token: int, session: Any = session) -> None:
                session.run(["logits"], {"input_ids": ids})

            engines[f"onnx {name} {role} of {SEQUENCE}"] = (whole, node_count(model), SEQUENCE)
    eager = torch_step(student)
    if eager is not None:
        engines["torch float32 step, eager"] = (eager, None, 1)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(max(2, tokens // TOKENS_IN_TURN)):
        for name, (run, _, size) in engines.items():
            for repeat in range(TOKENS_IN_TURN if size == 1 else 1):
                token = int(ids[0, (turn * TOKENS_IN_TURN + repeat) % SEQUENCE])
                started = time.perf_counter_ns()
                run(token)
                times[name].append((time.perf_counter_ns() - started) / 1e3 / size)
    rows = []
    for name, (_, nodes, _) in engines.items():
        peer = name.replace("float32", "int8").replace("torch", "onnx").replace("eager", "bound")
        ratio = min(times[name]) / min(times[peer])
        rows.append(
            Row(vocab, name, round(min(times[name]), 1), round(float(np.median(times[name])), 1),
                round(ratio, 2), nodes)
        )  # fmt: skip
    return rows


def machine() -> dict[str, Any]:
    """What it ran on."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in lines.items()}
    return {
        "cpu": named.get("model name", platform.processor()),
        "vnni": "avx512_vnni" in text or "avx_vnni" in text,
        "onnxruntime": ort.__version__,
        "threads": 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--vocab", type=int, nargs="+", default=[8192, 49_152])
    parser.add_argument("--depth", type=int, default=FLAGSHIP.depth)
    parser.add_argument("--decay", type=int, default=FLAGSHIP.decay)
    parser.add_argument("--tokens", type=int, default=600)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    facts, rows = machine(), []
    for vocab in arguments.vocab:
        rows += measure(vocab, arguments.depth, arguments.decay, arguments.tokens)
    if arguments.json:
        print(json.dumps({"machine": facts, "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(", ".join(f"{key}: {value}" for key, value in facts.items()))
    print(f"{'vocab':>6}  {'engine':34}  {'min us':>8}  {'median':>8}  {'/ int8':>6}  {'nodes':>5}")
    for row in rows:
        nodes = "" if row.nodes is None else str(row.nodes)
        times = f"{row.min_us:8.1f}  {row.median_us:8.1f}  {row.int8_is_faster_by:6.2f}"
        print(f"{row.vocab:6}  {row.engine:34}  {times}  {nodes:>5}")


if __name__ == "__main__":
    main()
