"""The integer arithmetic that several processes share.

Products of matrices run in float32: every sum in them is an integer below 2**24, which float32 holds exactly.
"""

from __future__ import annotations

import numpy as np


class Embedding:
    """``trunc((sum_j P[j, c] E[token, j]) M[c] / 2**shift)`` for every token.

    Args:
        table: E, int8 ``[vocab, r]``.
        projection: P, int8 ``[r, d]``.
        multiplier: M, int32 ``[d]``.
        shift: k0.
    """

    def __init__(
        self, *, table: np.ndarray, projection: np.ndarray, multiplier: np.ndarray, shift: int
    ) -> None:
        self._table = table.astype(np.float32)
        self._projection = projection.astype(np.float32)
        self._factor = multiplier * 2.0**-shift

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        """Currents, float64 ``[n, d]``, integers, of token ids ``[n]``."""
        return np.trunc((self._table[ids] @ self._projection) * self._factor)


class Readout:
    """``z = c D + bz``, ``z8 = clip(trunc(z M / 2**shift), -127, 127)``, ``logits = z8 E^T``.

    Args:
        weight: D, int8 ``[d, r]``.
        bias: bz, int32 ``[r]``.
        multiplier: M, int32 ``[r]``; products with it stay below 2**31.
        shift: k.
        table: E, int8 ``[vocab, r]``.

    Attributes:
        vocab: Number of logits.
    """

    def __init__(
        self, *, weight: np.ndarray, bias: np.ndarray, multiplier: np.ndarray, shift: int, table: np.ndarray
    ) -> None:
        self._weight = weight.astype(np.float64)
        self._bias = bias
        self._factor = multiplier * 2.0**-shift
        self._table = table.astype(np.float32)
        self.vocab = len(table)

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """Logits, float32 ``[n, vocab]``, integers below 2**24, of spikes per token ``[n, d]``."""
        z = counts @ self._weight + self._bias
        z8 = np.clip(np.trunc(z * self._factor), -127, 127)
        return z8.astype(np.float32) @ self._table.T
