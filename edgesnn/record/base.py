"""What every class of a record is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from edgesnn.errors import RecordError

SCHEMA: Final = "edgesnn.run/1"
Sha256 = Field(pattern=r"^[0-9a-f]{64}$")


def _say_the_sentence(schema: dict[str, Any]) -> None:
    """Publish of a docstring its first paragraph: examples are for readers of the code."""
    if "description" in schema:
        schema["description"] = schema["description"].partition("\n\n")[0]


class Part(BaseModel):
    """Base of everything in a record: frozen, no unknown keys, no NaN."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, json_schema_extra=_say_the_sentence
    )


def words(title: str, kind: type[StrEnum]) -> WithJsonSchema:
    """The published schema of a field that holds one of an enumeration's words: the words themselves.

    Args:
        title: Name of the field, with a capital.
        kind: The enumeration.
    """
    return WithJsonSchema({"enum": [one.value for one in kind], "title": title, "type": "string"})


@contextmanager
def refuse_misfits(what: str) -> Iterator[None]:
    """Say of data that do not fit the schema where they do not.

    Args:
        what: What the data are, for example ``the run``.

    Raises:
        RecordError: A part of a record could not be made.
    """
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole record"
        raise RecordError(f"{what} breaks the schema {SCHEMA} at '{where}'", actual=first["msg"]) from None
