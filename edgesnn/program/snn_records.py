"""The records of ops in ``program.snn``: numbers and tensors by kind, and what an op is made of them.

Numbers and tensors of the kinds of version 1.1, which are those of programs that read frames (kernel, stride,
padding and dilation are two numbers, height and width; a scale is the bits of a float32; kinds 1 to 9 are in
`edgesnn.program.snn_format`):

    10 Frames       dimensions, 3 extents, low, high, scale   -
    11 Conv         height, width, stride, padding, dilation  weight i8 [in, kernel, kernel, out/groups]
    12 SumPool      height, width, kernel, stride, padding    -
    13 StatefulLIF  reset, fraction, inclusive, membrane      decay, threshold, bias
    14 Delay        -                                         delays
    15 FrameOutput  summed, scale                             -

The channels in front of height and width follow from the width of the input, groups from the channels of the
output. The weights of one input are neighbours, as an event-driven engine wants them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgesnn.program.ops import (
    LIF,
    Add,
    Attend,
    Count,
    Embed,
    Linear,
    Op,
    Readout,
    Saturate,
    Shift,
)
from edgesnn.program.ops_frames import Conv, Delay, FrameOutput, Frames, Reset, StatefulLIF, SumPool

TensorArray: TypeAlias = npt.NDArray[np.integer]
#: Kinds of ops, number 1 first.
KINDS: tuple[type[Op], ...] = (
    Embed,
    Linear,
    LIF,
    Shift,
    Attend,
    Add,
    Saturate,
    Count,
    Readout,
    Frames,
    Conv,
    SumPool,
    StatefulLIF,
    Delay,
    FrameOutput,
)


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One record as it was read.

    Attributes:
        kind: Class of the op.
        name: Name of the op and of the value it makes.
        sources: Names of the values it reads.
        numbers: Its 8 numbers.
        tensors: Its tensors.
        clip: Whether its flag is set.
        channels: Channels of its output.
    """

    kind: type[Op]
    name: str
    sources: list[str]
    numbers: list[int]
    tensors: list[TensorArray]
    clip: bool
    channels: int

    def op(self) -> Op:
        """The op.

        Raises:
            ValueError: A wrong count of inputs or tensors, or numbers that are none of this kind.
        """
        if self.kind in (Embed, Frames):
            () = self.sources
            return self._embed() if self.kind is Embed else self._frames()
        if self.kind is Add:
            left, right = self.sources
            () = self.tensors
            return Add(self.name, left, right, self.name)
        (source,) = self.sources
        if self.kind in (Conv, SumPool, StatefulLIF, Delay, FrameOutput):
            return self._of_frames(source)
        return self._of_text(source)

    def _embed(self) -> Embed:
        table, projection, multiplier = self.tensors
        return Embed(self.name, self.name, _i8(table), _i8(projection), _i32(multiplier), self.numbers[0])

    def _frames(self) -> Frames:
        () = self.tensors
        dimensions, *extents, low, high, scale = self.numbers[:7]
        if not 1 <= dimensions <= len(extents):
            raise ValueError
        return Frames(self.name, self.name, tuple(extents[:dimensions]), low, high, _float(scale))

    def _of_text(self, source: str) -> Op:
        name, numbers, tensors = self.name, self.numbers, self.tensors
        if self.kind is Linear:
            (weight,) = tensors
            return Linear(name, source, name, _i8(weight))
        if self.kind is LIF:
            threshold, bias = tensors
            return LIF(name, source, name, numbers[0], _i32(threshold), _i32(bias), self.clip)
        if self.kind is Shift:
            (channels,) = tensors
            return Shift(name, source, name, _i32(channels))
        if self.kind is Attend:
            (windows,) = tensors
            if windows.ndim != 1 or len(windows) != numbers[1]:
                raise ValueError
            return Attend(name, source, name, numbers[0], tuple(int(w) for w in windows))
        if self.kind is Readout:
            weight, bias, multiplier, table = tensors
            first, second = _i8(weight), _i8(table)
            shift, exponent = numbers[:2]
            return Readout(name, source, name, first, _i32(bias), _i32(multiplier), shift, second, exponent)
        () = tensors
        return Saturate(name, source, name) if self.kind is Saturate else Count(name, source, name)

    def _of_frames(self, source: str) -> Op:
        name, numbers, tensors = self.name, self.numbers, self.tensors
        if self.kind is Conv:
            (weight,) = tensors
            return self._conv(source, _i8(weight))
        if self.kind is StatefulLIF:
            decay, threshold, bias = (_i32(tensor) for tensor in tensors)
            reset, fraction, inclusive, membrane = numbers[:4]
            return StatefulLIF(
                name,
                source,
                name,
                decay,
                threshold,
                bias,
                Reset(reset),
                inclusive=_flag(inclusive),
                fraction=fraction,
                membrane=_flag(membrane),
            )
        if self.kind is Delay:
            (delays,) = tensors
            return Delay(name, source, name, _i32(delays))
        () = tensors
        if self.kind is FrameOutput:
            return FrameOutput(name, source, name, _flag(numbers[0]), _float(numbers[1]))
        high, wide, *rest = numbers
        kernel, stride, padding = (rest[0], rest[1]), (rest[2], rest[3]), (rest[4], rest[5])
        # the channels of the output are right where the op is: the reader writes it again and compares
        made = SumPool(name, source, name, (1, high, wide), kernel, stride, padding)
        return SumPool(name, source, name, (_parts(self.channels, made), high, wide), kernel, stride, padding)

    def _conv(self, source: str, weight: npt.NDArray[np.int8]) -> Conv:
        high, wide, *rest = self.numbers
        stride, padding, dilation = (rest[0], rest[1]), (rest[2], rest[3]), (rest[4], rest[5])
        if weight.ndim != 4:  # noqa: PLR2004
            raise ValueError
        inputs, each = weight.shape[0], weight.shape[3]
        probe = Conv(
            self.name,
            source,
            self.name,
            weight[:1].transpose(3, 0, 1, 2)[:1],
            (1, high, wide),
            stride,
            padding,
            dilation,
        )
        groups, rest_outputs = divmod(_parts(self.channels, probe), each)
        if rest_outputs or groups < 1 or inputs % groups:
            raise ValueError
        inside = inputs // groups
        split = weight.reshape(groups, inside, *weight.shape[1:])
        stored = np.ascontiguousarray(split.transpose(0, 4, 1, 2, 3))
        return Conv(
            self.name,
            source,
            self.name,
            stored.reshape(groups * each, inside, *weight.shape[1:3]),
            (inputs, high, wide),
            stride,
            padding,
            dilation,
            groups,
        )


def _parts(channels: int, one: Conv | SumPool) -> int:
    """How many maps ``channels`` are, each of the size that an op of one map makes."""
    if min(one.stride) < 1 or one.channels < 1 or channels % one.channels:
        raise ValueError
    return channels // one.channels


def _input_major(op: Conv) -> npt.NDArray[np.int8]:
    """Weights of a convolution as they are stored, ``[in, kernel, kernel, out/groups]``."""
    out, inside, high, wide = op.weight.shape
    split = op.weight.reshape(op.groups, out // op.groups, inside, high, wide)
    return np.ascontiguousarray(split.transpose(0, 2, 3, 4, 1)).reshape(op.shape[0], high, wide, -1)


def _flag(number: int) -> bool:
    if number not in (0, 1):
        raise ValueError
    return bool(number)


def _float(bits: int) -> float:
    value: float = struct.unpack("<f", struct.pack("<i", bits))[0]
    return value


def _bits(scale: float) -> int:
    bits: int = struct.unpack("<i", struct.pack("<f", scale))[0]
    return bits


def _i8(array: TensorArray) -> npt.NDArray[np.int8]:
    if array.dtype != np.int8:
        raise ValueError
    return array.view(np.int8)


def _i32(array: TensorArray) -> npt.NDArray[np.int32]:
    if array.dtype != np.dtype("<i4"):
        raise ValueError
    return array.astype(np.int32, copy=False)


def tensors_of(op: Op) -> list[TensorArray]:
    """The tensors of an op as they are stored."""
    if isinstance(op, Embed):
        return [op.table, op.projection, op.multiplier]
    if isinstance(op, Linear):
        return [op.weight]
    if isinstance(op, LIF):
        return [op.threshold, op.bias]
    if isinstance(op, Shift):
        return [op.channels]
    if isinstance(op, Attend):
        return [np.array(op.windows, np.int32)]
    if isinstance(op, Readout):
        return [op.weight, op.bias, op.multiplier, op.table]
    if isinstance(op, Conv):
        return [_input_major(op)]
    if isinstance(op, StatefulLIF):
        return [op.decay, op.threshold, op.bias]
    return [op.delays] if isinstance(op, Delay) else []


def numbers_of(op: Op) -> list[int]:
    """The numbers of an op, without the zeros behind them."""
    if isinstance(op, Embed):
        return [op.shift]
    if isinstance(op, LIF):
        return [op.decay]
    if isinstance(op, Attend):
        return [op.head_dim, len(op.windows)]
    if isinstance(op, Readout):
        return [op.shift, op.exponent]
    if isinstance(op, Frames):
        extents = [*op.shape, 0, 0][:3]
        return [len(op.shape), *extents, op.low, op.high, _bits(op.scale)]
    if isinstance(op, Conv):
        return [*op.shape[1:], *op.stride, *op.padding, *op.dilation]
    if isinstance(op, SumPool):
        return [*op.shape[1:], *op.kernel, *op.stride, *op.padding]
    if isinstance(op, StatefulLIF):
        return [int(op.reset), op.fraction, int(op.inclusive), int(op.membrane)]
    return [int(op.summed), _bits(op.scale)] if isinstance(op, FrameOutput) else []
