"""The compiled kernels of ``fused_lif.c``.

``kernels_for(tensor)`` gives the compiled kernels for a CPU tensor where a compiler was found, else the same
functions in torch (`edgesnn.student.kernels.torch_lif`). Both give the same spikes and gradients bit for bit;
sums over rows (norm statistics, gradients of gain and offset) agree to float32 rounding.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from edgesnn.student.kernels.library import NAMES, compiled_library, integer, pointer, split, spread
from edgesnn.student.kernels.torch_lif import Neuron, TorchKernels

MIN_TOKENS = 256
"""Fewer tokens than this per thread are not worth a thread."""

_SERVED = frozenset(
    {(torch.float32, torch.float32), (torch.float32, torch.bfloat16), (torch.bfloat16, torch.bfloat16)}
)
"""Types of currents and spikes for which there are compiled neurons."""


@cache
def _compiled() -> CompiledKernels | None:
    library = compiled_library()
    return None if library is None else CompiledKernels(library)


def available() -> bool:
    """Whether compiled kernels serve this process."""
    return _compiled() is not None


def kernels_for(tensor: Tensor) -> TorchKernels:
    """The kernels that serve a tensor: compiled on the CPU where possible, torch elsewhere."""
    compiled = _compiled() if tensor.device.type == "cpu" and tensor.dtype in NAMES else None
    return compiled or _TORCH


_TORCH = TorchKernels()


class CompiledKernels(TorchKernels):
    """The kernels of the library; what it lacks (the sigmoid surrogate, other dtypes) stays torch's."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def _function(self, name: str, *dtypes: torch.dtype) -> Any:
        return getattr(self._library, "_".join([name, *(NAMES[d] for d in dtypes)]))

    def lif_forward(  # noqa: D102 - as in the base class
        self, y: Tensor, gain: Tensor, offset: Tensor, neuron: Neuron, dtype: torch.dtype
    ) -> Tensor:
        timesteps = neuron.timesteps
        if (y.dtype, dtype) not in _SERVED:
            return super().lif_forward(y, gain, offset, neuron, dtype)
        y, gain, offset = y.contiguous(), gain.contiguous(), offset.contiguous()
        channels = y.shape[-1]
        tokens = y[0].numel() // channels
        spikes = torch.empty((timesteps, *y.shape[1:]), dtype=dtype)
        function = self._function("lif_forward", y.dtype, dtype)
        spread(
            MIN_TOKENS,
            tokens,
            lambda _, first, last: function(
                pointer(y), pointer(gain), pointer(offset), pointer(spikes), integer(tokens),
                integer(channels), integer(timesteps), integer(y.shape[0] != timesteps),
                ctypes.c_float(neuron.beta), ctypes.c_float(neuron.threshold),
                integer(first), integer(last),
            ),
        )  # fmt: skip
        return spikes

    def lif_backward(  # noqa: D102
        self, y: Tensor, gain: Tensor, offset: Tensor, grad_spikes: Tensor, neuron: Neuron
    ) -> tuple[Tensor, Tensor, Tensor]:
        surrogate = neuron.surrogate
        dtypes = (y.dtype, grad_spikes.dtype)
        if surrogate.kernel_kind is None or dtypes not in _SERVED:
            return super().lif_backward(y, gain, offset, grad_spikes, neuron)
        y, gain, offset, grad_spikes = (a.contiguous() for a in (y, gain, offset, grad_spikes))
        timesteps, channels = grad_spikes.shape[0], y.shape[-1]
        tokens = y[0].numel() // channels
        grad, sums = torch.empty_like(y), _sums(tokens, channels)
        function = self._function("lif_backward", y.dtype, grad_spikes.dtype)
        spread(
            MIN_TOKENS,
            tokens,
            lambda part, first, last: function(
                pointer(y), pointer(gain), pointer(offset), pointer(grad_spikes), pointer(grad),
                pointer(sums[part, 0]), pointer(sums[part, 1]), integer(tokens), integer(channels),
                integer(timesteps), integer(y.shape[0] != timesteps), ctypes.c_float(neuron.beta),
                ctypes.c_float(neuron.threshold), ctypes.c_int(surrogate.kernel_kind or 0),
                ctypes.c_float(surrogate.kernel_slope), integer(first), integer(last),
            ),
        )  # fmt: skip
        total = sums.sum(dim=0)
        return grad, total[0], total[1]

    def integer_forward(  # noqa: D102
        self, y: Tensor, theta: Tensor, bias: Tensor, neuron: Neuron, dtype: torch.dtype
    ) -> Tensor:
        timesteps = neuron.timesteps
        if y.dtype != torch.float32 or (y.dtype, dtype) not in _SERVED:
            return super().integer_forward(y, theta, bias, neuron, dtype)
        y = y.contiguous()
        channels = y.shape[-1]
        tokens = y[0].numel() // channels
        spikes = torch.empty((timesteps, *y.shape[1:]), dtype=dtype)
        function = self._function("lif_integer_forward", y.dtype, dtype)
        spread(
            MIN_TOKENS,
            tokens,
            lambda _, first, last: function(
                pointer(y), pointer(theta), pointer(bias), pointer(spikes), integer(tokens),
                integer(channels), integer(timesteps), integer(y.shape[0] != timesteps),
                ctypes.c_int32(neuron.decay), integer(first), integer(last),
            ),
        )  # fmt: skip
        return spikes

    def integer_backward(  # noqa: D102
        self, y: Tensor, theta: Tensor, bias: Tensor, grad_spikes: Tensor, *, unit: Tensor, neuron: Neuron
    ) -> tuple[Tensor, Tensor, Tensor]:
        surrogate = neuron.surrogate
        dtypes = (y.dtype, grad_spikes.dtype)
        if surrogate.kernel_kind is None or y.dtype != torch.float32 or dtypes not in _SERVED:
            return super().integer_backward(y, theta, bias, grad_spikes, unit=unit, neuron=neuron)
        y, unit, grad_spikes = y.contiguous(), unit.contiguous(), grad_spikes.contiguous()
        timesteps, channels = grad_spikes.shape[0], y.shape[-1]
        tokens = y[0].numel() // channels
        grad, sums = torch.empty_like(y), _sums(tokens, channels)
        function = self._function("lif_integer_backward", y.dtype, grad_spikes.dtype)
        spread(
            MIN_TOKENS,
            tokens,
            lambda part, first, last: function(
                pointer(y), pointer(theta), pointer(bias), pointer(unit), pointer(grad_spikes),
                pointer(grad), pointer(sums[part, 0]), pointer(sums[part, 1]), integer(tokens),
                integer(channels), integer(timesteps), integer(y.shape[0] != timesteps),
                ctypes.c_int32(neuron.decay), ctypes.c_float(neuron.beta),
                ctypes.c_int(surrogate.kernel_kind or 0),
                ctypes.c_float(surrogate.kernel_slope), integer(first), integer(last),
            ),
        )  # fmt: skip
        total = sums.sum(dim=0)
        return grad, total[0], total[1]

    def moments(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        y = y.contiguous()
        channels = y.shape[-1]
        rows = y.numel() // channels
        sums = _sums(rows, channels)
        function = self._function("row_moments", y.dtype)
        spread(
            MIN_TOKENS,
            rows,
            lambda part, first, last: function(
                pointer(y), pointer(sums[part, 0]), pointer(sums[part, 1]), integer(channels),
                integer(first), integer(last),
            ),
        )  # fmt: skip
        total = sums.sum(dim=0) / rows
        mean = total[0]
        origin = y.view(-1, channels)[0].double()
        return origin + mean, (total[1] - mean * mean).clamp_min_(0.0)

    def products(self, grad: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        grad, y = grad.contiguous(), y.contiguous()
        channels = y.shape[-1]
        rows = y.numel() // channels
        sums = _sums(rows, channels)
        function = self._function("row_products", y.dtype)
        spread(
            MIN_TOKENS,
            rows,
            lambda part, first, last: function(
                pointer(grad), pointer(y), pointer(sums[part, 0]), pointer(sums[part, 1]),
                integer(channels), integer(first), integer(last),
            ),
        )  # fmt: skip
        total = sums.sum(dim=0)
        return total[0], total[1]

    def add_affine(self, x: Tensor, y: Tensor, gain: Tensor, offset: Tensor) -> Tensor:  # noqa: D102
        x, y = x.contiguous(), y.contiguous()
        channels = y.shape[-1]
        out = torch.empty(y.shape, dtype=torch.float32)
        function = self._function("add_affine", y.dtype)
        spread(
            MIN_TOKENS,
            y.numel() // channels,
            lambda _, first, last: function(
                pointer(x), pointer(y), pointer(gain), pointer(offset), pointer(out),
                integer(x.numel() // channels), integer(channels), integer(first), integer(last),
            ),
        )  # fmt: skip
        return out

    def affine_gradient(  # noqa: D102
        self, grad: Tensor, y: Tensor, gain: Tensor, *, at: Tensor, slope: Tensor, in_place: bool
    ) -> Tensor:
        y, grad = y.contiguous(), grad.contiguous()
        channels = y.shape[-1]
        common = (pointer(gain), pointer(at), pointer(slope))
        if in_place:
            out = grad
            before: tuple[ctypes.c_void_p, ...] = (pointer(y), *common)
            function = self._function("affine_gradient_in_place", y.dtype)
        else:
            out, before = torch.empty_like(y), (pointer(grad), pointer(y), *common)
            function = self._function("affine_gradient", y.dtype)
        spread(
            MIN_TOKENS,
            y.numel() // channels,
            lambda _, first, last: function(
                *before, pointer(out), integer(channels), integer(first), integer(last)
            ),
        )
        return out


def _sums(count: int, channels: int) -> Tensor:
    """float64 zeros ``[threads, 2, C]``."""
    return torch.zeros((len(split(count, MIN_TOKENS)), 2, channels), dtype=torch.float64)
