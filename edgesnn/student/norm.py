"""BatchNorm that folds: per channel, over inner time, batch and position, with freezable statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MIN_GAIN = 0.05
"""Gains stay at or above this, so that a norm folds into a positive threshold."""


class FoldableNorm(nn.Module):
    """``weight * (y - mean) / sqrt(var + eps) + bias`` per channel.

    While training and not frozen, mean and variance are those of the batch over all leading axes;
    otherwise the running ones, so that the layer is the affine that is deployed.

    Args:
        channels: Size of the last axis.
        gain: Initial weight.
        eps: Added to the variance.
        momentum: Share of the newest batch in the running statistics.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, gain: float = 1.0, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.frozen = False
        self.weight = nn.Parameter(torch.full((channels,), gain))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, y: Tensor) -> Tensor:
        """Normalise ``[..., C]``."""
        if self.training and not self.frozen:
            flat = y.reshape(-1, y.shape[-1])
            out = nn.functional.batch_norm(
                flat,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                training=True,
                momentum=self.momentum,
                eps=self.eps,
            )
            return out.view(y.shape)
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return torch.addcmul(self.bias - self.running_mean * scale, y, scale)

    @torch.no_grad()
    def constrain_(self) -> None:
        """Project the gain back to ``MIN_GAIN`` or more."""
        self.weight.clamp_(min=MIN_GAIN)
