"""Streaming generation over anything that gives logits for a prompt and then token by token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesnn.errors import TextError
from edgesnn.text.sampling import Sampler, SamplingOptions
from edgesnn.text.tokenizer import TextTokenizer

_REPLACEMENT = "\ufffd"
_WAITING_MAX = 3


class LanguageModel(Protocol):
    """What generation needs of a model: float logits ``[vocab]``."""

    def prompt(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Start a new context with token ids ``[length]``; logits after the last one."""
        ...

    def next(self, token: int) -> npt.NDArray[np.float32]:
        """Continue the context by one token; logits after it."""
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
) -> Iterator[GeneratedToken]:
    """Generate text after a prompt, token by token.

    Args:
        model: Gives logits.
        tokenizer: The student's tokenizer.
        prompt_ids: Token ids of the prompt, at least one.
        options: How tokens are chosen.
        max_tokens: At most so many tokens.
        stop_token: Ends the text; not part of it.

    Yields:
        One piece per token, and one without a token when an incomplete character is left at the end.

    Raises:
        TextError: The prompt has no tokens.
    """
    if not prompt_ids:
        raise TextError("the prompt has no tokens", remedy="give some text")
    sampler = Sampler(options)
    stream = TextStream(tokenizer)
    logits = model.prompt(np.asarray(prompt_ids, np.int64))
    for index in range(max_tokens):
        token = sampler(logits)
        if token == stop_token:
            break
        text = stream.push(token)
        yield GeneratedToken(token, text)
        if index < max_tokens - 1:
            logits = model.next(token)
    rest = stream.flush()
    if rest:
        yield GeneratedToken(None, rest)
