"""The rules that every program obeys, whoever made it: names, kinds, shapes and ranges.

`check_program` is called by the compiler on what it made and by the reader on what it read, so that
golden and every backend may rely on the rules. The proof that nothing overflows is in
`edgesnn.program.bounds`.
"""

from __future__ import annotations

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
from edgesnn.program.program import Program

_SHIFT_MAX = 31
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


_READS = {
    Linear: ValueKind.SPIKES,
    LIF: ValueKind.CURRENT,
    Shift: ValueKind.SPIKES,
    Attend: ValueKind.SPIKES,
    Add: ValueKind.CURRENT,
    Saturate: ValueKind.CURRENT,
    Count: ValueKind.SPIKES,
    Readout: ValueKind.COUNT,
}
_MAKES = {
    Embed: ValueKind.CURRENT,
    Linear: ValueKind.CURRENT,
    LIF: ValueKind.SPIKES,
    Shift: ValueKind.SPIKES,
    Attend: ValueKind.CURRENT,
    Add: ValueKind.CURRENT,
    Saturate: ValueKind.CURRENT,
    Count: ValueKind.COUNT,
    Readout: ValueKind.LOGITS,
}


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
    if len(ops) < 2 or not isinstance(ops[0], Embed) or not isinstance(ops[-1], Readout):
        raise ProgramFormatError("a program starts with Embed and ends with Readout")
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
        if (isinstance(op, Embed) and index) or (isinstance(op, Readout) and index != len(ops) - 1):
            raise ProgramFormatError(f"op '{op.name}' stands in the wrong place")
        widths = _input_widths(op, values)
        read.update(inputs_of(op))
        if op.out in values:
            raise ProgramFormatError(f"two ops make the value '{op.out}'")
        values[op.out] = (_MAKES[type(op)], _check_op(op, widths))
    unread = set(values) - read - {ops[-1].out}
    if unread:
        raise ProgramFormatError(f"nothing reads the value '{sorted(unread)[0]}'")
    embed, readout = program.embed, program.readout
    if embed.table is not readout.table and not np.array_equal(embed.table, readout.table):
        raise ProgramFormatError("Embed and Readout must share one table")


def _input_widths(op: Op, values: dict[str, tuple[ValueKind, int]]) -> list[int]:
    widths = []
    for name in inputs_of(op):
        if name not in values:
            raise ProgramFormatError(f"op '{op.name}' reads '{name}', which no earlier op makes")
        kind, width = values[name]
        if kind is not _READS[type(op)]:
            raise ProgramFormatError(
                f"op '{op.name}' reads '{name}'", actual=kind.value, limit=_READS[type(op)].value
            )
        widths.append(width)
    return widths


def _check_op(op: Op, widths: list[int]) -> int:
    """Check one op; returns the channels of its output."""
    if isinstance(op, Embed):
        return _check_embed(op)
    width = widths[0]
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
