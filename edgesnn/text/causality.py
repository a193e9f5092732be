"""Whether a language model reads the future: a later token must not change an earlier logit.

A model that sees the whole text (an encoder such as BERT, or a decoder whose mask is missing) predicts what
it has already read. Its figures look good and mean nothing, whatever its configuration calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgesnn.errors import UserError
from edgesnn.text.tokenizer import TextTokenizer

HALF = 16
"""Tokens of the common begin of both probes, and of their ends, where the context has room for them."""

Probes = tuple[list[int], list[int]]
"""Two sequences of one length: the first half the same, the second different in every place."""


def probes(tokenizer: TextTokenizer, columns: int, context: int = 2 * HALF) -> Probes:
    """Probes of ordinary tokens: special ones may switch masks on and off.

    Args:
        tokenizer: The model's tokenizer.
        columns: Columns of its logits.
        context: Longest sequence it takes.
    """
    half = min(HALF, context // 2)
    ordinary = [i for i, spelling in enumerate(tokenizer.token_bytes()[:columns]) if spelling]
    chosen = [ordinary[i * len(ordinary) // (3 * half)] for i in range(3 * half)]
    # the begin takes every third, so that the ends, too, are spread over the vocabulary
    begin, first, second = chosen[::3], chosen[1::3], chosen[2::3]
    return begin + first, begin + second


def check_causal(
    name: str,
    logits: Callable[[Sequence[int]], npt.NDArray[np.float32]],
    pair: Probes,
    tolerance: float,
) -> None:
    """Run both probes and compare what the model says before they part.

    Args:
        name: The model, as it is called in the error.
        logits: Gives logits ``[len(ids), columns]``.
        pair: Both probes.
        tolerance: Change that rounding explains, as a share of the largest logit. Both runs have the same
            shape, so a dense model gives the same bits; experts that get other tokens to share a matrix
            product with round otherwise, and the square root of the type's precision is beyond that.

    Raises:
        UserError: It is not causal, or its logits are not numbers.
    """
    half = len(pair[0]) // 2
    first, second = (logits(ids)[:half].astype(np.float64) for ids in pair)
    if not_numbers(first) or not_numbers(second):
        raise UserError(
            f"{name} gives logits that are not numbers", actual="NaN or infinity at its first probe"
        )
    differs = first != second  # minus infinity, which some models give to columns of no token, equals itself
    change = float(np.abs(first[differs] - second[differs]).max(initial=0))
    largest = float(np.abs(first[np.isfinite(first)]).max(initial=0))
    if change > tolerance * largest:
        raise not_causal(name, f"other tokens behind place {half} change a logit before it by {change:.2g}")


def not_causal(name: str, actual: str) -> UserError:
    """The error for a model that reads the future."""
    return UserError(
        f"{name} is no causal language model: it reads the text behind the place that it predicts",
        actual=actual,
        remedy="choose a decoder (GPT-2, Llama, Qwen, SmolLM); of an encoder, one trained with is_decoder",
    )


def not_numbers(logits: npt.NDArray[np.floating]) -> bool:
    """Whether logits hold NaN or plus infinity; minus infinity is a probability of 0."""
    return bool(np.isnan(logits).any() or np.isposinf(logits).any())
