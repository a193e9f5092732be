"""Reading what ``edgesnn map --json`` printed, checked before a page trusts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from edgesnn.errors import RecordError

_MAX_BYTES = 16 * 2**20


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _Chip(_Part):
    name: str


class _Usage(_Part):
    what: str
    largest: NonNegativeInt
    limit: NonNegativeInt
    total: NonNegativeInt


class _Population(_Part):
    name: str
    kind: str
    neurons: NonNegativeInt
    synapses: NonNegativeInt
    synapse_bytes: NonNegativeInt
    cores: NonNegativeInt


class _Attention(_Part):
    name: str
    states: NonNegativeInt
    state_bytes: NonNegativeInt
    cores: NonNegativeInt


class _Violation(_Part):
    where: str
    what: str
    actual: str
    limit: str


class _Mapping(_Part):
    """The parts of ``edgesnn.map/1`` that a page shows."""

    schema_name: Literal["edgesnn.map/1"] = Field(alias="schema")
    program_hash: str
    chip: _Chip
    fits: bool
    placement: str
    neurons: NonNegativeInt
    synapses: NonNegativeInt
    cores: NonNegativeInt
    attention_cores: NonNegativeInt
    cores_available: NonNegativeInt
    usage: list[_Usage]
    populations: list[_Population]
    attentions: list[_Attention]
    violations: list[_Violation]


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a document of ``edgesnn map --json``.

    Args:
        path: The file.

    Returns:
        What a page shows of it, as plain data.

    Raises:
        RecordError: It cannot be read, or is no such document.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise RecordError(f"'{path}' is too large for a chip map", limit=_MAX_BYTES)
        raw = json.loads(path.read_text(encoding="utf-8"))
        return _Mapping.model_validate(raw).model_dump()
    except OSError as error:
        raise RecordError(f"cannot read the chip map '{path}'", actual=error.strerror) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole document"
        raise RecordError(
            f"'{path}' is no chip map at '{where}'",
            actual=first["msg"],
            remedy="make it with: edgesnn map --json",
        ) from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"'{path}' is not JSON", actual=str(error)) from None
