"""The frame of every page: policy, style, header, navigation, footer."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgesnn import __version__
from edgesnn.reports.html.markup import Child, Safe, SafeLink, element, join, part, style

#: A page never grows beyond this, bytes.
MAX_BYTES = 1_000_000
#: Of them, for style, header and navigation.
_FRAME_BYTES = 120_000


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a page.

    Attributes:
        identifier: Its address on the page.
        title: Its heading.
        content: What stands in it.
    """

    identifier: str
    title: str
    content: Child


def page(
    title: str,
    header: Child,
    sections: Sequence[Section],
    *,
    back: tuple[SafeLink, str] | None = None,
    made: str | None = None,
) -> str:
    """A whole document.

    Args:
        title: Of the window.
        header: What stands above the sections: names and verdict.
        sections: The parts, in order; those without content are left out.
        back: A link to the page above this one.
        made: When the newest record in it was made; the footer says it.

    Returns:
        HTML; the only file it needs is itself. Where it would be larger than `MAX_BYTES`, its largest parts
        are left out, and say so.
    """
    rules = sheet()
    digest = base64.b64encode(hashlib.sha256(rules.encode()).digest()).decode()
    # Nothing is loaded and nothing runs, whatever a record says; only this very style sheet applies.
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    shown = _fitting([section for section in sections if join(section.content)])
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        style(rules),
    )
    navigation = element(
        "nav",
        element("ul", [element("li", element("a", s.title, href=part(s.identifier))) for s in shown]),
        aria_label="Parts of this page",
    )
    body = element(
        "body",
        element("a", "Skip to the content", href=part("content"), class_="skip"),
        element(
            "header",
            element("p", element("a", back[1], href=back[0]), class_="back") if back else None,
            header,
        ),
        navigation if len(shown) > 1 else None,
        element("main", [_section(section) for section in shown], id="content", tabindex="-1"),
        element(
            "footer",
            f"edgesnn {__version__}",
            f" · newest record made {made}" if made else None,
            " · this page loads nothing and runs nothing",
        ),
    )
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def _fitting(sections: Sequence[Section]) -> list[Section]:
    """Sections that fit on a page: the largest is left out until they do."""
    shown = [Section(section.identifier, section.title, join(section.content)) for section in sections]
    left_out = element("p", "Left out: the page would grow beyond 1 MB.", class_="note")
    sizes = [len(join(section.content).encode()) for section in shown]
    while sum(sizes) > MAX_BYTES - _FRAME_BYTES:
        largest = sizes.index(max(sizes))
        shown[largest] = Section(shown[largest].identifier, shown[largest].title, left_out)
        sizes[largest] = len(left_out)
    return shown


def _section(section: Section) -> Safe:
    heading = f"h-{section.identifier}"
    return element(
        "section",
        element("h2", section.title, id=heading),
        section.content,
        id=section.identifier,
        aria_labelledby=heading,
    )


@cache
def sheet() -> str:
    """The rules of every page."""
    return Path(__file__).with_name("style.css").read_text(encoding="utf-8")
