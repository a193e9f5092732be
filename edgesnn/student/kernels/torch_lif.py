"""The element-wise kernels of training in torch: the definition that the compiled ones must reproduce.

    lif:    V_t = beta R_{t-1} + (gain y_t + offset),  s_t = [V_t >= theta],  R_t = V_t (1 - s_t),  R_{-1} = 0

y is ``[T, ..., C]``, or ``[1, ..., C]`` where it is the same at every inner timestep. In the backward pass
``ds/dV`` is the surrogate and the reset is detached: ``dR/dV = 1 - s``. Sums over rows are float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgesnn.student.kernels.surrogates import SurrogateSpec

MEMBRANE_MAX = 2**23 - 1
MEMBRANE_SCALE = 64
DECAY_DENOMINATOR = 256


@dataclass(frozen=True, slots=True)
class Neuron:
    """What all neurons of a student share.

    Attributes:
        timesteps: T, inner timesteps.
        decay: n, beta is ``n / 256``.
        threshold: theta.
        surrogate: Of the backward pass.
    """

    timesteps: int
    decay: int
    threshold: float
    surrogate: SurrogateSpec

    @property
    def beta(self) -> float:
        """Share of the membrane that is left after a timestep."""
        return self.decay / DECAY_DENOMINATOR


def _wide(values: Tensor) -> Tensor:
    """float32 of 16-bit floats; float32 and float64 as they are."""
    return values.float() if values.dtype.itemsize < 4 else values


class TorchKernels:
    """Every kernel, on any device."""

    def lif_forward(
        self, y: Tensor, gain: Tensor, offset: Tensor, neuron: Neuron, dtype: torch.dtype
    ) -> Tensor:
        """Spikes ``[T, ..., C]`` of ``dtype``."""
        spikes, _ = self._membranes(y, gain, offset, neuron)
        return spikes.to(dtype)

    def lif_backward(
        self, y: Tensor, gain: Tensor, offset: Tensor, grad_spikes: Tensor, neuron: Neuron
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient for ``gain y + offset`` in y's shape and dtype, and its row sums alone and times y."""
        spikes, membranes = self._membranes(y, gain, offset, neuron)
        return self._through_time(y, spikes, membranes.sub_(neuron.threshold), grad_spikes, neuron)

    def integer_forward(
        self, y: Tensor, theta: Tensor, bias: Tensor, neuron: Neuron, dtype: torch.dtype
    ) -> Tensor:
        """Spikes of the integer neuron over integer currents y; theta and bias int32 ``[C]``."""
        spikes, _ = self._integer_membranes(y, theta, bias, neuron)
        return spikes.to(dtype)

    def integer_backward(
        self, y: Tensor, theta: Tensor, bias: Tensor, grad_spikes: Tensor, *, unit: Tensor, neuron: Neuron
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `lif_backward`; the surrogate reads ``(V - Theta) unit``, unit float32 ``[C]``."""
        spikes, above = self._integer_membranes(y, theta, bias, neuron)
        return self._through_time(y, spikes, above.mul_(unit), grad_spikes, neuron)

    def moments(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and (biased) variance over all leading axes, float64 ``[C]``."""
        flat = y.reshape(-1, y.shape[-1]).double()
        variance, mean = torch.var_mean(flat, dim=0, correction=0)
        return mean, variance

    def products(self, grad: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Row sums of grad and of grad times y, float64 ``[C]``."""
        axes = tuple(range(grad.ndim - 1))
        wide = grad.double()
        return wide.sum(axes), (wide * y.double()).sum(axes)

    def add_affine(self, x: Tensor, y: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
        """``x + (gain y + offset)``, float32; x may be constant over T."""
        return x + (y.float() * gain).add_(offset)

    def affine_gradient(
        self, grad: Tensor, y: Tensor, gain: Tensor, *, at: Tensor, slope: Tensor, in_place: bool
    ) -> Tensor:
        """``gain grad - (at + slope y)`` in y's dtype; may overwrite grad where ``in_place``."""
        made = _wide(grad) * gain - (_wide(y) * slope + at)
        return grad.copy_(made) if in_place else made.to(y.dtype)

    @staticmethod
    def _membranes(y: Tensor, gain: Tensor, offset: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
        currents = (_wide(y) * gain).add_(offset)
        membranes = currents.new_empty((neuron.timesteps, *y.shape[1:]))
        spikes = torch.empty_like(membranes)
        rest = torch.zeros_like(membranes[0])
        for t in range(neuron.timesteps):
            membranes[t] = rest.mul_(neuron.beta).add_(currents[0 if len(currents) == 1 else t])
            torch.ge(membranes[t], neuron.threshold, out=spikes[t])
            rest = membranes[t].masked_fill(spikes[t] != 0, 0.0)
        return spikes, membranes

    @staticmethod
    def _integer_membranes(y: Tensor, theta: Tensor, bias: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
        """Spikes, and ``V - Theta`` as float32; float64 holds every product exactly."""
        currents, limit = y.double(), float(MEMBRANE_MAX)
        above = torch.empty((neuron.timesteps, *y.shape[1:]), dtype=torch.float32, device=y.device)
        spikes = torch.empty_like(above)
        membrane = torch.zeros_like(currents[0])
        for t in range(neuron.timesteps):
            decayed = torch.trunc(membrane * neuron.decay / DECAY_DENOMINATOR)
            membrane = decayed + MEMBRANE_SCALE * currents[0 if len(currents) == 1 else t] + bias
            membrane = membrane.clamp_(-limit, limit)
            above[t] = membrane - theta
            fired = membrane > theta
            spikes[t] = fired
            membrane = membrane.masked_fill_(fired, 0.0)
        return spikes, above

    @staticmethod
    def _through_time(
        y: Tensor, spikes: Tensor, above: Tensor, grad_spikes: Tensor, neuron: Neuron
    ) -> tuple[Tensor, Tensor, Tensor]:
        constant = y.shape[0] != grad_spikes.shape[0]
        carried = torch.zeros_like(above[0])
        total = torch.zeros_like(carried) if constant else None
        grads = torch.empty_like(y)
        sum_g = torch.zeros(y.shape[-1], dtype=torch.float64, device=y.device)
        sum_gy = torch.zeros_like(sum_g)
        axes = tuple(range(above.ndim - 2))
        for t in range(grad_spikes.shape[0] - 1, -1, -1):
            kept = carried.masked_fill(spikes[t] != 0, 0.0).mul_(neuron.beta)
            carried = neuron.surrogate.derivative(above[t]).mul_(_wide(grad_spikes[t])).add_(kept)
            sum_g += carried.double().sum(axes)
            sum_gy += (carried.double() * y[0 if constant else t].double()).sum(axes)
            if total is None:
                grads[t] = carried
            else:
                total += carried
        if total is not None:
            grads[0] = total
        return grads, sum_g, sum_gy
