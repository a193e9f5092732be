"""Calibration of one instrument against a known load or a better meter, kept by serial number.

Each range of an instrument has its own shunt, so each is corrected by its own points and a range without a
point keeps the maker's figures. One point gives a scale, two points in one range a scale and an offset:
``true = scale * shown + offset``. What a point does not tell (how the scale changes with current and
temperature) is not in its uncertainty; a calibration therefore ends after a year unless said otherwise.

Files are ``calibrations/DRIVER-SERIAL.json`` in the user's configuration folder: ``EDGESNN_CONFIG_DIR``,
else ``XDG_CONFIG_HOME/edgesnn``, else ``~/.config/edgesnn``.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, ValidationError

from edgesnn import resources
from edgesnn.config import StrictModel
from edgesnn.errors import ConfigError, MeterError
from edgesnn.meters.base import Block, MeterInfo, SampleStatus
from edgesnn.meters.samples.accuracy import AccuracyKind, MeterAccuracy, RangeAccuracy, VoltageAccuracy
from edgesnn.meters.samples.uncertainty import standard
from edgesnn.whole_files import write_whole

SCHEMA: Literal["edgesnn.calibration/1"] = "edgesnn.calibration/1"
VALID_DAYS = 365.0
#: Two points in one range give an offset only when they lie this far apart; else it is mostly noise.
LEAST_RATIO = 2.0

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _utc(text: str) -> str:
    """An ISO 8601 time with its zone, as it stands.

    Raises:
        ValueError: It is none.
    """
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time has no zone")
    return text


Stamp = Annotated[str, AfterValidator(_utc)]


class Point(StrictModel):
    """One comparison.

    Attributes:
        range_index: Range of the instrument during it.
        shown_a: Mean that the instrument showed, amperes.
        shown_u_a: Standard uncertainty of that mean from its scatter.
        true_a: What flowed, amperes.
        true_u_a: Standard uncertainty of that.
        against: What it was compared with.
        made_at: UTC time, ISO 8601.
    """

    range_index: Annotated[int, Field(ge=0, le=255)]
    shown_a: Positive
    shown_u_a: NotNegative
    true_a: Positive
    true_u_a: NotNegative
    against: str
    made_at: Stamp


class Calibration(StrictModel):
    """All points of one instrument.

    Attributes:
        schema_name: `SCHEMA`.
        driver: Name of the driver.
        model: Model as the instrument told it.
        serial_number: Its serial number.
        simulated: Whether it is a twin; a twin's calibration is never used for an instrument.
        expires_at: UTC time, ISO 8601.
        points: The comparisons.
    """

    schema_name: Annotated[Literal["edgesnn.calibration/1"], Field(alias="schema")] = SCHEMA
    driver: str
    model: str
    serial_number: str
    simulated: bool
    expires_at: Stamp
    points: Annotated[list[Point], Field(min_length=1)]

    @property
    def expired(self) -> bool:
        """Whether it has come to its end."""
        return datetime.now(UTC) >= datetime.fromisoformat(self.expires_at)

    def sentence(self) -> str:
        """When and against what, for people."""
        newest = max(point.made_at for point in self.points)
        against = ", ".join(dict.fromkeys(point.against for point in self.points))
        return f"{newest[:10]} against {against}, valid until {self.expires_at[:10]}"


class Correction(StrictModel):
    """The correction of one range: ``true = scale * shown + offset_a``.

    Attributes:
        scale: Factor.
        offset_a: Offset, amperes.
        scale_u: Standard uncertainty of the factor, relative.
        offset_u_a: Standard uncertainty of the offset; None where one point left it at the maker's.
    """

    scale: Positive
    offset_a: Finite
    scale_u: NotNegative
    offset_u_a: NotNegative | None


def corrections(points: Sequence[Point]) -> dict[int, Correction]:
    """The correction of every range that has a point.

    Of several points in a range the newest is taken, and with it the newest that lies far enough from it.
    """
    found: dict[int, Correction] = {}
    for index in {point.range_index for point in points}:
        ours = sorted((p for p in points if p.range_index == index), key=lambda p: p.made_at)
        newest = ours[-1]
        far = [p for p in ours if max(p.true_a, newest.true_a) >= LEAST_RATIO * min(p.true_a, newest.true_a)]
        found[index] = _two(far[-1], newest) if far else _one(newest)
    return found


def _one(point: Point) -> Correction:
    relative = math.hypot(point.true_u_a / point.true_a, point.shown_u_a / point.shown_a)
    return Correction(scale=point.true_a / point.shown_a, offset_a=0.0, scale_u=relative, offset_u_a=None)


def _two(first: Point, second: Point) -> Correction:
    """A straight line through two points; uncertainties by the law of propagation (GUM 5.1.2)."""
    low, high = sorted((first, second), key=lambda point: point.shown_a)
    span = high.shown_a - low.shown_a
    scale = (high.true_a - low.true_a) / span
    if not scale > 0:
        raise MeterError(
            "the two points of the calibration contradict each other: more current, smaller reading",
            actual=f"{low.true_a:g} A shown as {low.shown_a:g} A, {high.true_a:g} A as {high.shown_a:g} A",
            remedy="check the loads, and calibrate again without --add",
        )
    u_low, u_high = (math.hypot(p.true_u_a, scale * p.shown_u_a) for p in (low, high))
    scale_u = math.hypot(u_low, u_high) / span / scale
    # the offset is the line at 0: each point enters with its lever
    offset_u = math.hypot(u_low * high.shown_a, u_high * low.shown_a) / span
    return Correction(
        scale=scale, offset_a=low.true_a - scale * low.shown_a, scale_u=scale_u, offset_u_a=offset_u
    )


def corrected(block: Block, by_range: Mapping[int, Correction]) -> Block:
    """A block with its currents, or the power where there is no current, corrected.

    Args:
        block: What the instrument gave.
        by_range: `corrections`.
    """
    from dataclasses import replace

    if not len(block):
        return block
    ranges = np.zeros(len(block), np.uint8) if block.range_index is None else block.range_index
    scale, offset = np.ones(256), np.zeros(256)
    for index, one in by_range.items():
        scale[index], offset[index] = one.scale, one.offset_a
    factor = scale[ranges]
    if block.current_a is None:
        power = None if block.power_w is None else (block.power_w * factor).astype(np.float32)
        return replace(block, power_w=power)
    current = (block.current_a * factor + offset[ranges]).astype(np.float32)
    power = block.power_w
    if power is not None:
        power = (power * np.divide(current, block.current_a, out=factor, where=block.current_a != 0)).astype(
            np.float32
        )
    return replace(block, current_a=current, power_w=power)


def calibrated_accuracy(accuracy: MeterAccuracy, calibration: Calibration) -> MeterAccuracy:
    """The accuracy model with the figures of the corrected ranges replaced.

    All figures become standard uncertainties (`AccuracyKind.TYPICAL`), a bound of the maker by its
    rectangular distribution.
    """
    by_range = corrections(calibration.points)
    kind = accuracy.kind
    ranges = []
    for index, one in enumerate(accuracy.ranges):
        found = by_range.get(index)
        offset_a = standard(one.offset_a, kind)
        gain = standard(one.gain, kind)
        if found is not None:
            gain = found.scale_u
            offset_a = offset_a if found.offset_u_a is None else found.offset_u_a
        ranges.append(
            RangeAccuracy(
                name=one.name, max_a=one.max_a, gain=gain, offset_a=offset_a, resolution_a=one.resolution_a
            )
        )
    volts = accuracy.voltage
    voltage = VoltageAccuracy(
        measured=volts.measured,
        gain=standard(volts.gain, kind),
        offset_v=standard(volts.offset_v, kind),
        burden_v=volts.burden_v,
    )
    return accuracy.model_copy(
        update={
            "kind": AccuracyKind.TYPICAL,
            "ranges": ranges,
            "voltage": voltage,
            "clock_ppm": standard(accuracy.clock_ppm, kind),
            "calibration": calibration.sentence(),
        }
    )


def make_point(block: Block, true_a: float, true_u_a: float, against: str) -> Point:
    """One comparison from samples of a steady current.

    The scatter of the mean is taken from the means of ten parts, because neighbouring samples are not
    independent.

    Args:
        block: What the instrument showed.
        true_a: What flowed, amperes.
        true_u_a: Its standard uncertainty.
        against: What it was compared with.

    Raises:
        MeterError: The samples are too few, too bad, or not of one range.
    """
    if block.current_a is None:
        raise MeterError("this meter gives no current: it cannot be calibrated against one")
    bad = SampleStatus.SUSPECT | SampleStatus.SATURATED
    good = (block.status & bad) == 0
    if good.sum() < 20 or good.mean() < 0.99:
        raise MeterError(
            "the samples are too few or too bad to calibrate with",
            actual=f"{int(good.sum())} good ones of {len(block)}",
            limit="20, and 99 %",
        )
    ranges = np.zeros(len(block), np.uint8) if block.range_index is None else block.range_index
    index = int(np.bincount(ranges[good]).argmax())
    used = good & (ranges == index)
    if used.sum() < 0.95 * good.sum():
        raise MeterError(
            "the instrument changed its range during the calibration",
            remedy="take a load that lies well within one range",
        )
    shown = block.current_a[used].astype(np.float64)
    mean = float(shown.mean())
    if mean <= 0:
        raise MeterError(
            "the instrument shows no current", actual=f"{mean:g} A", remedy="check the load's wires"
        )
    parts = np.array([part.mean() for part in np.array_split(shown, 10)])
    scatter = float(parts.std(ddof=1) / math.sqrt(10))
    if scatter > 0.02 * mean:
        raise MeterError(
            "the current is not steady",
            actual=f"its mean is known to {scatter / mean:.1%} only",
            limit="2 %",
            remedy="calibrate with a resistor",
        )
    return Point(
        range_index=index,
        shown_a=mean,
        shown_u_a=scatter,
        true_a=true_a,
        true_u_a=true_u_a,
        against=against,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where calibrations are kept."""
    if own := environment.get("EDGESNN_CONFIG_DIR"):
        return Path(own) / "calibrations"
    base = environment.get("XDG_CONFIG_HOME") or str((resources.home() or Path("/")) / ".config")
    return Path(base) / "edgesnn" / "calibrations"


def expiry(days: float = VALID_DAYS) -> str:
    """The UTC time so many days from now, ISO 8601."""
    return (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")


def save(calibration: Calibration) -> Path:
    """Keep a calibration; an older one of the instrument is replaced.

    Raises:
        OutputError: It cannot be written.
    """
    path = _path(calibration.driver, calibration.serial_number)
    text = json.dumps(calibration.model_dump(by_alias=True), indent=2, allow_nan=False) + "\n"
    write_whole(path, text.encode())
    return path


def load_all() -> dict[Path, Calibration]:
    """Every calibration that is kept.

    Raises:
        ConfigError: A file is wrong.
    """
    return {path: _load(path) for path in sorted(folder().glob("*.json"))}


def find(info: MeterInfo) -> Calibration | None:
    """The calibration of an instrument, expired or not; None where there is none for it.

    Raises:
        ConfigError: Its file is wrong.
    """
    if info.serial_number is None:
        return None
    path = _path(info.name, info.serial_number)
    if not path.is_file():
        return None
    found = _load(path)
    ours = (found.driver, found.serial_number, found.simulated) == (
        info.name,
        info.serial_number,
        info.simulated,
    )
    return found if ours else None


def forget(info: MeterInfo) -> bool:
    """Throw the calibration of an instrument away; whether there was one."""
    if info.serial_number is None or not (path := _path(info.name, info.serial_number)).is_file():
        return False
    path.unlink()
    return True


def _path(driver: str, serial_number: str) -> Path:
    """Only letters, digits, dots and dashes go into the name: no serial number leads out of the folder."""
    return folder() / f"{driver}-{re.sub(r'[^A-Za-z0-9.-]', '_', serial_number)}.json"


def _load(path: Path) -> Calibration:
    try:
        return Calibration.model_validate_json(path.read_text(encoding="utf-8"), strict=True)
    except (OSError, ValueError, ValidationError) as error:
        raise ConfigError(
            f"the calibration '{path}' is wrong",
            actual=" ".join(str(error).split()),
            remedy="delete the file and calibrate again",
        ) from None
