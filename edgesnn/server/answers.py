"""The documents of an answer, whole or in parts, of both endpoints."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from edgesnn.api.runtime.student import GeneratedAnswer


@dataclass(slots=True)
class AnswerForm:
    """How one answer is written.

    Attributes:
        model: Name of the model.
        chat: Whether it is a message of a chat, else a completion.
        name: Its id.
        created: Time, seconds since 1970.
    """

    model: str
    chat: bool
    name: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, made: GeneratedAnswer) -> dict[str, Any]:
        """The answer in one document."""
        said = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": made.finish_reason}
        return {**self._head(""), "choices": [choice], "usage": usage_of(made)}

    def part(self, text: str, reason: str | None = None, *, first: bool = False) -> str:
        """One event of a stream: some text, or why it ended."""
        if self.chat:
            delta = ({"role": "assistant"} if first else {}) | ({} if reason else {"content": text})
            said: dict[str, Any] = {"delta": delta}
        else:
            said = {"text": text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": reason}
        return event({**self._head(".chunk"), "choices": [choice]})

    def counted(self, made: GeneratedAnswer) -> str:
        """The event with the numbers of tokens."""
        return event({**self._head(".chunk"), "choices": [], "usage": usage_of(made)})

    def _head(self, suffix: str) -> dict[str, Any]:
        kind = f"chat.completion{suffix}" if self.chat else "text_completion"
        name = f"{'chatcmpl' if self.chat else 'cmpl'}-{self.name}"
        return {"id": name, "object": kind, "created": self.created, "model": self.model}


def usage_of(made: GeneratedAnswer) -> dict[str, int]:
    """The numbers of tokens."""
    prompt, new = made.prompt_tokens, len(made.tokens)
    return {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}


def event(document: dict[str, Any] | str) -> str:
    """One server-sent event."""
    text = document if isinstance(document, str) else json.dumps(document, ensure_ascii=False)
    return f"data: {text}\n\n"
