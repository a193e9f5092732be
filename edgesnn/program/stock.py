"""Which LIF populations a stock Loihi neuron serves exactly.

A stock neuron has ``vth = Theta / 64`` and a bias ``mant << exp`` with a 13-bit signed mantissa; its decay is
``dv = 4096 - 16 n`` of 4096 and its current does not persist (``du = 4095``).
"""

from __future__ import annotations

import numpy as np

from edgesnn.program.ops import LIF, MEMBRANE_SCALE, THETA_MAX, Int32Array
from edgesnn.program.ops_frames import FRACTION_MAX, Reset, StatefulLIF

#: Largest bias mantissa of a stock neuron.
BIAS_MANTISSA_MAX = 4095
#: Largest bias exponent.
BIAS_EXPONENT_MAX = 7


def bias_exponent(bias: Int32Array) -> Int32Array:
    """Smallest exponent, 0..7, at which each bias is within the mantissa's range; 8 where none is.

    Args:
        bias: int32 ``[c]``.

    Returns:
        int32 ``[c]``.
    """
    exponent = np.zeros(bias.shape, np.int32)
    for _ in range(BIAS_EXPONENT_MAX + 1):
        too_large = np.abs(bias.astype(np.int64)) > BIAS_MANTISSA_MAX << exponent.astype(np.int64)
        exponent = exponent + too_large
    return exponent.astype(np.int32)


def stock_representable(op: LIF | StatefulLIF) -> bool:
    """Whether stock neurons give this LIF's spikes bit for bit.

    Args:
        op: The LIF; one whose membrane lives on must begin at 0 after a spike, with 6 fraction bits.

    Returns:
        True when every threshold is a multiple of 64 and every bias is ``mant << exp`` with
        ``abs(mant) <= 4095`` and ``exp <= 7``.
    """
    if isinstance(op, StatefulLIF) and (
        op.reset is not Reset.ZERO or op.fraction != FRACTION_MAX or op.membrane
    ):
        return False
    if (op.threshold % MEMBRANE_SCALE).any():
        return False
    exponent = bias_exponent(op.bias)
    if (exponent > BIAS_EXPONENT_MAX).any():
        return False
    return bool(((op.bias & ((1 << exponent) - 1)) == 0).all())


def on_stock_grid(theta: Int32Array, bias: Int32Array) -> tuple[Int32Array, Int32Array] | None:
    """The nearest values that stock neurons can hold, or None when a bias is out of their range.

    Args:
        theta: Thresholds int32 ``[c]``.
        bias: Biases int32 ``[c]``.

    Returns:
        Thresholds and biases on the grid.
    """
    largest = THETA_MAX // MEMBRANE_SCALE
    rounded = np.clip(np.rint(theta / MEMBRANE_SCALE), 1, largest).astype(np.int32) * MEMBRANE_SCALE
    exponent = bias_exponent(bias)
    mantissa = np.rint(bias / 2.0**exponent)
    if (exponent > BIAS_EXPONENT_MAX).any() or (np.abs(mantissa) > BIAS_MANTISSA_MAX).any():
        return None
    return rounded.astype(np.int32), (mantissa * 2.0**exponent).astype(np.int32)
