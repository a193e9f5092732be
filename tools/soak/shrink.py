"""Making a failing case small: fewer tokens, fewer ops, narrower values, plainer weights.

Every candidate is a sound program by itself. The largest cuts come first; what still fails is taken, until no
candidate fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

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
    inputs_of,
)
from edgesnn.program.program import Program
from edgesnn.program.validate import ValueKind, kind_made
from tools.soak.cases import Case, is_sound, same_op


def shrink(case: Case, fails: Callable[[Case], bool], budget: int = 2000) -> Case:
    """The smallest case that still fails.

    Args:
        case: A case that fails.
        fails: Whether a case does.
        budget: Cases to try, at most.

    Returns:
        A case of which every smaller candidate passes, or what was reached within the budget.
    """
    tried, again = 0, True
    while again:
        again = False
        for smaller in candidates(case):
            tried += 1
            if tried > budget:
                return case
            if fails(smaller):
                case, again = smaller, True
                break
    return case


def candidates(case: Case) -> Iterator[Case]:
    """Sound cases that are smaller, the smallest first."""
    yield from _shorter(case)
    for program in _smaller(case.program):
        if is_sound(program):
            inputs = case.inputs
            if program.frames is None:
                inputs = inputs % program.vocab_size
            yield Case(program, inputs)
    if case.inputs.any():
        yield Case(case.program, np.zeros_like(case.inputs))


def _shorter(case: Case) -> Iterator[Case]:
    batch, length = case.inputs.shape[:2]
    if batch > 1:
        for row in range(batch):
            yield Case(case.program, case.inputs[row : row + 1])
    cut = length // 2
    while cut:
        yield Case(case.program, case.inputs[:, :-cut])
        yield Case(case.program, case.inputs[:, cut:])
        cut //= 2


def _smaller(program: Program) -> Iterator[Program]:
    yield from _without_ops(program)
    if program.timesteps > 1:
        for timesteps in sorted({1, program.timesteps // 2, program.timesteps - 1}):
            yield replace(program, timesteps=timesteps)
    if program.frames is None:
        yield from _smaller_vocabulary(program)
        yield from _narrower(program)
    yield from _plainer(program)


def _without_ops(program: Program) -> Iterator[Program]:
    """Where a value stands, an earlier one of the same kind and width; what nobody reads then goes."""
    widths = program.channels()
    kinds: dict[str, ValueKind] = {}
    for op in program.ops:
        read = inputs_of(op)
        kinds[op.out] = kind_made(op, kinds[read[0]] if read else None)
    names = [op.out for op in program.ops]
    for last in range(len(names) - 1, 0, -1):
        for first in range(last):
            late, early = names[last], names[first]
            if (kinds[late], widths[late]) == (kinds[early], widths[early]):
                yield _pruned(program, {late: early})


def _pruned(program: Program, names: dict[str, str]) -> Program:
    ops = [same_op(op, names) for op in program.ops]
    wanted, kept = {ops[-1].out}, []
    for op in reversed(ops):
        if op.out in wanted or not inputs_of(op):
            kept.append(op)
            wanted.update(inputs_of(op))
    return replace(program, ops=tuple(reversed(kept)))


def _smaller_vocabulary(program: Program) -> Iterator[Program]:
    for vocab in sorted({1, program.vocab_size // 2, program.vocab_size - 1} - {0, program.vocab_size}):
        table = program.embed.table[:vocab]
        yield _mapped(
            program, lambda op, t=table: replace(op, table=t) if isinstance(op, (Embed, Readout)) else op
        )


def _narrower(program: Program) -> Iterator[Program]:
    """Half of the channels, or one less, of values that must have the same ones."""
    for group in _groups(program):
        width = program.channels()[min(group)]
        for keep in sorted({width // 2, width - 1} - {0, width}):
            yield from _with_width(program, group, keep)


def _groups(program: Program) -> list[frozenset[str]]:
    """Values that elementwise ops bind to each other."""
    group: dict[str, set[str]] = {op.out: {op.out} for op in program.ops}
    for op in program.ops:
        if isinstance(op, (LIF, Shift, Saturate, Count, Add)):
            for name in inputs_of(op):
                joined = group[op.out] | group[name]
                for member in joined:
                    group[member] = joined
    return sorted({frozenset(one) for one in group.values()}, key=min)


def _with_width(program: Program, group: frozenset[str], keep: int) -> Iterator[Program]:
    if any(isinstance(op, (Attend, Readout)) and op.out in group for op in program.ops):
        return
    if any(isinstance(op, Attend) and op.input in group for op in program.ops):
        yield from _fewer_heads(program, group)
        return
    yield _mapped(program, lambda op: _cut(op, group, np.arange(keep)))


def _fewer_heads(program: Program, group: frozenset[str]) -> Iterator[Program]:
    """Half of the heads of the attention that reads a group, or half of the channels of each."""
    attend = next(op for op in program.all(Attend) if op.input in group)
    after = next(one for one in _groups(program) if attend.out in one)
    heads, each = len(attend.windows), attend.head_dim
    for kept, size in {(max(1, heads // 2), each), (heads, max(1, each // 2))} - {(heads, each)}:
        out = np.concatenate([h * each + np.arange(size) for h in range(kept)])
        qkv = np.concatenate([part * heads * each + out for part in range(3)])

        def narrowed(op: Op, kept: int = kept, size: int = size, out=out, qkv=qkv) -> Op:  # type: ignore[no-untyped-def]
            if op is attend:
                return replace(attend, head_dim=size, windows=attend.windows[:kept])
            return _cut(_cut(op, group, qkv), after, out)

        yield _mapped(program, narrowed)


def _cut(op: Op, group: frozenset[str], keep: np.ndarray) -> Op:
    """The op with the kept channels of a group's values."""
    if isinstance(op, Linear):
        weight = op.weight[keep] if op.input in group else op.weight
        return replace(op, weight=weight[:, keep] if op.out in group else weight)
    if isinstance(op, LIF) and op.out in group:
        return replace(op, threshold=op.threshold[keep], bias=op.bias[keep])
    if isinstance(op, Embed) and op.out in group:
        return replace(op, projection=op.projection[:, keep], multiplier=op.multiplier[keep])
    if isinstance(op, Readout) and op.input in group:
        return replace(op, weight=op.weight[keep])
    if isinstance(op, Shift) and op.out in group:
        return replace(op, channels=np.flatnonzero(np.isin(keep, op.channels)).astype(np.int32))
    return op


def _plainer(program: Program) -> Iterator[Program]:
    """One op at a time: no weights, half of them, no bias."""
    for index, op in enumerate(program.ops):
        for name in ("weight", "bias"):
            array = getattr(op, name, None)
            if array is None or not array.any():
                continue
            nonzero = np.flatnonzero(array)
            half = len(nonzero) // 2
            for kept in (nonzero[:0], nonzero[:half], nonzero[half:], nonzero[1:], nonzero[:-1]):
                plain = np.zeros_like(array)
                plain.flat[kept] = array.flat[kept]
                if len(kept) == len(nonzero):
                    continue
                changed = replace(op, **{name: plain})
                yield replace(program, ops=(*program.ops[:index], changed, *program.ops[index + 1 :]))


def _mapped(program: Program, change: Callable[[Op], Op]) -> Program:
    return replace(program, ops=tuple(change(op) for op in program.ops))
