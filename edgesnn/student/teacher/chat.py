"""How a teacher wants to be asked: its own chat format around our prompts and answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from unittest import mock

from edgesnn.errors import TrainingError
from edgesnn.text.tokenizer import END_OF_TEXT, TextTokenizer

_PROMPT, _ANSWER = "PROMPTPLACE7", "ANSWERPLACE7"

TODAY = datetime(2024, 7, 26)
"""The day of every template that writes a date (Llama 3's own default): a pass that goes on tomorrow, or on
another machine, asks the same questions."""


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """Native ids around a prompt, an answer and a plain text.

    Attributes:
        before: From the begin of the context to the prompt: system text and the user's turn.
        between: From the prompt to the answer.
        text_start: In front of a plain text.
        turn_end: The id that ends an answer.
        text_end: The id that ends a plain text.
        turn_closes: Whether ``between`` begins with ``turn_end``; then the teacher predicts a prompt's end.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    text_start: tuple[int, ...]
    turn_end: int
    text_end: int
    turn_closes: bool

    def end_ids(self) -> tuple[int, ...]:
        """Ids that end a text or a turn."""
        return tuple(dict.fromkeys((self.text_end, *self.text_start, self.turn_end)))


def chat_format(tokenizer: Any, native: TextTokenizer, system: str | None) -> ChatFormat:
    """Read the chat format out of a transformers tokenizer.

    A teacher without a chat template is asked in plain lines: prompt, line feed, answer, end of text.

    Args:
        tokenizer: Tokenizer of transformers.
        native: The same as the toolkit runs it.
        system: System text, or None for the template's own.

    Raises:
        TrainingError: It has no end-of-text token, or its template cannot carry a prompt and an answer.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise TrainingError(
            "the teacher's tokenizer names no end-of-text token", remedy="set eos_token in its configuration"
        )
    special = {token: native.token_id(token) for token in native.specials()}
    # a chat model's eos ends a turn and its bos may begin one; between texts stands <|endoftext|>
    text_end = special.get(END_OF_TEXT, int(end))
    start = special.get(END_OF_TEXT, tokenizer.bos_token_id)
    text_start = (int(end if start is None else start),)
    if not getattr(tokenizer, "chat_template", None):
        return ChatFormat(text_start, tuple(native.encode("\n")), text_start, text_end, text_end, False)
    messages = [{"role": "user", "content": _PROMPT}, {"role": "assistant", "content": _ANSWER}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    try:
        with _one_day():
            rendered = str(tokenizer.apply_chat_template(messages, tokenize=False))
    except Exception as error:  # a template raises what it likes
        raise TrainingError(
            "the teacher's chat template refuses a prompt with its answer",
            actual=f"{type(error).__name__}: {str(error)[:200]}",
            remedy="leave the system text out" if system is not None else "choose another teacher",
        ) from None
    if rendered.count(_PROMPT) != 1 or rendered.count(_ANSWER) != 1:
        raise TrainingError("the teacher's chat template does not carry prompt and answer as they are")
    before, rest = rendered.split(_PROMPT)
    between, after = (native.encode(piece) for piece in rest.split(_ANSWER))
    turn_end = after[0] if after and after[0] in special.values() else int(end)
    return ChatFormat(
        before=tuple(native.encode(before)),
        between=tuple(between),
        text_start=text_start,
        turn_end=turn_end,
        text_end=text_end,
        turn_closes=bool(between) and between[0] == turn_end,
    )


@contextmanager
def _one_day() -> Iterator[None]:
    """Let ``strftime_now``, the only clock that a template can read, say `TODAY`."""
    from transformers.utils import chat_template_utils

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return TODAY

    with mock.patch.object(chat_template_utils, "datetime", Stopped):
        yield
