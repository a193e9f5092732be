"""Numbers of description files: each with its status and its source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from edgesnn.config import StrictModel

#: MEASURED by us, PUBLISHED by the maker or in a paper, ESTIMATED from published figures, or ASSUMED.
Status = Literal["MEASURED", "PUBLISHED", "ESTIMATED", "ASSUMED"]
#: What a report has to mark.
UNSURE: tuple[Status, ...] = ("ESTIMATED", "ASSUMED")
NonEmpty = Annotated[str, Field(min_length=1)]


class Sourced(StrictModel):
    """What every number carries.

    Attributes:
        value: The number.
        status: How sure it is.
        source: Where it is from: publication with table or page, or the reasoning.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    value: bool | int | float
    status: Status
    source: NonEmpty


class SourcedCount(Sourced):
    """A whole number.

    Attributes:
        value: 1..2**40.
    """

    value: Annotated[int, Field(ge=1, le=2**40)]


class Bits(Sourced):
    """A width.

    Attributes:
        value: 1..64 bits.
    """

    value: Annotated[int, Field(ge=1, le=64)]


class SourcedEnergy(Sourced):
    """An energy.

    Attributes:
        value: Picojoules, above 0, at most 10**6.
    """

    value: Annotated[float, Field(gt=0, le=1e6)]


class EnergyRange(SourcedEnergy):
    """An energy on which sources may differ.

    Attributes:
        high: The largest value that another source gives, picojoules; None where none differs.
        high_source: That source.
    """

    high: Annotated[float, Field(gt=0, le=1e6)] | None = None
    high_source: NonEmpty | None = None

    @model_validator(mode="after")
    def _another_source(self) -> EnergyRange:
        if (self.high is None) != (self.high_source is None) or (self.high or self.value) < self.value:
            raise ValueError("high must not be below value, and needs high_source, its source")
        return self

    def at(self, *, high: bool) -> float:
        """The value, or the largest that a source gives."""
        return self.high if high and self.high is not None else self.value


class Flag(Sourced):
    """A property that is there or not.

    Attributes:
        value: Whether it is there.
    """

    value: bool
