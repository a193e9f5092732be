"""Surrogate gradients: what the backward pass uses where the step function has no slope.

With ``u = V - threshold`` and slope ``k``:

    sigmoid        k s(ku) (1 - s(ku)), s the logistic function
    fast_sigmoid   1 / (1 + k |u|)**power, power 2 unless told otherwise
    triangular     max(0, 1 - k |u|)
    arctan         1 / (1 + (pi k u / 2)**2)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edgesnn.errors import ConfigError

Surrogate = Callable[[Tensor], Tensor]
"""Maps ``u = V - threshold`` (a scratch tensor that may be overwritten) to the surrogate derivative."""


@dataclass(frozen=True, slots=True)
class SurrogateSpec:
    """A surrogate and how the compiled kernel knows it.

    Attributes:
        derivative: The function in torch.
        kernel_kind: Number of the formula in ``fused_lif.c``, None where only torch has it.
        kernel_slope: The slope as that formula wants it.
    """

    derivative: Surrogate
    kernel_kind: int | None
    kernel_slope: float


def make_surrogate_spec(name: str, slope: float, power: int = 2) -> SurrogateSpec:
    """As `make_surrogate`, for the kernels.

    Raises:
        ConfigError: Unknown name or a slope that is not positive.
    """
    kinds = {"fast_sigmoid": 0 if power == 2 else 3, "triangular": 1, "arctan": 2}
    scaled = 0.5 * math.pi * slope if name == "arctan" else slope
    return SurrogateSpec(make_surrogate(name, slope, power), kinds.get(name), scaled)


def make_surrogate(name: str, slope: float, power: int = 2) -> Surrogate:
    """Bind a surrogate gradient to its slope.

    Args:
        name: One of `edgesnn.student.config.SurrogateName`.
        slope: Slope ``k`` > 0 in units of 1/threshold units.
        power: Exponent of ``fast_sigmoid``; the other surrogates ignore it.

    Returns:
        A function that turns ``u`` into the derivative, in place where it can.

    Raises:
        ConfigError: Unknown name or a slope that is not positive.
    """
    if not slope > 0:
        raise ConfigError("the surrogate slope must be positive", actual=slope)

    def sigmoid(u: Tensor) -> Tensor:
        s = torch.sigmoid_(u.mul_(slope))
        return torch.addcmul(s, s, s, value=-1).mul_(slope)

    def fast_sigmoid(u: Tensor) -> Tensor:
        u.abs_().mul_(slope).add_(1.0)
        return (u.mul_(u) if power == 2 else u).reciprocal_()

    def triangular(u: Tensor) -> Tensor:
        return u.abs_().mul_(-slope).add_(1.0).clamp_min_(0.0)

    def arctan(u: Tensor) -> Tensor:
        u.mul_(0.5 * math.pi * slope)
        return u.mul_(u).add_(1.0).reciprocal_()

    table: dict[str, Surrogate] = {
        "sigmoid": sigmoid,
        "fast_sigmoid": fast_sigmoid,
        "triangular": triangular,
        "arctan": arctan,
    }
    if name not in table:
        raise ConfigError(f"unknown surrogate '{name}'", limit=", ".join(table))
    return table[name]
