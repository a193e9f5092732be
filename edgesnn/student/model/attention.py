"""Causal spiking attention with one context window per head; no softmax, no float state.

    o_i = sum over j in (i - W_h, i] of (q_i . k_j) v_j        per inner timestep

q, k and v are 0 or 1, so every sum is an integer that float32 holds exactly: the block form below gives the
same bits as the definition, in time linear in the length. A block of queries is at least as long as the
window, so it meets only its own keys and those of the block before it. On a CPU with a C compiler
`edgesnn.student.kernels.fused_attention` counts the ones of ``q & k`` instead.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from edgesnn.student.kernels.fused_attention import WindowedSpikes

MIN_BLOCK = 16
"""Below this a block is too small to be worth a matrix product of its own."""


def _masks(cuts: _Blocks, segments: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """Masks of a query block over its own keys and over the block before it.

    ``[block, block]`` each; with segments ``[B, blocks, ...]`` and ``[B, blocks - 1, ...]`` of those.
    """
    query = torch.arange(cuts.block, device=like.device)[:, None]
    key = torch.arange(cuts.block, device=like.device)[None, :]
    own = (key <= query) & (key > query - cuts.window)
    before = (key - cuts.block) > query - cuts.window
    if segments is not None:
        cut = cuts.cut(segments[..., None])[..., 0]
        own = own & (cut[:, :, :, None] == cut[:, :, None, :])
        before = before & (cut[:, 1:, :, None] == cut[:, :-1, None, :])
    return own.to(like.dtype), before.to(like.dtype)


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    """``scores [T B, blocks, block, block]`` times a mask that all inner timesteps share, in place."""
    if mask.ndim == 2:
        return scores.mul_(mask)
    scores.view(-1, *mask.shape).mul_(mask)
    return scores


class _Blocks:
    """How one head's sequence of ``length`` tokens is cut for its window."""

    def __init__(self, length: int, window: int) -> None:
        self.length = length
        self.window = min(window, length)
        self.block = min(max(self.window, MIN_BLOCK), length)
        self.padding = -length % self.block
        self.count = (length + self.padding) // self.block
        self.reaches_back = self.count > 1 and self.window > 1

    def cut(self, x: Tensor) -> Tensor:
        """``[N, L, dh] -> [N, blocks, block, dh]``, padded with silence."""
        if self.padding:
            x = torch.nn.functional.pad(x, (0, 0, 0, self.padding))
        return x.reshape(x.shape[0], self.count, self.block, x.shape[2])

    def join(self, x: Tensor) -> Tensor:
        """The inverse of ``cut``."""
        return x.reshape(x.shape[0], self.count * self.block, x.shape[3])[:, : self.length]


class _WindowedAttention(torch.autograd.Function):
    """All heads at once; the backward pass computes the scores again instead of keeping them."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, windows: tuple[int, ...], segments: Tensor | None) -> Tensor:  # noqa: D102
        compiled = WindowedSpikes(windows, segments)
        ctx.compiled = compiled if compiled.serves(qkv) else None
        if ctx.compiled is not None:
            qkv = qkv.contiguous()
            ctx.save_for_backward(qkv)
            return compiled.forward(qkv)
        n, length, _, heads, width = qkv.shape
        # one copy, after which every head's q, k and v is one block of memory
        split = qkv.permute(2, 3, 0, 1, 4).contiguous()
        ctx.save_for_backward(split, segments)
        ctx.windows = windows
        out = qkv.new_empty((heads, n, length, width))
        for h, window in enumerate(windows):
            cuts = _Blocks(length, window)
            q, k, v = (cuts.cut(split[part, h]) for part in range(3))
            own, before = _masks(cuts, segments, qkv)
            o = _masked(q @ k.transpose(2, 3), own) @ v
            if cuts.reaches_back:
                o[:, 1:] += _masked(q[:, 1:] @ k[:, :-1].transpose(2, 3), before) @ v[:, :-1]
            out[h] = cuts.join(o)
        return out.permute(1, 2, 0, 3).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, None, None]:  # noqa: D102
        if ctx.compiled is not None:
            return ctx.compiled.backward(*ctx.saved_tensors, grad_out), None, None
        split, segments = ctx.saved_tensors
        length = split.shape[3]
        grad_heads = grad_out.permute(2, 0, 1, 3).contiguous()
        grads = torch.empty_like(split)
        for h, window in enumerate(ctx.windows):
            cuts = _Blocks(length, window)
            q, k, v = (cuts.cut(split[part, h]) for part in range(3))
            g = cuts.cut(grad_heads[h])
            own, before = _masks(cuts, segments, split)
            gq, gk, gv = _pair_gradients(q, k, v, g, own)
            if cuts.reaches_back:
                bq, bk, bv = _pair_gradients(q[:, 1:], k[:, :-1], v[:, :-1], g[:, 1:], before)
                gq[:, 1:] += bq
                gk[:, :-1] += bk
                gv[:, :-1] += bv
            for part, grad in enumerate((gq, gk, gv)):
                grads[part, h] = cuts.join(grad)
        return grads.permute(2, 3, 0, 1, 4).contiguous(), None, None


def _pair_gradients(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``((q k^T) * mask) v`` for queries and keys of one pair of blocks."""
    scores = _masked(q @ k.transpose(2, 3), mask)
    grad_scores = _masked(g @ v.transpose(2, 3), mask)
    return grad_scores @ k, grad_scores.transpose(2, 3) @ q, scores.transpose(2, 3) @ g


def attend(qkv: Tensor, windows: tuple[int, ...], segments: Tensor | None = None) -> Tensor:
    """Windowed causal attention of all heads.

    Args:
        qkv: Spikes ``[T, B, L, 3 d]``: q, k, v one after the other, each head-major.
        windows: Context window per head, in tokens, the token itself included.
        segments: int ``[B, L]``; a token sees only tokens of its own number. None where a row is one context.

    Returns:
        ``[T, B, L, d]`` integer-valued float32 currents, head-major.
    """
    timesteps, batch, length, width = qkv.shape
    heads = len(windows)
    split = qkv.reshape(timesteps * batch, length, 3, heads, width // (3 * heads))
    out: Tensor = _WindowedAttention.apply(split, windows, segments)  # type: ignore[no-untyped-call]
    return out.view(timesteps, batch, length, width // 3)
