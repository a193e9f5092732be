"""What `scpi` knows about each instrument: the table ``models.toml``, read and checked."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgesnn.config import StrictModel, load_toml
from edgesnn.errors import MeterError

NonEmpty = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
FieldName = Literal["voltage", "current", "time"]


class ScpiModel(StrictModel):
    """One kind of instrument; the head of ``models.toml`` says what each key is."""

    name: NonEmpty
    idn: NonEmpty
    accuracy: NonEmpty
    source: NonEmpty
    acquire: Literal["poll", "log"]
    setup: list[NonEmpty]
    set_voltage: list[NonEmpty] = []
    set_period: list[NonEmpty] = []
    output_on: list[NonEmpty] = []
    output_off: list[NonEmpty] = []
    start: list[NonEmpty] = []
    read: NonEmpty
    stop: list[NonEmpty] = []
    fields: Annotated[list[FieldName], Field(min_length=1)]
    supply: tuple[float, float] | None = None
    highest_limit_a: Positive | None = None
    shortest_period_s: Positive | None = None
    usual_period_s: Positive | None = None
    longest_period_s: Positive | None = None
    kept_s: Positive | None = None

    @model_validator(mode="after")
    def _whole(self) -> ScpiModel:
        if "current" not in self.fields or len(set(self.fields)) != len(self.fields):
            raise ValueError("fields must hold 'current', and each name once")
        supplies = (
            bool(self.set_voltage),
            bool(self.output_on),
            bool(self.output_off),
            self.supply is not None,
        )
        if len(set(supplies)) != 1:
            raise ValueError("set_voltage, output_on, output_off and supply go together")
        periods = (self.shortest_period_s, self.usual_period_s, self.longest_period_s, self.kept_s)
        logs = self.acquire == "log"
        if any((one is not None) != logs for one in periods) or bool(self.set_period) != logs:
            raise ValueError("periods and set_period belong to 'log', all of them")
        return self


class _Table(StrictModel):
    models: Annotated[list[ScpiModel], Field(min_length=1)]


@cache
def models() -> tuple[ScpiModel, ...]:
    """All instruments of the table, in its order."""
    return tuple(load_toml(Path(__file__).with_name("models.toml"), _Table).models)


def recognise(identity: str) -> ScpiModel:
    """The model that an answer to ``*IDN?`` belongs to.

    Raises:
        MeterError: None of the table.
    """
    for model in models():
        if re.match(model.idn, identity, re.IGNORECASE):
            return model
    raise MeterError(
        "the instrument answers, but is none that edgesnn can drive",
        actual=identity[:80] or "an empty identity",
        limit=", ".join(model.name for model in models()),
        remedy="its commands can be added to edgesnn/meters/scpi/models.toml",
    )
