"""Streaming generation over anything that gives logits for a prompt and then token by token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesnn.errors import TextError
from edgesnn.text.sampling import Sampler, SamplingOptions, Scores
from edgesnn.text.tokenizer import TextTokenizer

_REPLACEMENT = "\ufffd"
_WAITING_MAX = 3


class LanguageModel(Protocol):
    """What generation needs of a model."""

    def prompt(self, ids: npt.NDArray[np.int64]) -> Scores:
        """Start a new context with token ids ``[length]``; what may follow the last one."""
        ...

    def next(self, token: int) -> Scores:
        """Continue the context by one token; what may follow it."""
        ...

    def greedy(self, token: int, count: int, end: int | None) -> list[int]:
        """Continue by one token and the best ones after it: 1 to ``count``, none behind ``end``."""
        ...


@dataclass(frozen=True, slots=True)
class GeneratedToken:
    """One generated token.

    Attributes:
        token: Its id; None for what was left of an incomplete character when the text ended.
        text: Text that became certain with it; empty while a character is incomplete.

    Examples:
        >>> piece = next(edgesnn.generate_text("bundle", "Hello"))
        >>> type(piece.token), type(piece.text)
        (<class 'int'>, <class 'str'>)
    """

    token: int | None
    text: str


class TextStream:
    """Turns token ids into text that never changes once given: waits for whole UTF-8 characters.

    Args:
        tokenizer: The student's tokenizer.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._pending: list[int] = []

    def push(self, token: int) -> str:
        """Text that became certain with this token."""
        self._pending.append(token)
        text = self._tokenizer.decode(self._pending)
        if not text.endswith(_REPLACEMENT):
            self._pending.clear()
            return text
        # an incomplete character has at most three bytes, so at most that many tokens must wait
        certain, waiting = self._pending[:-_WAITING_MAX], self._pending[-_WAITING_MAX:]
        before = self._tokenizer.decode(certain) if certain else ""
        if not before or before + self._tokenizer.decode(waiting) != text:
            return ""
        self._pending = waiting
        return before

    def flush(self) -> str:
        """What is left at the end; bytes that are no UTF-8 become U+FFFD."""
        text = self._tokenizer.decode(self._pending) if self._pending else ""
        self._pending.clear()
        return text


def generate(
    model: LanguageModel,
    tokenizer: TextTokenizer,
    prompt_ids: list[int],
    options: SamplingOptions,
    *,
    max_tokens: int,
    stop_token: int | None,
    ahead: int = 1,
) -> Iterator[GeneratedToken]:
    """Generate text after a prompt, token by token.

    Args:
        model: Says what may come next.
        tokenizer: The student's tokenizer.
        prompt_ids: Token ids of the prompt, at least one.
        options: How tokens are chosen.
        max_tokens: At most so many tokens.
        stop_token: Ends the text; not part of it.
        ahead: Greedy tokens that the model may make before they are asked for. With more than one its context
            may have seen tokens that were never given out.

    Yields:
        One piece per token, and one without a token when an incomplete character is left at the end.

    Raises:
        TextError: The prompt has no tokens.
    """
    if not prompt_ids:
        raise TextError("the prompt has no tokens", remedy="give some text")
    stream = TextStream(tokenizer)
    for token in _tokens(model, prompt_ids, options, max_tokens, stop_token, ahead):
        if token == stop_token:
            break
        yield GeneratedToken(token, stream.push(token))
    rest = stream.flush()
    if rest:
        yield GeneratedToken(None, rest)


def _tokens(  # noqa: PLR0917 - one caller
    model: LanguageModel,
    prompt_ids: list[int],
    options: SamplingOptions,
    max_tokens: int,
    stop_token: int | None,
    ahead: int,
) -> Iterator[int]:
    """The tokens of a text, the one that ends it included; each is run when the next is wanted."""
    if max_tokens < 1:
        return
    sampler = Sampler(options)
    token = sampler(model.prompt(np.asarray(prompt_ids, np.int64)))
    yield token
    left, size = max_tokens - 1, 1
    while left > 0:
        if ahead > 1 and options.temperature == 0:
            size = min(2 * size, ahead, left)  # the first come soon, the later in larger parts
            tokens = model.greedy(token, size, stop_token)
        else:
            tokens = [sampler(model.next(token))]
        yield from tokens
        token, left = tokens[-1], left - len(tokens)
