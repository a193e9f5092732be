"""The meter ``csv:FILE``: a trace that another tool exported. Layouts: `edgesnn.meters.files.csv_columns`."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, TextIO

import numpy as np
import numpy.typing as npt

from edgesnn.errors import RecordingError, UsageError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import Block, DriverStatus, MeterCapability, MeterInfo, Settings
from edgesnn.meters.clock import Clock
from edgesnn.meters.files.csv_columns import COLUMN_OPTIONS, UNIT_OPTIONS, Column, Layout, recognise
from edgesnn.meters.files.playback import FileMeter, Playback, real_pace
from edgesnn.meters.samples.accuracy import MeterAccuracy, load_accuracy

FloatArray = npt.NDArray[np.float64]

#: Rows in memory at a time.
ROWS = 1 << 16
#: A step longer than so many usual ones is a gap.
GAP_STEPS = 1.5
_OPTIONS = (*COLUMN_OPTIONS, *UNIT_OPTIONS, "speed", "accuracy", "rate")


class CsvMeter(FileMeter):
    """Plays a CSV file.

    Options of the address: names of columns (``time``, ``current``, ``volts``, ``power``, ``markers``) and
    their units (``time_unit=ms`` ...) where they are not recognised; ``voltage`` where no voltage was
    exported; ``rate`` in place of a time column; ``accuracy`` (name of a shipped accuracy model, for example
    ``ppk2``); ``speed`` (``real``, the default, or ``max``).

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
        self._layout: Layout | None = None
        self._delimiter = ","
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
        with self._text() as file:
            header = file.readline()
        if not header.strip():
            raise RecordingError(f"{self._what} is empty")
        self._delimiter = max(",;\t", key=header.count)
        headers = next(csv.reader([header], delimiter=self._delimiter))
        self._layout = recognise(headers, self._options, self._path.stem)
        layout = self._layout
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
        for field in ("rate_hz", "mode", "range"):
            if getattr(settings, field) is not None or getattr(self._asked, field) is not None:
                raise UsageError(f"{self._what} has no {field.removesuffix('_hz')} to choose")
        volts = self._asked.voltage_v if settings.voltage_v is None else settings.voltage_v
        return replace(settings, voltage_v=volts, rate_hz=self._rate_hz)

    def start(self) -> None:
        self._opened()
        self.close()
        self._file = self._text()
        self._file.readline()
        blocks = _blocks(self._tables(self._file), self._opened(), self._rate_hz, self._what)
        self._play = Playback(blocks, self._real, self._clock, self._what, None)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> Layout:
        if self._layout is None:
            raise UsageError(f"{self._what} is not open")
        return self._layout

    def _text(self) -> TextIO:
        try:
            return self._path.open(encoding="utf-8-sig", errors="replace", newline="")
        except OSError as error:
            raise RecordingError(f"cannot read {self._what}", actual=error.strerror or str(error)) from None

    def _tables(self, file: TextIO) -> Iterator[_Table]:
        """The rows, `ROWS` at a time; rows with the same time stamp stay together."""
        line = 2
        rest: list[str] = []
        while rows := list(itertools.islice(file, ROWS)):
            filled = rest + [row for row in rows if row.strip()]
            rest = []
            if filled:
                table = _Table(filled, line, self._delimiter, self._opened(), self._what)
                if len(rows) == ROWS and self._rate_hz is None:
                    rest = filled[table.hold_back() :]
                yield table
            line += len(rows)
        if rest:
            yield _Table(rest, line, self._delimiter, self._opened(), self._what)


class _Table:
    """Some rows of the file as columns."""

    def __init__(self, rows: list[str], line: int, delimiter: str, layout: Layout, what: str) -> None:
        self.line, self.what = line, what
        self._layout = layout
        if delimiter == ";":  # where fields end in semicolons, decimals may be written with a comma
            rows = [row.replace(",", ".") for row in rows]
        columns = [one for one in (layout.time, layout.current, layout.volts, layout.power) if one]
        kinds: dict[int, str] = {one.index: "f8" for one in columns}
        if layout.wall_clock and layout.time is not None:
            kinds[layout.time.index] = "U40"
        kinds |= dict.fromkeys(layout.pins.values(), "f8")
        if layout.pin_string is not None:
            kinds[layout.pin_string] = "U8"
        order = sorted(kinds)
        try:
            self._rows = np.loadtxt(
                rows, dtype=[(str(index), kinds[index]) for index in order], delimiter=delimiter,
                usecols=order, ndmin=1, quotechar='"', comments=None,
            )  # fmt: skip
        except ValueError as error:
            raise RecordingError(
                f"{what} has a row that is no row of numbers",
                actual=str(error),
                limit=f"after line {line - 1}",
            ) from None

    def __len__(self) -> int:
        return int(self._rows.size)

    def hold_back(self) -> int:
        """Give up the last rows that share a time stamp, unless all do; how many rows are left."""
        stamps = self.times()
        first = int(np.argmax(stamps == stamps[-1]))
        if first:
            self._rows = self._rows[:first]
        return len(self)

    def column(self, column: Column | None) -> FloatArray | None:
        """A column in its base unit."""
        if column is None:
            return None
        return np.asarray(self._rows[str(column.index)] * column.scale, np.float64)

    def times(self) -> FloatArray:
        """The times in seconds; dates count from 1970."""
        time = self._layout.time
        assert time is not None
        if not self._layout.wall_clock:
            return np.asarray(self._rows[str(time.index)] * time.scale, np.float64)
        texts = np.char.rstrip(self._rows[str(time.index)], "Z")
        try:
            dates = texts.astype("datetime64[ns]")
        except ValueError as error:
            raise RecordingError(
                f"{self.what} has a date that cannot be read",
                actual=str(error),
                limit="YYYY-MM-DD hh:mm:ss.ffffff",
            ) from None
        return np.asarray(dates.astype(np.int64) / 1e9, np.float64)

    def markers(self) -> npt.NDArray[np.uint8]:
        """The marker inputs, bit i is input i."""
        levels = np.zeros(len(self), np.uint8)
        for bit, index in self._layout.pins.items():
            levels |= np.where(self._rows[str(index)] > 0.5, 1 << bit, 0).astype(np.uint8)
        if self._layout.pin_string is not None:
            texts = self._rows[str(self._layout.pin_string)].astype("U8")
            letters = texts.view("U1").reshape(len(self), 8)
            for bit in range(8):
                levels |= np.where(letters[:, bit] == "1", 1 << bit, 0).astype(np.uint8)
        return levels


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
            f"the times of {what} fall", actual=f"line {table.line + place}", remedy="?rate=HZ ignores them"
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
        return None if values is None else values.astype(np.float32)

    return Block(
        time_s, length, single(layout.current), single(layout.volts), single(layout.power),
        table.markers(), np.zeros(len(table), np.uint8), None, lost, 0,
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
