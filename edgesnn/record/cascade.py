"""The wake network in front of a language model, as a record keeps it."""

from __future__ import annotations

from pydantic import Field

from edgesnn.record.base import Part
from edgesnn.record.quantities import Quantity


class WakeNetwork(Part):
    """A network that is always on, and how often its decisions ask for an answer."""

    name: str = Field(description="Name of its bundle.")
    program_hash: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of its integer program.")
    frames_per_second: float = Field(gt=0, description="How often a frame comes.")
    events_per_hour: float = Field(ge=0, description="How often what it waits for really happens.")
    background: int = Field(ge=0, description="Class of the windows in which it does not.")
    decision_frames: int | None = Field(description="Frames of a decision.")
    events: int | None = Field(description="Held-out windows with an event; null without labels.")
    events_heard: int | None = Field(description="Of them, those that wake it.")
    others: int | None = Field(description="Held-out windows without one.")
    others_heard: int | None = Field(description="Of them, those that wake it.")
    quantities: dict[str, Quantity] = Field(description="What was measured of it alone.")
