"""The part of a record that a meter saw."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, JsonValue

from edgesnn.record.base import Part, Sha256, words
from edgesnn.record.quantities import KindField


class Rung(StrEnum):
    """How a window was found on the meter's clock."""

    MARKER = "marker"
    CLOCK_MAP = "clock-map"
    PREAMBLE = "preamble"
    HOST = "host-timestamps"

    @property
    def coarse(self) -> bool:
        """Whether windows on this rung must be long to mean anything."""
        return self is Rung.HOST


class PowerWindow(Part):
    """One measurement window on the meter's clock."""

    start_s: float | None = Field(description="Start by the meter's clock; null when it was not found.")
    stop_s: float | None
    edge_sd_s: float | None = Field(description="Standard deviation of each edge.")
    lap_s: float = Field(description="Its length as the device says.")
    inferences: int = Field(ge=1)
    mean_mw: float | None = Field(description="Mean total power.")
    energy_uj: float | None = Field(description="Total energy.")
    peak_mw: float | None = Field(description="Highest mean over 1 ms.")
    idle_before_mw: float | None = Field(description="Mean power of the idle stretch before it.")
    idle_after_mw: float | None = Field(description="Of the one after it.")
    voltage_v: float | None = Field(description="Mean voltage, measured or set.")
    lost_share: float = Field(description="Share of its time that no good sample covers.")
    output_sha256: str = Sha256
    invalid: str | None = Field(description="Why it does not count.")


class Power(Part):
    """A metered session."""

    kind: KindField
    meter: dict[str, JsonValue] = Field(description="Instrument, settings, accuracy, capabilities.")
    loss: dict[str, JsonValue] = Field(description="Account of the stream.")
    rung: Annotated[Rung, words("Rung", Rung)]
    coarse: bool = Field(description="Whether the windows were found by host timestamps alone.")
    clock: dict[str, JsonValue] | None = Field(description="The map from the host's clock to the meter's.")
    windows: list[PowerWindow]
    uncertainty: dict[str, dict[str, float | str]] = Field(
        description="Standard uncertainty of each quantity by component, each alone."
    )
