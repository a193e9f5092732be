"""The rules that every program obeys, whoever made it: names, kinds, shapes and ranges.

`check_program` is called by the compiler on what it made and by the reader on what it read, so that
golden and every backend may rely on the rules. The proof that nothing overflows is in
`edgesnn.program.bounds`.
"""

from __future__ import annotations

import math
from enum import Enum

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ProgramFormatError
from edgesnn.program.ops import (
    CURRENT_LIMIT,
    DECAY_DENOMINATOR,
    HEAD_DIM_MAX,
    LIF,
    LIF_BIAS_MAX,
    LOGIT_LIMIT,
    THETA_MAX,
    TIMESTEPS_MAX,
    WEIGHT_MAX,
    Add,
    Attend,
    Count,
    Embed,
    Linear,
    Op,
    Readout,
    Saturate,
    Shift,
    inputs_of,
)
from edgesnn.program.ops_frames import (
    DELAY_MAX,
    FRACTION_MAX,
    MAP_DIMENSIONS,
    SAMPLE_MAX,
    Conv,
    Delay,
    FrameOutput,
    Frames,
    Reset,
    StatefulLIF,
    SumPool,
)
from edgesnn.program.program import Program

_SHIFT_MAX = 31
#: Widest value of a program of frames, and longest kernel, stride, padding and dilation.
_EXTENT_MAX, _WINDOW_MAX = 2**20, 255
#: Most elements of a map with its padding, and of what a delay keeps: what a reader's memory is bounded by.
_PADDED_MAX, _DELAYED_MAX = 2**22, 2**24
#: ``logits_q * 2**-exponent`` and the factor itself are normal float32 numbers in this range.
_EXPONENT_MIN, _EXPONENT_MAX = -104, 126
#: Bytes that an op's name may have.
_NAME_MAX = 63


class ValueKind(Enum):
    """What a value holds."""

    CURRENT = "current"
    SPIKES = "spikes"
    COUNT = "count"
    LOGITS = "logits"
    GRADED = "graded"
    MEMBRANE = "membrane"
    OUTPUT = "output"


_CURRENT, _SPIKES = (ValueKind.CURRENT,), (ValueKind.SPIKES,)
_EVENTS = (ValueKind.SPIKES, ValueKind.GRADED)
_READS: dict[type[Op], tuple[ValueKind, ...]] = {
    Linear: _SPIKES,
    LIF: _CURRENT,
    Shift: _SPIKES,
    Attend: _SPIKES,
    Add: _CURRENT,
    Saturate: _CURRENT,
    Count: _SPIKES,
    Readout: (ValueKind.COUNT,),
}
_FRAME_READS: dict[type[Op], tuple[ValueKind, ...]] = {
    Linear: _EVENTS,
    Conv: _EVENTS,
    SumPool: _EVENTS,
    StatefulLIF: _CURRENT,
    Delay: _EVENTS,
    Add: _CURRENT,
    Saturate: _CURRENT,
    FrameOutput: (*_EVENTS, ValueKind.MEMBRANE),
}
_MAKES: dict[type[Op], ValueKind] = {
    Embed: ValueKind.CURRENT,
    Linear: ValueKind.CURRENT,
    LIF: ValueKind.SPIKES,
    Shift: ValueKind.SPIKES,
    Attend: ValueKind.CURRENT,
    Add: ValueKind.CURRENT,
    Saturate: ValueKind.CURRENT,
    Count: ValueKind.COUNT,
    Readout: ValueKind.LOGITS,
    Conv: ValueKind.CURRENT,
    SumPool: ValueKind.GRADED,
    FrameOutput: ValueKind.OUTPUT,
}


def kind_made(op: Op, read: ValueKind | None) -> ValueKind:
    """What an op makes.

    Args:
        op: The op.
        read: The kind of its first input, None for one that has none.
    """
    if isinstance(op, Frames):
        return ValueKind.SPIKES if (op.low, op.high) == (0, 1) else ValueKind.GRADED
    if isinstance(op, StatefulLIF):
        graded = ValueKind.GRADED if op.reset is Reset.MANY else ValueKind.SPIKES
        return ValueKind.MEMBRANE if op.membrane else graded
    if isinstance(op, Delay) and read is not None:
        return read
    return _MAKES[type(op)]


def check_program(program: Program) -> None:
    """Check a program against every rule but the bounds.

    Args:
        program: The program.

    Raises:
        ProgramFormatError: The first rule that it breaks, with the op's name.
    """
    if not 1 <= program.timesteps <= TIMESTEPS_MAX:
        raise ProgramFormatError(
            "timesteps out of range", actual=program.timesteps, limit=f"1..{TIMESTEPS_MAX}"
        )
    ops = program.ops
    first, last = (Embed, Readout) if program.frames is None else (Frames, FrameOutput)
    reads = _READS if program.frames is None else _FRAME_READS
    if len(ops) < 2 or not isinstance(ops[0], first) or not isinstance(ops[-1], last):
        raise ProgramFormatError(
            "a program starts with Embed and ends with Readout, or Frames and FrameOutput"
        )
    if program.frames is not None and program.timesteps != 1:
        raise ProgramFormatError("a program of frames has one timestep", actual=program.timesteps, limit=1)
    values: dict[str, tuple[ValueKind, int]] = {}
    names: set[str] = set()
    read: set[str] = set()
    for index, op in enumerate(ops):
        if not 0 < len(op.name) <= _NAME_MAX or any(not "!" <= letter <= "~" for letter in op.name):
            raise ProgramFormatError(
                "name of an op out of range",
                actual=repr(op.name),
                limit=f"1..{_NAME_MAX} printable ASCII letters",
            )
        if op.name in names:
            raise ProgramFormatError(f"two ops are called '{op.name}'")
        names.add(op.name)
        if (isinstance(op, first) and index) or (isinstance(op, last) and index != len(ops) - 1):
            raise ProgramFormatError(f"op '{op.name}' stands in the wrong place")
        if index and type(op) not in reads:
            raise ProgramFormatError(f"op '{op.name}' is none of programs that start with {first.__name__}")
        inputs = _inputs(op, values, reads)
        widths = [width for _, width in inputs]
        read.update(inputs_of(op))
        if op.out in values:
            raise ProgramFormatError(f"two ops make the value '{op.out}'")
        values[op.out] = (kind_made(op, inputs[0][0] if inputs else None), _check_op(op, widths))
    unread = set(values) - read - {ops[-1].out}
    if unread:
        raise ProgramFormatError(f"nothing reads the value '{sorted(unread)[0]}'")
    if program.frames is not None:
        return
    embed, readout = program.embed, program.readout
    if embed.table is not readout.table and not np.array_equal(embed.table, readout.table):
        raise ProgramFormatError("Embed and Readout must share one table")


def _inputs(
    op: Op, values: dict[str, tuple[ValueKind, int]], reads: dict[type[Op], tuple[ValueKind, ...]]
) -> list[tuple[ValueKind, int]]:
    inputs = []
    for name in inputs_of(op):
        if name not in values:
            raise ProgramFormatError(f"op '{op.name}' reads '{name}', which no earlier op makes")
        kind, width = values[name]
        taken = _EVENTS if isinstance(op, FrameOutput) and op.summed else reads[type(op)]
        if kind not in taken:
            raise ProgramFormatError(
                f"op '{op.name}' reads '{name}'",
                actual=kind.value,
                limit=" or ".join(one.value for one in taken),
            )
        inputs.append((kind, width))
    return inputs


def _check_op(op: Op, widths: list[int]) -> int:
    """Check one op; returns the channels of its output."""
    if isinstance(op, (Embed, Frames)):
        return _check_embed(op) if isinstance(op, Embed) else _check_frames(op)
    width = widths[0]
    if isinstance(op, (Conv, SumPool, StatefulLIF, Delay, FrameOutput)):
        return _check_frame_op(op, width)
    if isinstance(op, Linear):
        _tensor(op, "weight", op.weight, np.int8, (width, None), low=-WEIGHT_MAX, high=WEIGHT_MAX)
        return int(op.weight.shape[1])
    if isinstance(op, LIF):
        _number(op, "decay", op.decay, 1, DECAY_DENOMINATOR)
        _tensor(op, "threshold", op.threshold, np.int32, (width,), low=1, high=THETA_MAX)
        _tensor(op, "bias", op.bias, np.int32, (width,), low=-LIF_BIAS_MAX, high=LIF_BIAS_MAX)
        return width
    if isinstance(op, Shift):
        _tensor(op, "channels", op.channels, np.int32, (None,), low=0, high=width - 1)
        if not (np.diff(op.channels) > 0).all():
            raise ProgramFormatError(f"channels of '{op.name}' must ascend")
        return width
    if isinstance(op, Attend):
        return _check_attend(op, width)
    if isinstance(op, Add):
        if widths[0] != widths[1]:
            raise ProgramFormatError(
                f"op '{op.name}' adds values of different width", actual=widths[0], limit=widths[1]
            )
        return width
    if isinstance(op, Readout):
        return _check_readout(op, width)
    return width


def _check_frame_op(op: Conv | SumPool | StatefulLIF | Delay | FrameOutput, width: int) -> int:
    if isinstance(op, (Conv, SumPool)):
        return _check_map_op(op, width)
    if isinstance(op, StatefulLIF):
        return _check_stateful(op, width)
    if isinstance(op, Delay):
        _tensor(op, "delays", op.delays, np.int32, (None,), low=0, high=DELAY_MAX)
        _parameters(op, op.delays, width)
        _number(op, "longest delay", op.longest, 1, DELAY_MAX)
        _number(op, "memory", op.longest * width, 1, _DELAYED_MAX)
    if isinstance(op, FrameOutput):
        _scale(op, op.scale)
    return width


def _check_frames(op: Frames) -> int:
    _number(op, "number of dimensions", len(op.shape), 1, MAP_DIMENSIONS)
    for extent in op.shape:
        _number(op, "extent", extent, 1, _EXTENT_MAX)
    _number(op, "samples of a frame", op.channels, 1, _EXTENT_MAX)
    _number(op, "least sample", op.low, -SAMPLE_MAX, 0)
    _number(op, "largest sample", op.high, 1, SAMPLE_MAX)
    _scale(op, op.scale)
    return op.channels


def _check_map_op(op: Conv | SumPool, width: int) -> int:
    for extent in op.shape:
        _number(op, "extent", extent, 1, _EXTENT_MAX)
    if math.prod(op.shape) != width:
        raise ProgramFormatError(
            f"op '{op.name}' reads a value of another width", actual=width, limit=list(op.shape)
        )
    strides = op.stride if isinstance(op, SumPool) else (*op.stride, *op.dilation)
    for number in strides:
        _number(op, "stride or dilation", number, 1, _WINDOW_MAX)
    kernel = op.kernel if isinstance(op, SumPool) else (op.weight.shape[2:] if op.weight.ndim == 4 else ())
    for axis, extent in enumerate(kernel):
        _number(op, "kernel", extent, 1, _WINDOW_MAX)
        _number(op, "padding", op.padding[axis], 0, extent - 1 if isinstance(op, SumPool) else _WINDOW_MAX)
    padded = (op.shape[1] + 2 * op.padding[0]) * (op.shape[2] + 2 * op.padding[1])
    _number(op, "padded input", op.shape[0] * padded, 1, _PADDED_MAX)
    if isinstance(op, Conv):
        _number(op, "groups", op.groups, 1, op.shape[0])
        inside, rest = divmod(op.shape[0], op.groups)
        shape = (None, inside, None, None)
        _tensor(op, "weight", op.weight, np.int8, shape, low=-WEIGHT_MAX, high=WEIGHT_MAX)
        if rest or op.weight.shape[0] % op.groups:
            raise ProgramFormatError(
                f"groups of '{op.name}' do not divide its channels",
                actual=op.groups,
                limit=f"{op.shape[0]} in, {op.weight.shape[0]} out",
            )
    _number(op, "output", op.channels, 1, _EXTENT_MAX)
    return op.channels


def _check_stateful(op: StatefulLIF, width: int) -> int:
    size = len(op.threshold) if op.threshold.ndim == 1 else 0
    _tensor(op, "threshold", op.threshold, np.int32, (None,), low=1, high=THETA_MAX)
    _tensor(op, "decay", op.decay, np.int32, (size,), low=0, high=DECAY_DENOMINATOR)
    _tensor(op, "bias", op.bias, np.int32, (size,), low=-LIF_BIAS_MAX, high=LIF_BIAS_MAX)
    _parameters(op, op.threshold, width)
    _number(op, "fraction bits", op.fraction, 0, FRACTION_MAX)
    _number(op, "reset", op.reset, min(Reset), max(Reset))
    return width


def _parameters(op: Op, tensor: npt.NDArray[np.integer], width: int) -> None:
    if width % len(tensor):
        raise ProgramFormatError(
            f"number of parameters of '{op.name}' does not divide its channels",
            actual=len(tensor),
            limit=width,
        )


def _scale(op: Op, scale: float) -> None:
    if not (np.isfinite(scale) and scale > 0 and float(np.float32(scale)) == scale):
        raise ProgramFormatError(
            f"scale of '{op.name}' out of range", actual=scale, limit="a positive, finite float32"
        )


def _check_embed(op: Embed) -> int:
    _tensor(op, "table", op.table, np.int8, (None, None), low=-WEIGHT_MAX, high=WEIGHT_MAX)
    _tensor(
        op, "projection", op.projection, np.int8, (op.table.shape[1], None), low=-WEIGHT_MAX, high=WEIGHT_MAX
    )
    width = int(op.projection.shape[1])
    _tensor(op, "multiplier", op.multiplier, np.int32, (width,), low=0, high=2**31 - 1)
    _number(op, "shift", op.shift, 0, _SHIFT_MAX)
    return width


def _check_attend(op: Attend, width: int) -> int:
    _number(op, "head_dim", op.head_dim, 1, HEAD_DIM_MAX)
    if not op.windows:
        raise ProgramFormatError(f"op '{op.name}' has no heads")
    for window in op.windows:
        _number(op, "window", window, 1, (CURRENT_LIMIT - 1) // op.head_dim)
    if width != 3 * op.channels:
        raise ProgramFormatError(
            f"op '{op.name}' reads q, k and v of another width", actual=width, limit=3 * op.channels
        )
    return op.channels


def _check_readout(op: Readout, width: int) -> int:
    rank = int(op.table.shape[1]) if op.table.ndim == 2 else 0
    _tensor(op, "table", op.table, np.int8, (None, rank), low=-WEIGHT_MAX, high=WEIGHT_MAX)
    _number(op, "rank", rank, 1, (LOGIT_LIMIT - 1) // (WEIGHT_MAX * WEIGHT_MAX))
    _tensor(op, "weight", op.weight, np.int8, (width, rank), low=-WEIGHT_MAX, high=WEIGHT_MAX)
    _tensor(op, "bias", op.bias, np.int32, (rank,), low=1 - 2**31, high=2**31 - 1)
    _tensor(op, "multiplier", op.multiplier, np.int32, (rank,), low=0, high=2**31 - 1)
    _number(op, "shift", op.shift, 0, _SHIFT_MAX)
    _number(op, "exponent", op.exponent, _EXPONENT_MIN, _EXPONENT_MAX)
    return int(op.table.shape[0])


def _number(op: Op, what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ProgramFormatError(f"{what} of '{op.name}' out of range", actual=value, limit=f"{low}..{high}")


def _tensor(
    op: Op,
    what: str,
    array: npt.NDArray[np.integer],
    dtype: type[np.integer],
    shape: tuple[int | None, ...],
    *,
    low: int,
    high: int,
) -> None:
    fits = len(array.shape) == len(shape) and all(
        want in (None, have) and have > 0 for want, have in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        wanted = "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"
        raise ProgramFormatError(
            f"{what} of '{op.name}' has the wrong type or shape",
            actual=f"{array.dtype} {list(array.shape)}",
            limit=f"{np.dtype(dtype).name} {wanted}",
        )
    least, most = int(array.min()), int(array.max())
    if least < low or most > high:
        raise ProgramFormatError(
            f"{what} of '{op.name}' out of range", actual=f"{least}..{most}", limit=f"{low}..{high}"
        )
