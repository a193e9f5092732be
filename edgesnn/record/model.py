"""The run record, ``edgesnn.run/1``: what one profile found, with everything needed to judge it later.

Every quantity says whether it was MEASURED, SIMULATED or ESTIMATED, or is ABSENT with a reason. A record
holds no path of the machine that made it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, JsonValue, model_validator

from edgesnn.record.base import Part, Sha256
from edgesnn.record.cascade import WakeNetwork
from edgesnn.record.counts import Activity, Energy
from edgesnn.record.power import Power
from edgesnn.record.quantities import Kind, Quantity
from edgesnn.record.steps import FRAMES, TOKENS, StepWords
from edgesnn.record.timing import Comparison, Generation, Interleaving, Latency, Reference
from edgesnn.record.verdicts import Budget, Verdict


class FrameInput(Part):
    """What a network reads that reads frames, and what it decides by."""

    shape: list[int] = Field(description="Shape of one frame.")
    low: int = Field(description="Least sample.")
    high: int = Field(description="Largest sample; 1 with a low of 0 is a spike.")
    scale: float = Field(description="What a sample is worth outside.")
    outputs: int = Field(ge=1, description="Outputs of a frame.")
    decision_frames: int | None = Field(description="Frames of a decision; null where nobody said.")

    def sentence(self) -> str:
        """What a network reads and gives, in a few words."""
        shape = " x ".join(str(size) for size in self.shape)
        length = "" if self.decision_frames is None else f", {self.decision_frames} of them a decision"
        return f"frames of {shape}{length}, {self.outputs:,} outputs"


class Model(Part):
    """The model that ran."""

    name: str = Field(description="Name of the bundle.")
    program_hash: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the integer program, or of the weights of a v1.0 student.",
    )
    timesteps: int = Field(ge=1, description="T, inner timesteps per token.")
    context_window: int | None = Field(
        ge=1, description="Longest attention window, tokens; null where it reads frames."
    )
    vocab_size: int | None = Field(ge=1, description="Token ids; null where it reads frames.")
    frames: FrameInput | None = Field(default=None, description="What it reads, where it reads frames.")


class Device(Part):
    """What executed it."""

    runner: str = Field(description="The runner that drove the device.")
    device: str = Field(description="Name of the device.")
    engine: str = Field(description="The library that executed.")
    engine_version: str = Field(description="Its version.")
    simulated: bool = Field(description="Whether the device is a simulation.")
    clock_hz: float = Field(gt=0, description="Resolution of the clock behind the times.")
    threads: int = Field(ge=1, description="Threads inside one inference.")
    model_files: list[str] = Field(description="Files of the bundle that the device needs.")
    model_bytes: int = Field(ge=0, description="Their size.")
    details: dict[str, JsonValue] = Field(description="Anything else the runner told.")


class NotMeasured(Part):
    """A quantity that is missing."""

    name: str
    reason: str = Field(min_length=1)


class Parity(Part):
    """Comparison with golden.

    Examples:
        >>> [result] = edgesnn.verify_bundle("bundle", "native", tokens=50)
        >>> result.mismatches, result.worst_layer
        (0, None)
    """

    target: str
    mismatches: int
    logits_compared: int
    tokens: int
    forms: dict[str, int]
    worst_layer: str | None
    largest_difference: int
    text: str
    seconds: float | None


class HostState(Part):
    """What may change while a run lasts."""

    governor: str | None
    frequency_mhz: float | None
    temperature_c: float | None
    load_average_1min: float | None
    memory_available_bytes: int


class Host(Part):
    """The machine that measured."""

    cpu: str
    machine: str
    physical_cores: int | None
    logical_cores: int
    usable_cores: int
    memory_bytes: int
    system: str
    before: HostState
    after: HostState


class Provenance(Part):
    """Which software, which command, which commit."""

    command: list[str] = Field(description="The command line, paths shortened to their last part.")
    python: str
    packages: dict[str, str] = Field(description="Versions of the packages that matter.")
    git_commit: str | None = Field(description="Commit of the working directory.")
    git_dirty: bool | None = Field(description="Whether it had uncommitted changes.")
    git_reason: str | None = Field(description="Why there is no commit.")


class Arrays(Part):
    """The raw arrays beside the record."""

    file: str = Field(pattern=r"^[^/\\]+\.npz$", description="File name, in the folder of the record.")
    sha256: str = Sha256
    names: list[str]


class RunRecord(Part):
    """One run of ``edgesnn profile``.

    Examples:
        >>> record = edgesnn.read_run("run.json").record
        >>> record.verdict.verdict.value, record.model.name, record.device.runner
        ('PASS', 'reference', 'native')
        >>> record.to_json()["schema"]
        'edgesnn.run/1'
    """

    schema_name: Literal["edgesnn.run/1"] = Field(alias="schema")
    edgesnn_version: str
    created: str = Field(description="When the record was made, ISO 8601, UTC.")
    started: str = Field(description="When measuring began, ISO 8601, UTC.")
    seconds: float = Field(ge=0, description="How long measuring took.")
    target: str = Field(description="The target as the user named it.")
    model: Model
    device: Device
    profile: dict[str, Any] = Field(description="The profile that was applied, flags included.")
    verdict: Verdict
    budgets: list[Budget]
    quantities: dict[str, Quantity] = Field(description="Every quantity by name.")
    not_measured: list[NotMeasured]
    latency: Latency | None
    activity: Activity | None
    energy: Energy | None = Field(default=None, description="Energies estimated from activity.")
    power: Power | None = Field(default=None, description="The metered session, where a meter was given.")
    parity: Parity | None
    comparisons: list[Comparison]
    marks: list[str] = Field(description="What may have moved the times.")
    host: Host
    provenance: Provenance
    arrays: Arrays | None
    generation: Generation | None = Field(
        default=None, description="Whole answers, where they were asked for."
    )
    interleaving: Interleaving | None = Field(default=None, description="The A/B session it is half of.")
    cascade: WakeNetwork | None = Field(default=None, description="The wake network in front of it.")
    reference: Reference | None = Field(default=None, description="A reference model beside it.")

    @model_validator(mode="after")
    def _names_what_is_missing(self) -> RunRecord:
        absent = {name for name, quantity in self.quantities.items() if quantity.kind is Kind.ABSENT}
        if absent != {entry.name for entry in self.not_measured}:
            raise ValueError("not_measured must name exactly the absent quantities")
        return self

    @property
    def words(self) -> StepWords:
        """What a step of this run is called: a token or a frame."""
        return TOKENS if self.model.frames is None else FRAMES

    def to_json(self) -> dict[str, Any]:
        """The record as JSON-like data."""
        return self.model_dump(mode="json", by_alias=True)
