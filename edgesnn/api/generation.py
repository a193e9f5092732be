"""Text out of a bundle."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from edgesnn.api.options import Progress, silent
from edgesnn.api.runtime.student import OpenStudent
from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import UsageError
from edgesnn.text.generate import GeneratedToken
from edgesnn.text.sampling import SamplingOptions


class GeneratedText(Iterator[GeneratedToken]):
    """Text that is being made: iterate over its pieces, or take all of it with ``str()``.

    Args:
        pieces: What makes it.

    Examples:
        >>> text = edgesnn.generate_text("bundle", "What is on the menu?", max_tokens=8)
        >>> len(str(text)) > 0
        True
    """

    def __init__(self, pieces: Iterator[GeneratedToken]) -> None:
        self._pieces = pieces
        self._made: list[str] = []

    def __next__(self) -> GeneratedToken:
        piece = next(self._pieces)
        self._made.append(piece.text)
        return piece

    def __str__(self) -> str:
        """The whole text; what is not made yet is made now."""
        for _ in self:
            pass
        return "".join(self._made)

    def __repr__(self) -> str:
        return f"<GeneratedText: {''.join(self._made)!r} so far>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a notebook shows: the text."""
        printer.text(repr(self) if cycle else str(self))


def generate_text(
    model: Bundle | str | os.PathLike[str],
    prompt: str,
    options: SamplingOptions | None = None,
    *,
    target: str = "cpu",
    max_tokens: int = 64,
    raw: bool = False,
    on_progress: Progress = silent,
    on_prompt: Callable[[list[int]], object] = lambda ids: None,
) -> GeneratedText:
    """Stream text after a prompt.

    Args:
        model: A bundle, its folder, or a student artifact (``reference`` ships with edgesnn).
        prompt: The prompt.
        options: How tokens are chosen; the best one each time where it is left out.
        target: Where to run.
        max_tokens: At most so many tokens.
        raw: Whether the prompt is taken as it is, without the student's template.
        on_progress: Told what happens before the first token.
        on_prompt: Given the token ids of the prompt, template included, before the first piece.

    Returns:
        The text: its pieces, each as soon as it is made, when iterated over; all of it with ``str()``.
        What can go wrong is raised with the first piece.

    Raises:
        TextError: The prompt has no tokens.
        UserError: Bundle or artifact is unusable.
        DeviceError: The target cannot run here.

    Examples:
        >>> print(edgesnn.generate_text("bundle", "How do I get to the museum?", max_tokens=20))
        To get from the museum to the museum on foot, you can use a shuttle
        >>> options = edgesnn.SamplingOptions(temperature=0.7, top_k=40, seed=7)
        >>> pieces = edgesnn.generate_text("bundle", "What is on the menu?", options, max_tokens=4)
        >>> [piece.token for piece in pieces]
        [...]
    """
    return GeneratedText(
        _pieces(
            model,
            prompt,
            options or SamplingOptions(),
            target=target,
            max_tokens=max_tokens,
            raw=raw,
            on_progress=on_progress,
            on_prompt=on_prompt,
        )
    )


def _pieces(
    model: Bundle | str | os.PathLike[str],
    prompt: str,
    options: SamplingOptions,
    *,
    target: str,
    max_tokens: int,
    raw: bool,
    on_progress: Progress,
    on_prompt: Callable[[list[int]], object],
) -> Iterator[GeneratedToken]:
    if max_tokens < 1:
        raise UsageError("max-tokens out of range", actual=max_tokens, limit=">= 1")
    with OpenStudent(model, target, runners=1, on_progress=on_progress) as student:
        ids = student.prompt_ids(prompt, None if raw else "student")
        on_prompt(ids)
        yield from student.generate(ids, options, max_tokens=max_tokens)
