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
from typing import TYPE_CHECKING, Any, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from edgesnn.errors import TrainingError
from edgesnn.student.config import SnnConfig
from edgesnn.student.model.attention import attend
from edgesnn.student.model.neurons import Lif, add_norm, shift_spikes
from edgesnn.student.model.norm import FoldableNorm

if TYPE_CHECKING:
    from edgesnn.student.model.integer_aware import IntegerForward

UNIGRAM_SCALE = 0.25
"""Column 0 of E is the centred log-unigram times this; z[0] starts at its inverse, so logits start there."""

RESIDUAL_GAIN = 0.5


def rate_penalty(spikes: Tensor, target: float) -> Tensor:
    """Square of the excess of a layer's spike rate over the target, in units of the target."""
    excess = torch.relu(spikes.mean(dtype=torch.float32) / target - 1)
    return excess * excess


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
        self.lif = Lif(snn)
        self._recording = False
        self._rates: dict[str, float] = {}
        self._dtype = torch.float32
        self._checkpointing = False
        self._rate_target: float | None = None
        self._penalty: Tensor | None = None
        self._integer: IntegerForward | None = None
        self.segments: Tensor | None = None
        self.first: Tensor | None = None

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the next token.

        Args:
            ids: int64 ``[B, L]``; every row starts a new context.

        Returns:
            Logits ``[B, L, V]``, float32 or what `set_precision` asked for.

        Raises:
            TrainingError: The parameters were converted to another dtype.
        """
        if self.embed.weight.dtype != torch.float32:
            raise TrainingError(
                "the student's parameters must stay float32",
                actual=self.embed.weight.dtype,
                remedy="set_precision chooses the dtype of spikes and products",
            )
        self._penalty = None
        if self._integer is not None:
            return self._integer.forward(ids)
        x = linear(nn.functional.embedding(ids, self.embed.weight), self.embed.project.weight).unsqueeze(0)
        for index, block in enumerate(cast(Iterable[_Block], self.blocks)):
            if self._checkpointing and self.training and torch.is_grad_enabled():
                # reentrant: its first pass runs without gradients, which tells it from the second
                x, penalty = checkpoint(self._block, index, block, x, use_reentrant=True)
            else:
                x, penalty = self._block(index, block, x)
            self._add_penalty(penalty)
        spikes = self.fire(x, self.readout.norm, "readout")
        self._add_penalty(self._penalty_of(spikes))
        count, table = spikes.sum(dim=0), self.embed.weight
        z = linear(count, self.readout.weight.to(count.dtype), self.readout.bias.to(count.dtype))
        return linear(z, table.to(z.dtype))

    def _block(self, index: int, block: _Block, x: Tensor) -> tuple[Tensor, Tensor]:
        """One block: the residual stream after it, and its spike-rate penalty."""
        attn, mlp, name, shift = block.attn, block.mlp, f"blocks.{index}.", self.config.shift_channels
        fired = [self.fire(x, attn.norm_in, name + "attn.in")]
        qkv = linear(shift_spikes(fired[-1], shift, self.first), self._cast(attn.qkv.weight))
        fired.append(self.fire(qkv, attn.norm_qkv, name + "attn.qkv"))
        fired.append(
            self.fire(attend(fired[-1], self.config.windows, self.segments), attn.norm_out, name + "attn.out")
        )
        x = self._add(x, linear(fired[-1], self._cast(attn.out.weight)), attn.norm_res)
        fired.append(self.fire(x, mlp.norm_in, name + "mlp.in"))
        up = linear(shift_spikes(fired[-1], shift, self.first), self._cast(mlp.up.weight))
        fired.append(self.fire(up, mlp.norm_up, name + "mlp.up"))
        x = self._add(x, linear(fired[-1], self._cast(mlp.down.weight)), mlp.norm_res)
        penalty = sum((self._penalty_of(spikes) for spikes in fired), torch.zeros((), device=x.device))
        return x, penalty

    def _cast(self, weight: Tensor) -> Tensor:
        return weight.to(self._dtype)

    def _updating(self) -> bool:
        """False in the second pass of a checkpointed block, which must not count its batch again."""
        return not (self._checkpointing and torch.is_grad_enabled())

    def fire(self, currents: Tensor, norm: FoldableNorm, name: str) -> Tensor:
        """Spikes of normalised currents; the rate is recorded by name."""
        stats = norm.statistics(currents, self._updating() or norm is self.readout.norm)
        spikes = self.lif.normalised(currents, norm.weight, norm.bias, stats, self._dtype)
        self.record(spikes, name)
        return spikes

    def _add(self, x: Tensor, y: Tensor, norm: FoldableNorm) -> Tensor:
        return add_norm(x, y, norm.weight, norm.bias, norm.statistics(y, self._updating()))

    def record(self, spikes: Tensor, name: str) -> None:
        """Keep the spike rate of a layer where rates are recorded."""
        if self._recording:
            self._rates[name] = float(spikes.detach().mean(dtype=torch.float32))

    def _penalty_of(self, spikes: Tensor) -> Tensor:
        if self._rate_target is None or not self.training:
            return torch.zeros((), device=spikes.device)
        return rate_penalty(spikes, self._rate_target)

    def _add_penalty(self, penalty: Tensor) -> None:
        self._penalty = penalty if self._penalty is None else self._penalty + penalty

    def take_penalty(self) -> Tensor | None:
        """The spike-rate penalty of the last forward pass, or None where no target is set."""
        penalty, self._penalty = self._penalty, None
        return penalty if self._rate_target is not None else None

    def set_rate_target(self, target: float | None) -> None:
        """Penalise layers whose share of spikes exceeds ``target``."""
        self._rate_target = target

    def set_precision(self, dtype: torch.dtype) -> None:
        """Dtype of spikes and matrix products; parameters, residual stream and norms stay float32."""
        self._dtype = dtype

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of spikes and matrix products."""
        return self._dtype

    def set_segments(self, segments: Tensor | None) -> None:
        """Contexts of the following batches.

        Args:
            segments: int ``[B, L]``, the number of each token's context, ascending in a row; None where every
                row is one context.
        """
        self.segments, self.first = segments, None
        if segments is not None:
            self.first = torch.nn.functional.pad(segments[:, 1:] != segments[:, :-1], (1, 0), value=True)

    def set_checkpointing(self, enabled: bool) -> None:
        """Compute the inside of every block again in the backward pass instead of keeping it."""
        self._checkpointing = enabled

    def set_integer_aware(self, storage: str, exponent: int) -> None:
        """From now on the forward pass is the compiler's integer program, with straight-through gradients.

        Args:
            storage: How matrices will be stored: ``float32``, ``float16`` or ``int8``.
            exponent: Of the integer logits, ``logits = logits_q * 2**-exponent``.
        """
        from edgesnn.student.model.integer_aware import IntegerForward

        self._integer = IntegerForward(self, storage, exponent)

    def leave_integer_aware(self) -> None:
        """Back to the float forward pass."""
        self._integer = None

    def logit_reach(self, ids: Tensor) -> Tensor:
        """Largest magnitude of each readout channel on some text, float32 ``[r]``."""
        x = linear(nn.functional.embedding(ids, self.embed.weight), self.embed.project.weight).unsqueeze(0)
        for index, block in enumerate(cast(Iterable[_Block], self.blocks)):
            x, _ = self._block(index, block, x)
        count = self.fire(x, self.readout.norm, "readout").sum(dim=0).float()
        return linear(count, self.readout.weight, self.readout.bias).abs().amax(dim=(0, 1))

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
