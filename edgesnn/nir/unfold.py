"""A program back into NIR: its weights in floats, its neurons with a threshold of 1.

With ``u = V / 2**fraction`` a `StatefulLIF` is ``u = beta u + I + b``, a spike where u is above theta. Rows
of weights and biases are divided by theta, so that every threshold is 1: snnTorch and SpikingJelly take only
one threshold for all neurons of a layer. Theta is written half a membrane unit above the integer one: for
whole membranes that is the same, and rounding to float32 cannot move it.

What NIR has no word for is left out and named: attention, delays of tokens, the residual stream, and that a
language model's membranes begin anew with every token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ExportError
from edgesnn.nir.dialects import Dialect
from edgesnn.nir.nodes import Float64Array, Shape
from edgesnn.program.ops import (
    DECAY_DENOMINATOR,
    LIF,
    MEMBRANE_SCALE,
    Add,
    Attend,
    Linear,
    Op,
    Saturate,
    Shift,
    inputs_of,
)
from edgesnn.program.ops_frames import Conv, Delay, FrameOutput, Frames, Reset, StatefulLIF, SumPool
from edgesnn.program.program import Program

Parameters: TypeAlias = "dict[str, str | npt.NDArray[Any]]"


@dataclass(frozen=True, slots=True, eq=False)
class UnfoldedGraph:
    """One NIR graph.

    Attributes:
        nodes: Parameters of each node by name, ``type`` among them.
        edges: Pairs of names.
        approximate: Why the graph does not do exactly what the program does.
        ops: Names of the ops that it says.
        resets: What spikes of its neurons do to membranes.
        inclusive: Whether its neurons come from a library that fires at its threshold.
    """

    nodes: dict[str, Parameters]
    edges: list[tuple[str, str]]
    approximate: tuple[str, ...]
    ops: tuple[str, ...]
    resets: frozenset[Reset]
    inclusive: bool


@dataclass(slots=True, eq=False)
class _Value:
    """A value of the program as NIR says it: ``NIR = integer * worth``.

    A sum has no node of its own: it is all edges that end where it is read.
    """

    node: str
    shape: Shape
    worth: float = 1.0
    extra: list[str] = field(default_factory=list)
    sole: bool = False  #: whether it is a current that one op alone reads


def segments(program: Program) -> tuple[list[tuple[Op, ...]], dict[str, str]]:
    """Chains of weights and neurons of a language model, and what is left out, by op.

    A chain begins with weights that read spikes and goes on while one op alone reads what the last one made.
    """
    chains: dict[str, list[Op]] = {}
    left: dict[str, str] = {}
    for op in program.ops:
        read = inputs_of(op)[0] if inputs_of(op) else ""
        chain = chains.get(read)
        if chain is not None and len(program.consumers(read)) == 1 and isinstance(op, (Linear, LIF)):
            chains[op.out] = chains.pop(read)
            chains[op.out].append(op)
        elif isinstance(op, Linear):
            chains[op.out] = [op]
        else:
            left[op.name] = _why(op)
    return [tuple(chain) for chain in chains.values()], left


def _why(op: Op) -> str:
    if isinstance(op, Attend):
        return "attention multiplies spikes of several tokens"
    if isinstance(op, Shift):
        return "it reads the token before"
    if isinstance(op, (Add, Saturate)):
        return "the residual stream, which attention feeds"
    if isinstance(op, LIF):
        return "it reads a sum of currents, not weights alone"
    return "token ids and logits"


def unfold(program: Program, ops: tuple[Op, ...], dialect: Dialect) -> UnfoldedGraph:
    """The graph of some ops.

    Args:
        program: The whole program.
        ops: A chain of `segments`, or all ops of a program of frames.
        dialect: Who is to read it.
    """
    return _Unfolder(program, ops, dialect).run()


@dataclass(slots=True, eq=False)
class _Unfolder:
    program: Program
    ops: tuple[Op, ...]
    dialect: Dialect
    nodes: dict[str, Parameters] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    values: dict[str, _Value] = field(default_factory=dict)
    approximate: dict[str, None] = field(default_factory=dict)  # a set that keeps its order
    resets: set[Reset] = field(default_factory=set)
    inclusive: bool = False

    def run(self) -> UnfoldedGraph:
        first, last = self.ops[0], self.ops[-1]
        if isinstance(first, Frames):
            shape, worth, name, entry = first.shape, first.scale, first.out, first.name
        else:
            name = inputs_of(first)[0]
            shape, worth, entry = (self.program.channels()[name],), 1.0, "input"
            self.approximate[
                f"a token is {self.program.timesteps} time steps, and membranes begin at 0 with every token"
            ] = None
        self.nodes[entry] = {"type": "Input", "shape": np.array(shape)}
        self.values[name] = _Value(entry, shape, worth)
        for op in self.ops:
            if isinstance(op, (Linear, Conv)):
                self.weights(op)
            elif isinstance(op, (StatefulLIF, LIF)):
                self.neurons(op)
            elif isinstance(op, SumPool):
                self.pool(op)
            elif isinstance(op, Delay):
                self.delay(op)
            elif isinstance(op, Add):
                left, right = self.values[op.left], self.values[op.right]
                extra, sole = [*left.extra, right.node, *right.extra], left.sole and right.sole
                self.values[op.out] = _Value(left.node, left.shape, 1.0, extra, sole and self.sole(op))
            elif isinstance(op, Saturate):
                self.approximate[f"{op.name}: currents are not cut at 2**17"] = None
                self.values[op.out] = self.values[op.input]
        out = self.values[last.input if isinstance(last, FrameOutput) else last.out]
        end = self.name(last.name if isinstance(last, FrameOutput) else "output")
        self.nodes[end] = {"type": "Output", "shape": np.array(out.shape)}
        self.edges += [(name, end) for name in (out.node, *out.extra)]
        names = tuple(op.name for op in self.ops)
        return UnfoldedGraph(
            self.nodes, self.edges, tuple(self.approximate), names, frozenset(self.resets), self.inclusive
        )

    def name(self, wanted: str) -> str:
        """A name that is no other node's; readers make attributes of it, so no dot is in it."""
        plain = "".join(one if one.isascii() and one.isalnum() else "_" for one in wanted)
        number, name = 1, plain
        while name in self.nodes:
            number += 1
            name = f"{plain}_{number}"
        return name

    def put(self, wanted: str, source: _Value, kind: str, **parameters: npt.NDArray[Any]) -> str:
        """A node behind a value; its name."""
        name = self.name(wanted)
        self.nodes[name] = {"type": kind, **parameters}
        self.edges += [(one, name) for one in (source.node, *source.extra)]
        return name

    def weights(self, op: Linear | Conv) -> None:
        source = self.values[op.input]
        if isinstance(op, Linear):
            if len(source.shape) > 1:
                flat = self.put(
                    f"{op.name}_flat", source, "Flatten",
                    start_dim=np.array(0), end_dim=np.array(-1), input_type=np.array(source.shape),
                )  # fmt: skip
                source = _Value(flat, (math.prod(source.shape),), source.worth)
            weight = op.weight.T.astype(np.float64) / source.worth
            node = self.put(op.name, source, "Affine", weight=weight, bias=np.zeros(len(weight)))
            self.values[op.out] = _Value(node, (len(weight),), sole=self.sole(op))
            return
        weight = op.weight.astype(np.float64) / source.worth
        if len(source.shape) == 1 and op.groups == op.shape[0] == len(weight) and weight[0].size == 1:
            node = self.put(
                op.name, source, "Affine", weight=np.diag(weight.reshape(-1)), bias=weight[:, 0, 0, 0] * 0
            )
            self.values[op.out] = _Value(node, source.shape, sole=self.sole(op))
            return
        line = len(source.shape) == 2 and op.weight.shape[2] == 1
        self.same_map(op, source, (source.shape[0], 1, source.shape[1]) if line else source.shape)
        walk = {"stride": op.stride, "padding": op.padding, "dilation": op.dilation}
        whole = {key: np.array(value[1] if line else value) for key, value in walk.items()}
        node = self.put(
            op.name, source, "Conv1d" if line else "Conv2d",
            weight=weight[:, :, 0] if line else weight,
            bias=np.zeros(len(weight)),
            groups=np.array(op.groups),
            input_shape=np.array(op.shape[2] if line else op.shape[1:]),
            **whole,
        )  # fmt: skip
        out = op.out_shape
        self.values[op.out] = _Value(node, (out[0], out[2]) if line else out, sole=self.sole(op))

    @staticmethod
    def same_map(op: Conv | SumPool, source: _Value, shape: Shape) -> None:
        """Refuse an op that reads flat values as another map.

        Raises:
            ExportError: It does.
        """
        if shape != op.shape:
            raise ExportError(
                f"'{op.name}' reads values of shape {list(source.shape)} as a map of {list(op.shape)}",
                limit="NIR has no node that gives values another shape but a flat one",
            )

    def sole(self, op: Linear | Conv | Add) -> bool:
        """Whether one op alone reads what an op makes."""
        return len(self.program.consumers(op.out)) == 1

    def pool(self, op: SumPool) -> None:
        source = self.values[op.input]
        self.same_map(op, source, source.shape)
        sizes = {"kernel_size": op.kernel, "stride": op.stride, "padding": op.padding}
        kind = "AvgPool2d" if self.dialect.average else "SumPool2d"
        node = self.put(op.name, source, kind, **{key: np.array(one) for key, one in sizes.items()})
        divisor = math.prod(op.kernel) if self.dialect.average else 1
        self.values[op.out] = _Value(node, op.out_shape, source.worth / divisor)

    def delay(self, op: Delay) -> None:
        source = self.values[op.input]
        steps = _spread(op.delays, math.prod(source.shape)).reshape(source.shape)
        node = self.put(op.name, source, "Delay", delay=steps * self.dialect.dt)
        self.approximate[f"{op.name}: none of the four libraries builds a Delay"] = None
        self.values[op.out] = _Value(node, source.shape, source.worth)

    def neurons(self, op: StatefulLIF | LIF) -> None:
        source = self.values[op.input]
        size = math.prod(source.shape)
        unit = 2.0**op.fraction if isinstance(op, StatefulLIF) else float(MEMBRANE_SCALE)
        decay = op.decay if isinstance(op, StatefulLIF) else np.array([op.decay])
        beta = _spread(decay, size) / DECAY_DENOMINATOR
        theta, bias = (_spread(op.threshold, size) + 0.5) / unit, _spread(op.bias, size) / unit
        membrane = isinstance(op, StatefulLIF) and op.membrane
        self.note(op)
        # In a reader V = beta V + gain I, V = u times q: with q = 1 / theta its threshold is 1.
        gain = self.dialect.gain(beta)
        q = np.full(size, unit * self.program.output_scale) if membrane else 1 / theta
        rows = [self.nodes[name] for name in (source.node, *source.extra)] if source.sole else []
        factor = _by_row(q / gain, rows)
        if factor is None:
            q, factor = gain, np.ones(1)
        for row in rows:
            weight = row["weight"]
            assert isinstance(weight, np.ndarray)
            row["weight"] = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
        offset = _by_row(q / gain * bias, rows)
        if offset is not None:
            rows[0]["bias"] = np.broadcast_to(offset, np.shape(rows[0]["bias"])).copy()
        self.put_neurons(op, beta, theta * q, np.zeros(size) if offset is not None else q * bias, membrane)

    def put_neurons(
        self,
        op: StatefulLIF | LIF,
        beta: Float64Array,
        threshold: Float64Array,
        drive: Float64Array,
        membrane: bool,
    ) -> None:
        """The node of one layer of neurons; what every frame adds to a membrane is told by its leak."""
        source = self.values[op.input]
        tau = self.dialect.tau(beta)
        shaped = {"tau": tau, "r": self.dialect.r(tau)}
        keeps = bool((beta == 1).all()) and self.dialect.scaled  # its leaky neurons would take nothing in
        leak = np.divide(drive, 1 - beta, out=np.zeros_like(drive), where=beta < 1)
        if (drive[beta == 1] != 0).any():
            self.approximate[f"{op.name}: the bias of neurons that never leak is left out"] = None
        if keeps:
            shaped = {"r": np.ones_like(tau)}
        else:
            shaped["v_leak"] = leak
        if not membrane:
            shaped["v_threshold"] = threshold
            if self.dialect.resting:
                shaped["v_reset"] = np.zeros_like(threshold)
        kind = {(False, False): "LIF", (False, True): "LI", (True, False): "IF", (True, True): "I"}
        # Sinabs asks `any` of parameters, which takes no map, and nir 1.0.4 wants all of one shape
        one = self.dialect.exponential and len(source.shape) > 1
        one = one and all(len(np.unique(values.astype(np.float32))) == 1 for values in shaped.values())
        shaped = {key: values[:1] if one else values.reshape(source.shape) for key, values in shaped.items()}
        node = self.put(op.name, source, kind[keeps, membrane], **shaped)
        self.values[op.out] = _Value(node, source.shape)

    def note(self, op: StatefulLIF | LIF) -> None:
        """Note what every integer neuron does and no neuron of NIR."""
        self.approximate["membranes are not rounded towards zero, nor cut at 2**23"] = None
        reset = op.reset if isinstance(op, StatefulLIF) else Reset.ZERO
        if isinstance(op, StatefulLIF) and op.membrane:
            return
        self.resets.add(reset)
        self.inclusive |= isinstance(op, StatefulLIF) and op.inclusive
        if reset is not Reset.ZERO:
            self.approximate[f"a spike resets by {reset.name.lower()}, which NIR does not say"] = None


def _spread(parameter: npt.NDArray[Any], channels: int) -> Float64Array:
    return np.repeat(parameter.astype(np.float64), channels // len(parameter))


def _by_row(each: Float64Array, rows: list[Parameters]) -> Float64Array | None:
    """A number of each neuron as one for each row of the weights in front; None where a row has several."""
    if not rows:
        return None
    table = each.reshape(len(rows[0]["weight"]), -1)
    return table[:, 0] if bool((table == table[:, :1]).all()) else None


def metadata(graph: UnfoldedGraph, dialect: Dialect, left_out: Mapping[str, str]) -> dict[str, str]:
    """What the file says of itself."""
    said = {
        "producer": "edgesnn",
        "readers": ", ".join(dialect.readers),
        "approximate": "; ".join(graph.approximate),
        "ops": ", ".join(graph.ops),
    }
    if left_out:
        said["left_out"] = "; ".join(f"{name}: {why}" for name, why in left_out.items())
    return said
