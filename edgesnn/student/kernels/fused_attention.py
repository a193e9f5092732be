"""The compiled attention, ``fused_attention.c``; `edgesnn.student.model.attention` defines it."""

from __future__ import annotations

import torch
from torch import Tensor

from edgesnn.student.kernels.library import NAMES, integer, pointer, serving, spread

LONGEST_WINDOW = 256
"""Tokens; beyond it matrix products are faster than single scores."""


class WindowedSpikes:
    """Attention over spikes that are 0 or 1.

    Args:
        windows: Context window per head, in tokens.
        segments: int ``[B, L]``, ascending in a row; None where a row is one context.
    """

    def __init__(self, windows: tuple[int, ...], segments: Tensor | None) -> None:
        self._windows = torch.tensor(windows, dtype=torch.int64)
        self._segments = segments

    def serves(self, qkv: Tensor) -> bool:
        """Whether the compiled attention takes ``[N, L, 3, H, D]``."""
        return serving(qkv) is not None and int(self._windows.max()) <= LONGEST_WINDOW

    def _begins(self, length: int) -> Tensor:
        """int32 ``[B, L]``, the first token of each token's context."""
        if self._segments is None:
            return torch.zeros((1, length), dtype=torch.int32)
        return torch.searchsorted(self._segments, self._segments).int().contiguous()

    def forward(self, qkv: Tensor) -> Tensor:
        """Currents ``[N, L, H, D]`` of ``[N, L, 3, H, D]``."""
        out = qkv.new_empty((qkv.shape[0], qkv.shape[1], *qkv.shape[3:]))
        self._call("attend_forward", qkv, out)
        return out

    def backward(self, qkv: Tensor, grad_out: Tensor) -> Tensor:
        """The gradient for qkv."""
        grad = torch.empty_like(qkv)
        self._call("attend_backward", qkv, grad_out.contiguous(), grad)
        return grad

    def _call(self, name: str, qkv: Tensor, *others: Tensor) -> None:
        n, length, _, heads, width = qkv.shape
        begins = self._begins(length)
        function = getattr(serving(qkv), f"{name}_{NAMES[qkv.dtype]}")
        spread(
            1,
            n,
            lambda _, first, last: function(
                pointer(qkv), pointer(begins), pointer(self._windows), *map(pointer, others),
                integer(len(begins)), integer(length), integer(heads), integer(width), integer(first),
                integer(last),
            ),
        )  # fmt: skip
