"""The compiled kernels of ``fused_lif.c``: built once with the system's C compiler, called through ctypes.

``kernels_for(tensor)`` gives the compiled kernels for a CPU tensor where a compiler was found, else the same
functions in torch (`edgesnn.student.kernels.torch_lif`). Both give the same spikes and gradients bit for bit;
sums over rows (norm statistics, gradients of gain and offset) agree to float32 rounding.
``EDGESNN_KERNEL=torch`` switches the compiled ones off.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgesnn.errors import EdgesnnError, TrainingError
from edgesnn.resources import cache_folder
from edgesnn.student.kernels.torch_lif import Neuron, TorchKernels
from edgesnn.toolchain import build_once, fingerprint, host_compiler

FLAGS = (
    "-O3",
    "-march=native",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-shared",
    "-fPIC",
)
COMPILERS = ("cc", "gcc", "clang")

MIN_TOKENS = 256
"""Fewer tokens than this per thread are not worth a thread."""

_NAMES = {torch.float32: "f32", torch.bfloat16: "b16"}

_SERVED = frozenset(
    {(torch.float32, torch.float32), (torch.float32, torch.bfloat16), (torch.bfloat16, torch.bfloat16)}
)
"""Types of currents and spikes for which there are compiled neurons."""


def build() -> Path | None:
    """Compile the kernels, or find what an earlier call compiled, in the user's cache.

    Returns:
        The library, or None where there is no compiler, it fails, or there is no place to write.
    """
    compiler = host_compiler(COMPILERS)
    source = Path(__file__).with_suffix(".c")
    if compiler is None or not source.is_file():
        return None

    def make(work: Path) -> Path:
        made = work / "fused_lif.so"
        arguments = [*FLAGS, str(source), "-o", str(made)]
        compiler.run(arguments, label="the compiler of the kernels", error=TrainingError)
        return made

    path = cache_folder("student") / f"fused_lif-{fingerprint(compiler, FLAGS, [source])}.so"
    try:
        return build_once(path, make, label="the kernels of the student", error=TrainingError)
    except EdgesnnError:
        return None


@cache
def _compiled() -> CompiledKernels | None:
    if os.environ.get("EDGESNN_KERNEL") == "torch":
        return None
    library = build()
    if library is None:
        return None
    try:
        return CompiledKernels(ctypes.CDLL(str(library)))
    except OSError:
        return None


def available() -> bool:
    """Whether compiled kernels serve this process."""
    return _compiled() is not None


def kernels_for(tensor: Tensor) -> TorchKernels:
    """The kernels that serve a tensor: compiled on the CPU where possible, torch elsewhere."""
    compiled = _compiled() if tensor.device.type == "cpu" and tensor.dtype in _NAMES else None
    return compiled or _TORCH


_TORCH = TorchKernels()


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _integer(value: int) -> ctypes.c_int64:
    return ctypes.c_int64(value)


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="edgesnn-lif")


def _split(count: int) -> list[tuple[int, int]]:
    """Ranges of tokens, one per thread; they depend on the count and torch's number of threads only."""
    parts = max(1, min(torch.get_num_threads(), count // MIN_TOKENS))
    edges = [count * i // parts for i in range(parts + 1)]
    return list(zip(edges, edges[1:], strict=False))


def _spread(count: int, call: Callable[[int, int, int], int]) -> None:
    """Run ``call(part, first, last)`` over all tokens; ctypes lets other threads run meanwhile."""
    ranges = _split(count)
    if len(ranges) == 1:
        codes = [call(0, *ranges[0])]
    else:
        futures = [_pool(len(ranges)).submit(call, i, *r) for i, r in enumerate(ranges)]
        codes = [future.result() for future in futures]
    if any(codes):
        raise MemoryError("no memory for the scratch rows of a LIF layer")


class CompiledKernels(TorchKernels):
    """The kernels of the library; what it lacks (the sigmoid surrogate, other dtypes) stays torch's."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def _function(self, name: str, *dtypes: torch.dtype) -> Any:
        return getattr(self._library, "_".join([name, *(_NAMES[d] for d in dtypes)]))

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
        _spread(
            tokens,
            lambda _, first, last: function(
                _pointer(y), _pointer(gain), _pointer(offset), _pointer(spikes), _integer(tokens),
                _integer(channels), _integer(timesteps), _integer(y.shape[0] != timesteps),
                ctypes.c_float(neuron.beta), ctypes.c_float(neuron.threshold),
                _integer(first), _integer(last),
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
        _spread(
            tokens,
            lambda part, first, last: function(
                _pointer(y), _pointer(gain), _pointer(offset), _pointer(grad_spikes), _pointer(grad),
                _pointer(sums[part, 0]), _pointer(sums[part, 1]), _integer(tokens), _integer(channels),
                _integer(timesteps), _integer(y.shape[0] != timesteps), ctypes.c_float(neuron.beta),
                ctypes.c_float(neuron.threshold), ctypes.c_int(surrogate.kernel_kind or 0),
                ctypes.c_float(surrogate.kernel_slope), _integer(first), _integer(last),
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
        _spread(
            tokens,
            lambda _, first, last: function(
                _pointer(y), _pointer(theta), _pointer(bias), _pointer(spikes), _integer(tokens),
                _integer(channels), _integer(timesteps), _integer(y.shape[0] != timesteps),
                ctypes.c_int32(neuron.decay), _integer(first), _integer(last),
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
        _spread(
            tokens,
            lambda part, first, last: function(
                _pointer(y), _pointer(theta), _pointer(bias), _pointer(unit), _pointer(grad_spikes),
                _pointer(grad), _pointer(sums[part, 0]), _pointer(sums[part, 1]), _integer(tokens),
                _integer(channels), _integer(timesteps), _integer(y.shape[0] != timesteps),
                ctypes.c_int32(neuron.decay), ctypes.c_float(neuron.beta),
                ctypes.c_int(surrogate.kernel_kind or 0),
                ctypes.c_float(surrogate.kernel_slope), _integer(first), _integer(last),
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
        _spread(
            rows,
            lambda part, first, last: function(
                _pointer(y), _pointer(sums[part, 0]), _pointer(sums[part, 1]), _integer(channels),
                _integer(first), _integer(last),
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
        _spread(
            rows,
            lambda part, first, last: function(
                _pointer(grad), _pointer(y), _pointer(sums[part, 0]), _pointer(sums[part, 1]),
                _integer(channels), _integer(first), _integer(last),
            ),
        )  # fmt: skip
        total = sums.sum(dim=0)
        return total[0], total[1]

    def add_affine(self, x: Tensor, y: Tensor, gain: Tensor, offset: Tensor) -> Tensor:  # noqa: D102
        x, y = x.contiguous(), y.contiguous()
        channels = y.shape[-1]
        out = torch.empty(y.shape, dtype=torch.float32)
        function = self._function("add_affine", y.dtype)
        _spread(
            y.numel() // channels,
            lambda _, first, last: function(
                _pointer(x), _pointer(y), _pointer(gain), _pointer(offset), _pointer(out),
                _integer(x.numel() // channels), _integer(channels), _integer(first), _integer(last),
            ),
        )  # fmt: skip
        return out

    def affine_gradient(  # noqa: D102
        self, grad: Tensor, y: Tensor, gain: Tensor, *, at: Tensor, slope: Tensor, in_place: bool
    ) -> Tensor:
        y, grad = y.contiguous(), grad.contiguous()
        channels = y.shape[-1]
        common = (_pointer(gain), _pointer(at), _pointer(slope))
        if in_place:
            out = grad
            before: tuple[ctypes.c_void_p, ...] = (_pointer(y), *common)
            function = self._function("affine_gradient_in_place", y.dtype)
        else:
            out, before = torch.empty_like(y), (_pointer(grad), _pointer(y), *common)
            function = self._function("affine_gradient", y.dtype)
        _spread(
            y.numel() // channels,
            lambda _, first, last: function(
                *before, _pointer(out), _integer(channels), _integer(first), _integer(last)
            ),
        )
        return out


def _sums(count: int, channels: int) -> Tensor:
    """float64 zeros ``[threads, 2, C]``."""
    return torch.zeros((len(_split(count)), 2, channels), dtype=torch.float64)
