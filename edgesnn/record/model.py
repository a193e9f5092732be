"""The run record, ``edgesnn.run/1``: what one profile found, with everything needed to judge it later.

Every quantity says whether it was MEASURED, SIMULATED or ESTIMATED, or is ABSENT with a reason. A record
holds no path of the machine that made it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, JsonValue, model_validator

from edgesnn.record.base import Part, Sha256
from edgesnn.record.quantities import Kind, KindField, Quantity, SideField

SCHEMA = "edgesnn.run/1"


class Model(Part):
    """The model that ran."""

    name: str = Field(description="Name of the bundle.")
    program_hash: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the integer program.")
    timesteps: int = Field(ge=1, description="T, inner timesteps per token.")
    context_window: int = Field(ge=1, description="Longest attention window, tokens.")
    vocab_size: int = Field(ge=1, description="Token ids.")


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


class Budget(Part):
    """One budget, judged."""

    name: str = Field(description="Key of the profile.")
    subject: str = Field(description="What the budget speaks of.")
    quantity: Quantity = Field(description="The value that is shown.")
    side: SideField = Field(description="On which side of the limit the value must lie.")
    limit: float | None = Field(description="The limit; null only reports.")
    required: bool = Field(description="Whether it gates.")
    verdict: Literal["PASS", "FAIL", "UNDECIDED", "UNMEASURED", "REPORTED"]
    reason: str | None = Field(description="Why.")
    samples_needed: int | None = Field(description="Samples that would decide, where that can be said.")


class Verdict(Part):
    """The whole run, judged."""

    verdict: Literal["PASS", "FAIL", "INVALID", "UNDECIDED"]
    exit_code: Literal[0, 3, 4, 6] = Field(description="Exit code of the command.")
    reasons: list[str] = Field(description="What stands in the way, or was excused.")
    allow_unmeasured: bool = Field(description="Whether missing measurements were excused.")
    invalid: str | None = Field(description="Why the run is invalid.")


class NotMeasured(Part):
    """A quantity that is missing."""

    name: str
    reason: str = Field(min_length=1)


class WarmUp(Part):
    """What warming up took."""

    steps: int
    settled: bool
    minimum_ms: float
    typical_ms: float


class Drift(Part):
    """First against last quarter of the forward passes."""

    first_ms: float
    last_ms: float
    ratio: float
    drifted: bool


class Window(Part):
    """One measurement window."""

    offset_s: float = Field(description="Start, counted from the first window's.")
    seconds: float
    steps: int
    counted_steps: int = Field(description="Steps whose context was full.")
    median_ms: float = Field(description="Median forward pass of the counted steps.")
    mean_ms: float = Field(description="Mean forward pass of the counted steps.")
    output_sha256: str = Sha256


class Latency(Part):
    """How the times were taken."""

    text: str = Field(description="What the token ids were taken from.")
    clock: Literal["device", "host"]
    context: int = Field(description="Tokens that every counted step saw at least, itself included.")
    full_context: bool = Field(description="Whether that is the program's context window.")
    autocorrelation_time: float = Field(ge=1, description="tau in samples; effective n = n / tau.")
    p99_note: str | None = Field(description="What the sample cannot say about p99.")
    warm_up: WarmUp
    drift: Drift | None
    first_token_form: Literal["prefill", "step"] | None
    windows: list[Window]


class Generation(Part):
    """How whole answers were timed."""

    form: Literal["prefill", "step"]
    prompt_tokens: int = Field(ge=1)
    generated_tokens: int = Field(ge=1)
    runs: list[int] = Field(description="Runs of each window.")
    window_seconds: list[float] = Field(description="Sum of the runs' times, by window.")
    output_sha256: str = Sha256


class RatioFigure(Part):
    """B over A, from windows that took turns."""

    value: float = Field(description="Ratio of the geometric means over windows; above 1 B takes more.")
    lower: float | None = Field(description="Lower end of its 95 % interval.")
    upper: float | None = Field(description="Upper end of its 95 % interval.")
    degrees_of_freedom: float | None = Field(description="Of Welch's t over the logarithms of the windows.")
    windows_a: int
    windows_b: int
    reason: str | None = Field(description="Why there is no interval.")


class WindowOutlier(Part):
    """A window that lies apart; it is kept."""

    window: int = Field(ge=1, description="Its number, from 1.")
    value_ms: float
    score: float = Field(description="Modified z-score: distance from the median over 1.4826 MAD.")


class WindowDrift(Part):
    """A trend over the windows, by Theil and Sen's slope of the logarithm."""

    change: float = Field(description="Last window over first along the trend, less 1.")
    lower: float
    upper: float
    drifted: bool


class Interleaving(Part):
    """The session that two records share, because their windows took turns."""

    id: str = Field(pattern=r"^[0-9a-f]{32}$", description="The same in both records.")
    role: Literal["A", "B"] = Field(description="Which of the two this record is.")
    order: str = Field(pattern=r"^[AB]+$", description="The order of the windows.")
    seed: int = Field(description="Seed of that order.")
    other_name: str = Field(description="Name of the other bundle.")
    other_program_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    median_ratio: RatioFigure = Field(description="Median forward pass of a window, B over A.")
    mean_ratio: RatioFigure = Field(description="Mean forward pass of a window, B over A.")
    statement: str = Field(description="The ratio of medians in words.")
    drift: WindowDrift | None = Field(description="Of this record's windows.")
    outliers: list[WindowOutlier] = Field(description="Of this record's windows.")


class Reference(Part):
    """A reference model beside the student, measured in a process of its own on the same text."""

    name: str
    engine: str
    dtype: str
    parameters: int | None = Field(description="Trained numbers, where the model says.")
    model_bytes: int = Field(ge=0, description="Size of its weight files.")
    context: int = Field(description="Tokens that every timed step saw at least.")
    kv_cache: bool = Field(description="Whether a step keeps keys and values.")
    threads: int = Field(ge=1)
    documents: int = Field(ge=1, description="Documents of held-out text that both were scored on.")
    skipped_documents: int = Field(
        description="Documents that its tokenizer cannot spell or its context hold."
    )
    quantities: dict[str, Quantity] = Field(description="Its figures, and those of the student beside them.")


class Layer(Part):
    """Activity of one LIF, per token."""

    name: str
    neurons: int
    spikes_per_token: float
    spike_rate: float
    membrane_updates_per_token: float
    silent_neurons: int
    spikes: int | None = Field(default=None, description="Spikes on the whole text, exact.")
    membrane_updates: int | None = Field(default=None, description="Updates on the whole text, exact.")


class SynapticOp(Part):
    """Synaptic operations of one part of an op, per token."""

    name: str = Field(description="The op, with its part after a dot where it has several.")
    kind: Literal["embed", "linear", "attend", "readout"]
    dense: float
    effective: float
    accumulates: bool
    op: str | None = Field(default=None, description="Name of the op.")
    dense_total: int | None = Field(default=None, description="On the whole text, exact.")
    effective_total: int | None = Field(default=None, description="On the whole text, exact.")
    weight_bytes_total: int | None = Field(
        default=None, description="Trained weights that nonzero activations select, on the whole text."
    )


class TokenShift(Part):
    """Spikes that one token shift keeps for a token, on the whole text."""

    name: str
    channels: int
    steps: int = Field(description="Channels times inner timesteps times tokens.")
    spikes: int


class Work(Part):
    """Totals over the whole text, exact: what energy estimates start from."""

    tokens: int = Field(ge=1)
    timesteps: int = Field(ge=1, description="T, inner timesteps per token.")
    neurons: int
    spikes: int
    membrane_updates: int
    linear_effective: int
    linear_dense: int
    linear_weight_bytes: int
    attend_effective: int
    attend_dense: int
    attend_bits_read: int
    attend_bits_dense: int
    attend_bits_written: int
    multiply_effective: int = Field(description="Embedding projection and readout.")
    multiply_dense: int
    multiply_weight_bytes: int
    lookup_bytes: int
    residual_adds: int
    shift_bits: int


class Activity(Part):
    """Counts per layer and op."""

    kind: KindField
    how: str
    text: str
    tokens: int
    parameter_bytes: int
    state_bytes: int
    layers: list[Layer]
    ops: list[SynapticOp]
    shifts: list[TokenShift] = Field(default_factory=list)
    work: Work | None = None


class SourcedNumber(Part):
    """A constant of an estimate."""

    value: float
    status: Literal["MEASURED", "PUBLISHED", "ESTIMATED", "ASSUMED"]
    source: str = Field(min_length=1)


class EnergyEstimate(Part):
    """One estimate of the energy of a token."""

    name: Literal["synaptic_operations", "with_memory", "dense_network"]
    how: str
    total_uj: float = Field(description="Microjoules per token.")
    parts_uj: dict[str, float] = Field(description="Its parts, microjoules per token.")


class Energy(Part):
    """Energy estimated from activity, never measured."""

    kind: Literal["ESTIMATED"]
    table: str = Field(description="Name of the table of energies.")
    constants: dict[str, SourcedNumber] = Field(description="The table, picojoules.")
    estimates: list[EnergyEstimate]
    statement: str = Field(description="What spike rate and estimates say against a dense network.")


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
    rung: Literal["marker", "clock-map", "preamble", "host-timestamps"]
    coarse: bool = Field(description="Whether the windows were found by host timestamps alone.")
    clock: dict[str, JsonValue] | None = Field(description="The map from the host's clock to the meter's.")
    windows: list[PowerWindow]
    uncertainty: dict[str, dict[str, float | str]] = Field(
        description="Standard uncertainty of each quantity by component, each alone."
    )


class Parity(Part):
    """Comparison with golden."""

    target: str
    mismatches: int
    logits_compared: int
    tokens: int
    forms: dict[str, int]
    worst_layer: str | None
    largest_difference: int
    text: str
    seconds: float | None


class Comparison(Part):
    """Another engine on the same workload."""

    target: str
    engine: str | None
    p50: Quantity
    p95: Quantity
    ratio: Quantity = Field(description="Time of this run over the other's: above 1 this run is slower.")
    statement: str


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
        >>> record.verdict.verdict, record.model.name, record.device.runner
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
    reference: Reference | None = Field(default=None, description="A reference model beside it.")

    @model_validator(mode="after")
    def _names_what_is_missing(self) -> RunRecord:
        absent = {name for name, quantity in self.quantities.items() if quantity.kind is Kind.ABSENT}
        if absent != {entry.name for entry in self.not_measured}:
            raise ValueError("not_measured must name exactly the absent quantities")
        return self

    def to_json(self) -> dict[str, Any]:
        """The record as JSON-like data."""
        return self.model_dump(mode="json", by_alias=True)
