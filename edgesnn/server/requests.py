"""What a client may ask for, checked before anything runs."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

#: Time a client has to send its request, seconds.
BODY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one request may cost.

    Attributes:
        body_bytes: Bytes of its body.
        prompt_tokens: Tokens of its prompt.
        max_tokens: Tokens of its answer.
        seconds: Time of its answer; one that takes longer ends with ``length``.
        waiting: Requests that may wait for a free runner.
    """

    body_bytes: int = 1 << 20
    prompt_tokens: int = 4096
    max_tokens: int = 1024
    seconds: float = 60.0
    waiting: int = 64


class RequestRefusedError(Exception):
    """A request that is not answered.

    Args:
        status: HTTP status.
        message: What is wrong, for the client.
        code: One word for programs.
    """

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code

    def document(self) -> dict[str, Any]:
        """The body of the answer."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"  # noqa: PLR2004
        return {"error": {"message": self.message, "type": kind, "code": self.code, "param": None}}


class _Asked(BaseModel):
    """What both kinds of request share; fields that are not known are ignored."""

    model_config = ConfigDict(extra="ignore")

    model: str | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=0)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    n: Literal[1] | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    logprobs: Literal[False, 0] | None = None

    @property
    def stops(self) -> list[str]:
        """The stop strings."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the numbers of tokens."""
        return bool((self.stream_options or {}).get("include_usage"))


class CompletionAsked(_Asked):
    """A request for a completion."""

    prompt: str


class TextPart(BaseModel):
    """A part of a message; only text is understood."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of a chat."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        """Its text."""
        content = self.content
        return content if isinstance(content, str) else "".join(part.text for part in content)


class ChatAsked(_Asked):
    """A request for the next message of a chat."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]


Asked = TypeVar("Asked", bound=_Asked)


async def read_request(request: Request, kind: type[Asked], limits: ServerLimits) -> Asked:
    """Read and check a request.

    Raises:
        RequestRefusedError: It is too long, too slow, no JSON, or asks for what there is not.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > limits.body_bytes:
                    what = f"the body has more than {limits.body_bytes} bytes"
                    raise RequestRefusedError(413, what, "too_long")
    except TimeoutError:
        what = f"the body did not come within {BODY_SECONDS:g} s"
        raise RequestRefusedError(408, what, "too_slow") from None
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestRefusedError(400, "the body is no JSON", "no_json") from None
    try:
        asked = kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RequestRefusedError(400, f"{where or 'body'}: {first['msg']}", "invalid_value") from None
    wanted = asked.max_completion_tokens if asked.max_tokens is None else asked.max_tokens
    if wanted is not None and wanted > limits.max_tokens:
        what = f"max_tokens: at most {limits.max_tokens}, got {wanted}"
        raise RequestRefusedError(400, what, "invalid_value")
    return asked
