"""The console of every command: what others wrote reaches a terminal as text, never as commands to it.

Paths, names in files, headers of traces, what boards and instruments say: nobody knows what they hold. Here
no text is markup, no ``:word:`` an emoji, and control characters are shown, not sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

#: Controls (C0 but tab and newline, C1), marks that turn the direction of text, halves of UTF-16 pairs.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
#: A width that no line has.
_NO_EDGE = 100_000


def visible(text: str) -> str:
    """Text whose control characters are spelt out, as `ascii` does it."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


class PlainConsole(Console):
    """A console that takes text as it is; style comes from `rich.text.Text` alone.

    Where nobody watches there is no edge: nothing is folded or cut, whatever the environment says.

    Args:
        file: Where it writes.
        stderr: Whether that is standard error.
    """

    def __init__(self, file: TextIO, *, stderr: bool = False) -> None:
        self.watched = file.isatty()
        super().__init__(
            file=file,
            stderr=stderr,
            soft_wrap=not self.watched,
            markup=False,
            emoji=False,
            width=None if self.watched else _NO_EDGE,
            height=None if self.watched else _NO_EDGE,
        )

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Rich's segments, control characters in their text made visible."""
        for segment in super().render(renderable, options):
            told = segment.control is not None or segment.text.isprintable()
            yield segment if told else Segment(visible(segment.text), segment.style)


def is_watched(console: Console) -> bool:
    """Whether a console is a terminal, which has an edge; not whether it shows colours."""
    return console.watched if isinstance(console, PlainConsole) else console.is_terminal
