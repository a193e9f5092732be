"""Accuracy of an instrument as data: ``targets/meters/NAME.toml``, each figure with its source.

A figure is a `AccuracyKind.BOUND` (the maker promises it: a rectangular distribution) or
`AccuracyKind.TYPICAL` (the maker merely saw it: taken as a standard deviation, see docs/meters.md). Gain
errors are systematic: they never average out.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from edgesnn.config import StrictModel, load_toml
from edgesnn.errors import UsageError
from edgesnn.resources import files

NonEmpty = Annotated[str, Field(min_length=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class AccuracyKind(StrEnum):
    """What a figure of a data sheet is."""

    BOUND = "bound"  #: a limit that the maker promises
    TYPICAL = "typical"  #: seen on most units, promised on none


class RangeAccuracy(StrictModel):
    """Accuracy of the current in one range.

    Attributes:
        name: Name of the range, for example ``50 uA``.
        max_a: Highest current of the range, amperes.
        gain: Relative gain error, 0.1 is ±10 %.
        offset_a: Offset error, amperes.
        resolution_a: Smallest step, amperes.
    """

    name: NonEmpty
    max_a: Positive
    gain: NotNegative
    offset_a: NotNegative = 0.0
    resolution_a: NotNegative = 0.0


class VoltageAccuracy(StrictModel):
    """Accuracy of the measured voltage, or of the set-point where it is not measured.

    Attributes:
        measured: Whether the instrument measures it.
        gain: Relative error.
        offset_v: Offset error, volts.
        burden_v: Highest drop across the instrument that its set-point does not show, volts.
    """

    measured: bool
    gain: NotNegative
    offset_v: NotNegative = 0.0
    burden_v: NotNegative = 0.0


class MeterAccuracy(StrictModel):
    """Accuracy of an instrument.

    Attributes:
        name: Name of the driver; the name of the file.
        model: The instrument.
        kind: Whether the figures are bounds or typical.
        source: Where they stand.
        ranges: Accuracy of the current by range, the smallest first.
        voltage: Accuracy of the voltage.
        clock_ppm: Error of the sample clock, parts per million.
        clock_source: Where that stands, or that it is assumed.
        calibration: Set when a calibration replaced the maker's figures: when, against what.
    """

    name: NonEmpty
    model: NonEmpty
    kind: AccuracyKind
    source: NonEmpty
    ranges: Annotated[list[RangeAccuracy], Field(min_length=1)]
    voltage: VoltageAccuracy
    clock_ppm: NotNegative
    clock_source: NonEmpty
    calibration: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> MeterAccuracy:
        limits = [one.max_a for one in self.ranges]
        if limits != sorted(set(limits)):
            raise ValueError("ranges must stand in order of max_a, each once")
        return self


def load_accuracy(name: str) -> MeterAccuracy:
    """The accuracy of a meter that ships with edgesnn.

    Args:
        name: Name of the file in ``targets/meters``, without ``.toml``.

    Raises:
        UsageError: There is none.
        ConfigError: The file is wrong.
    """
    found = files("targets", "meters")
    if name not in found:
        raise UsageError(f"there is no accuracy model for the meter '{name}'", limit=", ".join(found))
    return load_toml(found[name], MeterAccuracy)
