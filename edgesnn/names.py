"""Names that users type: the nearest known ones when a name is unknown."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from edgesnn.errors import UsageError

MAX_SUGGESTIONS = 3


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The known names most like a given one, best first, at most three.

    Args:
        name: What was typed.
        known: The names that exist.

    Returns:
        Names in the spelling of ``known``; empty when nothing is similar.
    """
    spelling = {candidate.casefold(): candidate for candidate in known}
    matches = get_close_matches(name.casefold(), spelling, n=MAX_SUGGESTIONS, cutoff=0.5)
    return [spelling[match] for match in matches]


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """A remedy for an unknown name: the nearest names, or all of them, or None when there are none."""
    known = sorted(known)
    matches = nearest(name, known)
    if matches:
        return "did you mean " + " or ".join(f"'{match}'" for match in matches) + "?"
    if known:
        return "known: " + ", ".join(known)
    return None


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that does not exist.

    Args:
        kind: What the name should name, for example ``runner``.
        name: What was typed.
        known: The names that exist.

    Returns:
        The error, ready to raise.
    """
    return UsageError(f"there is no {kind} '{name}'", remedy=suggestion(name, known))
