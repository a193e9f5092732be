"""Choosing the next token from logits: greedy, temperature, top-k, top-p, with a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgesnn.errors import UsageError


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How the next token is chosen.

    Attributes:
        temperature: Divides the logits; 0 takes the best token (greedy).
        top_k: Only the best k tokens can be drawn; 0 for all.
        top_p: Only the fewest best tokens whose probability reaches this can be drawn; 1 for all.
        seed: Seed of the draws (PCG64).

    Raises:
        UsageError: An option is out of range.

    Examples:
        >>> options = edgesnn.SamplingOptions(temperature=0.7, top_k=40, seed=7)
        >>> text = str(edgesnn.generate_text("bundle", "Hello", options, max_tokens=4))
        >>> text == str(edgesnn.generate_text("bundle", "Hello", options, max_tokens=4))
        True
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    @property
    def deciding(self) -> int | None:
        """How many of the best tokens the choice depends on; None for all."""
        return 1 if self.temperature == 0 else self.top_k or None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: An option is out of range.
        """
        if not 0 <= self.temperature < float("inf"):
            raise UsageError("temperature out of range", actual=self.temperature, limit=">= 0")
        if self.top_k < 0:
            raise UsageError("top-k out of range", actual=self.top_k, limit=">= 0")
        if not 0 < self.top_p <= 1:
            raise UsageError("top-p out of range", actual=self.top_p, limit="in (0, 1]")
        if self.seed < 0:
            raise UsageError("seed out of range", actual=self.seed, limit=">= 0")


class Scores(NamedTuple):
    """What a model says about the next token.

    Attributes:
        logits: float32 ``[n]``.
        ids: The tokens they belong to ``[n]``, best first, the lower id first among equals; None where they
            are those of the whole vocabulary in order.
    """

    logits: npt.NDArray[np.float32]
    ids: npt.NDArray[np.integer] | None = None


class Sampler:
    """Draws tokens; the same options and logits give the same tokens on every device.

    Args:
        options: How to choose.
    """

    def __init__(self, options: SamplingOptions) -> None:
        self._options = options
        self._rng = np.random.default_rng(options.seed)

    def __call__(self, scores: Scores) -> int:
        """The next token.

        Args:
            scores: Of all tokens, or at least of the `SamplingOptions.deciding` best.

        Returns:
            Its id; of equal logits the smallest id.
        """
        place = self._place(scores.logits)
        return place if scores.ids is None else int(scores.ids[place])

    def _place(self, logits: npt.NDArray[np.float32]) -> int:
        options = self._options
        if options.temperature == 0:
            return int(np.argmax(logits))
        wide = logits.astype(np.float64)
        with np.errstate(over="ignore"):  # at the smallest temperatures only the best token is left
            scaled = (wide - wide.max()) / options.temperature
        order = np.argsort(-scaled, kind="stable")
        if options.top_k:
            order = order[: options.top_k]
        weights = np.exp(scaled[order] - scaled[order[0]])
        probabilities = weights / weights.sum()
        if options.top_p < 1:
            kept = int(np.searchsorted(np.cumsum(probabilities), options.top_p)) + 1
            order, probabilities = order[:kept], probabilities[:kept]
            probabilities = probabilities / probabilities.sum()
        drawn = int(np.searchsorted(np.cumsum(probabilities), self._rng.random(), side="right"))
        return int(order[min(drawn, len(order) - 1)])
