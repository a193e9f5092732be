"""The parts of a record that were counted on golden, and the energies estimated from the counts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgesnn.record.base import Part
from edgesnn.record.quantities import KindField

#: Where synaptic operations happen.
OpKind = Literal["embed", "linear", "attend", "readout"]


class Layer(Part):
    """Activity of one LIF, per token, or per frame where the network reads frames."""

    name: str
    neurons: int
    spikes_per_token: float
    spike_rate: float
    membrane_updates_per_token: float
    silent_neurons: int
    spikes: int | None = Field(default=None, description="Spikes on the whole text, exact.")
    membrane_updates: int | None = Field(default=None, description="Updates on the whole text, exact.")


class SynapticOp(Part):
    """Synaptic operations of one part of an op, per token or per frame."""

    name: str = Field(description="The op, with its part after a dot where it has several.")
    kind: OpKind
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
    stateful: bool = Field(
        default=False,
        description="Whether membranes live on: of frames, which stand for tokens then; multiply is what "
        "layers of graded values do.",
    )


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
    """One estimate of the energy of a token, or of a frame."""

    name: Literal["synaptic_operations", "with_memory", "dense_network"]
    how: str
    total_uj: float = Field(description="Microjoules per token, or per frame.")
    parts_uj: dict[str, float] = Field(description="Its parts, microjoules per token.")


class Energy(Part):
    """Energy estimated from activity, never measured."""

    kind: Literal["ESTIMATED"]
    table: str = Field(description="Name of the table of energies.")
    constants: dict[str, SourcedNumber] = Field(description="The table, picojoules.")
    estimates: list[EnergyEstimate]
    statement: str = Field(description="What spike rate and estimates say against a dense network.")
