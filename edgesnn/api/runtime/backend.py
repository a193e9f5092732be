"""`SNNLLMBackend`: a student behind the interface that agents call."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edgesnn.api.background.files import student_with_metadata
from edgesnn.api.runtime.student import GeneratedAnswer, OpenStudent, StudentUsage, TextContext
from edgesnn.bundle.bundle import MANIFEST_NAME, TOKENIZER_NAME
from edgesnn.closing import Closing
from edgesnn.errors import ArtifactError, UsageError
from edgesnn.program.artifact import METADATA_NAME
from edgesnn.text.generate import GeneratedToken
from edgesnn.text.sampling import SamplingOptions
from edgesnn.text.tokenizer import TextTokenizer, load_tokenizer

_STUB = (
    "SNNLLMBackend is running in stub mode: it gives every prompt back and runs no student. "
    "Give model_path, or 'reference', to run one"
)


class Conversation:
    """A text that goes on: what was said before is not read again.

    Args:
        backend: Whose student speaks.
        system_prompt: Text before the first prompt.
    """

    def __init__(self, backend: SNNLLMBackend, system_prompt: str | None = None) -> None:
        self._backend, self._system = backend, system_prompt
        self._context = TextContext()

    @property
    def tokens(self) -> int:
        """Tokens of the text so far."""
        return self._context.tokens

    def say(self, prompt: str, max_tokens: int = 64, **options: Any) -> str:
        """The answer to the next prompt; options as of `SNNLLMBackend.generate`."""
        return "".join(piece.text for piece in self.stream(prompt, max_tokens, **options))

    def stream(self, prompt: str, max_tokens: int = 64, **options: Any) -> Iterator[GeneratedToken]:
        """The same piece by piece; closing it ends the answer, which stays in the text as far as it came."""
        text = _joined(self._system, prompt)
        self._system = None
        yield from self._backend.begin(text, max_tokens, context=self._context, **options)


class SNNLLMBackend(Closing):
    """A student as the language model of an agent: opened once, safe for threads.

    Args:
        model_path: A bundle, a student artifact, its ``student.pt`` or ``student.safetensors``, or
            ``reference``.
        metadata_path: The artifact's ``metadata.json``, where it does not stand beside the model.
        tokenizer_name: Path of another ``tokenizer.json``, or of a folder with one; None for the student's. A
            student of version 1.0 brings none: put one beside it or name it here.
        device: ``cpu`` or None; where a student runs is said by ``target``.
        target: Device or runner; ``auto`` for this computer's fastest.
        allow_stub: Whether a model that is missing is replaced by an echo, with a warning.
        template: ``student`` for the template that the student was trained with, ``none`` for the bare
            prompt, or a text with ``{prompt}``.
        runners: Most answers side by side; None for as many as the processor has cores, four at most.

    Raises:
        ArtifactError: There is no such model.
        UserError: It is unusable.
        UsageError: The device or the target is none.

    Attributes:
        metadata: What is known of the student.
        model_type: Its architecture's name; ``stub`` for the echo.
        vocab_size: Tokens of its vocabulary.
        training_config: How it was trained, as far as it is known.
        tokenizer: Its tokenizer.
        stub_mode: Whether it is an echo.

    Examples:
        >>> with edgesnn.SNNLLMBackend(model_path="reference") as backend:
        ...     text = backend.generate("What is on the menu?", max_tokens=8)
        ...     backend.generate_tokens([5, 6, 7], max_tokens=2)
        [..., ...]
    """

    def __init__(
        self,
        *,
        model_path: str | os.PathLike[str] = "artifacts/snn_student/student.pt",
        metadata_path: str | os.PathLike[str] | None = None,
        tokenizer_name: str | None = None,
        device: str | None = None,
        target: str = "auto",
        allow_stub: bool = False,
        template: str = "student",
        runners: int | None = None,
    ) -> None:
        if device not in (None, "cpu"):
            raise UsageError(
                "a student's integers run on the CPU",
                actual=f"device {device}",
                limit="cpu",
                remedy="leave device out; target= names other places to run, see 'edgesnn list targets'",
            )
        self.model_path, self.metadata_path = str(model_path), metadata_path
        self.tokenizer_name, self.device, self.target = tokenizer_name, "cpu", target
        self._template = {"student": "student", "none": None}.get(template, template)
        self._warned: set[str] = set()
        self.stub_mode = False
        self.metadata: dict[str, Any] = {}
        self.model: OpenStudent | None = None
        self.tokenizer: TextTokenizer | None = None
        with ExitStack() as stack:
            place = _place(Path(model_path), metadata_path, stack)
            if place is None and allow_stub:
                warnings.warn(_STUB, stacklevel=2)
                self.stub_mode, self.model_name = True, "stub"
            elif place is None:
                raise ArtifactError(
                    f"there is no student at '{model_path}'",
                    remedy="train one (edgesnn train), take 'reference', or give allow_stub=True for an echo",
                )
            else:
                own = None if tokenizer_name is None else load_tokenizer(_tokenizer_file(tokenizer_name))
                chosen = "cpu" if target == "auto" else target
                self.model = stack.enter_context(OpenStudent(place, chosen, runners=runners, tokenizer=own))
                self.tokenizer, self.model_name = self.model.tokenizer, self.model.bundle.name
                self.metadata = dict(self.model.bundle.manifest.student)
            self._left = stack.pop_all()
        self.model_type: str = "stub" if self.stub_mode else str(self.metadata.get("model_type", "unknown"))
        self.vocab_size: int = 0 if self.model is None else self.model.bundle.vocab_size
        self.training_config: dict[str, Any] = dict(self.metadata.get("training_config") or {})
        self.config: dict[str, Any] = dict(self.metadata.get("architecture") or {})

    @property
    def statistics(self) -> StudentUsage:
        """Requests, tokens and seconds so far."""
        return StudentUsage() if self.model is None else self.model.usage

    def generate(
        self,
        prompt: str,
        max_tokens: int = 64,
        system_prompt: str | None = None,
        *,
        stop: str | Sequence[str] = (),
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
        **ignored: Any,
    ) -> str:
        """The answer to a prompt, without the prompt.

        Args:
            prompt: The prompt; an empty one has an empty answer.
            max_tokens: At most so many tokens.
            system_prompt: Text before the prompt, an empty line between.
            stop: A string, or several, that end the answer and are not part of it.
            temperature: Divides the logits; 0 takes the best token.
            top_k: Only the best k tokens can be drawn; 0 for all.
            top_p: Only the fewest best tokens whose probability reaches this can be drawn.
            seed: Seed of the draws.
            ignored: Anything else: one warning for each name.

        Raises:
            UsageError: A number is out of range.
            TextError: The prompt is no text.
            DeviceError: The target failed.
        """
        pieces = self.stream(
            prompt,
            max_tokens,
            system_prompt,
            stop=stop,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            **ignored,
        )
        return "".join(piece.text for piece in pieces)

    def generate_many(self, prompts: Sequence[str], max_tokens: int = 64, **options: Any) -> list[str]:
        """Answers to several prompts, made side by side; each is what `generate` gives."""
        with ThreadPoolExecutor(1 if self.model is None else self.model.runners) as threads:
            return list(threads.map(lambda prompt: self.generate(prompt, max_tokens, **options), prompts))

    def stream(
        self, prompt: str, max_tokens: int = 64, system_prompt: str | None = None, **options: Any
    ) -> Iterator[GeneratedToken]:
        """The answer piece by piece; closing the iterator ends it. Arguments as of `generate`."""
        text = _joined(system_prompt, prompt)
        if not prompt:
            return
        yield from self.begin(text, max_tokens, **options)

    def begin(
        self,
        text: str,
        max_tokens: int,
        *,
        context: TextContext | None = None,
        stop: str | Sequence[str] = (),
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
        **ignored: Any,
    ) -> Iterator[GeneratedToken]:
        """Begin an answer, in a context or in none; for `stream` and `Conversation`."""
        self._ignore(ignored)
        options = SamplingOptions(temperature, top_k, top_p, seed)
        if self.model is None:
            if max_tokens > 0:
                yield GeneratedToken(None, text)
            return
        made: GeneratedAnswer = self.model.generate(
            self.model.prompt_ids(text, self._template),
            options,
            max_tokens=max_tokens,
            stop=[stop] if isinstance(stop, str) else stop,
            context=context,
        )
        try:
            yield from made
        finally:
            made.close()

    def generate_tokens(self, input_ids: Sequence[int], max_tokens: int = 64, **options: Any) -> list[int]:
        """New token ids behind a sequence of them, the end of the text left out.

        Args:
            input_ids: Token ids; none give none.
            max_tokens: At most so many.
            options: ``temperature``, ``top_k``, ``top_p``, ``seed``; others are ignored with a warning.

        Raises:
            TextError: An id is outside the vocabulary.
        """
        names = ("temperature", "top_k", "top_p", "seed")
        known = {name: options.pop(name) for name in names if name in options}
        self._ignore(options)
        if self.model is None or len(input_ids) == 0:
            return []
        ids = [int(i) for i in input_ids]
        made = self.model.generate(ids, SamplingOptions(**known), max_tokens=max_tokens)
        made.text()
        return made.tokens

    def conversation(self, system_prompt: str | None = None) -> Conversation:
        """A text that goes on from prompt to prompt.

        Raises:
            UsageError: The target keeps no context.
        """
        if self.model is not None and not self.model.keeps_state:
            raise UsageError(f"the runner '{self.model.runner}' keeps no context", remedy="use target='cpu'")
        return Conversation(self, system_prompt)

    def close(self) -> None:
        """Close the runners; safe to call twice."""
        self._left.close()

    def _ignore(self, names: dict[str, Any]) -> None:
        for name in names.keys() - self._warned:
            self._warned.add(name)
            warnings.warn(f"SNNLLMBackend ignores '{name}'", stacklevel=4)


def _joined(system_prompt: str | None, prompt: str) -> str:
    return f"{system_prompt}\n\n{prompt}" if system_prompt else prompt


def _place(model: Path, metadata: str | os.PathLike[str] | None, stack: ExitStack) -> Path | None:
    """The folder or the name to open, or None where there is nothing."""
    if str(model) == "reference":
        return model
    if metadata is not None and not (model.exists() and Path(metadata).is_file()):
        return None
    folder = stack.enter_context(student_with_metadata(model, metadata))
    return folder if (folder / METADATA_NAME).is_file() or (folder / MANIFEST_NAME).is_file() else None


def _tokenizer_file(name: str) -> Path:
    path = Path(name)
    if path.is_dir():
        path = path / TOKENIZER_NAME
    if not path.is_file():
        raise UsageError(
            "no tokenizer at that path",
            actual=name,
            limit=f"a {TOKENIZER_NAME}, or a folder with one",
            remedy="leave tokenizer_name out: a student brings its own",
        )
    return path
