"""From files to documents, and from documents to held-out and training parts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesnn.errors import ConfigError, TrainingError
from edgesnn.student.synthetic import synthetic_records
from edgesnn.text.tokenizer import ASSISTANT, END_OF_TEXT, USER

HELD_OUT_SHARE = 0.05
"""Share of the document groups that is held out where no file is given for it."""

JSON_LINES = (".jsonl", ".ndjson")

_TITLE = re.compile(r"^ = [^=\n]+ = *$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")


@dataclass(frozen=True, slots=True)
class Document:
    """One text that ends with end-of-text.

    Attributes:
        parts: Pieces of plain text, with special tokens between them.
        group: Documents of one group never fall apart into training and held-out.
    """

    parts: tuple[str, ...]
    group: str

    @property
    def plain(self) -> tuple[str, ...]:
        """The pieces that are no special tokens."""
        return tuple(part for part in self.parts if part not in (USER, ASSISTANT, END_OF_TEXT))


def record_document(prompt: str, response: str) -> Document:
    """``<|user|>prompt<|assistant|>response<|endoftext|>``; records of one prompt are one group."""
    return Document((USER, prompt, ASSISTANT, response, END_OF_TEXT), prompt)


def text_document(text: str) -> Document:
    """``text<|endoftext|>``."""
    return Document((text, END_OF_TEXT), text)


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
        ConfigError: A data set that is neither built in nor a file.
        TrainingError: The file is unusable.
    """
    if dataset_path is not None:
        return read_documents(Path(dataset_path))
    if dataset == "synthetic":
        return [record_document(prompt, response) for prompt, response in synthetic_records()]
    raise ConfigError(
        f"the data set '{dataset}' is not built in",
        limit="synthetic",
        remedy="give its text with --dataset-path FILE (plain text, or .jsonl with prompt and response)",
    )


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
