"""What the ONNX tests share: running a graph three ways, and random programs of both kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from edgesnn.exporters.onnx.exporter import FILES, integer_numbers
from edgesnn.exporters.onnx.files import build
from edgesnn.exporters.onnx.graph import OnnxGraph
from edgesnn.exporters.onnx.primitives import IntegerNumbers
from edgesnn.program.float_program import (
    FloatEmbed,
    FloatLIF,
    FloatLinear,
    FloatProgram,
    FloatReadout,
)
from edgesnn.program.ops import LIF, Embed, Linear, Readout
from edgesnn.program.program import Program

ort = pytest.importorskip("onnxruntime")

Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays], Arrays]

LEVELS = {
    "ort-disable-all": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "ort-enable-all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def session(model: Any, level: str = "ort-enable-all") -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = LEVELS[level]
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def engine(model: Any, name: str) -> Run:
    if name == "onnx-reference":
        reference = ReferenceEvaluator(model)
        names = list(reference.output_names)
        return lambda feed: dict(zip(names, reference.run(None, feed), strict=True))
    opened = session(model, name)
    names = [item.name for item in opened.get_outputs()]
    return lambda feed: dict(zip(names, opened.run(None, feed), strict=True))


def _models(program: Program) -> dict[str, Any]:
    return {role: build(program, role, integer_numbers(program), {})[0] for role in FILES}


def _to_float(program: Program) -> FloatProgram:
    """A float student that fires like the integer program, but for rounding."""
    ops: list[Any] = []
    for op in program.ops:
        if isinstance(op, Embed):
            projection = (op.projection * op.multiplier / 2.0**op.shift).astype(np.float32)
            ops.append(FloatEmbed(op.name, op.out, op.table.astype(np.float32), projection))
        elif isinstance(op, Linear):
            ops.append(FloatLinear(op.name, op.input, op.out, op.weight.astype(np.float32)))
        elif isinstance(op, LIF):
            theta = ((op.threshold.astype(np.float64) + 0.5) / 64).astype(np.float32)
            bias = (op.bias / 64).astype(np.float32)
            ops.append(FloatLIF(op.name, op.input, op.out, op.decay, theta, bias))
        elif isinstance(op, Readout):
            scale = op.multiplier / 2.0**op.shift
            weight, bias = (op.weight * scale).astype(np.float32), (op.bias * scale).astype(np.float32)
            table = (op.table * 2.0**-op.exponent).astype(np.float32)
            ops.append(FloatReadout(op.name, op.input, op.out, weight, bias, table))
        else:
            ops.append(op)
    return FloatProgram(program.timesteps, tuple(ops))


@pytest.fixture(scope="session")
def models() -> Callable[[Program], dict[str, Any]]:
    """The three models of an integer program."""
    return _models


@pytest.fixture(scope="session")
def to_float() -> Callable[[Program], FloatProgram]:
    """A float student that resembles an integer program."""
    return _to_float


@pytest.fixture(scope="session")
def open_engine() -> Callable[[Any, str], Run]:
    """Opens a model in an engine by name."""
    return engine


@pytest.fixture(scope="session", params=["ort-disable-all", "ort-enable-all", "onnx-reference"])
def run_primitive(request: pytest.FixtureRequest) -> Callable[..., np.ndarray]:
    """Builds a primitive with the exporter's own nodes and runs it on one engine."""

    def run(
        make: Callable[..., str],
        x: np.ndarray,
        out: Any,
        *,
        narrow: frozenset[str] = frozenset(),
        many_rows: bool = False,
        rank: int | None = None,
    ) -> Any:
        graph = OnnxGraph("primitive")
        numbers = IntegerNumbers(graph, narrow, many_rows)
        shape = [f"d{axis}" for axis in range(x.ndim)]
        result = make(numbers, graph.input("x", x.dtype, shape))
        graph.output("y", result, out, [f"y{axis}" for axis in range(rank or x.ndim)])
        return engine(graph.model({}), request.param)({"x": x})["y"]

    return run
