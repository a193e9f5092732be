"""The application: routes, limits, and answers that end when their client leaves."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from edgesnn.api.runtime.student import GeneratedAnswer, OpenStudent
from edgesnn.errors import DeviceError, EdgesnnError
from edgesnn.server.answers import AnswerForm, event
from edgesnn.server.requests import (
    ChatAsked,
    CompletionAsked,
    RequestRefusedError,
    ServerLimits,
    read_request,
)
from edgesnn.text.sampling import SamplingOptions

DEFAULT_TOKENS = 256
#: Text is sent at least this often, seconds: a hop between threads for every token would cost more than it.
_PART_S = 0.01
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class StudentApp:
    """Answers requests with one student.

    Args:
        student: The student.
        limits: What one request may cost.
        token: What a client must show as ``Authorization: Bearer``, or None.
    """

    def __init__(self, student: OpenStudent, limits: ServerLimits, token: str | None = None) -> None:
        self._student, self._limits, self._token = student, limits, token
        self._waiting = 0
        self._free = anyio.Semaphore(student.runners)
        self.registry = kept = CollectorRegistry()
        self._requests = Counter(
            "edgesnn_requests", "Requests by endpoint and status", ["endpoint", "status"], registry=kept
        )
        self._prompt_tokens = Counter("edgesnn_prompt_tokens", "Tokens of prompts", registry=kept)
        self._tokens = Counter("edgesnn_completion_tokens", "Tokens of answers", registry=kept)
        self._first = Histogram(
            "edgesnn_first_token_seconds",
            "Time to the first token, waiting left out",
            buckets=_BUCKETS_S,
            registry=kept,
        )
        self._answer = Histogram(
            "edgesnn_answer_seconds", "Time of an answer, waiting left out", buckets=_BUCKETS_S, registry=kept
        )
        self._queue = Gauge("edgesnn_waiting_requests", "Requests that wait for a free runner", registry=kept)
        self._queue.set_function(lambda: self._waiting)
        self.app = Starlette(
            routes=[
                Route("/healthz", self._health),
                Route("/metrics", self._guarded(self._metrics)),
                Route("/v1/models", self._guarded(self._models)),
                Route("/v1/completions", self._guarded(self._completions), methods=["POST"]),
                Route("/v1/chat/completions", self._guarded(self._chat), methods=["POST"]),
            ]
        )

    def _guarded(
        self, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint behind the token, whose refusals are documents."""

        async def answer(request: Request) -> Response:
            try:
                self._admit(request)
                response = await endpoint(request)
            except RequestRefusedError as refused:
                response = JSONResponse(refused.document(), refused.status)
            except EdgesnnError as error:
                status = 503 if isinstance(error, DeviceError) else 400
                refusal = RequestRefusedError(status, error.sentence(), type(error).__name__)
                response = JSONResponse(refusal.document(), status)
            self._requests.labels(request.url.path, str(response.status_code)).inc()
            return response

        return answer

    def _admit(self, request: Request) -> None:
        if self._token is None:
            return
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not secrets.compare_digest(shown.encode(), self._token.encode()):
            raise RequestRefusedError(401, "the token is missing or wrong", "invalid_api_key")

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _metrics(self, request: Request) -> Response:
        return Response(generate_latest(self.registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _models(self, request: Request) -> Response:
        student = self._student
        facts = {"id": student.bundle.name, "object": "model", "created": 0, "owned_by": "edgesnn"}
        facts |= {"program_hash": student.bundle.manifest.program_hash, "runner": student.runner}
        return JSONResponse({"object": "list", "data": [facts]})

    async def _completions(self, request: Request) -> Response:
        asked = await read_request(request, CompletionAsked, self._limits)
        return await self._answered(asked, self._student.prompt_ids(asked.prompt, None), chat=False)

    async def _chat(self, request: Request) -> Response:
        asked = await read_request(request, ChatAsked, self._limits)
        if asked.messages[-1].role != "user":
            raise RequestRefusedError(400, "messages: the last one must be the user's", "invalid_value")
        roles = {"developer": "system"}
        messages = [(roles.get(one.role, one.role), one.text) for one in asked.messages]
        return await self._answered(asked, self._student.chat_ids(messages), chat=True)

    async def _answered(self, asked: CompletionAsked | ChatAsked, ids: list[int], *, chat: bool) -> Response:
        limits = self._limits
        if len(ids) > limits.prompt_tokens:
            what = f"the prompt has {len(ids)} tokens, at most {limits.prompt_tokens}"
            raise RequestRefusedError(400, what, "context_length_exceeded")
        wanted = asked.max_completion_tokens if asked.max_tokens is None else asked.max_tokens
        options = SamplingOptions(
            temperature=asked.temperature or 0.0,
            top_k=asked.top_k or 0,
            top_p=asked.top_p or 1.0,
            seed=asked.seed or 0,
        )
        count = min(DEFAULT_TOKENS, limits.max_tokens) if wanted is None else wanted
        made = self._student.generate(ids, options, max_tokens=count, stop=asked.stops)
        form = AnswerForm(self._student.bundle.name, chat)
        if self._waiting >= limits.waiting:
            raise RequestRefusedError(429, f"{self._waiting} requests wait already", "overloaded")
        if asked.stream:
            parts = self._events(made, form, usage=asked.wants_usage)
            headers = {"Cache-Control": "no-store"}
            return StreamingResponse(parts, media_type="text/event-stream", headers=headers)
        async with self._turn(made):
            text = "".join([part async for part in self._parts(made)])
        return JSONResponse(form.whole(text, made))

    async def _events(self, made: GeneratedAnswer, form: AnswerForm, *, usage: bool) -> AsyncIterator[str]:
        first = True
        try:
            async with self._turn(made):
                async for text in self._parts(made):
                    yield form.part(text, first=first)
                    first = False
        except EdgesnnError as error:  # the headers are gone: the stream itself has to say it
            yield event(RequestRefusedError(503, error.sentence(), type(error).__name__).document())
            return
        yield form.part("", made.finish_reason, first=first)
        if usage:
            yield form.counted(made)
        yield event("[DONE]")

    @asynccontextmanager
    async def _turn(self, made: GeneratedAnswer) -> AsyncIterator[None]:
        """Wait for a runner, and give it back however the answer ends; a client that leaves ends it."""
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        began = time.perf_counter()
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(made.close)
            self._free.release()
            self._prompt_tokens.inc(made.prompt_tokens)
            self._tokens.inc(len(made.tokens))
            self._answer.observe(time.perf_counter() - began)
            if made.first_s is not None:
                self._first.observe(made.first_s)

    async def _parts(self, made: GeneratedAnswer) -> AsyncIterator[str]:
        """The text as it is made, some tokens at a time."""
        deadline = time.monotonic() + self._limits.seconds

        def some() -> str | None:
            parts, until = [], time.monotonic() + _PART_S
            for piece in made:
                parts.append(piece.text)
                if time.monotonic() >= until:
                    break
            else:
                return "".join(parts) or None
            return "".join(parts)

        while (text := await anyio.to_thread.run_sync(some, abandon_on_cancel=False)) is not None:
            if text:
                yield text
            if time.monotonic() >= deadline:
                made.finish_reason = "length"
                return
