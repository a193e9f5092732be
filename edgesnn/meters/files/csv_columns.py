"""Which column of another tool's CSV export is what.

Layouts that are recognised, and where they stand:

* nRF Connect Power Profiler: ``Timestamp(ms),Current(uA),D0-D7`` (eight characters, D0 first) or
  ``...,D0,D1,...,D7`` (pc-nrfconnect-ppk, ``src/actions/exportChartAction`` and the export dialogue's choice
  of one field or separate fields).
* PyMonsoon: ``Time(ms),Main(mA),Main Voltage(V),`` (msoon/PyMonsoon, ``Monsoon/sampleEngine.py``). Its times
  are differences of ``time.time()``: seconds, whatever the header says.
* Monsoon PowerTool: ``Time (s),Main Avg Current (mA),Main Avg Power (mW),Main Avg Voltage (V)``.
* Joulescope UI: ``#time (s),current (A),voltage (V)`` (joulescope_ui, ``export_dialog.py``).
* Otii: ``"Wall-clock time (UTC)","Arc Main Current (A)","Arc Main Voltage (V)",...``, or one file per channel
  called ``Main current - Arc.csv`` with the columns ``Timestamp`` and ``Value``.

Anything else whose header names a time and a current or a power with units is read too; where that fails,
the columns can be named.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgesnn.errors import RecordingError, UsageError
from edgesnn.names import unknown

_TIME = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_CURRENT = {"A": 1.0, "mA": 1e-3, "uA": 1e-6, "µA": 1e-6, "nA": 1e-9}
_VOLTAGE = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "µV": 1e-6}
_POWER = {"W": 1.0, "mW": 1e-3, "uW": 1e-6, "µW": 1e-6}
_UNITS = {"time": _TIME, "current": _CURRENT, "volts": _VOLTAGE, "power": _POWER}
_HEADER = re.compile(r"^\s*#?\s*(?P<name>.*?)\s*(?:[(\[]\s*(?P<unit>[^)\]]*?)\s*[)\]])?\s*$")
_PIN = re.compile(r"^(?:D|GPI)([0-7])$", re.IGNORECASE)
#: Columns of other channels or of derived values, which are not what the device drew.
_NOT_IT = re.compile(r"\b(usb|aux|adc|min|max|peak|expansion)\b", re.IGNORECASE)
#: Options of the address that name a column.
COLUMN_OPTIONS = ("time", "current", "volts", "power", "markers")
UNIT_OPTIONS = ("time_unit", "current_unit", "volts_unit", "power_unit")


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        index: Its place, from 0.
        header: Its header as it stands in the file.
        scale: What a number in it is multiplied by to be in seconds, amperes, volts or watts.
    """

    index: int
    header: str
    scale: float


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns that are read.

    Attributes:
        tool: Which tool's export it looks like.
        time: Time; None where the rate is named instead.
        wall_clock: Whether the times are dates.
        current: Current, or None.
        volts: Voltage, or None.
        power: Power, or None; not read where there is a current.
        pins: Columns of marker inputs 0 to 7, by number of the input.
        pin_string: The column with eight characters for D0 to D7, or None.
        unread: Headers of the other columns.
    """

    tool: str
    time: Column | None
    wall_clock: bool
    current: Column | None
    volts: Column | None
    power: Column | None
    pins: dict[int, int]
    pin_string: int | None
    unread: tuple[str, ...]


def recognise(headers: Sequence[str], options: Mapping[str, str], stem: str = "") -> Layout:
    """Find the columns.

    Args:
        headers: As they stand in the file.
        options: Options of the address: `COLUMN_OPTIONS`, `UNIT_OPTIONS`, ``rate``.
        stem: Name of the file without its ending; Otii puts the channel there.

    Raises:
        UsageError: An option names a column or a unit that does not exist.
        RecordingError: Time, or current and power, are not found or not certain.
    """
    named = {role: _named(role, headers, options) for role in ("time", "current", "volts", "power")}
    tool = _tool(headers)
    if tool == "Otii, one channel":
        named["time"] = named["time"] or Column(0, headers[0], 1.0)
        if named["current"] is None and "current" in stem.lower():
            named["current"] = Column(1, headers[1], 1.0)
    time = None if "rate" in options else named["time"]
    wall = [index for index, header in enumerate(headers) if header.lower().startswith("wall-clock time")]
    wall_clock = False
    if time is None and "rate" not in options:
        time = _certain("time", headers, "time")
        if time is None and wall:
            time, wall_clock = Column(wall[0], headers[wall[0]], 1.0), True
        if time is not None and tool == "PyMonsoon" and "time_unit" not in options:
            time = Column(time.index, time.header, 1.0)
    current = named["current"] or (None if named["power"] else _certain("current", headers, "current"))
    volts = named["volts"] or _certain("volts", headers, "voltage")
    power = named["power"] or (None if current else _certain("power", headers, "power"))
    if (time is None and "rate" not in options) or (current is None and power is None):
        lacking = "a time" if time is None and "rate" not in options else "a current or a power"
        raise RecordingError(
            f"no column of the trace is known to be {lacking}",
            actual="columns: " + ", ".join(f"'{header}'" for header in headers),
            remedy="name them: csv:FILE?time=NAME&current=NAME (or power=NAME, rate=HZ) and their units "
            "(time_unit=ms, current_unit=uA)",
        )
    pins, pin_string = _pins(headers, options)
    read = {one.index for one in (time, current, volts, power) if one} | {*pins.values(), pin_string}
    unread = tuple(header for index, header in enumerate(headers) if header and index not in read)
    return Layout(tool, time, wall_clock, current, volts, power, pins, pin_string, unread)


def _tool(headers: Sequence[str]) -> str:
    """Which tool writes such a header."""
    names = {header.lower().replace(" ", "") for header in headers if header}
    if {"timestamp(ms)", "current(ua)"} <= names:
        return "nRF Connect Power Profiler"
    if "main(ma)" in names and ("time(ms)" in names or "time(s)" in names):
        return "PyMonsoon"
    if "mainavgcurrent(ma)" in names:
        return "Monsoon PowerTool"
    if {"#time(s)", "current(a)"} <= names:
        return "Joulescope UI"
    if any(name.startswith("arcmain") or name.startswith("acemain") for name in names):
        return "Otii"
    if names == {"timestamp", "value"}:
        return "Otii, one channel"
    return "unknown"


def merge_units(headers: Sequence[str], cells: Sequence[str]) -> list[str] | None:
    """Headers with the units of a row of units below them; None where the row is none.

    Raises:
        RecordingError: A header and that row name different units.
    """
    known = {unit for units in _UNITS.values() for unit in units}
    units = [_micro(cell.strip().strip("()[]").strip()) for cell in cells]
    if not any(unit in known for unit in units) or any(letter.isdigit() for unit in units for letter in unit):
        return None
    merged = []
    for header, unit in itertools.zip_longest(headers, units, fillvalue=""):
        own = _parts(header)[1]
        if own is not None and unit in known and own in known and own != unit:
            raise RecordingError(f"the column '{header}' has another unit below its header", actual=unit)
        merged.append(f"{header} ({unit})" if own is None and unit in known else header)
    return merged


def _micro(text: str) -> str:
    """The text with one of the two Greek letters that mean a millionth."""
    return text.replace("\u03bc", "\u00b5")


def _parts(header: str) -> tuple[str, str | None]:
    match = _HEADER.match(_micro(header))
    assert match is not None  # the pattern matches any text
    return match["name"], match["unit"]


def _named(role: str, headers: Sequence[str], options: Mapping[str, str]) -> Column | None:
    """The column that an option names, by its header or its header without the unit."""
    unit = _micro(options[f"{role}_unit"]) if f"{role}_unit" in options else None
    if unit is not None and unit not in _UNITS[role]:
        raise unknown(f"unit of {role}", unit, _UNITS[role])
    wanted = options.get(role)
    if wanted is None:
        found = _certain(role, headers, role) if unit else None
        return found and Column(found.index, found.header, _UNITS[role][unit or ""])
    places = [index for index, header in enumerate(headers) if wanted in (header, _parts(header)[0])]
    if len(places) != 1:
        raise unknown("column in the trace", wanted, [header for header in headers if header])
    unit = unit or _parts(headers[places[0]])[1] or ""
    if unit not in _UNITS[role]:
        raise UsageError(
            f"the unit of column '{headers[places[0]]}' is not known",
            limit=", ".join(_UNITS[role]),
            remedy=f"name it: {role}_unit=UNIT",
        )
    return Column(places[0], headers[places[0]], _UNITS[role][unit])


def _certain(role: str, headers: Sequence[str], word: str) -> Column | None:
    """The one column with a unit of that kind; of several the one whose name says it.

    Raises:
        RecordingError: Several fit equally.
    """
    units = _UNITS[role]
    fits = []
    for index, header in enumerate(headers):
        name, unit = _parts(header)
        if unit in units and not _NOT_IT.search(name):
            fits.append((word in name.lower(), Column(index, header, units[unit])))
    best = [column for says, column in fits if says] or [column for _, column in fits]
    if len(best) > 1:
        raise RecordingError(
            f"several columns of the trace could be the {word}",
            actual=", ".join(f"'{column.header}'" for column in best),
            remedy=f"name one: csv:FILE?{role}=NAME",
        )
    return best[0] if best else None


def _pins(headers: Sequence[str], options: Mapping[str, str]) -> tuple[dict[int, int], int | None]:
    """Columns of the marker inputs; an option names the column of input 0."""
    if "markers" in options:
        if options["markers"] not in headers:
            raise unknown("column in the trace", options["markers"], [header for header in headers if header])
        return {0: headers.index(options["markers"])}, None
    pins = {int(match[1]): index for index, header in enumerate(headers) if (match := _PIN.match(header))}
    string = next((index for index, header in enumerate(headers) if header == "D0-D7"), None)
    return pins, string if not pins else None
