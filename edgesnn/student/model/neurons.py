"""Leaky integrate-and-fire neurons behind their normalisation, each pair one autograd function over time.

    V_t = beta * R_{t-1} + I_t,   s_t = [V_t >= theta],   R_t = V_t (1 - s_t),   R_{-1} = 0
    I_t = weight (y_t - mean) rstd + bias

The membrane starts at 0 for every token, so a token's spikes depend on its own currents only. In the
backward pass ``ds/dV`` is the surrogate and the reset is detached: ``dR/dV = 1 - s``. Membranes are computed
again in the backward pass, so y is all that a layer keeps. The work is done by
`edgesnn.student.kernels.fused_lif`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from edgesnn.student.config import SnnConfig
from edgesnn.student.kernels.fused_lif import kernels_for
from edgesnn.student.kernels.surrogates import make_surrogate_spec
from edgesnn.student.kernels.torch_lif import Neuron


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a norm subtracts and divides by.

    Attributes:
        mean: float32 ``[C]``.
        rstd: float32 ``[C]``, ``1 / sqrt(var + eps)``.
        of_batch: Whether both were taken from y itself, so that gradients flow through them.
    """

    mean: Tensor
    rstd: Tensor
    of_batch: bool


def _norm_gradients(
    stats: tuple[Tensor, Tensor, bool], gain: Tensor, sum_g: Tensor, sum_gy: Tensor, rows: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of weight and bias, and (at, slope) with ``dy = gain g - (at + slope y)``; each ``[C]``."""
    mean, rstd, of_batch = stats
    grad_weight = (sum_gy - mean.double() * sum_g) * rstd.double()
    if of_batch:
        slope = gain.double() * rstd.double() * grad_weight / rows
        at = gain.double() * sum_g / rows - mean.double() * slope
    else:
        slope = at = torch.zeros_like(sum_g)
    dtype = gain.dtype
    return grad_weight.to(dtype), sum_g.to(dtype), at.to(dtype), slope.to(dtype)


class _NormLif(torch.autograd.Function):
    """Spikes of normalised currents."""

    @staticmethod
    def forward(  # noqa: D102, PLR0917 - torch's interface
        ctx: Any, y: Tensor, weight: Tensor, bias: Tensor, stats: Statistics, lif: Lif, dtype: torch.dtype
    ) -> Tensor:
        gain = weight * stats.rstd
        offset = bias - stats.mean * gain
        ctx.save_for_backward(y, gain, offset, stats.mean, stats.rstd)
        ctx.rest = (stats.of_batch, lif)
        return kernels_for(y).lif_forward(y, gain, offset, lif.neuron, dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        y, gain, offset, mean, rstd = ctx.saved_tensors
        of_batch, lif = ctx.rest
        kernels = kernels_for(y)
        grad, sum_g, sum_gy = kernels.lif_backward(y, gain, offset, grad_spikes, lif.neuron)
        rows = y.numel() // y.shape[-1]
        grad_weight, grad_bias, at, slope = _norm_gradients((mean, rstd, of_batch), gain, sum_g, sum_gy, rows)
        grad = kernels.affine_gradient(grad, y, gain, at=at, slope=slope, in_place=True)
        return grad, grad_weight, grad_bias, None, None, None


class _AddNorm(torch.autograd.Function):
    """The residual stream plus normalised currents, float32."""

    @staticmethod
    def forward(  # noqa: D102, PLR0917 - torch's interface
        ctx: Any, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, stats: Statistics
    ) -> Tensor:
        gain = weight * stats.rstd
        offset = bias - stats.mean * gain
        ctx.save_for_backward(y, gain, stats.mean, stats.rstd)
        ctx.rest = (stats.of_batch, x.shape[0] != y.shape[0])
        return kernels_for(y).add_affine(x, y, gain, offset)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        y, gain, mean, rstd = ctx.saved_tensors
        of_batch, constant = ctx.rest
        kernels = kernels_for(y)
        sum_g, sum_gy = kernels.products(grad_out, y)
        rows = y.numel() // y.shape[-1]
        grad_weight, grad_bias, at, slope = _norm_gradients((mean, rstd, of_batch), gain, sum_g, sum_gy, rows)
        grad = kernels.affine_gradient(grad_out, y, gain, at=at, slope=slope, in_place=False)
        grad_x = grad_out.sum(dim=0, keepdim=True) if constant else grad_out
        return grad_x, grad, grad_weight, grad_bias, None


def add_norm(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, stats: Statistics) -> Tensor:
    """``x + weight (y - mean) rstd + bias``, float32 ``[T, ..., C]``; x may be ``[1, ..., C]``."""
    out: Tensor = _AddNorm.apply(x, y, weight, bias, stats)  # type: ignore[no-untyped-call]
    return out


class Lif:
    """A layer of LIF neurons without parameters.

    Args:
        config: Timesteps, threshold, decay and surrogate.
    """

    def __init__(self, config: SnnConfig) -> None:
        self.neuron = Neuron(
            config.num_timesteps,
            config.decay_numerator,
            config.spike_threshold,
            make_surrogate_spec(config.surrogate_type, config.surrogate_slope, config.surrogate_power),
        )

    def __call__(self, currents: Tensor) -> Tensor:
        """Turn currents into spikes.

        Args:
            currents: ``[T, ..., C]``, or ``[1, ..., C]`` for a current that is the same at every timestep.

        Returns:
            Spikes, 0.0 or 1.0, ``[T, ..., C]``.
        """
        channels = currents.shape[-1]
        dtype = torch.promote_types(currents.dtype, torch.float32)
        zeros = torch.zeros(channels, dtype=dtype, device=currents.device)
        ones = torch.ones_like(zeros)
        return self.normalised(currents, ones, zeros, Statistics(zeros, ones, False), currents.dtype)

    def normalised(
        self, y: Tensor, weight: Tensor, bias: Tensor, stats: Statistics, dtype: torch.dtype
    ) -> Tensor:
        """Spikes of ``weight (y - mean) rstd + bias``.

        Args:
            y: ``[T, ..., C]`` or ``[1, ..., C]``.
            weight: float32 ``[C]``.
            bias: float32 ``[C]``.
            stats: Of the norm.
            dtype: Of the spikes.

        Returns:
            Spikes, 0 or 1, ``[T, ..., C]``.
        """
        spikes: Tensor = _NormLif.apply(y, weight, bias, stats, self, dtype)  # type: ignore[no-untyped-call]
        return spikes


def shift_spikes(spikes: Tensor, channels: int, first: Tensor | None = None) -> Tensor:
    """Replace the first channels by the previous token's spikes of the same inner timestep.

    Args:
        spikes: ``[T, B, L, C]``.
        channels: How many leading channels are shifted.
        first: bool ``[B, L]``, tokens that begin a context; None where only the first of a row does.

    Returns:
        ``[T, B, L, C]``; zeros stand before the first token of a context.
    """
    if channels == 0:
        return spikes
    previous = torch.nn.functional.pad(spikes[:, :, :-1, :channels], (0, 0, 1, 0))
    if first is not None:
        previous = previous.masked_fill(first[None, :, :, None], 0.0)
    return torch.cat((previous, spikes[..., channels:]), dim=-1)
