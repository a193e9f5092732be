"""From a file to documents: what it holds is recognised or refused, and always said.

JSON, CSV and TSV that pass for plain text would teach a student their brackets and commas.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesnn.errors import ConfigError, TrainingError
from edgesnn.student.text.data import (
    Document,
    record_document,
    split_text,
    synthetic_records,
    text_document,
)

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json", ".jsonlines")
TABLE_SUFFIXES = (".csv", ".tsv", ".tab")
COLUMNS = ("prompt", "response")
"""Keys of a record and names of a table's columns."""

_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LOOKS_LIKE_JSON = re.compile(r"\s*(\[\s*)?\{\s*[\"']")
_SPACE = re.compile(r"\s*")
_TABLES = {",": "CSV", "\t": "TSV", ";": "CSV with semicolons"}
_HEADER = 1000
"""Characters among which the names of columns are looked for."""
_RECORD = '{"prompt": text, "response": text}'


@dataclass(frozen=True, slots=True)
class ReadText:
    """Documents, and what they were taken for.

    Attributes:
        source: Name of the file or of the data set.
        form: What its content was read as.
        documents: In the order of the file.
    """

    source: str
    form: str
    documents: list[Document]

    def sentence(self) -> str:
        """One line for whoever watches."""
        return f"{self.source}: read as {self.form}, {len(self.documents):,} documents"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for metadata.json."""
        return {"source": self.source, "read_as": self.form, "documents": len(self.documents)}


def load_documents(dataset: str, dataset_path: str | None) -> ReadText:
    """The training documents of a configuration.

    Raises:
        ConfigError: A data set that is neither built in, nor on the hub, nor a file.
        TrainingError: The file is unusable, or the hub is out of reach.
        MissingExtraError: A data set of the hub without the ``datasets`` package.
    """
    if dataset_path is not None:
        return read_documents(Path(dataset_path))
    if dataset == "synthetic":
        return ReadText(
            dataset, "built-in records", [record_document(*record) for record in synthetic_records()]
        )
    from edgesnn.student.text.datasets_hub import HUB_DATASETS, load_hub_documents

    if dataset in HUB_DATASETS:
        return ReadText(dataset, "a data set of the hub", load_hub_documents(dataset))
    raise ConfigError(
        f"the data set '{dataset}' is unknown",
        limit=", ".join(["synthetic", *HUB_DATASETS]),
        remedy="give its text with --dataset-path FILE (plain text, JSON or CSV with prompt and response)",
    )


def read_documents(path: Path) -> ReadText:
    """Read a file: JSON lines, a JSON array or a table of prompts and responses, or plain text.

    JSON is known by its suffix (in any case) or by how it begins, a table by its suffix or by the columns in
    its first line. Everything else is plain text in UTF-8, or in what the mark at its begin says.

    Raises:
        TrainingError: The file is missing, unreadable, no text, malformed or empty.
    """
    text, suffix, name = read_text(path), path.suffix.lower(), path.name
    delimiter = _delimiter(text)
    documents: list[Document] = []
    if not text.strip():
        form = "plain text"
    elif suffix in JSON_SUFFIXES or _LOOKS_LIKE_JSON.match(text):
        form, documents = _read_json(text, name)
    elif delimiter is not None:
        form, documents = _TABLES[delimiter], list(_read_table(text, delimiter, name))
    elif suffix in TABLE_SUFFIXES:
        raise TrainingError(
            f"the table '{name}' has no columns {' and '.join(COLUMNS)}",
            actual=f"first line {text.lstrip().splitlines()[0][:100]!r}",
            remedy="name its columns so in the first line, or give JSON lines or plain text",
        )
    else:
        form, documents = "plain text", [text_document(piece) for piece in split_text(text)]
    if not documents:
        raise TrainingError(f"the data set '{path}' is empty", remedy="give a file with text in it")
    return ReadText(name, form, documents)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in what the mark at its begin says, with line feeds alone.

    Raises:
        TrainingError: The file is missing, unreadable or no text.
    """
    if not path.is_file():
        raise TrainingError(f"no text at '{path}'", actual="missing file")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TrainingError(f"cannot read '{path}'", actual=error.strerror) from None
    return _decoded(raw, path)


def _decoded(raw: bytes, path: Path) -> str:
    """Text with line feeds alone at the ends of its lines."""
    mark, encoding = next(((m, e) for m, e in _MARKS if raw.startswith(m)), (b"", "utf-8"))
    try:
        text = raw[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, len(mark) + error.start) + 1
        raise TrainingError(
            f"'{path}' is not {encoding.upper()} text",
            actual=f"line {line}, byte {error.start}: {error.reason}",
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise TrainingError(
            f"'{path}' is no text",
            actual=f"a zero byte in line {line}",
            remedy="give UTF-8, or UTF-16 with its mark (BOM)",
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_json(text: str, name: str) -> tuple[str, list[Document]]:
    """Records one after another, or in one array."""
    decoder, line, seen = json.JSONDecoder(), 1, 0

    def skip(at: int) -> int:
        end = _SPACE.match(text, at).end()  # type: ignore[union-attr]
        nonlocal line, seen
        line, seen = line + text.count("\n", seen, end), end
        return end

    at = skip(0)
    array = text.startswith("[", at)
    if array:
        at = skip(at + 1)
    documents: list[Document] = []
    while at < len(text) and not (array and text[at] == "]"):
        try:
            record, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            line += text.count("\n", seen, error.pos)
            raise _no_record(name, line, f"{error.msg} (column {error.colno})") from None
        except (RecursionError, ValueError) as error:
            raise _no_record(name, line, f"{type(error).__name__}: {str(error)[:100]}") from None
        documents.append(_record(record, name, line))
        at = skip(at)
        if array and text.startswith(",", at):
            at = skip(at + 1)
        elif array and not text.startswith("]", at):
            raise _no_record(name, line, f"no comma or bracket behind record {len(documents)} of the array")
    if array and (at == len(text) or (at := skip(at + 1)) < len(text)):
        raise _no_record(name, line, "the array does not end the file")
    return "a JSON array" if array else "JSON lines", documents


def _record(record: Any, name: str, line: int) -> Document:
    try:
        values = [record[key] for key in COLUMNS]
    except (KeyError, TypeError) as error:
        raise _no_record(name, line, f"{type(error).__name__}: {error}") from None
    if not all(isinstance(value, str) for value in values):
        raise TrainingError(f"'{name}' line {line}: prompt and response must be text", limit=_RECORD)
    for value in values:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TrainingError(
                f"'{name}' line {line} holds half a character",
                actual=f"a lone surrogate U+{ord(value[error.start]):04X}, as a cut emoji leaves",
                remedy="write the whole character, or leave it out",
            ) from None
    return record_document(*values)


def _no_record(name: str, line: int, actual: str) -> TrainingError:
    return TrainingError(f"'{name}' line {line} is no record", actual=actual, limit=_RECORD)


def _delimiter(text: str) -> str | None:
    """What stands between the columns, if the first line names those of a record."""
    first = text.lstrip().partition("\n")[0][:_HEADER]
    for delimiter in _TABLES:
        if set(COLUMNS) <= set(_names(next(csv.reader([first], delimiter=delimiter), []))):
            return delimiter
    return None


def _names(header: list[str]) -> list[str]:
    return [name.strip().lower() for name in header]


def _read_table(text: str, delimiter: str, name: str) -> Iterator[Document]:
    rows = csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=delimiter, strict=True)
    above = text[: len(text) - len(text.lstrip())].count("\n")
    names: list[str] = []
    while True:
        begin = above + rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise TrainingError(
                f"'{name}' line {begin} is no row of a table",
                actual=str(error),
                remedy="quote it, or give JSON lines",
            ) from None
        if row is None:
            return
        if not names:
            names = _names(row)
        elif row and len(row) != len(names):
            raise TrainingError(
                f"'{name}' line {begin} is no row of the table",
                actual=f"{len(row)} columns",
                limit=f"{len(names)}, as in the first line",
                remedy=f"put text with {_TABLES[delimiter]} marks in it into quotes, or give JSON lines",
            )
        elif row:
            yield _record(dict(zip(names, row, strict=True)), name, begin)
