"""Budgets and whole runs, judged."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from edgesnn.record.base import Part, words
from edgesnn.record.quantities import Quantity, SideField


class BudgetOutcome(StrEnum):
    """What can be said of one budget."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNDECIDED = "UNDECIDED"  #: measured, but the data do not show it
    UNMEASURED = "UNMEASURED"  #: nobody measured it
    REPORTED = "REPORTED"  #: the profile sets no limit


class Overall(StrEnum):
    """What can be said of a whole run."""

    PASS = "PASS"
    FAIL = "FAIL"
    INVALID = "INVALID"
    UNDECIDED = "UNDECIDED"


#: Exit codes that a judged run can have.
ExitCode = Literal[0, 3, 4, 6]


class Budget(Part):
    """One budget, judged."""

    name: str = Field(description="Key of the profile.")
    subject: str = Field(description="What the budget speaks of.")
    quantity: Quantity = Field(description="The value that is shown.")
    side: SideField = Field(description="On which side of the limit the value must lie.")
    limit: float | None = Field(description="The limit; null only reports.")
    required: bool = Field(description="Whether it gates.")
    verdict: Annotated[BudgetOutcome, words("Verdict", BudgetOutcome)]
    reason: str | None = Field(description="Why.")
    samples_needed: int | None = Field(description="Samples that would decide, where that can be said.")


class Verdict(Part):
    """The whole run, judged."""

    verdict: Annotated[Overall, words("Verdict", Overall)]
    exit_code: ExitCode = Field(description="Exit code of the command.")
    reasons: list[str] = Field(description="What stands in the way, or was excused.")
    allow_unmeasured: bool = Field(description="Whether missing measurements were excused.")
    invalid: str | None = Field(description="Why the run is invalid.")
