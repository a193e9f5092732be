"""Numbers of description files: each with its status and its source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

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


class Flag(Sourced):
    """A property that is there or not.

    Attributes:
        value: Whether it is there.
    """

    value: bool
