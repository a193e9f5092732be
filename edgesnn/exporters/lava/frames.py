"""Lowers a program that reads frames to Lava processes, and names what Loihi's fixed point has not.

A frame is one timestep. The neuron is Loihi's: a hard reset, 6 fraction bits. A convolution is the matrix
that it is, and a pool of spikes is multiplied into the weights behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ExportError
from edgesnn.exporters.lava.arrays import LavaArrays
from edgesnn.exporters.lava.graph import (
    DECAY_STEP,
    DECAY_UNITY,
    LavaGraph,
    LavaLowering,
    LavaProcess,
    LavaSignal,
)
from edgesnn.program.bounds import value_ranges
from edgesnn.program.golden_frames import conv_currents, spread, sum_pool
from edgesnn.program.ops import Add, Linear, Op, Saturate
from edgesnn.program.ops_frames import (
    FRACTION_MAX,
    Conv,
    Delay,
    FrameOutput,
    Frames,
    Reset,
    StatefulLIF,
    SumPool,
)
from edgesnn.program.program import Program

#: Largest matrix that a convolution may become, in weights.
WEIGHTS_MAX = 2**24
#: Exclusive bound of a current: 64 of it must fit Loihi's 24 bits.
_CURRENT_LIMIT = 2**17
_WEIGHT_MAX = 127
#: Inputs of a convolution that are unrolled together.
_ROWS = 256


@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """A pool that waits for the weights behind it: the value that it sums, and how, ``[in, out]``."""

    source: str
    matrix: npt.NDArray[np.int64]


class _FramesLowering(LavaLowering):
    """Walks the ops once; what cannot be lowered is collected."""

    def __init__(self, program: Program, arrays: LavaArrays) -> None:
        super().__init__(program, arrays)
        self._ranges = value_ranges(program)
        self._pools: dict[str, _Pool] = {}
        self._wrong: list[str] = []

    def run(self) -> LavaGraph:
        makers: dict[type, Any] = {
            Frames: self._frames,
            Linear: self._weights,
            Conv: self._weights,
            SumPool: self._pool,
            StatefulLIF: self._stateful,
            Add: self._add,
            Saturate: self._saturate,
            FrameOutput: self._output,
        }
        for op in self._program.ops:
            self._check(op)
        if not self._wrong:
            for op in self._program.ops:
                makers[type(op)](op)
        if self._wrong:
            raise ExportError(
                "Lava's fixed point cannot carry this network",
                actual="; ".join(self._wrong),
                limit="spikes in, hard reset, 6 fraction bits, int8 weights",
                remedy="choose other formats, or train with --reset zero",
            )
        return self._graph()

    def _check(self, op: Op) -> None:
        """Collect what Lava has not of an op."""
        if isinstance(op, Frames) and (op.low, op.high) != (0, 1):
            self._refuse(op, f"samples {op.low}..{op.high}, not spikes")
        elif isinstance(op, Delay):
            self._refuse(op, "a delay")
        elif isinstance(op, StatefulLIF):
            if op.membrane:
                self._refuse(op, "a membrane as output")
            if op.reset is not Reset.ZERO:
                self._refuse(op, f"reset {op.reset.name.lower()}")
            if op.fraction != FRACTION_MAX:
                self._refuse(op, f"{op.fraction} fraction bits")
            largest = max(abs(number) for number in self._ranges[op.input])
            if largest >= _CURRENT_LIMIT:
                self._refuse(op, f"currents up to {largest:,}, {_CURRENT_LIMIT:,} and more")
        elif isinstance(op, (Linear, Conv)):
            entries = self._width[op.input] * self._width[op.out]
            if entries > WEIGHTS_MAX:
                self._refuse(op, f"a matrix of {entries:,} weights, more than {WEIGHTS_MAX:,}")
        elif isinstance(op, FrameOutput) and not self._is_spikes(op.input):
            self._refuse(op, "an output that is no spikes")
        elif isinstance(op, SumPool):
            readers = self._program.consumers(op.out)
            if not all(isinstance(reader, (Linear, Conv, SumPool)) for reader in readers):
                self._refuse(op, "a pool without weights behind it")
            if self._width[op.input] * self._width[op.out] > WEIGHTS_MAX:
                self._refuse(op, "a pool of too many places")

    def _is_spikes(self, value: str) -> bool:
        return any(op.out == value and isinstance(op, (Frames, StatefulLIF)) for op in self._program.ops)

    def _refuse(self, op: Op, what: str) -> None:
        self._wrong.append(f"{op.name}: {what}")

    def _frames(self, op: Frames) -> None:
        parameters = {"inputs": op.channels, "first": 1}
        self._add_process(LavaProcess(op.name, "FrameSource", 0, parameters, {}, ("tokens",)))
        self._signals[op.out] = LavaSignal((f"{op.name}.s_out",), 0)

    def _weights(self, op: Linear | Conv) -> None:
        """A stock ``Dense`` of the matrix that an op and the pools in front of it are."""
        source, matrix = op.input, _matrix(op)
        while (pool := self._pools.get(source)) is not None:
            matrix, source = pool.matrix @ matrix, pool.source
        largest = int(np.abs(matrix).max(initial=0))
        if largest > _WEIGHT_MAX:
            self._refuse(op, f"weights up to {largest} behind a pool whose windows overlap")
            matrix = np.clip(matrix, -_WEIGHT_MAX, _WEIGHT_MAX)
        latency = self._connect(source, op.name, "s_in")
        name = self._arrays.add(f"{op.name}.weight", matrix.astype(np.int8))
        self._add_process(LavaProcess(op.name, "Dense", latency, {}, {"weight": name}))
        self._signals[op.out] = LavaSignal((f"{op.name}.a_out",), latency + 1)

    def _pool(self, op: SumPool) -> None:
        self._pools[op.out] = _Pool(op.input, _unrolled(op))

    def _stateful(self, op: StatefulLIF) -> None:
        latency, width = self._connect(op.input, op.name, "a_in"), self._width[op.out]
        decays = (DECAY_UNITY - DECAY_STEP * spread(op.decay, width)).astype(np.int32)
        tensors = {
            "dv": self._arrays.add(f"{op.name}.dv", decays),
            "theta": self._arrays.add(f"{op.name}.threshold", spread(op.threshold, width).astype(np.int32)),
            "bias": self._arrays.add(f"{op.name}.bias", spread(op.bias, width).astype(np.int32)),
        }
        self._add_process(LavaProcess(op.name, "PersistentLIF", latency, {"first": 1 + latency}, tensors))
        self._signals[op.out] = LavaSignal((f"{op.name}.s_out",), latency)

    def _output(self, op: FrameOutput) -> None:
        self.latency = latency = self._connect(op.input, op.name, "s_in")
        parameters = {"outputs": self._width[op.out], "summed": op.summed, "first": 1 + latency}
        self._add_process(LavaProcess(op.name, "FrameSink", latency, parameters, {}, ("tokens", "logits")))


def lower_frames(program: Program, arrays: LavaArrays) -> LavaGraph:
    """The processes of a program that reads frames.

    Args:
        program: The program.
        arrays: Takes the arrays that processes need.

    Raises:
        ExportError: Lava's fixed point lacks something of it; every op is named.
    """
    return _FramesLowering(program, arrays).run()


def _matrix(op: Linear | Conv) -> npt.NDArray[np.int64]:
    """Weights ``[in, out]``."""
    if isinstance(op, Linear):
        return op.weight.astype(np.int64)
    return _unrolled(op)


def _unrolled(op: Conv | SumPool) -> npt.NDArray[np.int64]:
    """What an op makes of each of its inputs alone, ``[in, out]``."""
    width = int(np.prod(op.shape))
    made = np.empty((width, op.channels), np.int64)
    for start in range(0, width, _ROWS):
        rows = min(_ROWS, width - start)
        alone = np.zeros((1, rows, 1, width), np.int8)
        alone[0, np.arange(rows), 0, np.arange(start, start + rows)] = 1
        part = sum_pool(alone, op) if isinstance(op, SumPool) else conv_currents(alone, op, 1)
        made[start : start + rows] = part[0, :, 0]
    return made
