"""From files to documents, and from documents to held-out and training parts."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesnn.errors import ConfigError, TrainingError
from edgesnn.text.tokenizer import ASSISTANT, END_OF_TEXT, SPECIAL_TOKENS, USER

HELD_OUT_SHARE = 0.05
"""Share of the document groups that is held out where no file is given for it."""

JSON_LINES = (".jsonl", ".ndjson")

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


def _read_json_lines(text: str, name: str) -> list[Document]:
    documents = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            prompt, response = record["prompt"], record["response"]
        except (ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"'{name}' line {number} is no record",
                actual=f"{type(error).__name__}: {error}",
                limit='{"prompt": text, "response": text}',
            ) from None
        if not isinstance(prompt, str) or not isinstance(response, str):
            raise TrainingError(f"'{name}' line {number}: prompt and response must be text")
        documents.append(record_document(prompt, response))
    return documents


def read_documents(path: Path) -> list[Document]:
    """Read a text file or a JSON-lines file of prompt and response.

    Raises:
        TrainingError: The file is missing, unreadable, no UTF-8, malformed or empty.
    """
    if not path.is_file():
        raise TrainingError(f"no data set at '{path}'", actual="missing file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TrainingError(
            f"'{path}' is not UTF-8 text", actual=f"byte {error.start}: {error.reason}"
        ) from None
    except OSError as error:
        raise TrainingError(f"cannot read '{path}'", actual=error.strerror) from None
    if path.suffix in JSON_LINES:
        documents = _read_json_lines(text, path.name)
    else:
        documents = [text_document(piece) for piece in split_text(text)]
    if not documents:
        raise TrainingError(f"the data set '{path}' is empty", remedy="give a file with text in it")
    return documents


def load_documents(dataset: str, dataset_path: str | None) -> list[Document]:
    """The training documents of a configuration.

    Raises:
        ConfigError: A data set that is neither built in, nor on the hub, nor a file.
        TrainingError: The file is unusable, or the hub is out of reach.
        MissingExtraError: A data set of the hub without the ``datasets`` package.
    """
    if dataset_path is not None:
        return read_documents(Path(dataset_path))
    if dataset == "synthetic":
        return [record_document(prompt, response) for prompt, response in synthetic_records()]
    from edgesnn.student.text.datasets_hub import HUB_DATASETS, load_hub_documents

    if dataset in HUB_DATASETS:
        return load_hub_documents(dataset)
    raise ConfigError(
        f"the data set '{dataset}' is unknown",
        limit=", ".join(["synthetic", *HUB_DATASETS]),
        remedy="give its text with --dataset-path FILE (plain text, or .jsonl with prompt and response)",
    )


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
