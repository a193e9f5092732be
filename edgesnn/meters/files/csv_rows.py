"""Rows of another tool's CSV file as columns of numbers: read as they were meant, or refused with their line.

* The header decides how many fields a row has. More filled fields, or fewer than the rows before, mean that a
  decimal comma, a thousands separator or a column without a name has moved what stands behind it.
* A comma in a number is a decimal mark or a thousands separator. Numbers that can be only one of both
  decide for the whole file (``0,5``, ``1,234.5``); where none does (``27,000``), or two disagree, the file
  is refused until ``?decimal=`` names the mark.
* A cell that says that there is no number (empty, ``nan``, ``--``, ``OVER``, ``inf``) is NaN here and a
  missing sample later (`edgesnn.meters.base.Block.known`). Any other text where a number belongs is refused.
* Comments (``#``), repeated headers and a row of units below the header are no samples and are passed over.
"""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from edgesnn.errors import RecordingError
from edgesnn.meters.files.csv_columns import merge_units
from edgesnn.names import unknown

#: Lines above the header that are looked through for it, and the longest line.
PREAMBLE_LINES, MAX_LINE = 100, 1 << 20
#: What ``?decimal=`` takes.
DECIMAL = {"comma": ",", "point": "."}
_DELIMITERS = ",;\t"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_SPACES = re.compile(
    "(?<=\\d)[ '\u00a0\u2009\u202f\u2019](?=\\d{3}(?!\\d))"
)  # thousands of France, Switzerland
_GROUPS = {mark: re.compile(rf"[+-]?\d{{1,3}}([{mark}]\d{{3}})+(?!\d)") for mark in ",."}
#: A number that is a whole one in thousands and a fraction with three decimals alike.
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2}[,.]\d{3}")
_LEADING, _FOLLOWING = re.compile(r"[+-]?\d{1,3}"), re.compile(r"\d{3}(\.\d*)?")
_DIGIT = re.compile(r"\s*[+-]?[.,]?\d")
_COMMENTS = ("#", "//", "%")
_WORDS = (
    "nan +nan -nan 1.#qnan 1.#ind -1.#ind -nan(ind) inf +inf -inf infinity +infinity -infinity 1.#inf "
    "-1.#inf na n/a #n/a n.a. null none nil ol +ol -ol o.l o.l. ovld over overflow overload overrange "
    "under underflow underrange invalid #num! #div/0! #value!"
)
_NO_NUMBER = frozenset(_WORDS.split())
_DASHES = re.compile(r"[-*?.\u2013\u2014\u221e]*")


@dataclass(frozen=True, slots=True)
class CsvHead:
    """What stands before the rows.

    Attributes:
        headers: Names of the columns, with the units of a row of units where they had none.
        delimiter: What ends a field.
        encoding: Of the file.
        lines: Lines up to the first row.
        repeated: Lines that are passed over wherever they stand: the header and the row of units.
    """

    headers: tuple[str, ...]
    delimiter: str
    encoding: str
    lines: int
    repeated: frozenset[str]


@dataclass(frozen=True, slots=True)
class CsvColumns:
    """Some rows as columns.

    Attributes:
        numbers: Columns of numbers by index, float64 ``[n]``; NaN where there is none.
        texts: Other columns by index, ``[n]``.
        lines: Line of each row in the file, ``[n]``.
        rows: Place of each row among those that were given, ``[n]``.
    """

    numbers: dict[int, npt.NDArray[np.float64]]
    texts: dict[int, list[str]]
    lines: list[int]
    rows: list[int]


def decimal_mark(options: Mapping[str, str]) -> str | None:
    """The decimal mark that the address names, or None.

    Raises:
        UsageError: It is neither ``comma`` nor ``point``.
    """
    named = options.get("decimal")
    if named is not None and named not in DECIMAL:
        raise unknown("decimal mark", named, DECIMAL)
    return None if named is None else DECIMAL[named]


def open_text(path: Path, what: str, encoding: str | None = None) -> tuple[TextIO, str]:
    """The file as text: UTF-8, UTF-16 with its mark, or else Windows' western letters.

    Raises:
        RecordingError: It cannot be read.
    """
    try:
        if encoding is None:
            with path.open("rb") as file:
                begin = file.read(1 << 16)
            encoding = "utf-16" if begin[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
            if encoding == "utf-8-sig":
                try:
                    begin.rpartition(b"\n")[0].decode("utf-8")
                except UnicodeDecodeError:
                    encoding = "cp1252"
        return path.open(encoding=encoding, errors="replace", newline=""), encoding
    except OSError as error:
        raise RecordingError(f"cannot read {what}", actual=error.strerror or str(error)) from None


def read_head(path: Path, what: str) -> CsvHead:
    """Find the header: the last line before the first row of numbers.

    Raises:
        RecordingError: The file cannot be read, or has no header.
    """
    file, encoding = open_text(path, what)
    with file:
        lines = [line for _ in range(PREAMBLE_LINES) if (line := file.readline(MAX_LINE))]
    named = ""
    place = 0
    while place < len(lines) and _before_header(lines[place], lines[place + 1 :]):
        named = lines[place].strip("\r\n ")[4:5] if lines[place].lower().startswith("sep=") else named
        place += 1
    if place == len(lines):
        raise RecordingError(f"{what} is empty" if not lines else f"{what} has no header")
    header = lines[place].rstrip("\r\n")
    delimiter = named or max(_DELIMITERS, key=lambda one: len(_fields([header], one, what)[0]))
    names = [name.strip().strip('"') for name in _fields([header], delimiter, what)[0]]
    after = next((k for k in range(place + 1, len(lines)) if lines[k].strip()), None)
    merged = None
    if after is not None:
        merged = merge_units(names, _fields([lines[after].rstrip("\r\n")], delimiter, what)[0])
    repeated = {header.strip(), header.strip().lstrip("\ufeff")}
    if merged is not None and after is not None:
        repeated.add(lines[after].strip())
        place = after
    return CsvHead(tuple(merged or names), delimiter, encoding, place + 1, frozenset(repeated))


class CsvRows:
    """Turns rows into columns; one for the whole file, because it remembers what rows look like.

    Args:
        head: What stands before the rows.
        numbers: Indices of the columns that are numbers.
        texts: Indices of the columns that are not.
        mark: The decimal mark where the user named it.
        what: Names the file in errors.
        timed: Whether rows have times; where they have none, one of empty fields is a missing sample.
    """

    def __init__(
        self, head: CsvHead, numbers: Sequence[int], texts: Sequence[int], mark: str | None, what: str,
        *, timed: bool = True,
    ) -> None:  # fmt: skip
        self._head, self._numbers, self._texts = head, numbers, texts
        self._mark, self._what = mark, what
        filled = [index for index, name in enumerate(head.headers) if name]
        self._named = filled[-1] + 1 if filled else 0
        self._needed = max((*numbers, *texts), default=-1) + 1
        self._width: int | None = None
        self._blank = ' \r\n\t",;\ufeff' if timed else " \r\n\ufeff"
        self._told = mark is not None
        self._proved: set[int] = set()
        self._point: tuple[int, str] | None = None

    def tables(self, file: TextIO, rows: int) -> Iterator[tuple[list[str], list[int]]]:
        """The rows that are no comments, so many at a time, with their lines.

        Args:
            file: Open at its beginning.
            rows: Lines of a table.
        """
        for _ in range(self._head.lines):
            file.readline()
        line = self._head.lines + 1
        while taken := list(itertools.islice(file, rows)):
            kept = [
                (row, number)
                for number, row in enumerate(taken, line)
                if row.strip(self._blank) and row.strip().lstrip("\ufeff") not in self._head.repeated
            ]
            line += len(taken)
            yield [row for row, _ in kept], [number for _, number in kept]

    def columns(self, rows: Sequence[str], lines: Sequence[int]) -> CsvColumns:
        """Read rows.

        Args:
            rows: With their ends.
            lines: Of each in the file.

        Raises:
            RecordingError: A row has other fields than the header, or a cell that is no number.
        """
        fields = _fields(rows, self._head.delimiter, self._what)
        if len(fields) != len(rows):
            at = next((k for k, row in enumerate(rows) if row.count('"') % 2), 0)
            raise self._refused(lines[at], "has a quotation mark without its second", rows[at].strip()[:80])
        kept = [k for k, row in enumerate(fields) if not self._comment(row)]
        fields = [fields[k] for k in kept]
        lines = [lines[k] for k in kept]
        self._check_widths(fields, lines)
        cells = {index: [row[index] for row in fields] for index in self._numbers}
        numbers = {index: self._quick(index, column, lines) for index, column in cells.items()}
        if any(column is None for column in numbers.values()):
            self._learn(cells, lines)
        known = {
            index: np.array(list(map(self._number, cells[index], lines))) if column is None else column
            for index, column in numbers.items()
        }
        return CsvColumns(known, {i: [row[i] for row in fields] for i in self._texts}, lines, kept)

    def _comment(self, row: list[str]) -> bool:
        """Whether a row says of itself that it is none, and is not built like one (``#N/A,0.02``)."""
        if not row[0].startswith(_COMMENTS):
            return False
        return len(row) != (self._width or self._named) or not any(
            _DIGIT.match(row[index]) for index in self._numbers if 0 < index < len(row)
        )

    def _check_widths(self, fields: list[list[str]], lines: Sequence[int]) -> None:
        """Every row has as many fields as the first, and that has those of the header.

        The first may lack the last ones, where nothing is read of them, or end in a semicolon or tab.
        """
        if {self._width} == set(map(len, fields)) and self._width is not None and self._width <= self._named:
            return
        for row, line in zip(fields, lines, strict=True):
            # where commas end fields, one more that is empty may be the rest of a comma inside a number
            wide = len(row) > len(self._head.headers) and self._head.delimiter == ","
            if any(cell.strip() for cell in row[self._named :]) or wide:
                raise self._refused(
                    line, "has more fields than the header names", f"{len(row)}: {self._shown(row)}",
                    self._named, self._cause(row),
                )  # fmt: skip
            if len(row) < self._needed:
                raise self._refused(
                    line, "has fewer fields than the header names", f"{len(row)}: {self._shown(row)}",
                    self._named, "a line that was cut off: export the trace again",
                )  # fmt: skip
            self._width = self._width or len(row)
            if len(row) != self._width:
                raise self._refused(
                    line, "has other fields than the rows before it", f"{len(row)}: {self._shown(row)}",
                    self._width,
                    "a line that was cut off, or a number with a comma of its own: export the trace again",
                )  # fmt: skip

    def _cause(self, row: list[str]) -> str:
        """What most likely made a row too long, and what to do."""
        cells = [cell.strip() for cell in row]
        if self._head.delimiter == "," and any(";" in cell for cell in cells):
            return "likely rows with semicolons below a header with commas: make them alike"
        if self._head.delimiter == "," and all("." not in cell for cell in cells[1:]):
            return (
                "likely decimal commas (or thousands separators) where commas end the fields: export it with "
                "decimal points, or with semicolons between the fields"
            )
        if self._head.delimiter == "," and any(
            _LEADING.fullmatch(a) and _FOLLOWING.fullmatch(b) for a, b in itertools.pairwise(cells)
        ):
            return "likely commas as thousands separators: export the numbers without them"
        if len(row) == len(self._head.headers) + 1 and not row[-1].strip():
            return "if only the rows end in a comma, let the header end in one too"
        return "likely a column that the header does not name: name it there"

    def _quick(self, index: int, cells: list[str], lines: Sequence[int]) -> npt.NDArray[np.float64] | None:
        """A column of plain numbers; None where a cell needs a closer look."""
        try:
            if self._mark == ",":
                pointed = any("." in cell for cell in cells)
                return None if pointed else np.array([float(cell.replace(",", ".")) for cell in cells])
            found = np.array(list(map(float, cells)))
        except ValueError:
            return None
        if self._mark is None and index not in self._proved:
            places = [place for place, cell in enumerate(cells) if "." in cell]
            proof = next((k for k in places if not _EITHER.fullmatch(cells[k].strip())), None)
            if proof is not None:
                self._proved.add(index)
                self._point = self._point or (lines[proof], cells[proof])
            elif 0 < len(places) < len(cells):  # 999 before 1.000: whole numbers in thousands?
                return None
        return found

    def _learn(self, columns: Mapping[int, list[str]], lines: Sequence[int]) -> None:
        """Find the decimal mark by the numbers that leave no choice.

        Raises:
            RecordingError: None does, or two disagree.
        """
        if self._told:
            return
        told: dict[str, tuple[int, str]] = {} if self._mark is None else {self._mark: (lines[0], "")}
        either: dict[str, dict[int, tuple[int, str]]] = {".": {}, ",": {}}
        for index, cells in columns.items():
            for line, cell in zip(lines, map(str.strip, cells), strict=True):
                marks = [mark for mark in ",." if mark in cell]
                if not marks or not _DIGIT.match(cell):
                    continue
                last = max(marks, key=cell.rfind)
                if len(marks) == 1 and _EITHER.fullmatch(cell):
                    either[last].setdefault(index, (line, cell))
                    continue
                # of two kinds the last one is the mark; one kind that comes twice separates thousands
                proven = last if cell.count(last) == 1 else ",."[last == ","]
                told.setdefault(proven, (line, cell))
                self._proved.add(index)
        if self._point is not None and "," in told:
            told.setdefault(".", self._point)
        if len(told) > 1:
            (_, (one, text)), (_, (other, last_text)) = sorted(told.items(), key=lambda item: item[1])
            raise self._refused(
                other, "has another decimal mark than a row before it", last_text, f"line {one}: {text}",
                "export it with decimal points and without thousands separators, or say ?decimal=comma",
            )  # fmt: skip
        mark = next(iter(told), None)
        doubtful = [
            place
            for kind, found in either.items()
            for index, place in found.items()
            if kind != mark and index not in self._proved and (mark or kind == "," or _mixed(columns[index]))
        ]
        if doubtful:
            raise self._refused(
                doubtful[0][0], "has a number whose comma or point may separate decimals or thousands",
                doubtful[0][1], None, "say which: ?decimal=comma or ?decimal=point",
            )  # fmt: skip
        if mark == "," or either[","] or any("," in cell for cells in columns.values() for cell in cells):
            self._mark = mark

    def _number(self, cell: str, line: int) -> float:
        text = _SPACES.sub("", cell.strip())
        if text.lower() in _NO_NUMBER or _DASHES.fullmatch(text):
            return math.nan
        mark = self._mark or "."
        group = ",."[mark == ","]
        if _GROUPS[group].match(text):
            text = text.replace(group, "")
        elif group in text:
            text = ""
        text = text.replace(mark, ".")
        if not _NUMBER.fullmatch(text):
            raise self._refused(line, "has a cell that is no number", cell.strip()[:80])
        return float(text)

    def _shown(self, row: list[str]) -> str:
        return self._head.delimiter.join(row)[:80]

    def _refused(
        self, line: int, how: str, actual: str, limit: object = None, remedy: str | None = None
    ) -> RecordingError:
        return RecordingError(
            f"a row of {self._what} {how}", actual=f"line {line}: {actual}", limit=limit, remedy=remedy
        )


def _before_header(line: str, rest: Sequence[str]) -> bool:
    """Whether a line stands above the header: blank, the delimiter's name, a comment without rows below."""
    text = line.strip()
    if not text or text.lower().startswith("sep="):
        return True
    following = next((one.strip() for one in rest if one.strip()), "")
    return (
        text.startswith(_COMMENTS)
        and bool(following)
        and not re.match(r'["+-]*([.,\d]|nan)', following, re.I)
    )


def _mixed(cells: Sequence[str]) -> bool:
    """Whether some numbers have a point and others do not: 999 before 1.000 may be whole numbers."""
    return len({"." in cell for cell in cells if _DIGIT.match(cell)}) > 1


def _fields(rows: Sequence[str], delimiter: str, what: str) -> list[list[str]]:
    try:
        return [row or [""] for row in csv.reader(rows, delimiter=delimiter)]
    except csv.Error as error:
        raise RecordingError(f"{what} is no CSV file", actual=str(error)) from None
