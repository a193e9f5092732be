"""What every class of a record is made of."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Sha256 = Field(pattern=r"^[0-9a-f]{64}$")


class Part(BaseModel):
    """Base of everything in a record: frozen, no unknown keys, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def words(title: str, kind: type[StrEnum]) -> WithJsonSchema:
    """The published schema of a field that holds one of an enumeration's words: the words themselves.

    Args:
        title: Name of the field, with a capital.
        kind: The enumeration.
    """
    return WithJsonSchema({"enum": [one.value for one in kind], "title": title, "type": "string"})
