"""The leaky integrate-and-fire neuron over all inner timesteps, as one autograd function.

    V_t = beta * R_{t-1} + I_t,   s_t = [V_t >= theta],   R_t = V_t (1 - s_t),   R_{-1} = 0

The membrane starts at 0 for every token, so a token's spikes depend on its own currents only. In the
backward pass ``ds/dV`` is the surrogate and the reset is detached: ``dR/dV = 1 - s``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from edgesnn.student.config import SnnConfig
from edgesnn.student.surrogates import Surrogate, make_surrogate


class _LifOverTime(torch.autograd.Function):
    """Forward loops the timesteps and keeps the membranes; backward runs the loop in reverse."""

    @staticmethod
    def forward(  # noqa: D102, PLR0917 - torch's interface
        ctx: Any, currents: Tensor, timesteps: int, beta: float, threshold: float, surrogate: Surrogate
    ) -> Tensor:
        constant = currents.shape[0] == 1
        membranes = currents.new_empty((timesteps, *currents.shape[1:]))
        spikes = torch.empty_like(membranes)
        for t in range(timesteps):
            current = currents[0 if constant else t]
            if t == 0:
                membranes[0].copy_(current)
            else:
                torch.addcmul(membranes[t - 1], membranes[t - 1], spikes[t - 1], value=-1, out=membranes[t])
                membranes[t].mul_(beta).add_(current)
            torch.ge(membranes[t], threshold, out=spikes[t])
        ctx.save_for_backward(membranes, spikes)
        ctx.constants = (constant, beta, threshold, surrogate)
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        membranes, spikes = ctx.saved_tensors
        constant, beta, threshold, surrogate = ctx.constants
        grads = torch.empty_like(membranes)
        carried: Tensor | None = None
        for t in range(membranes.shape[0] - 1, -1, -1):
            grad = surrogate(torch.sub(membranes[t], threshold, out=grads[t])).mul_(grad_spikes[t])
            if carried is not None:
                # dL/dV_t also flows through beta * V_t (1 - s_t) into the next membrane
                kept = torch.addcmul(carried, carried, spikes[t], value=-1)
                grad.add_(kept, alpha=beta)
            if grad.data_ptr() != grads[t].data_ptr():
                grads[t].copy_(grad)
            carried = grads[t]
        result = grads.sum(dim=0, keepdim=True) if constant else grads
        return result, None, None, None, None


class Lif:
    """A layer of LIF neurons without parameters.

    Args:
        config: Timesteps, threshold, decay and surrogate.
    """

    def __init__(self, config: SnnConfig) -> None:
        self.timesteps = config.num_timesteps
        self.threshold = config.spike_threshold
        self.beta = config.decay_numerator / 256
        self._surrogate = make_surrogate(
            config.surrogate_type, config.surrogate_slope, config.surrogate_power
        )

    def __call__(self, currents: Tensor) -> Tensor:
        """Turn currents into spikes.

        Args:
            currents: float32 ``[T, ...]``, or ``[1, ...]`` for a current that is the same at every timestep.

        Returns:
            Spikes, 0.0 or 1.0, ``[T, ...]``.
        """
        spikes: Tensor = _LifOverTime.apply(  # type: ignore[no-untyped-call]
            currents, self.timesteps, self.beta, self.threshold, self._surrogate
        )
        return spikes


def shift_spikes(spikes: Tensor, channels: int) -> Tensor:
    """Replace the first channels by the previous token's spikes of the same inner timestep.

    Args:
        spikes: ``[T, B, L, C]``.
        channels: How many leading channels are shifted.

    Returns:
        ``[T, B, L, C]``; zeros stand before the first token.
    """
    if channels == 0:
        return spikes
    previous = torch.nn.functional.pad(spikes[:, :, :-1, :channels], (0, 0, 1, 0))
    return torch.cat((previous, spikes[..., channels:]), dim=-1)
