"""A graph becomes an integer program: each node folds into the layer of neurons behind it, or is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edgesnn.errors import CompileError, NetworkError, ProgramFormatError
from edgesnn.nir.currents import (
    Between,
    Current,
    Graded,
    Membrane,
    added,
    per_map,
    scaled,
    unweighted,
    weighted,
)
from edgesnn.nir.graph import Graph
from edgesnn.nir.nodes import FIRING, NEURONS, WEIGHTS, Float64Array, Node, Shape, pool_window
from edgesnn.nir.quantise import ImportedLayer, quantise_layer
from edgesnn.nir.simulate import delay_steps
from edgesnn.nir.sources import Dynamics, Rules, dynamics
from edgesnn.program.bounds import OpBound, prove, secure
from edgesnn.program.ops import Op
from edgesnn.program.ops_frames import Delay, FrameOutput, Frames, SumPool
from edgesnn.program.program import Program
from edgesnn.program.validate import check_program

#: What the program gives of its last layer of spikes: their sum since the reset, or those of every frame.
Readout = Literal["counts", "spikes"]
#: Letters of a node's name that an op keeps, with room for what makes it its own.
_NAME_KEPT = 48


@dataclass(frozen=True, slots=True)
class Samples:
    """What frames hold.

    Attributes:
        low: Least sample, -127..0.
        high: Largest sample, 1..127.
        scale: What a sample is worth, ``real = sample * scale``.
    """

    low: int = 0
    high: int = 1
    scale: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Folded:
    """An integer program made of a graph.

    Attributes:
        program: The program, proven safe.
        bounds: The proof, by op.
        layers: What rounding did, by layer of neurons.
        values: Name of the program's value that stands for what a node with neurons makes, by node.
    """

    program: Program
    bounds: tuple[OpBound, ...]
    layers: tuple[ImportedLayer, ...]
    values: dict[str, str]


def fold(graph: Graph, rules: Rules, samples: Samples, readout: Readout = "counts") -> Folded:
    """Make the integer program of a graph.

    Args:
        graph: The network.
        rules: What the file does not say of its neurons.
        samples: What frames hold.
        readout: What comes out where the last layer fires; of membranes it is the membranes.

    Returns:
        The program with its proof and what rounding did.

    Raises:
        NetworkError: Nodes that do not reduce to an integer program; all of them at once.
    """
    folder = _Folder(graph, rules, samples)
    folder.run(readout)
    if folder.problems:
        raise NetworkError(graph.path, folder.problems, remedy="see docs/nir.md for what can enter")
    try:
        program = secure(Program(1, tuple(folder.ops)))
        check_program(program)
        bounds = prove(program)
    except (CompileError, ProgramFormatError) as error:
        raise NetworkError(graph.path, [error.sentence()]) from None
    return Folded(program, bounds, tuple(folder.layers), folder.values)


@dataclass(slots=True)
class _Folder:
    """The walk over the nodes; a node whose input was refused is passed over."""

    graph: Graph
    rules: Rules
    samples: Samples
    ops: list[Op] = field(default_factory=list)
    layers: list[ImportedLayer] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    made: dict[str, Between] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def run(self, readout: Readout) -> None:
        """Fold all nodes, and the output where nothing spoke against them."""
        for node in self.graph.nodes:
            self.add(node)
        if not self.problems:
            self.output(readout)

    def add(self, node: Node) -> None:
        """Fold one node, or say what is wrong with it."""
        shape = self.graph.shapes[node.name]
        if node.kind == "Input":
            self.made[node.name] = self._input(node, shape)
            return
        where = f"node '{node.name}' ({node.kind})"
        # of the neurons everything is said, even where what they read was refused
        neuron: Dynamics | None = None
        if node.kind in NEURONS:
            neuron, reasons = dynamics(node, shape, self.rules)
            self.problems += [f"{where}: {reason}" for reason in reasons]
            if node.kind not in FIRING and not self._last(node):
                self.problems.append(f"{where}: its membrane is no spike, and only the output may read it")
                return
        sources = [self.made[name] for name in self.graph.sources[node.name] if name in self.made]
        if len(sources) < len(self.graph.sources[node.name]) or (node.kind in NEURONS and neuron is None):
            return
        try:
            value = self._sum(sources, node)
            if neuron is not None:
                self.made[node.name] = self._neurons(node, neuron, value, shape)
            else:
                self.made[node.name] = self._other(node, value, shape)
        except ValueError as error:
            self.problems.append(f"{where}: {error}")

    def output(self, readout: Readout) -> None:
        """The last op."""
        node = next(node for node in self.graph.nodes if node.kind == "Output")
        value = self.made[node.name]
        try:
            if isinstance(value, Current):
                value = self._current_out(node, value)
            if isinstance(value, Membrane):
                summed, worth = False, value.worth
            else:
                summed = readout == "counts"
                if (value.factor != value.factor.flat[0]).any() or value.factor.flat[0] <= 0:
                    raise ValueError("its values are worth different things, or less than nothing")
                worth = float(value.factor.flat[0])
        except ValueError as error:
            self.problems.append(f"node '{node.name}' ({node.kind}): {error}")
            return
        name = self._name(node.name)
        self.ops.append(FrameOutput(name, value.name, name, summed, float(np.float32(worth))))

    def _last(self, node: Node) -> bool:
        """Whether only the output reads a node."""
        readers = [one for one in self.graph.nodes if node.name in self.graph.sources[one.name]]
        passing = [one for one in readers if one.kind in ("Identity", "Flatten")]
        ends = len(readers) == 1 and len(self.graph.sources[readers[0].name]) == 1
        return ends and (readers[0].kind == "Output" or bool(passing and self._last(readers[0])))

    def _name(self, node: str) -> str:
        """A name for an op: the node's, as far as an op may be called so."""
        kept = "".join(letter if "!" <= letter <= "~" else "_" for letter in node)[:_NAME_KEPT] or "_"
        name, number = kept, 1
        while name in self.names:
            number += 1
            name = f"{kept}.{number}"
        self.names.add(name)
        return name

    def _input(self, node: Node, shape: Shape) -> Graded:
        samples, name = self.samples, self._name(node.name)
        self.ops.append(Frames(name, name, shape, samples.low, samples.high, samples.scale))
        largest = max(-samples.low, samples.high)
        spikes = (samples.low, samples.high) == (0, 1)
        return Graded(name, shape, np.full(1, samples.scale), largest, spikes)

    def _sum(self, sources: list[Between], node: Node) -> Graded | Current | Membrane:
        if len(sources) == 1:
            return sources[0]
        currents: list[Current] = []
        for source, name in zip(sources, self.graph.sources[node.name], strict=True):
            if isinstance(source, Membrane):
                raise ValueError("it sums a membrane")
            currents.append(unweighted(name, source) if isinstance(source, Graded) else source)
        return added(currents)

    def _neurons(self, node: Node, neuron: Dynamics, value: Between, shape: Shape) -> Between:
        if isinstance(value, Membrane):
            raise ValueError("it reads a membrane")
        if neuron.many and neuron.reset != "subtract":
            raise ValueError(
                "several spikes in a frame and a reset to zero: say that a frame has one spike at most"
            )
        current = unweighted(node.name, value) if isinstance(value, Graded) else value
        fires = node.kind in FIRING
        layer = quantise_layer(node.kind, current, neuron, node.name, self._name, membrane=not fires)
        self.ops += layer.ops
        self.layers.append(layer.report)
        name = self.values[node.name] = layer.ops[-1].out
        if not fires:
            return Membrane(name, shape, layer.worth)
        return Graded(name, shape, np.ones(1), layer.largest, spikes=layer.largest == 1)

    def _other(self, node: Node, value: Between, shape: Shape) -> Between:
        """A node without a state of its own, or a delay."""
        if node.kind in ("Output", "Identity", "Flatten"):
            return _reshaped(value, shape)
        if isinstance(value, Membrane):
            raise ValueError("it reads a membrane")
        if node.kind == "Scale":
            return scaled(value, node.spread("scale", shape))
        if isinstance(value, Current):
            if node.kind in WEIGHTS:
                raise ValueError("a second layer of weights without neurons between: multiply both into one")
            raise ValueError("it reads a sum of weights, not spikes: put it behind the neurons")
        if node.kind in WEIGHTS:
            return weighted(node, value, shape)
        if node.kind == "Delay":
            return self._delay(node, value, shape)
        window = pool_window(node)
        name = self._name(node.name)
        extents = (value.shape[0], value.shape[1], value.shape[2])
        self.ops.append(
            SumPool(name, value.name, name, extents, window.kernel, window.stride, window.padding)
        )
        size = math.prod(window.kernel)
        factor = value.factor if value.factor.size == 1 else _per_map(value.factor, value.shape, shape)
        divisor = size if node.kind == "AvgPool2d" else 1
        return Graded(name, shape, factor / divisor, value.largest * size, spikes=False)

    def _delay(self, node: Node, value: Graded, shape: Shape) -> Graded:
        steps = delay_steps(node, shape, self.rules)
        if not steps.any():
            return value
        name = self._name(node.name)
        same = (steps == steps[0]).all()
        delays = (steps[:1] if same else steps).astype(np.int32)
        self.ops.append(Delay(name, value.name, name, delays))
        return Graded(name, shape, value.factor, value.largest, value.spikes)

    def _current_out(self, node: Node, value: Current) -> Membrane:
        """Neurons without memory, which show what comes in."""
        size = math.prod(value.shape)
        zero, one = np.zeros(size), np.ones(size)
        passing = Dynamics(
            zero, one, zero, one * np.inf, zero, zero, "none", late=False, inclusive=False, many=False
        )
        layer = quantise_layer(node.kind, value, passing, node.name, self._name, membrane=True)
        self.ops += layer.ops
        self.layers.append(layer.report)
        self.values[node.name] = layer.ops[-1].out
        return Membrane(layer.ops[-1].out, value.shape, layer.worth)


def _reshaped(value: Between, shape: Shape) -> Between:
    """The same values in another shape: all lie flat, channel-major."""
    if isinstance(value, Graded):
        return Graded(value.name, shape, value.factor, value.largest, value.spikes)
    if isinstance(value, Membrane):
        return Membrane(value.name, shape, value.worth)
    return Current(value.parts, shape, value.bias)


def _per_map(factor: Float64Array, before: Shape, after: Shape) -> Float64Array:
    return np.repeat(per_map(factor, before), math.prod(after) // after[0])
