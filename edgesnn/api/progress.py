"""How long work tells what it does."""

from __future__ import annotations

from collections.abc import Callable

#: Told what happens: a stage, steps done, steps in all.
Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody sees."""
