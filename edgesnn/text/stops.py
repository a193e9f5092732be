"""Ending a text where one of some strings begins, without giving out a part of that string."""

from __future__ import annotations

from collections.abc import Sequence

from edgesnn.errors import UsageError


class StopScanner:
    """Passes text on until a stop string is complete; what may be the beginning of one waits.

    Args:
        stops: The strings, none of them empty.

    Raises:
        UsageError: One of them is empty.

    Attributes:
        found: The string that ended the text, or None.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if not all(stops):
            raise UsageError("a stop string is empty", limit="at least one character")
        self._stops = tuple(stops)
        self._waiting = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        """Text that is certain to stand before any stop string; nothing more once one was found."""
        if not self._stops:
            return text
        if self.found is not None:
            return ""
        self._waiting += text
        places = [(self._waiting.find(stop), stop) for stop in self._stops if stop in self._waiting]
        if places:
            at, self.found = min(places)
            certain, self._waiting = self._waiting[:at], ""
            return certain
        kept = max((self._begun(stop) for stop in self._stops), default=0)
        cut = len(self._waiting) - kept
        certain, self._waiting = self._waiting[:cut], self._waiting[cut:]
        return certain

    def flush(self) -> str:
        """What was waiting: the text ended."""
        rest, self._waiting = self._waiting, ""
        return rest

    def _begun(self, stop: str) -> int:
        """How many characters at the end of what waits are the beginning of a stop string."""
        longest = min(len(stop) - 1, len(self._waiting))
        return next((n for n in range(longest, 0, -1) if self._waiting.endswith(stop[:n])), 0)
