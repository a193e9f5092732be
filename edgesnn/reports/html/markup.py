"""HTML that cannot be injected into: a closed list of elements and attributes, every text escaped.

Names in a record come from whoever made it. So no string reaches a page except through `escape`, no attribute
carries code or style, a link leads to a part of the page or to a file near it, and the page's policy forbids
scripts and requests altogether. The elements of SVG come through the same door.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from html import escape as _html_escape
from urllib.parse import quote

from edgesnn.errors import InternalError

#: Longest text that one place of a page shows: a hostile name must not blow a page up.
MAX_TEXT = 1_000
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

#: Control characters, lone surrogates, non-characters, and the marks that reorder text (a name could make
#: FAIL read as PASS).
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069"
    r"\ud800-\udfff\ufeff\ufffe\uffff]"
)
_VOID = frozenset({"br", "hr", "meta"})
_ELEMENT_NAMES = """
    a body br caption circle code dd desc details div dl dt figcaption figure footer h1 h2 h3 head header hr
    html li line main meta nav ol p path rect section span strong style summary svg table tbody td text th
    thead title tr ul
"""
_ATTRIBUTE_NAMES = """
    aria-current aria-hidden aria-label aria-labelledby charset class content cx cy d download height href
    http-equiv id lang name open preserveAspectRatio r role rx scope tabindex text-anchor viewBox width x x1
    x2 y y1 y2
"""
_ELEMENTS = frozenset(_ELEMENT_NAMES.split())
_ATTRIBUTES = frozenset(_ATTRIBUTE_NAMES.split())
_KEYWORDS: dict[str, str] = {}


class Safe(str):
    """Finished markup. Only this module makes it; every other string is text."""

    __slots__ = ()


class SafeLink(str):
    """A checked address. `near`, `part` and `enclosed` make it."""

    __slots__ = ()


Child = Safe | str | int | None | Iterable["Child"]


def clean(text: str) -> str:
    """Text without what a reader cannot see, and not longer than one place may show."""
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}\N{HORIZONTAL ELLIPSIS} ({len(text):,} characters)"
    return _HIDDEN.sub(REPLACEMENT, text)


def escape(text: str) -> Safe:
    """A text as markup that shows it, in an element or a quoted attribute."""
    return Safe(_html_escape(clean(text), quote=True))


def element(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Safe:
    """One element.

    Args:
        name: Its name, one of a closed list.
        *children: Markup as it is, strings escaped, None left out, iterables flattened.
        **attributes: By name, ``_`` for ``-`` and a trailing ``_`` where Python has the word; None and False
            leave an attribute out, True gives it no value. ``href`` takes a `SafeLink` only.

    Raises:
        InternalError: An element or attribute is not on the list.
    """
    if name not in _ELEMENTS:
        raise InternalError(f"no page has an element '{name}'")
    opened = f"<{name}" if not attributes else f"<{name}{_attributes(attributes)}"
    if name in _VOID:
        return Safe(f"{opened}>")
    return Safe(f"{opened}>{join(children)}</{name}>")


def join(children: Child) -> Safe:
    """Children one after the other."""
    if isinstance(children, Safe):
        return children
    if children is None:
        return Safe("")
    if isinstance(children, str | int):
        return escape(str(children))
    return Safe("".join([join(child) for child in children]))


def style(sheet: str) -> Safe:
    """A style sheet of ours as a ``style`` element; never text from a record.

    Raises:
        InternalError: It would end its own element.
    """
    if "<" in sheet:
        raise InternalError("a style sheet holds no '<'")
    return Safe(f"<style>{sheet}</style>")


def part(identifier: str) -> SafeLink:
    """The address of a part of the same page."""
    return SafeLink(f"#{quote(identifier, safe='')}")


def near(path: str) -> SafeLink | None:
    """The address of a file beside or around the page, or None where a path is no such file.

    Args:
        path: A relative path with ``/`` between its parts.
    """
    if not path or path.startswith("/") or "\\" in path or _HIDDEN.search(path):
        return None
    # Encoding ':' leaves no scheme: 'javascript:x' becomes a file name.
    return SafeLink(quote(path, safe="/"))


def enclosed(data: bytes, media_type: str) -> SafeLink:
    """The address of data that the page itself carries, to be saved from it.

    Args:
        data: The content.
        media_type: For example ``application/json``.
    """
    return SafeLink(f"data:{media_type};base64,{base64.b64encode(data).decode()}")


def _attributes(attributes: dict[str, str | float | bool | None]) -> str:
    parts = []
    for keyword, value in attributes.items():
        if value is None or value is False:
            continue
        name = _KEYWORDS.get(keyword) or _attribute_name(keyword)
        if name == "href":
            if not isinstance(value, SafeLink):
                raise InternalError("an href takes a checked link")
            parts.append(f' href="{value}"')
        elif value is True:
            parts.append(f" {name}")
        elif isinstance(value, str):
            # Drawings are long and ours: digits and letters of paths pass whole.
            shown = value if name == "d" and _PATH.fullmatch(value) else escape(value)
            parts.append(f' {name}="{shown}"')
        else:
            parts.append(f' {name}="{compact(value)}"')
    return "".join(parts)


_PATH = re.compile(r"[MLHVZmlhvzAa0-9., -]*")


def _attribute_name(keyword: str) -> str:
    name = keyword.rstrip("_").replace("_", "-")
    if name not in _ATTRIBUTES:
        raise InternalError(f"no page has an attribute '{name}'")
    _KEYWORDS[keyword] = name
    return name


def compact(value: float) -> str:
    """A coordinate with at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return "0" if text == "-0" else text
