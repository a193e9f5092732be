"""A student that is open: its text, its runners, and answers as they are made."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from edgesnn import plugins
from edgesnn.api.bundles import bundle_of
from edgesnn.api.options import Progress, silent
from edgesnn.api.runners import export_of, is_remote, runner_of
from edgesnn.api.runtime.model import RunnerModel
from edgesnn.api.runtime.pool import RunnerPool
from edgesnn.api.v1.text import end_of_text
from edgesnn.bundle.bundle import TOKENIZER_NAME, Bundle
from edgesnn.closing import Closing
from edgesnn.errors import TextError, UsageError
from edgesnn.program.program import check_ids
from edgesnn.program.state import State
from edgesnn.runners.base import Capability, Runner, RunnerOptions
from edgesnn.runners.recompute import stepping
from edgesnn.targets import parse_target, resolve_target
from edgesnn.text.generate import GeneratedToken, generate
from edgesnn.text.sampling import SamplingOptions
from edgesnn.text.stops import StopScanner
from edgesnn.text.tokenizer import TextTokenizer, load_tokenizer

#: Most runners of a local target that are open at once, where nothing else is said.
RUNNERS_MAX = 4

#: Greedy tokens that are made at a time, where a runner can, once an answer is under way.
AHEAD = 32


@dataclass(slots=True)
class StudentUsage:
    """What an open student has done.

    Attributes:
        requests: Answers that were begun.
        prompt_tokens: Tokens of prompts that were run.
        tokens: Tokens that were generated.
        seconds: Time they took, prompts included, all threads added up.
    """

    requests: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class TextContext:
    """Where a text stands between two answers.

    Attributes:
        state: The context of the runner; None before the first token.
        pending: Tokens of the text that the state has not seen.
        tokens: Tokens of the text.
    """

    state: State | None = None
    pending: list[int] = field(default_factory=list)
    tokens: int = 0


MakesPieces = Callable[["GeneratedAnswer"], Iterator[GeneratedToken]]


class GeneratedAnswer(Iterator[GeneratedToken]):
    """An answer that is being made; `close` ends it and gives the runner back.

    Args:
        run: Makes the pieces, given this object.
        prompt_tokens: Tokens of the prompt.

    Attributes:
        tokens: Ids generated so far.
        finish_reason: ``stop`` (the student, or a stop string), ``length``, or None while it runs.
        first_s: Time to the first token, seconds, or None.
    """

    def __init__(self, run: MakesPieces, prompt_tokens: int) -> None:
        self.prompt_tokens = prompt_tokens
        self.tokens: list[int] = []
        self.finish_reason: str | None = None
        self.first_s: float | None = None
        self._pieces = run(self)

    def __next__(self) -> GeneratedToken:
        return next(self._pieces)

    def text(self) -> str:
        """All of it, or what is left."""
        return "".join(piece.text for piece in self)

    def close(self) -> None:
        """End it here; safe to call twice."""
        self._pieces.close()  # type: ignore[attr-defined]  # a generator


class OpenStudent(Closing):
    """A bundle with its tokenizer and runners, opened once.

    Args:
        model: A bundle, its folder, or a student artifact (``reference`` ships with edgesnn).
        target: Where it runs.
        runners: Most runners open at once; None for as many as the processor has cores, four at most. A
            device beside this computer has one.
        tokenizer: Another tokenizer than the bundle's.
        on_progress: Told what happens.

    Raises:
        UserError: Bundle or artifact is unusable.
        UsageError: There is no such target.
        DeviceError: The target cannot run here.

    Attributes:
        bundle: The bundle.
        tokenizer: Its tokenizer.
        end: Token that ends a text, or None.
        usage: What it has done.
    """

    def __init__(
        self,
        model: Bundle | str | os.PathLike[str],
        target: str = "cpu",
        *,
        runners: int | None = None,
        tokenizer: TextTokenizer | None = None,
        on_progress: Progress = silent,
    ) -> None:
        first = export_of(plugins.load_runner(resolve_target(target)[0]))
        with ExitStack() as stack:
            formats = [] if first is None else [first]
            self.bundle = stack.enter_context(bundle_of(model, on_progress, formats))
            if self.bundle.reads_frames:
                self.bundle.program().require_text("this command")
            kind = runner_of(target, self.bundle)
            limit = runners or min(RUNNERS_MAX, os.cpu_count() or 1)
            if is_remote(kind):
                limit = 1
            options = RunnerOptions(address=parse_target(target).address)
            self._pool = stack.enter_context(RunnerPool(kind, self.bundle, options, limit))
            if tokenizer is None and TOKENIZER_NAME not in self.bundle.manifest.files:
                raise TextError(
                    f"student '{self.bundle.name}' brings no tokenizer",
                    remedy="put the tokenizer.json of its teacher beside it, export with --tokenizer FILE, "
                    "or give SNNLLMBackend(tokenizer_name=FILE)",
                )
            self.tokenizer = tokenizer or load_tokenizer(self.bundle.file(TOKENIZER_NAME))
            self._vocab_size = self.bundle.vocab_size
            recomputes = self.bundle.without_program is not None
            ids = self.tokenizer.vocab_size
            if ids > self._vocab_size or (ids < self._vocab_size and not recomputes):
                raise TextError(
                    "the tokenizer is another model's",
                    actual=f"{ids} tokens",
                    limit=f"{self._vocab_size} tokens",
                )
            self._scale = 1.0 if recomputes else self.bundle.program().logit_scale
            with self._pool.lease():
                pass  # what cannot run says so now
            self._left = stack.pop_all()
        self.runner = kind.name
        self.keeps_state = recomputes or Capability.STATE in kind.capabilities
        text = self.bundle.manifest.text
        self.template = text.get("prompt_template")
        end = text.get("end_of_text") or (end_of_text(self.tokenizer) if recomputes else None)
        self.end = self.tokenizer.token_id(end) if end else None
        self.usage, self._lock = StudentUsage(), threading.Lock()

    @property
    def runners(self) -> int:
        """Most answers that are made side by side."""
        return self._pool.limit

    def prompt_ids(self, prompt: str, template: str | None = "student") -> list[int]:
        """Token ids of a prompt.

        Args:
            prompt: The text.
            template: ``student`` for the student's own, None for none, or a text with ``{prompt}``.

        Raises:
            TextError: The prompt is no text, or the template has no ``{prompt}``.
        """
        try:
            prompt.encode("utf-8")
        except UnicodeEncodeError:
            raise TextError("the prompt is no text: it holds bytes that are no UTF-8") from None
        chosen = self.template if template == "student" else template
        if not chosen:
            return self.tokenizer.encode_plain(prompt)
        return self.tokenizer.encode_prompt(prompt, chosen)

    def chat_ids(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Token ids of a chat: every prompt in the student's template, every answer behind it.

        Args:
            messages: Role (``system``, ``user``, ``assistant``) and text; the last one is the user's. What a
                system message says stands before the next prompt.

        Raises:
            TextError: A text is none, or the last message is not the user's.
        """
        if not messages or messages[-1][0] != "user":
            raise TextError("the last message of a chat must be the user's")
        ids: list[int] = []
        before: list[str] = []
        for role, text in messages:
            if role == "system":
                before.append(text)
            elif role == "user":
                ids += self.prompt_ids("\n\n".join([*before, text]))
                before = []
            else:
                ids += self.prompt_ids(text, None)
        return ids

    def generate(
        self,
        ids: list[int],
        options: SamplingOptions | None = None,
        *,
        max_tokens: int = 64,
        stop: Sequence[str] = (),
        context: TextContext | None = None,
    ) -> GeneratedAnswer:
        """Begin an answer; what can go wrong is raised with the first piece.

        Args:
            ids: The prompt's token ids.
            options: How tokens are chosen.
            max_tokens: At most so many; 0 for none.
            stop: Strings that end the answer and are not part of it.
            context: A text to go on with, which then holds the prompt and the answer, too.

        Raises:
            UsageError: A number or a stop string is out of range, or the target keeps no context.
            TextError: The prompt has no tokens, or one outside the vocabulary.
        """
        if max_tokens < 0:
            raise UsageError("max-tokens out of range", actual=max_tokens, limit=">= 0")
        if not ids and (context is None or not context.tokens):
            raise TextError("the prompt has no tokens", remedy="give some text")
        if context is not None and not self.keeps_state:
            raise UsageError(
                f"the runner '{self.runner}' keeps no context",
                remedy="use --target cpu",
            )
        if ids:
            check_ids(np.array([ids]), self._vocab_size)
        chosen, scanner = options or SamplingOptions(), StopScanner(stop)

        def run(made: GeneratedAnswer) -> Iterator[GeneratedToken]:
            return self._pieces(made, ids, context, options=chosen, max_tokens=max_tokens, scanner=scanner)

        return GeneratedAnswer(run, len(ids))

    def _pieces(
        self,
        made: GeneratedAnswer,
        ids: list[int],
        context: TextContext | None,
        *,
        options: SamplingOptions,
        max_tokens: int,
        scanner: StopScanner,
    ) -> Iterator[GeneratedToken]:
        began = time.perf_counter()
        try:
            if max_tokens == 0:
                if context is not None:
                    context.pending, context.tokens = context.pending + ids, context.tokens + len(ids)
                made.finish_reason = "length"
                return
            with self._pool.lease() as leased:
                runner = stepping(leased, ids=self.tokenizer.vocab_size)
                state, pending = (None, None) if context is None else (context.state, context.pending)
                model = RunnerModel(runner, self._scale, state, pending, deciding=options.deciding)
                pieces = generate(
                    model,
                    self.tokenizer,
                    ids,
                    options,
                    max_tokens=max_tokens,
                    stop_token=self.end,
                    ahead=AHEAD if context is None else 1,  # a text goes on where its answer ended
                )
                try:
                    yield from self._scanned(made, pieces, scanner, began)
                except GeneratorExit:
                    _keep(context, runner, ids, made.tokens, model.stepped)
                    raise
                _keep(context, runner, ids, made.tokens, model.stepped)
            if made.finish_reason is None:
                made.finish_reason = "length" if len(made.tokens) >= max_tokens else "stop"
        finally:
            with self._lock:
                self.usage.requests += 1
                self.usage.prompt_tokens += len(ids)
                self.usage.tokens += len(made.tokens)
                self.usage.seconds += time.perf_counter() - began

    def _scanned(
        self, made: GeneratedAnswer, pieces: Iterator[GeneratedToken], scanner: StopScanner, began: float
    ) -> Iterator[GeneratedToken]:
        for piece in pieces:
            if made.first_s is None:
                made.first_s = time.perf_counter() - began
            if piece.token is not None:
                made.tokens.append(piece.token)
            text = scanner.push(piece.text)
            yield piece if text == piece.text else GeneratedToken(piece.token, text)
            if scanner.found is not None:
                made.finish_reason = "stop"
                return
        rest = scanner.flush()
        if rest:
            yield GeneratedToken(None, rest)

    def close(self) -> None:
        """Close every runner and remove what was made; safe to call twice."""
        self._left.close()


def _keep(
    context: TextContext | None, runner: Runner, prompt: list[int], made: list[int], stepped: int
) -> None:
    """Put an answer into its text; one that failed leaves the text as it was."""
    if context is None:
        return
    if Capability.STATE in runner.capabilities:
        context.state, context.pending = runner.save(), made[stepped:]
    else:  # nothing but the tokens themselves can be kept, and the next answer runs them all
        context.pending = [*context.pending, *prompt, *made]
    context.tokens += len(prompt) + len(made)
