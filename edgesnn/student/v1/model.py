"""A student of version 1.0 in torch, written from its state dict: what every export is compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional


class V1Block(nn.Module):
    """Attention and MLP; the names of the parameters are those of the state dict.

    Args:
        dim: Width.
        heads: Attention heads.
        hidden: Width between the two layers of the MLP.
        threshold: Of every spike.
        eps: Of both LayerNorms.
    """

    def __init__(self, dim: int, heads: int, hidden: int, threshold: float, eps: float) -> None:
        super().__init__()
        self.heads, self.threshold = heads, threshold
        self.attn = nn.Module()
        self.attn.attn = nn.Module()
        self.attn.attn.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.attn.attn.in_proj_bias = nn.Parameter(torch.empty(3 * dim))
        self.attn.attn.out_proj = nn.Linear(dim, dim)
        self.attn.norm = nn.LayerNorm(dim, eps)
        self.ff = nn.ModuleDict({"0": nn.Linear(dim, hidden), "3": nn.Linear(hidden, dim)})
        self.norm = nn.LayerNorm(dim, eps)

    def forward(self, x: Tensor, causal: bool, margins: list[Tensor] | None = None) -> Tensor:
        """Values float32 ``[B, L, d]`` behind the block; ``margins`` takes what `_spike` says of each row."""
        batch, length, dim = x.shape
        attention = self.attn.attn
        projected = functional.linear(x, attention.in_proj_weight, attention.in_proj_bias)  # type: ignore[union-attr,arg-type]
        apart = projected.view(batch, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = apart
        scores = (query * (dim // self.heads) ** -0.5) @ key.transpose(-1, -2)
        if causal:
            future = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(future, -torch.inf)
        seen = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, dim)
        seen = attention.out_proj(seen)  # type: ignore[union-attr,operator]
        spikes = self._spike(self.attn.norm(x + seen), margins)  # type: ignore[operator]
        hidden = self._spike(functional.gelu(self.ff["0"](spikes)), margins)
        result: Tensor = self.norm(spikes + self.ff["3"](hidden))
        return result

    def _spike(self, x: Tensor, margins: list[Tensor] | None) -> Tensor:
        """Spikes; how near to the threshold the nearest value of each row is goes into ``margins``."""
        if margins is not None:
            margins.append((x - self.threshold).abs().amin(dim=(1, 2)))
        return (x > self.threshold).to(x.dtype)


class V1StudentModel(nn.Module):
    """``SpikingStudentLM`` v1.0: token ids to logits, for inference.

    Args:
        tensors: The state dict, float32, by name.
        heads: Attention heads.
        threshold: Of every spike.
        eps: Of every LayerNorm.
    """

    def __init__(
        self, tensors: Mapping[str, npt.NDArray[np.float32]], heads: int, threshold: float, eps: float
    ) -> None:
        super().__init__()
        vocab, dim = tensors["embed.weight"].shape
        hidden = tensors["blocks.0.ff.0.weight"].shape[0]
        depth = sum(name.endswith(".ff.0.weight") for name in tensors)
        self.embed = nn.Embedding(vocab, dim)
        self.blocks = nn.ModuleList(V1Block(dim, heads, hidden, threshold, eps) for _ in range(depth))
        self.head = nn.Linear(dim, vocab)
        self.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in tensors.items()})
        self.eval().requires_grad_(False)

    def hidden(self, ids: Tensor, *, causal: bool = False, margins: list[Tensor] | None = None) -> Tensor:
        """What the head reads, float32 ``[B, L, d]``.

        Args:
            ids: int64 ``[B, L]``.
            causal: Whether attention is masked, which makes another function of the student: it was trained,
                and runs, without.
            margins: Takes ``[B]`` for every layer of spikes: distance of its nearest value to the threshold.
        """
        x: Tensor = self.embed(ids)
        for block in self.blocks:
            x = block(x, causal, margins)
        return x

    def forward(self, ids: Tensor, *, causal: bool = False) -> Tensor:
        """Logits float32 ``[B, L, V]`` of int64 ids ``[B, L]``; arguments as of `hidden`."""
        logits: Tensor = self.head(self.hidden(ids, causal=causal))
        return logits

    @torch.no_grad()
    def logits(self, ids: npt.NDArray[np.integer], *, causal: bool = False) -> npt.NDArray[np.float32]:
        """`forward` for arrays."""
        result: npt.NDArray[np.float32] = self(
            torch.from_numpy(np.asarray(ids, np.int64)), causal=causal
        ).numpy()
        return result

    @torch.no_grad()
    def judged(self, ids: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Logits ``[B, L, V]``, and ``[B]``: how near any value of a row came to its threshold."""
        margins: list[Tensor] = []
        logits = self.head(self.hidden(torch.from_numpy(np.asarray(ids, np.int64)), margins=margins))
        return logits.numpy(), torch.stack(margins).amin(dim=0).numpy()
