"""The proof that nothing overflows: interval analysis over a program's ops.

Spikes are 0 or 1, so a current lies between the sum of its row's negative weights and the sum of its
positive ones (sums of magnitudes would be twice as loose); the residual interval is the sum of its
writers' intervals; the embedding's is its minimum and maximum over all rows of the vocabulary; a membrane's
lower bound is ``lo_t = trunc(min(lo_{t-1}, 0) * n / 256) + 64 * I_min + b``.

In a program of frames the samples, pools and thresholds say between what bounds a value lies, and a current
lies between the sums of the least and of the most that each weight can make of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgesnn.errors import CompileError
from edgesnn.program.golden import decay, trunc_shift
from edgesnn.program.golden_frames import conv_bounds, spread, sum_pool
from edgesnn.program.ops import (
    CURRENT_LIMIT,
    DECAY_DENOMINATOR,
    LIF,
    MEMBRANE_MAX,
    MEMBRANE_SCALE,
    PRODUCT_LIMIT,
    RESIDUAL_MAX,
    Add,
    Attend,
    Count,
    Embed,
    Int8Array,
    Linear,
    Op,
    Readout,
    Saturate,
    inputs_of,
)
from edgesnn.program.ops_frames import (
    COUNT_MAX,
    FRAME_CURRENT_LIMIT,
    GRADED_MAX,
    Conv,
    Delay,
    FrameOutput,
    Frames,
    Reset,
    StatefulLIF,
    SumPool,
)
from edgesnn.program.program import Program

Int64Array = npt.NDArray[np.int64]
_VOCAB_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class ChannelBounds:
    """Per-channel bounds of a value, inclusive, int64 ``[c]``."""

    low: Int64Array
    high: Int64Array

    @property
    def magnitude(self) -> int:
        """Largest possible magnitude over the channels."""
        return int(max(np.abs(self.low).max(initial=0), np.abs(self.high).max(initial=0)))


@dataclass(frozen=True, slots=True)
class OpBound:
    """What is proven of one op.

    Attributes:
        op: Its name.
        kind: Its class.
        low: Smallest value that can occur: of the output, or of the membrane for a LIF.
        high: Largest value that can occur.
        limit: What the magnitude must stay below, or None.
        clip_reachable: For a LIF, whether the lower saturation can be reached before its last use.
    """

    op: str
    kind: str
    low: int
    high: int
    limit: int | None
    clip_reachable: bool | None = None


def embedding_codes(table: Int8Array, projection: Int8Array) -> ChannelBounds:
    """Bounds of ``P @ E[token]`` over all rows of the vocabulary, per channel."""
    low = np.full(projection.shape[1], np.iinfo(np.int64).max)
    high = np.full(projection.shape[1], np.iinfo(np.int64).min)
    right = projection.astype(np.float64)
    for start in range(0, table.shape[0], _VOCAB_BLOCK):
        codes = (table[start : start + _VOCAB_BLOCK].astype(np.float64) @ right).astype(np.int64)
        low = np.minimum(low, codes.min(axis=0))
        high = np.maximum(high, codes.max(axis=0))
    return ChannelBounds(low, high)


def signed_sums(weight: Int8Array) -> ChannelBounds:
    """Bounds of a sum of some of a column's weights: of its negative ones, of its positive ones."""
    wide = weight.astype(np.int64)
    return ChannelBounds(np.minimum(wide, 0).sum(axis=0), np.maximum(wide, 0).sum(axis=0))


def membrane_low(op: LIF, current: ChannelBounds, timesteps: int) -> list[Int64Array]:
    """Lower bounds of the unclipped membrane at every inner timestep."""
    lows: list[Int64Array] = []
    low = np.zeros_like(current.low)
    for _ in range(timesteps):
        low = decay(np.minimum(np.maximum(low, -MEMBRANE_MAX), 0), op.decay)
        low = low + MEMBRANE_SCALE * current.low + op.bias
        lows.append(low)
    return lows


def _interval(op: Op, inputs: list[ChannelBounds], timesteps: int) -> ChannelBounds:
    if isinstance(op, Embed):
        codes = embedding_codes(op.table, op.projection)
        return ChannelBounds(
            trunc_shift(codes.low * op.multiplier, op.shift),
            trunc_shift(codes.high * op.multiplier, op.shift),
        )
    if isinstance(op, Linear) and inputs[0].magnitude <= 1 and int(inputs[0].low.min()) == 0:
        return signed_sums(op.weight)
    if isinstance(op, (Frames, Linear, Conv, SumPool, StatefulLIF, Delay, FrameOutput)):
        return _frames_interval(op, inputs)
    if isinstance(op, Attend):
        high = np.repeat(np.array(op.windows, np.int64) * op.head_dim, op.head_dim)
        return ChannelBounds(np.zeros_like(high), high)
    if isinstance(op, Add):
        return ChannelBounds(inputs[0].low + inputs[1].low, inputs[0].high + inputs[1].high)
    if isinstance(op, Saturate):
        return ChannelBounds(
            np.clip(inputs[0].low, -RESIDUAL_MAX, RESIDUAL_MAX),
            np.clip(inputs[0].high, -RESIDUAL_MAX, RESIDUAL_MAX),
        )
    width = len(inputs[0].low)
    top = timesteps if isinstance(op, Count) else 1
    return ChannelBounds(np.zeros(width, np.int64), np.full(width, top, np.int64))


def _frames_interval(op: Op, inputs: list[ChannelBounds]) -> ChannelBounds:
    """Of an op that programs of frames have; of a `StatefulLIF` what comes out, of a membrane itself."""
    if isinstance(op, Frames):
        return ChannelBounds(np.full(op.channels, op.low, np.int64), np.full(op.channels, op.high, np.int64))
    low, high = inputs[0].low, inputs[0].high
    if isinstance(op, StatefulLIF):
        return _fired(op, high)
    if isinstance(op, Linear):
        wide = op.weight.astype(np.float64)  # every sum is an integer below 2**53
        negative, positive = np.minimum(wide, 0).T, np.maximum(wide, 0).T
        return ChannelBounds(
            (positive @ low + negative @ high).astype(np.int64),
            (positive @ high + negative @ low).astype(np.int64),
        )
    if isinstance(op, Conv):
        return ChannelBounds(*conv_bounds(op, low, high))
    if isinstance(op, SumPool):
        both = np.stack([low, high])[None, :, None]
        sums = sum_pool(both, op)[0, :, 0].astype(np.int64)
        return ChannelBounds(sums[0], sums[1])
    if isinstance(op, Delay):  # what comes before the first frame is 0
        return ChannelBounds(np.minimum(low, 0), np.maximum(high, 0))
    if isinstance(op, FrameOutput) and op.summed:
        return ChannelBounds(np.full_like(low, -COUNT_MAX), np.full_like(high, COUNT_MAX))
    return inputs[0]


def _fired(op: StatefulLIF, current: Int64Array) -> ChannelBounds:
    top = np.full_like(current, MEMBRANE_MAX)
    if op.membrane:
        return ChannelBounds(-top, top)
    if op.reset is not Reset.MANY:
        return ChannelBounds(np.zeros_like(current), np.ones_like(current))
    return ChannelBounds(np.zeros_like(current), membrane_high(op, current) // spread(op.drop, len(current)))


def membrane_high(op: StatefulLIF, current: Int64Array) -> Int64Array:
    """Upper bound of a membrane that loses D as often as D fits, int64 ``[c]``.

    Args:
        op: A neuron with `Reset.MANY`, which leaves at most D behind.
        current: Upper bounds of its currents, int64 ``[c]``.
    """
    width = len(current)
    left = spread(op.drop, width) * spread(op.decay, width) // DECAY_DENOMINATOR
    return np.clip(left + (current << op.fraction) + spread(op.bias, width), 0, MEMBRANE_MAX)


def _bound(
    op: Op,
    inputs: list[ChannelBounds],
    made: ChannelBounds,
    timesteps: int,
    *,
    saturated: bool,
    frames: bool,
) -> OpBound:
    kind = type(op).__name__
    if isinstance(op, LIF):
        lows = membrane_low(op, inputs[0], timesteps)
        earlier = min((int(low.min()) for low in lows[:-1]), default=0)
        top = MEMBRANE_MAX + MEMBRANE_SCALE * int(inputs[0].high.max()) + int(op.bias.max())
        reach = earlier < -MEMBRANE_MAX
        low = int(min(low.min() for low in lows))
        bound = OpBound(op.name, kind, low, top, 2**31, reach)
        if reach and not op.clip:
            raise CompileError(
                f"LIF '{op.name}' can reach its lower saturation but is marked as if it could not",
                actual=earlier,
                limit=-MEMBRANE_MAX,
            )
        return _require(bound)
    if isinstance(op, Embed):
        codes = embedding_codes(op.table, op.projection)
        product = max(
            int((np.abs(codes.low) * op.multiplier).max()), int((np.abs(codes.high) * op.multiplier).max())
        )
        _require(OpBound(op.name, kind, -product, product, PRODUCT_LIMIT))
    if isinstance(op, Readout):
        sums = signed_sums(op.weight)
        z = np.maximum(np.abs(timesteps * sums.low + op.bias), np.abs(timesteps * sums.high + op.bias))
        # z itself is int32 on devices; proven first, its product with a multiplier cannot leave int64
        _require(OpBound(op.name, kind, -int(z.max()), int(z.max()), PRODUCT_LIMIT))
        product = int((z * op.multiplier.astype(np.int64)).max())
        return _require(OpBound(op.name, kind, -product, product, PRODUCT_LIMIT))
    if isinstance(op, StatefulLIF):
        least, most = (inputs[0].low << op.fraction), (inputs[0].high << op.fraction)
        deepest = MEMBRANE_MAX + (int(op.drop.max()) if op.reset is Reset.LATE else 0)
        low, high = int(least.min() + op.bias.min()) - deepest, int(most.max() + op.bias.max()) + MEMBRANE_MAX
        _require(OpBound(op.name, kind, low, high, 2**31))
        if not op.membrane and op.reset is Reset.MANY:
            _require(OpBound(op.name, kind, 0, int(made.high.max()), GRADED_MAX + 1))
        return OpBound(op.name, kind, low, high, 2**31)
    limit: int | None = None
    if isinstance(op, (Embed, Linear, Conv, Attend, Add, Saturate)):
        limit = FRAME_CURRENT_LIMIT if frames else CURRENT_LIMIT
    if isinstance(op, SumPool):
        limit = GRADED_MAX + 1
    if isinstance(op, Add) and saturated:
        limit = 2**31
    return _require(OpBound(op.name, kind, int(made.low.min()), int(made.high.max()), limit))


def _require(bound: OpBound) -> OpBound:
    worst = max(abs(bound.low), abs(bound.high))
    if bound.limit is not None and worst >= bound.limit:
        raise CompileError(
            f"op '{bound.op}' ({bound.kind}) can overflow",
            actual=worst,
            limit=f"below {bound.limit}",
            remedy="use fewer input channels, or retrain with smaller weights",
        )
    return bound


def prove(program: Program) -> tuple[OpBound, ...]:
    """Prove that nothing in a program overflows.

    Args:
        program: A program that `edgesnn.program.validate.check_program` accepts.

    Returns:
        One bound per op, in order.

    Raises:
        CompileError: An op can overflow; it is named, with the value and the limit.
    """
    return _walk(program)[0]


def value_ranges(program: Program) -> dict[str, tuple[int, int]]:
    """Least and largest number of every value of a program, by name; a lowering chooses its types by them.

    Args:
        program: As `prove` takes it.

    Raises:
        CompileError: As `prove` does.
    """
    _, intervals = _walk(program)
    return {name: (int(made.low.min()), int(made.high.max())) for name, made in intervals.items()}


def _walk(program: Program) -> tuple[tuple[OpBound, ...], dict[str, ChannelBounds]]:
    intervals: dict[str, ChannelBounds] = {}
    bounds: list[OpBound] = []
    for op in program.ops:
        inputs = [intervals[name] for name in inputs_of(op)]
        made = _interval(op, inputs, program.timesteps)
        saturated = all(isinstance(user, Saturate) for user in program.consumers(op.out))
        frames = program.frames is not None
        bounds.append(_bound(op, inputs, made, program.timesteps, saturated=saturated, frames=frames))
        intervals[op.out] = made
    return tuple(bounds), intervals


def secure(program: Program) -> Program:
    """Insert `Saturate` after every `Add` that no proof bounds, and mark where a LIF needs no clip.

    Args:
        program: A program as quantised.

    Returns:
        The same program, safe: `prove` accepts it unless an op other than `Add` overflows.
    """
    intervals: dict[str, ChannelBounds] = {}
    renamed: dict[str, str] = {}
    ops: list[Op] = []
    for original in program.ops:
        op = _renamed(original, renamed)
        inputs = [intervals[name] for name in inputs_of(op)]
        made = _interval(op, inputs, program.timesteps)
        if isinstance(op, LIF):
            lows = membrane_low(op, inputs[0], program.timesteps)
            op = replace(op, clip=any(int(low.min()) < -MEMBRANE_MAX for low in lows[:-1]))
        ops.append(op)
        intervals[op.out] = made
        limit = CURRENT_LIMIT if program.frames is None else FRAME_CURRENT_LIMIT
        guarded = all(isinstance(user, Saturate) for user in program.consumers(original.out))
        if isinstance(op, Add) and made.magnitude >= limit and not guarded:
            guard = Saturate(f"{op.name}.saturate", op.out, f"{op.out}.saturate")
            ops.append(guard)
            intervals[guard.out] = _interval(guard, [made], program.timesteps)
            renamed[op.out] = guard.out
    return replace(program, ops=tuple(ops))


def _renamed(op: Op, names: Mapping[str, str]) -> Op:
    if isinstance(op, (Embed, Frames)):
        return op
    if isinstance(op, Add):
        return replace(op, left=names.get(op.left, op.left), right=names.get(op.right, op.right))
    return replace(op, input=names.get(op.input, op.input))
