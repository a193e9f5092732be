"""Enter and exit, written once."""

from __future__ import annotations

from abc import abstractmethod
from types import TracebackType
from typing import Protocol, Self


class Closing(Protocol):
    """What `close` ends: a ``with`` statement calls it however the statement is left.

    It is a protocol, so that contracts can build on it; who derives from it gets enter and exit.
    """

    @abstractmethod
    def close(self) -> None:
        """Let go of everything; safe to call twice."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
