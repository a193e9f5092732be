"""The document of ``edgesnn profile --all-targets``, ``edgesnn.profiles/1``: one record per target."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from edgesnn.record.base import Part
from edgesnn.record.model import RunRecord

SCHEMA: Final = "edgesnn.profiles/1"

#: Exit codes from the worst on: bug, failed gate, failed device, wrong command, wrong input, open question.
EXIT_ORDER = (5, 3, 4, 2, 1, 6, 0)


class ErrorFigure(Part):
    """Why a target gave no record."""

    code: str
    what: str
    actual: str | None
    limit: str | None
    remedy: str | None
    exit_code: int


class TargetRun(Part):
    """One target that was tried."""

    target: str
    gates: bool = Field(description="Whether its exit code counts for the whole.")
    reason: str | None = Field(description="Why it does not gate.")
    exit_code: int
    file: str | None = Field(description="File name of its run record; null when there is none.")
    record: RunRecord | None
    error: ErrorFigure | None = Field(description="Why there is no record.")


class Skipped(Part):
    """One target that was not tried."""

    target: str
    reason: str = Field(min_length=1)


class Profiles(Part):
    """Everything of one ``edgesnn profile --all-targets``."""

    schema_name: Literal["edgesnn.profiles/1"] = Field(alias="schema")
    edgesnn_version: str
    exit_code: int = Field(description="The worst of the targets that gate, by exit_order.")
    exit_order: list[int] = Field(description="Exit codes, the worst first.")
    targets: list[TargetRun]
    skipped: list[Skipped]

    def to_json(self) -> dict[str, Any]:
        """The document as JSON-like data."""
        return self.model_dump(mode="json", by_alias=True)


def worst(codes: list[int]) -> int:
    """The worst of some exit codes by `EXIT_ORDER`; codes it does not know count as bugs. 0 for none."""
    ranks = {code: rank for rank, code in enumerate(EXIT_ORDER)}
    return min(codes, key=lambda code: ranks.get(code, 0), default=0)
