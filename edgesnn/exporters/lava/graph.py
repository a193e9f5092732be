"""Lowers a program to Lava processes and connections, as plain data for the manifest of the Lava export.

Time is the hard part. A stock ``Dense`` hands its sum on one timestep later, so every value has a *latency*:
the timesteps after which it shows what golden computes at once. An Add needs both sides at the same latency;
the earlier one waits in a delay.

A Lava process costs about 0.2 ms per timestep whatever it computes, so a population on the residual stream
takes its token shift and the delay of the stream along (``ResidualLIF``) where nobody else needs them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edgesnn.errors import ExportError
from edgesnn.exporters.lava.arrays import LavaArrays
from edgesnn.program.ops import (
    LIF,
    MEMBRANE_SCALE,
    Add,
    Attend,
    Count,
    Embed,
    Linear,
    Readout,
    Saturate,
    Shift,
)
from edgesnn.program.program import Program
from edgesnn.program.stock import bias_exponent, stock_representable

#: Lava's decay ``dv`` is in 1/4096, the program's n in 1/256.
DECAY_STEP = 16
DECAY_UNITY = 4096
#: A decay that lets nothing of the current persist: ``du + 1 = 4096``.
_NO_CURRENT = 4095


@dataclass(frozen=True, slots=True)
class LavaSignal:
    """Where a value comes from.

    Attributes:
        ports: Output ports; an input port sums what it is connected to.
        latency: Timesteps after which the value is there.
    """

    ports: tuple[str, ...]
    latency: int


@dataclass(slots=True)
class LavaProcess:
    """One process of the manifest, while it is being made."""

    name: str
    kind: str
    latency: int
    parameters: dict[str, Any]
    tensors: dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    def entry(self) -> dict[str, Any]:
        """The process as the manifest holds it."""
        return {
            "name": self.name,
            "class": self.kind,
            "latency": self.latency,
            "parameters": self.parameters,
            "tensors": self.tensors,
            "files": list(self.files),
        }


@dataclass(frozen=True, slots=True)
class LavaGraph:
    """A program as Lava processes.

    Attributes:
        processes: Entries of the manifest, sources before the processes that read them.
        connections: Pairs of output and input port, ``process.port``.
        latency: Timesteps from a token's first to the first in which its last spikes are counted.
    """

    processes: list[dict[str, Any]]
    connections: list[tuple[str, str]]
    latency: int


class LavaLowering:
    """Walks the ops once and makes processes.

    Args:
        program: The program.
        arrays: Takes the arrays that processes need.

    Attributes:
        latency: Timesteps from a token's or frame's first to the first in which its outputs are there.
    """

    def __init__(self, program: Program, arrays: LavaArrays) -> None:
        self._program = program
        self._arrays = arrays
        self._width = program.channels()
        self._signals: dict[str, LavaSignal] = {}
        self._made: dict[str, LavaProcess] = {}
        self._connections: list[tuple[str, str]] = []
        self.latency = 0

    def run(self) -> LavaGraph:
        """The processes.

        Raises:
            ExportError: The program has an op that no process executes.
        """
        makers = {
            Embed: self._embed,
            Linear: self._linear,
            LIF: self._lif,
            Shift: self._shift,
            Attend: self._attend,
            Add: self._add,
            Saturate: self._saturate,
            Count: self._count,
            Readout: self._readout,
        }
        for op in self._program.ops:
            make: Any = makers.get(type(op))
            if make is None:
                raise ExportError(f"Lava has no process for op '{op.name}'", actual=type(op).__name__)
            make(op)
        return self._graph()

    def _graph(self) -> LavaGraph:
        return LavaGraph([made.entry() for made in self._made.values()], self._connections, self.latency)

    def _embed(self, op: Embed) -> None:
        parameters = {"shift": op.shift, "timesteps": self._program.timesteps, "first": 1}
        tensors = self._arrays.names(op, "table", "projection", "multiplier")
        self._add_process(LavaProcess(op.name, "TokenSource", 0, parameters, tensors, ("tokens",)))
        self._signals[op.out] = LavaSignal((f"{op.name}.a_out",), 0)

    def _linear(self, op: Linear) -> None:
        latency = self._connect(op.input, op.name, "s_in")
        self._add_process(LavaProcess(op.name, "Dense", latency, {}, self._arrays.names(op, "weight")))
        self._signals[op.out] = LavaSignal((f"{op.name}.a_out",), latency + 1)

    def _lif(self, op: LIF) -> None:
        latency = self._connect(op.input, op.name, "a_in")
        timesteps = self._program.timesteps
        parameters = {
            "dv": DECAY_UNITY - DECAY_STEP * op.decay,
            "reset_interval": timesteps,
            "reset_offset": (1 + latency) % timesteps,
        }
        if _stock(op):
            exponent = bias_exponent(op.bias)
            stock = {
                "shape": [len(op.bias)],
                "du": _NO_CURRENT,
                "vth": int(op.threshold[0]) // MEMBRANE_SCALE,
            }
            tensors = {
                "bias_mant": self._arrays.add(f"{op.name}.bias_mant", op.bias >> exponent),
                "bias_exp": self._arrays.add(f"{op.name}.bias_exp", exponent),
            }
            self._add_process(LavaProcess(op.name, "LIFReset", latency, {**stock, **parameters}, tensors))
        else:
            tensors = {
                "theta": self._arrays.add(f"{op.name}.threshold", op.threshold),
                "bias": self._arrays.add(f"{op.name}.bias", op.bias),
            }
            self._add_process(LavaProcess(op.name, "ThresholdLIF", latency, parameters, tensors))
        self._signals[op.out] = LavaSignal((f"{op.name}.s_out",), latency)

    def _shift(self, op: Shift) -> None:
        source = self._signals[op.input]
        tensor = {"shifted": self._arrays.add(f"{op.name}.channels", op.channels)}
        population = self._made.get(source.ports[0].removesuffix(".s_out"))
        alone = len(self._program.consumers(op.input)) == 1
        if alone and population is not None and self._residual(population):
            population.tensors |= tensor
            self._signals[op.out] = source
            return
        latency = self._connect(op.input, op.name, "s_in")
        parameters = {
            "shape": [self._width[op.out]],
            "timesteps": self._program.timesteps,
            "first": 1 + latency,
        }
        self._add_process(LavaProcess(op.name, "TokenShift", latency, parameters, tensor))
        self._signals[op.out] = LavaSignal((f"{op.name}.s_out",), latency)

    def _attend(self, op: Attend) -> None:
        latency = self._connect(op.input, op.name, "s_in")
        parameters = {
            "head_dim": op.head_dim,
            "windows": list(op.windows),
            "timesteps": self._program.timesteps,
            "first": 1 + latency,
        }
        self._add_process(LavaProcess(op.name, "SpikingAttention", latency, parameters))
        self._signals[op.out] = LavaSignal((f"{op.name}.a_out",), latency)

    def _add(self, op: Add) -> None:
        left, right = self._signals[op.left], self._signals[op.right]
        latency = max(left.latency, right.latency)
        if left.latency < latency:
            left = self._delayed(op.left, latency - left.latency, f"{op.name}.delay")
        if right.latency < latency:
            right = self._delayed(op.right, latency - right.latency, f"{op.name}.delay")
        if set(left.ports) & set(right.ports):  # Lava connects two ports once
            right = self._relay(op.right, 0, False, f"{op.name}.copy")
        self._signals[op.out] = LavaSignal((*left.ports, *right.ports), latency)

    def _saturate(self, op: Saturate) -> None:
        self._signals[op.out] = self._relay(op.input, 0, True, op.name)

    def _count(self, op: Count) -> None:
        self._signals[op.out] = self._signals[op.input]

    def _readout(self, op: Readout) -> None:
        self.latency = latency = self._connect(op.input, op.name, "s_in")
        parameters = {"shift": op.shift, "timesteps": self._program.timesteps, "first": 1 + latency}
        tensors = self._arrays.names(op, "weight", "bias", "multiplier", "table")
        self._add_process(
            LavaProcess(op.name, "CountSink", latency, parameters, tensors, ("tokens", "logits"))
        )

    def _delayed(self, value: str, timesteps: int, name: str) -> LavaSignal:
        """A value some timesteps later, from a population that reads it or else from a process of its own."""
        source = self._signals[value]
        for op in self._program.consumers(value):
            population = self._made.get(op.name) if isinstance(op, LIF) else None
            if population is None or population.parameters.get("relay", 0) not in (0, timesteps):
                continue
            if self._residual(population):
                population.parameters["relay"] = timesteps
                return LavaSignal((f"{population.name}.a_out",), source.latency + timesteps)
        return self._relay(value, timesteps, False, name)

    def _residual(self, population: LavaProcess) -> bool:
        """Make a population one that can delay what it reads and writes; False where it is a stock one."""
        if population.kind == "ThresholdLIF":
            population.kind = "ResidualLIF"
            population.parameters |= {"relay": 0, "first": 1 + population.latency}
        return population.kind == "ResidualLIF"

    def _relay(self, value: str, delay: int, saturate: bool, name: str) -> LavaSignal:
        latency = self._connect(value, name, "a_in")
        parameters = {"shape": [self._width[value]], "delay": delay, "saturate": saturate}
        self._add_process(LavaProcess(name, "CurrentDelay", latency, parameters))
        return LavaSignal((f"{name}.a_out",), latency + delay)

    def _connect(self, value: str, process: str, port: str) -> int:
        """Connect all that a value is the sum of; the value's latency."""
        source = self._signals[value]
        self._connections += [(name, f"{process}.{port}") for name in source.ports]
        return source.latency

    def _add_process(self, made: LavaProcess) -> None:
        self._made[made.name] = made


def lower(program: Program, arrays: LavaArrays) -> LavaGraph:
    """The processes of a program.

    Args:
        program: The integer program.
        arrays: Takes the arrays that processes need.

    Returns:
        Processes, connections, latency.

    Raises:
        ExportError: The program has an op that no process executes.
    """
    return LavaLowering(program, arrays).run()


def _stock(op: LIF) -> bool:
    """Whether a stock ``LIFReset`` serves a population: one threshold for all, and a bias it can hold."""
    return stock_representable(op) and bool((op.threshold == op.threshold[0]).all())
