"""The student language model ``spiking_transformer``.

    x = E[token] P^T                                    the same current at every inner timestep
    per block:  s = shift(LIF(norm(x)));  q|k|v = LIF(norm(s Wqkv^T))
                x += norm(LIF(norm(attend(q, k, v))) Wo^T)
                s = shift(LIF(norm(x)));  x += norm(LIF(norm(s W1^T)) W2^T)
    c = sum over t of LIF(norm(x));  logits = (c D^T + bz) E^T

Every linear layer reads spikes, every norm is a per-channel affine once its statistics are frozen: that is
what lets the compiler turn the student into an integer program.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from edgesnn.student.attention import attend
from edgesnn.student.config import SnnConfig
from edgesnn.student.neurons import Lif, shift_spikes
from edgesnn.student.norm import FoldableNorm

UNIGRAM_SCALE = 0.25
"""Column 0 of E is the centred log-unigram times this; z[0] starts at its inverse, so logits start there."""

RESIDUAL_GAIN = 0.5


class SpikingTransformerConfig(BaseModel):
    """Sizes of a spiking transformer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(128, ge=1)
    depth: int = Field(2, ge=1)
    num_heads: int = Field(4, ge=1)
    mlp_dim: int = Field(256, ge=1)
    rank: int = Field(64, ge=2, le=1040)
    windows: tuple[int, ...] = (8, 32, 128, 256)
    shift_channels: int = Field(-1, ge=-1)
    norm_eps: float = Field(1e-5, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> SpikingTransformerConfig:
        if self.dim % self.num_heads:
            raise ValueError(f"dim ({self.dim}) is not a multiple of num_heads ({self.num_heads})")
        if len(self.windows) != self.num_heads:
            raise ValueError(
                f"{len(self.windows)} windows for {self.num_heads} heads: one per head is needed"
            )
        if min(self.windows) < 1:
            raise ValueError(f"windows must be at least 1 token: {self.windows}")
        width = self.dim // self.num_heads
        if width > 255 or width * max(self.windows) >= 2**17:
            raise ValueError(f"head width {width} with windows {self.windows} exceeds the integer range")
        if self.shift_channels == -1:
            object.__setattr__(self, "shift_channels", self.dim // 2)
        if self.shift_channels > self.dim:
            raise ValueError(f"shift_channels ({self.shift_channels}) exceeds dim ({self.dim})")
        return self


def _linear(fan_in: int, fan_out: int) -> nn.Linear:
    """A bias-free linear layer with entries N(0, 1 / fan_in)."""
    layer = nn.Linear(fan_in, fan_out, bias=False)
    nn.init.normal_(layer.weight, std=1 / math.sqrt(fan_in))
    return layer


class _Attention(nn.Module):
    def __init__(self, config: SpikingTransformerConfig) -> None:
        super().__init__()
        d, eps = config.dim, config.norm_eps
        self.norm_in = FoldableNorm(d, eps=eps)
        self.qkv = _linear(d, 3 * d)
        self.norm_qkv = FoldableNorm(3 * d, eps=eps)
        self.norm_out = FoldableNorm(d, eps=eps)
        self.out = _linear(d, d)
        self.norm_res = FoldableNorm(d, gain=RESIDUAL_GAIN, eps=eps)


class _Mlp(nn.Module):
    def __init__(self, config: SpikingTransformerConfig) -> None:
        super().__init__()
        d, m, eps = config.dim, config.mlp_dim, config.norm_eps
        self.norm_in = FoldableNorm(d, eps=eps)
        self.up = _linear(d, m)
        self.norm_up = FoldableNorm(m, eps=eps)
        self.down = _linear(m, d)
        self.norm_res = FoldableNorm(d, gain=RESIDUAL_GAIN, eps=eps)


class _Block(nn.Module):
    def __init__(self, config: SpikingTransformerConfig) -> None:
        super().__init__()
        self.attn = _Attention(config)
        self.mlp = _Mlp(config)


class _Embedding(nn.Module):
    def __init__(self, vocab_size: int, config: SpikingTransformerConfig, log_unigram: Tensor | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocab_size, config.rank) / math.sqrt(config.rank))
        self.project = nn.Linear(config.rank, config.dim, bias=False)
        nn.init.normal_(self.project.weight)
        if log_unigram is not None:
            with torch.no_grad():
                self.weight[:, 0] = (log_unigram - log_unigram.mean()) * UNIGRAM_SCALE


class _Readout(nn.Module):
    def __init__(self, config: SpikingTransformerConfig) -> None:
        super().__init__()
        self.norm = FoldableNorm(config.dim, eps=config.norm_eps)
        self.weight = nn.Parameter(torch.randn(config.rank, config.dim) * (0.5 / math.sqrt(config.dim)))
        self.bias = nn.Parameter(torch.zeros(config.rank))
        with torch.no_grad():
            self.weight[0] = 0.0
            self.bias[0] = 1 / UNIGRAM_SCALE


class SpikingTransformerLM(nn.Module):
    """The model; its state dict is the artifact's contract.

    Args:
        config: Sizes.
        snn: Neuron settings.
        vocab_size: Rows of the embedding.
        log_unigram: float32 ``[V]`` log-frequencies of the training tokens, or None for a random column.
    """

    def __init__(
        self,
        config: SpikingTransformerConfig,
        snn: SnnConfig,
        vocab_size: int,
        log_unigram: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.embed = _Embedding(vocab_size, config, log_unigram)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.readout = _Readout(config)
        self._lif = Lif(snn)
        self._recording = False
        self._rates: dict[str, float] = {}

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the next token.

        Args:
            ids: int64 ``[B, L]``; every row starts a new context.

        Returns:
            float32 ``[B, L, V]``.
        """
        linear, shift = nn.functional.linear, self.config.shift_channels
        x = linear(nn.functional.embedding(ids, self.embed.weight), self.embed.project.weight).unsqueeze(0)
        for index, block in enumerate(cast(Iterable[_Block], self.blocks)):
            attn, mlp, name = block.attn, block.mlp, f"blocks.{index}."
            s = shift_spikes(self._fire(attn.norm_in(x), name + "attn.in"), shift)
            qkv = self._fire(attn.norm_qkv(attn.qkv(s)), name + "attn.qkv")
            a = self._fire(attn.norm_out(attend(qkv, self.config.windows)), name + "attn.out")
            x = x + attn.norm_res(attn.out(a))
            s = shift_spikes(self._fire(mlp.norm_in(x), name + "mlp.in"), shift)
            h = self._fire(mlp.norm_up(mlp.up(s)), name + "mlp.up")
            x = x + mlp.norm_res(mlp.down(h))
        count = self._fire(self.readout.norm(x), "readout").sum(dim=0)
        z = linear(count, self.readout.weight, self.readout.bias)
        return linear(z, self.embed.weight)

    def _fire(self, currents: Tensor, name: str) -> Tensor:
        spikes = self._lif(currents)
        if self._recording:
            self._rates[name] = float(spikes.detach().mean())
        return spikes

    def constrain_(self) -> None:
        """Project the parameters to what the compiler can fold."""
        for norm in self._norms():
            norm.constrain_()

    def freeze_statistics(self) -> None:
        """From now on every norm is the affine of its running statistics."""
        for norm in self._norms():
            norm.frozen = True

    def record_spike_rates(self, enabled: bool) -> None:
        """Switch the measuring of spike rates in forward passes on or off."""
        self._recording = enabled

    def spike_rates(self) -> dict[str, float]:
        """Spikes per neuron and inner timestep of the last recorded forward pass, by layer."""
        return dict(self._rates)

    def describe(self) -> dict[str, Any]:
        """The ``architecture`` of metadata.json."""
        return {"name": "spiking_transformer", **self.config.model_dump(mode="json")}

    def _norms(self) -> list[FoldableNorm]:
        return [m for m in self.modules() if isinstance(m, FoldableNorm)]
