"""The compiler's rounding in torch: scales, codes, thresholds and multipliers, bit for bit.

These few formulas stand in ``edgesnn/program/quantise.py`` and ``stock.py`` too, which may not be imported
from here (training and compiling are neighbours that know only the artifact). A test proves both equal.
Everything is float64 and carries no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

WEIGHT_MAX = 127
MEMBRANE_SCALE = 64
THETA_MAX = 2**23 - 2
LIF_BIAS_MAX = 2**30
PRODUCT_LIMIT = 2**31
CURRENT_LIMIT = 2**17
STOCK_MEDIAN = 64 * 64
BIAS_MANTISSA_MAX = 4095
BIAS_EXPONENT_MAX = 7
_MAX_SHIFT = 31


def row_scales(matrix: Tensor) -> Tensor:
    """float64 ``[rows]``: largest magnitude of a row over 127; a row of zeros has scale 1."""
    largest = matrix.abs().amax(dim=1).double()
    return torch.where(largest > 0, largest / WEIGHT_MAX, 1.0)


def row_codes(matrix: Tensor, scales: Tensor) -> Tensor:
    """Codes in [-127, 127], float64 ``[rows, columns]``."""
    return torch.round(matrix.double() / scales[:, None]).clamp_(-WEIGHT_MAX, WEIGHT_MAX)


def int8_codes(matrix: Tensor, *, by_column: bool = False) -> tuple[Tensor, Tensor]:
    """A matrix as it is stored: int8, one scale per row. The compiler finds the same codes in the products.

    Args:
        matrix: float ``[rows, columns]``.
        by_column: One scale per column instead.

    Returns:
        Codes int8 ``[rows, columns]``, and scales float32 ``[rows, 1]`` or ``[1, columns]``.
    """
    seen = matrix.detach().float().t() if by_column else matrix.detach().float()
    scales = row_scales(seen).float()
    codes, scales = row_codes(seen, scales.double()).to(torch.int8), scales[:, None]
    return (codes.t().contiguous(), scales.t().contiguous()) if by_column else (codes, scales)


def shared_scales(matrices: list[Tensor]) -> Tensor:
    """One scale per row for matrices whose products meet in a residual stream, float64 ``[rows]``."""
    largest = torch.stack([m.abs().amax(dim=1).double() / WEIGHT_MAX for m in matrices])
    scales = largest.amax(dim=0)
    silent = scales <= 0
    if bool(silent.any()):
        heard = scales[~silent]
        scales = torch.where(silent, _median(heard) if heard.numel() else 1.0, scales)
    return scales


def thresholds(threshold: Tensor, bias: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Theta and b of a LIF, int32 ``[C]``.

    Args:
        threshold: float32 ``[C]``, folded.
        bias: float32 ``[C]``, folded.
        scale: float64 ``[C]``, worth of one step of the current.
    """
    theta = torch.ceil(MEMBRANE_SCALE * threshold.double() / scale) - 1
    theta = theta.clamp_(1, THETA_MAX).to(torch.int32)
    offset = torch.round(MEMBRANE_SCALE * bias.double() / scale)
    offset = offset.clamp_(-LIF_BIAS_MAX, LIF_BIAS_MAX).to(torch.int32)
    if float(_median(theta.double())) >= STOCK_MEDIAN:
        moved = _on_stock_grid(theta, offset)
        if moved is not None:
            return moved
    return theta, offset


def multiply_shift(ratio: Tensor, largest: Tensor) -> tuple[Tensor, int]:
    """Multipliers float64 ``[C]`` and a common shift: ``ratio ~ multiplier / 2**shift``.

    The largest shift up to 31 for which ``largest * multiplier < 2**31`` everywhere.
    """
    reach = largest.clamp_min(1)
    for shift in range(_MAX_SHIFT, -1, -1):
        multiplier = torch.round(ratio * 2.0**shift)
        if bool((multiplier * reach < PRODUCT_LIMIT).all()):
            return multiplier, shift
    return torch.minimum(torch.round(ratio), torch.floor((PRODUCT_LIMIT - 1) / reach)), 0


def trunc_shift(value: Tensor, shift: int) -> Tensor:
    """``trunc(value / 2**shift)`` of float64 integers."""
    return torch.trunc(value / 2.0**shift)


def _median(values: Tensor) -> Tensor:
    """The median as numpy takes it: the mean of the two middle values of an even number."""
    ordered = values.sort().values
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _on_stock_grid(theta: Tensor, bias: Tensor) -> tuple[Tensor, Tensor] | None:
    """The nearest values that stock Loihi neurons hold, or None when a bias is out of their range."""
    most = THETA_MAX // MEMBRANE_SCALE
    rounded = torch.round(theta.double() / MEMBRANE_SCALE).clamp_(1, most) * MEMBRANE_SCALE
    exponent = torch.zeros_like(bias)
    for _ in range(BIAS_EXPONENT_MAX + 1):
        exponent = exponent + (bias.abs().long() > (BIAS_MANTISSA_MAX << exponent.long()))
    mantissa = torch.round(bias.double() / 2.0 ** exponent.double())
    if bool((exponent > BIAS_EXPONENT_MAX).any()) or bool((mantissa.abs() > BIAS_MANTISSA_MAX).any()):
        return None
    return rounded.to(torch.int32), (mantissa * 2.0 ** exponent.double()).to(torch.int32)
