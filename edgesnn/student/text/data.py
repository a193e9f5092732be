"""Documents: how a text is cut into them, and which of them are held out."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgesnn.errors import TrainingError
from edgesnn.text.tokenizer import ASSISTANT, END_OF_TEXT, SPECIAL_TOKENS, USER

HELD_OUT_SHARE = 0.05
"""Share of the document groups that is held out where no file is given for it."""

PLACES = ("station", "library", "museum", "harbour", "market", "school", "bakery", "park", "clinic", "hotel")
TIMES = ("seven", "noon", "half past two", "a quarter to five", "six in the evening", "nine tonight")
MINUTES = ("two", "five", "ten", "twelve", "fifteen", "twenty", "thirty", "forty-five")
THINGS = ("keys", "umbrella", "passport", "charger", "notebook", "ticket", "gloves", "water bottle")
PEOPLE = ("Anna", "Bo", "Carla", "Dev", "Emil", "Farah", "Goro", "Hanna")
DIRECTIONS = ("left", "right", "straight ahead", "behind you")

_TEMPLATES: tuple[tuple[str, str, tuple[tuple[str, ...], ...]], ...] = (
    ("Set a timer for {0} minutes.", "Timer set: {0} minutes from now.", (MINUTES,)),
    ("Remind me to take my {0} at {1}.", "I will remind you at {1} to take your {0}.", (THINGS, TIMES)),
    ("Where is the {0}?", "The {0} is {1}.", (PLACES, DIRECTIONS)),
    ("How far is the {0}?", "The {0} is {1} minutes away on foot.", (PLACES, MINUTES)),
    ("Call {0} at {1}.", "I will call {0} at {1}.", (PEOPLE, TIMES)),
    ("Tell {0} that I am {1} minutes late.", "Message to {0}: {1} minutes late.", (PEOPLE, MINUTES)),
    ("Who is coming to the {1}?", "{0} is coming to the {1}.", (PEOPLE, PLACES)),
    ("When does the {0} close?", "The {0} closes at {1}.", (PLACES, TIMES)),
    ("Did I forget my {0}?", "Your {0} is still at the {1}.", (THINGS, PLACES)),
    ("Take me to the {0}.", "Turn {1} and walk to the {0}.", (PLACES, DIRECTIONS[:3])),
)
"""The built-in data set: requests to smart glasses and answers, written for this project."""

_END, _USER, _ASSISTANT = (SPECIAL_TOKENS.index(token) for token in (END_OF_TEXT, USER, ASSISTANT))

_TITLE = re.compile(r"^ = [^=\n]+ = *$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")


@dataclass(frozen=True, slots=True)
class Document:
    """One text that ends with end-of-text.

    Attributes:
        parts: Pieces of plain text, and special tokens as their places in ``SPECIAL_TOKENS``.
        group: Documents of one group never fall apart into training and held-out.
    """

    parts: tuple[str | int, ...]
    group: str

    @property
    def plain(self) -> tuple[str, ...]:
        """The pieces that are no special tokens."""
        return tuple(part for part in self.parts if isinstance(part, str))


def record_document(prompt: str, response: str) -> Document:
    """``<|user|>prompt<|assistant|>response<|endoftext|>``; records of one prompt are one group."""
    return Document((_USER, prompt, _ASSISTANT, response, _END), prompt)


def text_document(text: str) -> Document:
    """``text<|endoftext|>``."""
    return Document((text, _END), text)


def split_text(text: str) -> list[str]:
    """Cut plain text into documents.

    Wikitext's top headings (`` = Title = ``) win; else blank lines separate; else every line is one document.
    """
    text = text.replace("\r\n", "\n")
    titles = [match.start() for match in _TITLE.finditer(text)]
    if titles:
        bounds = [0, *titles, len(text)]
        pieces = [text[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
    elif _BLANK_LINES.search(text.strip()):
        pieces = _BLANK_LINES.split(text)
    else:
        pieces = text.split("\n")
    return [piece.strip() for piece in pieces if piece.strip()]


def synthetic_records() -> list[tuple[str, str]]:
    """Every filling of the templates, as (prompt, response), in a fixed order."""
    records = []
    for prompt, response, lists in _TEMPLATES:
        for words in itertools.product(*lists):
            records.append((prompt.format(*words), response.format(*words)))
    return records


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def by_hash(documents: Sequence[Document]) -> list[Document]:
    """The documents in an order that depends on their groups' text alone; groups stay together."""
    return sorted(documents, key=lambda document: (_digest(document.group), document.group))


def documents_digest(documents: Sequence[Document]) -> str:
    """SHA-256 of a text, as a teacher's cache is keyed by it."""
    text = hashlib.sha256()
    for document in documents:
        for part in document.parts:
            text.update(repr(part).encode("utf-8", "surrogatepass") + b"\0")
    return text.hexdigest()


def split_held_out(documents: Sequence[Document]) -> tuple[list[Document], list[Document]]:
    """Hold out ``HELD_OUT_SHARE`` of the groups, chosen by hash: (training, held out).

    Raises:
        TrainingError: Fewer than two groups.
    """
    groups = sorted({document.group for document in documents}, key=_digest)
    if len(groups) < 2:
        raise TrainingError(
            "the data set is too short to hold out a document",
            actual=f"{len(groups)} distinct documents",
            limit="at least 2",
            remedy="give a held-out file with --eval-path",
        )
    held = set(groups[: max(1, round(HELD_OUT_SHARE * len(groups)))])
    train = [document for document in documents if document.group not in held]
    return train, [document for document in documents if document.group in held]
