"""Integer-aware training: the forward pass is the compiled integer program, gradients pass straight through.

Weights are rounded to int8 with the compiler's scales (one per channel for the whole residual stream), norms
fold into integer thresholds and biases, the decay truncates, the embedding goes through its multiply-shift
and the readout through its codes: the logits are the deployed ones, bit for bit. Backward, every rounding is
the identity, and a neuron has its surrogate at the membrane that the integers stand for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding, linear

from edgesnn.student.kernels.fused_lif import kernels_for
from edgesnn.student.kernels.rounding import (
    CURRENT_LIMIT,
    MEMBRANE_SCALE,
    WEIGHT_MAX,
    int8_codes,
    multiply_shift,
    row_codes,
    row_scales,
    shared_scales,
    thresholds,
    trunc_shift,
)
from edgesnn.student.model.attention import attend
from edgesnn.student.model.neurons import Lif, shift_spikes
from edgesnn.student.model.norm import FoldableNorm

if TYPE_CHECKING:
    from edgesnn.student.model.spiking_transformer import SpikingTransformerLM


class _Replace(torch.autograd.Function):
    """The exact value forward, the gradient of the real one backward."""

    @staticmethod
    def forward(ctx: Any, real: Tensor, exact: Tensor) -> Tensor:  # noqa: D102 - torch's interface
        return exact.to(real.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        return grad, None


def _replace(real: Tensor, exact: Tensor) -> Tensor:
    out: Tensor = _Replace.apply(real, exact)  # type: ignore[no-untyped-call]
    return out


class _IntegerLinear(torch.autograd.Function):
    """``x @ codes.T`` of integers, exact in float32; gradients are products in x's dtype."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor) -> Tensor:  # noqa: D102
        ctx.save_for_backward(x, codes)
        if x.dtype != torch.float32 and x.device.type == "cpu":
            flat = x.reshape(-1, x.shape[-1]).to(torch.int8)
            out = torch._int_mm(flat, codes.to(torch.int8).t()).float()
            return out.view(*x.shape[:-1], -1)
        return linear(x.float(), codes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        x, codes = ctx.saved_tensors
        g = grad.to(x.dtype)
        grad_codes = g.reshape(-1, g.shape[-1]).t() @ x.reshape(-1, x.shape[-1])
        return g @ codes.to(x.dtype), grad_codes.float()


def _integer_linear(x: Tensor, codes: Tensor) -> Tensor:
    out: Tensor = _IntegerLinear.apply(x, codes)  # type: ignore[no-untyped-call]
    return out


class _IntegerLif(torch.autograd.Function):
    """Spikes of integer currents; the real current is ``gain y + offset`` in units of the threshold."""

    @staticmethod
    def forward(  # noqa: D102, PLR0917
        ctx: Any, y: Tensor, gain: Tensor, offset: Tensor, theta: Tensor, bias: Tensor, lif: Lif,
        dtype: torch.dtype,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(y, gain, theta, bias)
        ctx.lif = lif
        return kernels_for(y).integer_forward(y, theta, bias, lif.neuron, dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        y, gain, theta, bias = ctx.saved_tensors
        lif = ctx.lif
        unit = (gain / MEMBRANE_SCALE).contiguous()
        grad, sum_g, sum_gy = kernels_for(y).integer_backward(
            y, theta, bias, grad_spikes, unit=unit, neuron=lif.neuron
        )
        return grad.mul_(gain), sum_gy.float(), sum_g.float(), None, None, None, None


class _Affine(NamedTuple):
    """A folded norm: float64 as the compiler folds it, and float32 with gradients."""

    gain: Tensor
    offset: Tensor
    real_gain: Tensor
    real_offset: Tensor


class _Stream(NamedTuple):
    """The residual stream: integer currents, what proves their range, and the offset that LIFs add."""

    x: Tensor
    low: Tensor
    high: Tensor
    offset: Tensor
    real_offset: Tensor


class IntegerForward:
    """The integer program of a model whose norms are frozen.

    Args:
        model: The student; its parameters are read anew at every call.
        storage: How matrices are stored: ``float32``, ``float16`` or ``int8``.
        exponent: f of the integer logits.
    """

    def __init__(self, model: SpikingTransformerLM, storage: str, exponent: int) -> None:
        self._model = model
        self._storage = storage
        self.exponent = exponent

    def forward(self, ids: Tensor) -> Tensor:
        """Logits float32 ``[B, L, V]``: ``logits_q * 2**-exponent``."""
        model = self._model
        blocks = list(cast(Iterable[Any], model.blocks))
        branches = [(part, part.norm_res) for block in blocks for part in (block.attn, block.mlp)]
        affines = [self._affine(norm) for _, norm in branches]
        matrices = [
            self._scaled(part.out.weight if hasattr(part, "out") else part.down.weight, affine)
            for (part, _), affine in zip(branches, affines, strict=True)
        ]
        scale = shared_scales([exact for _, exact in matrices])
        writers = [
            (_replace(real / scale.float()[:, None], row_codes(exact, scale)), affine)
            for (real, exact), affine in zip(matrices, affines, strict=True)
        ]
        table, column_scale, stream = self._embed(ids, scale)
        for index, block in enumerate(blocks):
            name = f"blocks.{index}."
            spikes = self._fire(stream.x, block.attn.norm_in, scale, name + "attn.in", stream)
            spikes = self._matrix_fire(spikes, block.attn.qkv.weight, block.attn.norm_qkv, name + "attn.qkv")
            current = attend(spikes.float(), model.config.windows, model.segments)
            ones = torch.ones(current.shape[-1], dtype=torch.float64, device=current.device)
            spikes = self._fire(current, block.attn.norm_out, ones, name + "attn.out")
            stream = self._add(stream, spikes, *writers[2 * index])
            spikes = self._fire(stream.x, block.mlp.norm_in, scale, name + "mlp.in", stream)
            spikes = self._matrix_fire(spikes, block.mlp.up.weight, block.mlp.norm_up, name + "mlp.up")
            stream = self._add(stream, spikes, *writers[2 * index + 1])
        spikes = self._fire(stream.x, model.readout.norm, scale, "readout", stream)
        return self._readout(spikes.sum(dim=0), table, column_scale)

    def _stored(self, weight: Tensor, *, by_column: bool = False) -> Tensor:
        """A matrix as it will be stored."""
        if self._storage == "int8":
            codes, scales = int8_codes(weight, by_column=by_column)
            return _replace(weight, codes * scales)
        if self._storage == "float16":
            return _replace(weight, weight.detach().half().float())
        return weight

    def _affine(self, norm: FoldableNorm) -> _Affine:
        weight, variance = norm.weight.detach().double(), norm.running_var.double()
        gain = weight / torch.sqrt(variance + norm.eps)
        offset = norm.bias.detach().double() - gain * norm.running_mean.double()
        rstd = torch.rsqrt(norm.running_var + norm.eps)
        real_gain = norm.weight * rstd
        return _Affine(gain, offset, real_gain, norm.bias - norm.running_mean * real_gain)

    def _scaled(self, weight: Tensor, affine: _Affine) -> tuple[Tensor, Tensor]:
        """Wo or W2 with its norm's gain: with gradients, and float32 as the compiler folds it."""
        stored = self._stored(weight)
        exact = (stored.detach().double() * affine.gain[:, None]).float()
        return stored * affine.real_gain[:, None], exact

    def _embed(self, ids: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, _Stream]:
        """E's codes with gradients, their column scales float64, and the stream that the embedding begins."""
        model = self._model
        table = self._stored(model.embed.weight, by_column=True)
        projection = self._stored(model.embed.project.weight)
        column_scale = row_scales(table.detach().t())
        codes = row_codes(table.detach().t(), column_scale).t()
        absorbed = projection.detach().double() * column_scale
        project_scale = row_scales(absorbed)
        products = linear(codes.float(), row_codes(absorbed, project_scale).float())
        multiplier, shift = multiply_shift(project_scale / scale, products.abs().amax(dim=0).double())
        rows = trunc_shift(products.double() * multiplier, shift).float()
        real = linear(embedding(ids, table), projection) / scale.float()
        x = _replace(real, embedding(ids, rows)).unsqueeze(0)
        zeros = torch.zeros_like(scale)
        stream = _Stream(x, rows.amin(dim=0), rows.amax(dim=0), zeros, zeros.float())
        return _replace(table / column_scale.float(), codes), column_scale, stream

    def _add(self, stream: _Stream, spikes: Tensor, codes: Tensor, affine: _Affine) -> _Stream:
        sums = codes.detach()
        low = stream.low + sums.clamp_max(0).sum(dim=1)
        high = stream.high + sums.clamp_min(0).sum(dim=1)
        x = stream.x + _integer_linear(spikes, codes)
        if float(torch.maximum(-low, high).max()) >= CURRENT_LIMIT:
            most = float(CURRENT_LIMIT - 1)
            x, low, high = x.clamp(-most, most), low.clamp(-most, most), high.clamp(-most, most)
        return _Stream(x, low, high, stream.offset + affine.offset, stream.real_offset + affine.real_offset)

    def _matrix_fire(self, spikes: Tensor, weight: Tensor, norm: FoldableNorm, name: str) -> Tensor:
        """Shift, matrix, LIF."""
        stored = self._stored(weight)
        scale = row_scales(stored.detach())
        codes = _replace(stored / scale.float()[:, None], row_codes(stored.detach(), scale))
        shifted = shift_spikes(spikes, self._model.config.shift_channels, self._model.first)
        return self._fire(_integer_linear(shifted, codes), norm, scale, name)

    def _fire(
        self, y: Tensor, norm: FoldableNorm, scale: Tensor, name: str, stream: _Stream | None = None
    ) -> Tensor:
        lif, affine = self._model.lif, self._affine(norm)
        threshold = (lif.neuron.threshold / affine.gain).float()
        bias = affine.offset / affine.gain
        offset = affine.real_offset
        if stream is not None:
            bias = bias + stream.offset
            offset = offset + affine.real_gain * stream.real_offset
        theta, integer_bias = thresholds(threshold, bias.float(), scale)
        spikes: Tensor = _IntegerLif.apply(  # type: ignore[no-untyped-call]
            y, affine.real_gain * scale.float(), offset, theta, integer_bias, lif, self._model.dtype
        )
        self._model.record(spikes, name)
        return spikes

    def _readout(self, count: Tensor, table: Tensor, column_scale: Tensor) -> Tensor:
        readout, count = self._model.readout, count.float()
        weight = self._stored(readout.weight)
        largest = weight.detach().abs().amax(dim=1).double()
        silent = readout.bias.detach().abs().double().clamp_min(1e-12) / 2**12
        scale = torch.where(largest > 0, largest / WEIGHT_MAX, silent)
        codes = row_codes(weight.detach(), scale)
        bias = torch.round(readout.bias.detach().double() / scale).clamp_(-(2**30), 2**30)
        timesteps = self._model.lif.neuron.timesteps
        low, high = (timesteps * part.sum(dim=1) + bias for part in (codes.clamp_max(0), codes.clamp_min(0)))
        ratio = scale * column_scale * 2.0**self.exponent
        multiplier, shift = multiply_shift(ratio, torch.maximum(low.abs(), high.abs()))
        with torch.no_grad():
            z = linear(count, codes.float()).double() + bias
            exact = trunc_shift(z * multiplier, shift).clamp_(-WEIGHT_MAX, WEIGHT_MAX)
        real = linear(count, weight, readout.bias) * (column_scale * 2.0**self.exponent).float()
        z8 = _replace(real.clamp(-WEIGHT_MAX, WEIGHT_MAX), exact).to(self._model.dtype)
        return _integer_linear(z8, table) * 2.0**-self.exponent
