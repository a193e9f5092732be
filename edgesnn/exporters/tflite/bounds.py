"""What the proven bounds of a program allow in float32.

Everything in a TFLite file of edgesnn is float32 where an integer of the program is provably represented and
computed without rounding: below 2**24 in magnitude, operand by operand. The proof is the compiler's
(`edgesnn.program.bounds.prove`); the decay, the one place where it fails for large membranes, has three
lowerings and the cheapest exact one is chosen per LIF.
"""

from __future__ import annotations

from enum import Enum
from math import gcd

import numpy as np
import numpy.typing as npt

from edgesnn.program.bounds import prove
from edgesnn.program.ops import DECAY_DENOMINATOR, LIF, MEMBRANE_MAX, MEMBRANE_SCALE
from edgesnn.program.program import Program

#: Integers below this are exact in float32, and so are their sums and products.
FLOAT32_EXACT = 2**24
#: A product of int8 weights that is computed with scales and rounded afterwards must stay below this: the
#: scales cost at most four roundings of 2**-24 each, and ``2**20 * 2**-22`` is a quarter, less than a half.
ROUNDED_EXACT = 2**20


class DecayForm(Enum):
    """How ``trunc(V * p / q)``, p/q the reduced decay, is computed in float32."""

    NONE = "V"  #: p = q
    PRODUCT = "sign(V) * floor(abs(V) * p / q)"  #: exact while ``abs(V) * p < 2**24``
    COMPLEMENT = "sign(V) * (abs(V) - ceil(abs(V) * (q - p) / q))"  #: while ``abs(V) * (q - p) < 2**24``
    PARTS = "sign(V) * (floor(abs(V) / q) * p + floor(rest(abs(V) / q) * p))"  #: any membrane


def fraction(op: LIF) -> tuple[int, int]:
    """The decay as a reduced fraction."""
    common = gcd(op.decay, DECAY_DENOMINATOR)
    return op.decay // common, DECAY_DENOMINATOR // common


def decay_form(op: LIF, reach: int) -> DecayForm:
    """The cheapest lowering of a decay that is exact.

    Args:
        op: The LIF.
        reach: Largest magnitude of a membrane that is decayed.
    """
    numerator, denominator = fraction(op)
    if denominator == 1:
        return DecayForm.NONE
    if reach * numerator < FLOAT32_EXACT:
        return DecayForm.PRODUCT
    if reach * (denominator - numerator) < FLOAT32_EXACT:
        return DecayForm.COMPLEMENT
    return DecayForm.PARTS


def membrane_reaches(program: Program) -> dict[str, int]:
    """Largest magnitude of a membrane after clip and reset, by name of the LIF.

    Args:
        program: The program.

    Returns:
        Upwards the threshold bounds it (a membrane above fires and is 0) or the currents do; downwards the
        proof of `prove` does, or the clip.

    Raises:
        CompileError: The program can overflow.
    """
    bounds = {bound.op: bound for bound in prove(program)}
    makers = {op.out: op.name for op in program.ops}
    reaches: dict[str, int] = {}
    for op in program.all(LIF):
        low = min(MEMBRANE_MAX, -bounds[op.name].low)
        arriving = MEMBRANE_SCALE * bounds[makers[op.input]].high + int(op.bias.max(initial=0))
        high = 0
        for _ in range(program.timesteps):
            high = max(high * op.decay // DECAY_DENOMINATOR + arriving, 0)
        reaches[op.name] = max(low, min(high, int(op.threshold.max(initial=0))), 0)
    return reaches


def largest_product(weight: npt.NDArray[np.int8], largest: int) -> int:
    """Largest magnitude of any partial sum of ``weight.T @ x`` with ``abs(x) <= largest``.

    Args:
        weight: int8 ``[in, out]``.
        largest: Largest magnitude of an input.
    """
    return int(np.abs(weight.astype(np.int64)).sum(axis=0).max(initial=0)) * largest
