"""The meter ``csv:FILE``: a trace that another tool exported. Layouts: `edgesnn.meters.files.csv_columns`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, TextIO

import numpy as np
import numpy.typing as npt

from edgesnn.errors import RecordingError, UsageError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import LARGEST, Block, DriverStatus, MeterCapability, MeterInfo, Settings
from edgesnn.meters.clock import Clock
from edgesnn.meters.files.csv_columns import COLUMN_OPTIONS, UNIT_OPTIONS, Column, Layout, recognise
from edgesnn.meters.files.csv_rows import CsvColumns, CsvHead, CsvRows, decimal_mark, open_text, read_head
from edgesnn.meters.files.playback import FileMeter, Playback, real_pace
from edgesnn.meters.samples.accuracy import MeterAccuracy, load_accuracy

FloatArray = npt.NDArray[np.float64]

#: Rows in memory at a time.
ROWS = 1 << 16
#: A step longer than so many usual ones is a gap.
GAP_STEPS = 1.5
_ZONE = re.compile(r"\s*(Z|UTC|\+00:?00)$", re.IGNORECASE)
_OPTIONS = (*COLUMN_OPTIONS, *UNIT_OPTIONS, "speed", "accuracy", "rate", "decimal")


class CsvMeter(FileMeter):
    """Plays a CSV file.

    Options of the address: names of columns (``time``, ``current``, ``volts``, ``power``, ``markers``) and
    their units (``time_unit=ms`` ...) where they are not recognised; ``voltage`` where no voltage was
    exported; ``rate`` in place of a time column; ``decimal`` (``comma`` or ``point``) where the numbers do
    not tell it; ``accuracy`` (name of a shipped accuracy model, for example ``ppk2``); ``speed`` (``real``,
    the default, or ``max``).

    Args:
        address: ``csv:FILE``.
        clock: The host's clock.
    """

    name: ClassVar[str] = "csv"
    summary: ClassVar[str] = "traces of nRF Connect, Joulescope, Otii, Monsoon and other tools"
    driver_status: ClassVar[DriverStatus] = DriverStatus.HOST

    def __init__(self, address: MeterAddress, *, clock: Clock | None = None) -> None:
        if address.device is None:
            raise UsageError("a trace needs the name of its file", remedy="csv:FILE.csv")
        self._path = Path(address.device)
        self._what = f"the trace '{address.device}'"
        self._options = address.options
        self._asked = address.settings(_OPTIONS)
        self._rate_hz = address.number("rate") if "rate" in address.options else None
        if self._rate_hz is not None and self._rate_hz <= 0:
            raise UsageError("the rate of a trace must be above 0", actual=address.options["rate"])
        self._real = real_pace(address.options)
        self._accuracy = _accuracy(address.options.get("accuracy"))
        self._clock = clock or Clock()
        self._mark = decimal_mark(address.options)
        self._layout: Layout | None = None
        self._head: CsvHead | None = None
        self._file: TextIO | None = None

    @property
    def capabilities(self) -> frozenset[MeterCapability]:
        """Whether voltage and markers are in the file."""
        layout = self._opened()
        found = set()
        if layout.volts is not None:
            found.add(MeterCapability.MEASURES_VOLTAGE)
        if layout.pins or layout.pin_string is not None:
            found.add(MeterCapability.MARKER_INPUT)
        return frozenset(found)

    @property
    def accuracy(self) -> MeterAccuracy:
        """The model that the address names; else one that knows nothing and says so."""
        return self._accuracy

    def open(self) -> MeterInfo:
        """Read the header.

        Raises:
            RecordingError: The file cannot be read or its columns are not known.
        """
        self.close()
        self._head = read_head(self._path, self._what)
        self._layout = layout = recognise(self._head.headers, self._options, self._path.stem)
        details = {
            "layout": layout.tool,
            "columns": {
                role: column.header
                for role, column in (
                    ("time", layout.time),
                    ("current", layout.current),
                    ("volts", layout.volts),
                    ("power", layout.power),
                )
                if column is not None
            },
            "unread_columns": list(layout.unread),
        }
        return MeterInfo(self.name, layout.tool, None, None, str(self._path), False, details)

    def configure(self, settings: Settings) -> Settings:
        """A voltage may be named where the file has none; nothing else can be chosen.

        Raises:
            UsageError: Something else is asked for.
        """
        for field, own in (("rate_hz", self._rate_hz), ("mode", None), ("range", None)):
            asked = getattr(settings, field) or getattr(self._asked, field)
            if asked not in (None, own):
                raise UsageError(f"{self._what} has no {field.removesuffix('_hz')} to choose")
        volts = self._asked.voltage_v if settings.voltage_v is None else settings.voltage_v
        return replace(settings, voltage_v=volts, rate_hz=self._rate_hz)

    def start(self) -> None:
        layout, head = self._opened(), self._head
        assert head is not None
        self.close()
        self._file, _ = open_text(self._path, self._what, head.encoding)
        blocks = _blocks(self._tables(self._file, head, layout), layout, self._rate_hz, self._what)
        self._play = Playback(blocks, self._real, self._clock, self._what, None)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> Layout:
        if self._layout is None:
            raise UsageError(f"{self._what} is not open")
        return self._layout

    def _tables(self, file: TextIO, head: CsvHead, layout: Layout) -> Iterator[_Table]:
        """The rows, `ROWS` at a time; rows with the same time stamp stay together."""
        read = {one.index for one in (layout.time, layout.current, layout.volts, layout.power) if one}
        texts = {layout.time.index} if layout.wall_clock and layout.time is not None else set()
        texts |= {layout.pin_string} if layout.pin_string is not None else set()
        numbers = sorted((read | set(layout.pins.values())) - texts)
        reader = CsvRows(head, numbers, sorted(texts), self._mark, self._what, timed=self._rate_hz is None)
        rest: list[str] = []
        rest_lines: list[int] = []
        for new, new_lines in reader.tables(file, ROWS):
            rows, lines = [*rest, *new], [*rest_lines, *new_lines]
            rest, rest_lines = [], []
            table = _Table(reader.columns(rows, lines), layout, self._what)
            if not len(table):
                continue
            if self._rate_hz is None:
                held = table.hold_back()
                rest, rest_lines = [rows[k] for k in held], [lines[k] for k in held]
            yield table
        if rest:
            yield _Table(reader.columns(rest, rest_lines), layout, self._what)


class _Table:
    """Some rows of the file as columns."""

    def __init__(self, columns: CsvColumns, layout: Layout, what: str) -> None:
        self._columns, self._layout, self._what = columns, layout, what
        self._count = len(columns.lines)

    def __len__(self) -> int:
        return self._count

    def line(self, place: int) -> int:
        """Line in the file of a row; the last one's for the place after it."""
        return self._columns.lines[min(place, self._count - 1)]

    def hold_back(self) -> list[int]:
        """Give up the last rows that share a time stamp, unless all do; their places among those given."""
        stamps = self.times()
        first = int(np.argmax(stamps == stamps[-1]))
        self._count = first or self._count
        return self._columns.rows[self._count :]

    def column(self, column: Column | None) -> FloatArray | None:
        """A column in its base unit; NaN where there is no number, or one that cannot have been measured."""
        if column is None:
            return None
        values = self._columns.numbers[column.index][: self._count] * column.scale
        return np.where(np.abs(values) <= LARGEST, values, np.nan)

    def times(self) -> FloatArray:
        """The times in seconds; dates count from 1970.

        Raises:
            RecordingError: One is no time.
        """
        time = self._layout.time
        assert time is not None
        if self._layout.wall_clock:
            return self._dates(self._columns.texts[time.index][: self._count])
        times = np.asarray(self._columns.numbers[time.index][: self._count] * time.scale, np.float64)
        wrong = np.flatnonzero(~np.isfinite(times))
        if wrong.size:
            raise RecordingError(
                f"a row of {self._what} has no time", actual=f"line {self.line(int(wrong[0]))}",
                remedy="?rate=HZ ignores the times",
            )  # fmt: skip
        return times

    def markers(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """The marker inputs, bit i is input i, and where they are known."""
        levels, known = np.zeros(len(self), np.uint8), np.ones(len(self), bool)
        for bit, index in self._layout.pins.items():
            column = self._columns.numbers[index][: self._count]
            known &= np.isfinite(column)
            levels |= np.where(column > 0.5, 1 << bit, 0).astype(np.uint8)
        if self._layout.pin_string is not None:
            texts = [text.strip() for text in self._columns.texts[self._layout.pin_string][: self._count]]
            for text in set(texts):
                if text and (len(text) != 8 or set(text) - {"0", "1"}):
                    raise RecordingError(
                        f"a row of {self._what} has no eight marker inputs",
                        actual=f"line {self.line(texts.index(text))}: '{text[:20]}'",
                        limit="00000000 to 11111111",
                        remedy="export it again: a spreadsheet drops the zeros before a number",
                    )  # fmt: skip
            bits = {text: int(text[::-1], 2) if text else 0 for text in set(texts)}
            levels |= np.array([bits[text] for text in texts], np.uint8)
            known &= np.array([bool(text) for text in texts])
        return levels, known

    def _dates(self, texts: list[str]) -> FloatArray:
        plain = [_ZONE.sub("", text.strip()).replace(",", ".") for text in texts]
        try:
            found = np.array(plain, "datetime64[ns]")
        except ValueError:
            found = np.array([_date(text) for text in plain], "datetime64[ns]")
        wrong = np.flatnonzero(np.isnat(found))
        if wrong.size:
            raise RecordingError(
                f"a row of {self._what} has a date that cannot be read",
                actual=f"line {self.line(int(wrong[0]))}: '{texts[int(wrong[0])][:40]}'",
                limit="YYYY-MM-DD hh:mm:ss.ffffff",
                remedy="?rate=HZ ignores the times",
            )
        return np.asarray(found.astype(np.int64) / 1e9, np.float64)


def _date(text: str) -> np.datetime64:
    try:
        return np.datetime64(text, "ns")
    except ValueError:
        return np.datetime64("NaT", "ns")


def _blocks(tables: Iterator[_Table], layout: Layout, rate_hz: float | None, what: str) -> Iterator[Block]:
    """Blocks with a length for every sample: the step to the next, or the usual step before a gap."""
    origin: float | None = None
    usual = 0.0 if rate_hz is None else 1 / rate_hz
    end_s = 0.0
    rows = 0
    waiting: _Table | None = None
    for table in itertools.chain(tables, [None]):
        now, waiting = waiting, table
        if now is None:
            continue
        if rate_hz is not None:
            first_s = rows / rate_hz
            time_s = first_s + np.arange(len(now)) / rate_hz
            length: float | FloatArray = usual
            lost = 0
        else:
            raw = now.times()
            origin = float(raw[0]) if origin is None else origin
            ahead = float(table.times()[0]) - origin if table is not None else None
            time_s = _spread(raw - origin, ahead, usual, now, what)
            steps = np.diff(time_s, append=[ahead] if ahead is not None else [])
            if usual == 0.0:
                usual = float(np.median(steps)) if steps.size else 0.0
            if not usual > 0:
                raise RecordingError(
                    f"{what} has one row only: the length of its sample is not known", remedy="add ?rate=HZ"
                )
            steps = np.append(steps, usual) if steps.size < time_s.size else steps
            gap = steps > GAP_STEPS * usual
            length = np.where(gap, usual, steps)
            before = max(float(time_s[0]) - end_s, 0.0) if rows else 0.0
            holes = np.concatenate([[before], (steps - length)[:-1]])
            lost = int(np.rint(holes / usual).sum())
            end_s = float(time_s[-1] + length[-1])
        rows += len(now)
        yield _block(now, layout, time_s, length, lost)


def _spread(time_s: FloatArray, ahead: float | None, usual: float, table: _Table, what: str) -> FloatArray:
    """Times that rise: samples that share a time stamp are spread evenly up to the next one."""
    steps = np.diff(time_s)
    if bool(np.any(steps < 0)) or (ahead is not None and ahead < time_s[-1]):
        place = int(np.argmax(steps < 0)) + 1 if bool(np.any(steps < 0)) else len(table)
        raise RecordingError(
            f"the times of {what} fall", actual=f"line {table.line(place)}", remedy="?rate=HZ ignores them"
        )
    if not bool(np.any(steps == 0)) and ahead != time_s[-1]:
        return time_s
    firsts = np.concatenate([[0], np.flatnonzero(steps > 0) + 1])
    if ahead is not None and ahead > time_s[-1]:
        places, stamps = np.append(firsts, time_s.size), np.append(time_s[firsts], ahead)
    else:
        places, stamps = firsts, time_s[firsts]
    if places.size < 2:
        if not usual > 0:
            raise RecordingError(f"all times of {what} are the same", remedy="add ?rate=HZ")
        return np.asarray(time_s[0] + np.arange(time_s.size) * usual, np.float64)
    step = (stamps[-1] - stamps[-2]) / (places[-1] - places[-2])
    if places[-1] < time_s.size:  # the last stamp has no successor: its samples go on at the last pace
        places = np.append(places, time_s.size)
        stamps = np.append(stamps, stamps[-1] + step * (places[-1] - places[-2]))
    return np.asarray(np.interp(np.arange(time_s.size), places, stamps), np.float64)


def _block(table: _Table, layout: Layout, time_s: FloatArray, length: float | FloatArray, lost: int) -> Block:
    def single(column: Column | None) -> npt.NDArray[np.float32] | None:
        values = table.column(column)
        return None if values is None else np.where(known, values, np.nan).astype(np.float32)

    markers, known = table.markers()
    return Block(
        time_s, length, single(layout.current), single(layout.volts), single(layout.power),
        markers, np.zeros(len(table), np.uint8), None, lost, 0,
    )  # fmt: skip


def _accuracy(name: str | None) -> MeterAccuracy:
    if name is not None:
        return load_accuracy(name)
    return MeterAccuracy.model_validate(
        {
            "name": "csv",
            "model": "not named",
            "kind": "typical",
            "source": "not known: name the instrument with ?accuracy=NAME; 100 % is assumed",
            "ranges": [{"name": "all", "max_a": 1e6, "gain": 1.0}],
            "voltage": {"measured": False, "gain": 0.0},
            "clock_ppm": 100.0,
            "clock_source": "ASSUMED: a quartz",
        },
        strict=False,
    )
