"""A LIF whose current is the same at every inner timestep, without its recurrence.

Fed a constant current x, a neuron fires first at some timestep p (counted from 1) and, because it then starts
again from 0, at every multiple of p. The membrane grows with x, so ``p <= q`` exactly when x reaches a level
L_q, which is found here once, by bisection of the definition itself. With ``G_q = (x >= L_q)``, p equals q
where ``G_q xor G_(q-1)``; the spike at timestep t is the exclusive or of these over the divisors of t. T = 4
needs three comparisons and two exclusive ors for all timesteps together, instead of about twenty nodes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgesnn.exporters.onnx.graph import OnnxGraph
from edgesnn.program.golden import decay
from edgesnn.program.ops import CURRENT_LIMIT, LIF, MEMBRANE_MAX, MEMBRANE_SCALE

#: No int32 current is above this: a comparison that is never true.
_NEVER = np.iinfo(np.int32).max


def levels(op: LIF, timesteps: int) -> npt.NDArray[np.int32]:
    """For every q, the largest current times 64 that does not make a neuron fire within q timesteps.

    Args:
        op: The LIF.
        timesteps: T.

    Returns:
        int32 ``[T, c]``, falling along T; the largest int32 where no current suffices.
    """
    found = np.empty((timesteps, len(op.threshold)), np.int32)
    for q in range(timesteps):
        quiet = np.full(len(op.threshold), -CURRENT_LIMIT, np.int64)
        firing = np.full(len(op.threshold), CURRENT_LIMIT, np.int64)
        for _ in range(CURRENT_LIMIT.bit_length() + 1):
            middle = (quiet + firing) // 2
            fires = _fires_within(op, middle, q + 1)
            firing, quiet = np.where(fires, middle, firing), np.where(fires, quiet, middle)
        always = _fires_within(op, quiet, q + 1)
        found[q] = np.where(firing < CURRENT_LIMIT, quiet * MEMBRANE_SCALE, _NEVER)
        found[q] = np.where(always, -CURRENT_LIMIT * MEMBRANE_SCALE, found[q])
    return found


def fired(graph: OnnxGraph, op: LIF, current: str, timesteps: int, axis: int) -> str:
    """Append the spikes of a steady current.

    Args:
        graph: The graph.
        op: The LIF.
        current: Name of the current times 64, one inner timestep at ``axis``, channels last.
        timesteps: T.
        axis: The axis of inner timesteps, of four for sequences and of three for steps.

    Returns:
        Name of the spikes, bool, T inner timesteps at ``axis``.
    """
    level = levels(op, timesteps)
    terms = [_terms(t) for t in range(1, timesteps + 1)]
    tables = np.full((max(map(len, terms)), timesteps, level.shape[1]), _NEVER, np.int32)
    for t, needed in enumerate(terms):
        for place, q in enumerate(needed):
            tables[place, t] = level[q - 1]
    middle = (1, 1) if axis == 0 else ()
    spikes = ""
    for table in tables:
        constant = graph.constant(table.reshape(timesteps, *middle, -1))
        reached = graph.op("Greater", current, constant)
        spikes = graph.op("Xor", spikes, reached) if spikes else reached
    return spikes


def _fires_within(op: LIF, current: npt.NDArray[np.int64], timesteps: int) -> npt.NDArray[np.bool_]:
    membrane = np.zeros_like(current)
    fires = np.zeros(len(current), np.bool_)
    for _ in range(timesteps):
        membrane = decay(membrane, op.decay) + MEMBRANE_SCALE * current + op.bias
        membrane = np.clip(membrane, -MEMBRANE_MAX, MEMBRANE_MAX)
        fires |= membrane > op.threshold
    return fires


def _terms(timestep: int) -> list[int]:
    """Every q whose G_q appears an odd number of times in the spike of a timestep counted from 1."""
    terms: set[int] = set()
    for period in range(1, timestep + 1):
        if timestep % period == 0:
            terms ^= {period, period - 1}
    return sorted(terms - {0})
