"""Tables that lose no figure: every table of the command line is a `Sheet`.

Where nobody watches (a pipe, a file, a CI log) a sheet is as wide as it has to be. On a terminal that is too
narrow the least important columns go first, named in a line below; words fold, figures stay in one piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from edgesnn.cli.console import is_watched, visible

#: A column of words may get as narrow as this, or as its longest figure.
_LEAST_WORDS = 12
#: What must not be taken apart: 196,608, 1.5e-3, 99.98 in 99.98 %.
_FIGURE = re.compile(r"[-+]?\d(?:[\d.,:eE+-]*\d)?%?")
#: Where a word breaks before it breaks anywhere.
_JOINTS = "./_-,:=;)|"


@dataclass(frozen=True, slots=True)
class SheetColumn:
    """One column of a sheet.

    Attributes:
        heading: What stands above it.
        rank: 0 for a column that never goes; of the others the highest goes first.
        right: Whether it is aligned right, as figures are.
        folds: Whether its cells may take several lines.
    """

    heading: str
    rank: int
    right: bool
    folds: bool


def words(heading: str, rank: int = 0) -> SheetColumn:
    """A column of text, which folds where room is short."""
    return SheetColumn(heading, rank, right=False, folds=True)


def names(heading: str, rank: int = 0) -> SheetColumn:
    """A column of short text that stays on its line while columns of a rank can go instead."""
    return SheetColumn(heading, rank, right=False, folds=False)


def numbers(heading: str, rank: int = 0) -> SheetColumn:
    """A column of figures."""
    return SheetColumn(heading, rank, right=True, folds=False)


class Sheet:
    """A table that fits itself to where it is shown.

    Args:
        title: The line above it, or nothing.
        columns: Its columns, made by `words`, `names` and `numbers`.
        ruled: Whether lines are drawn between its columns.
        header: Whether the headings are shown.
    """

    def __init__(
        self, title: str | Text, *columns: SheetColumn, ruled: bool = True, header: bool = True
    ) -> None:
        self.title = Text(visible(title), "italic") if isinstance(title, str) else title
        self._columns = columns
        self._rows: list[list[Text]] = []
        self._ruled, self._header = ruled, header

    def add_row(self, *cells: str | Text) -> None:
        """One more row, a cell for each column."""
        self._rows.append([Text(visible(one)) if isinstance(one, str) else one for one in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of the sheet, for the width there is."""
        every = range(len(self._columns))
        if not is_watched(console):
            yield from self._lines(console, options, every, [self._widest(place) for place in every])
            return
        shown = self._that_fit(options.max_width)
        yield from self._lines(console, options, shown, self._widths(shown, options.max_width))
        gone = [self._columns[place].heading.strip() for place in every if place not in shown]
        if gone:
            note = f"not shown: {', '.join(gone)}; a wider terminal or --json has them"
            yield folded(Text(" ".join(note.split()), "dim"), options.max_width)

    def _lines(
        self, console: Console, options: ConsoleOptions, shown: Sequence[int], widths: Sequence[int]
    ) -> Iterable[RenderableType | Segment]:
        if self.title:
            yield folded(self.title, options.max_width) if is_watched(console) else self.title
        table = Table(
            box=box.HEAVY_HEAD if self._ruled else None, pad_edge=self._ruled, show_header=self._header
        )
        for place, width in zip(shown, widths, strict=True):
            column = self._columns[place]
            table.add_column(
                folded(Text(column.heading), width),
                justify="right" if column.right else "left",
                width=width,
                no_wrap=True,
                overflow="ignore",
            )
        for row in self._rows:
            cells = zip(shown, widths, strict=True)
            table.add_row(*(folded(row[place], width) for place, width in cells))
        room = options.update(width=sum(widths) + self._between(len(widths)), no_wrap=False)
        for line in console.render_lines(table, room, pad=False):
            yield from _without_padding(line)
            yield Segment.line()

    def _between(self, count: int) -> int:
        """What stands beside the cells of so many columns: rules and blanks."""
        return 3 * count + 1 if self._ruled else 2 * (count - 1)

    def _texts(self, place: int) -> list[Text]:
        return [row[place] for row in self._rows]

    def _widest(self, place: int) -> int:
        """The width at which a column folds nothing."""
        heading = [Text(self._columns[place].heading)] if self._header else []
        lines = (line for text in [*heading, *self._texts(place)] for line in text.plain.split("\n"))
        return max((cell_len(line) for line in lines), default=1) or 1

    def _narrowest(self, place: int, *, whole: bool) -> int:
        """The least width of a column; with `whole` cells that need not fold do not."""
        column = self._columns[place]
        cells = [text.plain for text in self._texts(place)]
        heading = column.heading.split() if self._header else []
        if whole and not column.folds:
            least = [cell_len(line) for text in cells for line in text.split("\n")]
            return max([1, *least, *(min(cell_len(word), _LEAST_WORDS) for word in heading)])
        longest = [min(cell_len(word), _LEAST_WORDS) for text in cells for word in text.split()]
        figures = [cell_len(found[0]) for text in [*cells, *heading] for found in _FIGURE.finditer(text)]
        return max([1, *longest, *figures, *(min(cell_len(word), _LEAST_WORDS) for word in heading)])

    def _that_fit(self, width: int) -> list[int]:
        """The columns that are shown: while they do not fit, the least important one goes."""
        shown = list(range(len(self._columns)))
        while self._least(shown, whole=True) > width:
            rank, place = max((self._columns[place].rank, place) for place in shown)
            if rank == 0:
                break
            shown.remove(place)
        return shown

    def _least(self, shown: Sequence[int], *, whole: bool) -> int:
        return sum(self._narrowest(place, whole=whole) for place in shown) + self._between(len(shown))

    def _widths(self, shown: Sequence[int], width: int) -> list[int]:
        """A width for each column: its least, then what is left over, the narrowest column first."""
        whole = self._least(shown, whole=True) <= width
        widths = {place: self._narrowest(place, whole=whole) for place in shown}
        left = width - sum(widths.values()) - self._between(len(shown))
        for _ in range(left):
            wanting = [place for place in shown if widths[place] < self._widest(place)]
            if not wanting:
                break
            widths[min(wanting, key=lambda place: (self._columns[place].folds, widths[place]))] += 1
        return list(widths.values())


def folded(text: Text, width: int) -> Text:
    """A text in lines of a width, broken at blanks, else at joints of words, never inside a figure.

    Args:
        text: What is to be folded; its own lines stay lines.
        width: In cells; only a figure that is longer goes beyond it.
    """
    lines: list[Text] = []
    for line in text.split("\n", allow_blank=True):
        start, plain, cuts = 0, line.plain, []
        while cell_len(plain[start:]) > width:
            start = _break(plain, start, width)
            cuts += [start] if start < len(plain) else []
        for piece in line.divide(cuts):
            piece.rstrip()
            lines.append(piece)
    return Text("\n", style=text.style).join(lines)


def _break(plain: str, start: int, width: int) -> int:
    """Where a line that begins at `start` ends best."""
    most = start + max(1, len(chop_cells(plain[start:], max(width, 1))[0]))
    blank = plain.rfind(" ", start + 1, most + 1)
    if blank > start:
        return blank + 1
    inside = {place for found in _FIGURE.finditer(plain) for place in range(found.start() + 1, found.end())}
    joints = [place for place in range(start + 1, most + 1) if plain[place - 1] in _JOINTS]
    for places in (joints, range(start + 1, most + 1)):
        free = [place for place in places if place not in inside]
        if free:
            return free[-1]
    return next(place for place in range(most + 1, len(plain) + 1) if place not in inside)


def _without_padding(line: Sequence[Segment]) -> Sequence[Segment]:
    """A line without the blanks at its end."""
    kept = list(line)
    while kept:
        last = kept.pop()
        bare = last.text.rstrip(" ")
        if bare:
            return [*kept, Segment(bare, last.style)]
    return []
