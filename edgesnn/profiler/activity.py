"""What a program does per token: spikes, synaptic operations, membrane updates, sparsity, footprint.

Counted exactly on golden, so the figures hold for every device that passes parity. Definitions follow
NeuroBench (J. Yik et al., The NeuroBench framework, Nature Communications 2025: footprint, connection
sparsity, activation sparsity, synaptic operations, membrane updates), spelt out for the operations it does
not know:

* A *synaptic operation* is one product of an activation with a weight that joins a sum. *Dense* counts all of
  them, zeros included; *effective* counts those whose activation and weight are both nonzero.
* `Linear`: activations are the input's spikes at every inner timestep. Dense ``T * in * out``.
* `Attend`: no trained weights; the stored spikes take their place. The score counts ``q * k``, applying it
  counts ``score * v``, over all tokens inside the head's window. Dense ``2 * T * dh`` per such token and
  head; effective where q and k, or score and v, are both nonzero.
* `Embed`: looking the row up is no operation. Its projection counts once per token, as the equation says
  (an engine may precompute it): activations are the row's codes. Dense ``r * d``.
* `Readout`: activations are the counts for D and the codes z8 for the tied table, once per token. Dense
  ``d * r + r * vocab``.
* Not counted as synaptic: biases, multiply-shifts, `Add`, `Shift`, `Count`. Operations on spikes are
  accumulates; those of `Embed` and `Readout` are multiply-accumulates, counted apart.
* A *membrane update* is one neuron at one inner timestep; *effective* are those after which the membrane
  differs from what the previous timestep left (NeuroBench counts these).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgesnn.program.golden import Golden, lif_membranes, readout_codes
from edgesnn.program.ops import LIF, Attend, Embed, Linear, Op, Readout, inputs_of
from edgesnn.program.program import Program
from edgesnn.program.state import state_tensors

IntArray = npt.NDArray[np.integer]
_QUERY_BLOCK = 128


@dataclass(frozen=True, slots=True)
class LayerActivity:
    """One LIF.

    Attributes:
        name: Name of the op.
        neurons: Its channels.
        spikes_per_token: Mean spikes per token, over all neurons and inner timesteps.
        spike_rate: Spikes per neuron and inner timestep, 0..1.
        membrane_updates_per_token: Updates that changed a membrane, per token.
        silent_neurons: Neurons that never fired.
    """

    name: str
    neurons: int
    spikes_per_token: float
    spike_rate: float
    membrane_updates_per_token: float
    silent_neurons: int


@dataclass(frozen=True, slots=True)
class OpActivity:
    """Synaptic operations of one op, per token.

    Attributes:
        name: Name of the op.
        kind: ``embed``, ``linear``, ``attend`` or ``readout``.
        dense: All of them.
        effective: Those whose activation and weight are both nonzero.
        accumulates: Whether they are accumulates (spikes) or multiply-accumulates.
    """

    name: str
    kind: str
    dense: float
    effective: float
    accumulates: bool


@dataclass(frozen=True, slots=True)
class Activity:
    """What a program does per token on one text.

    Attributes:
        tokens: Tokens it was counted over, one sequence from an empty context.
        layers: Every LIF, in order.
        ops: Every op with synaptic operations, in order.
        spike_rate: Spikes per neuron and inner timestep over all LIFs, 0..1.
        activation_sparsity: One less that.
        connection_sparsity: Share of zero weights over all weight tensors, the tied table once.
        synaptic_operations: Effective, per token.
        synaptic_operations_dense: Dense, per token.
        membrane_updates: Updates that changed a membrane, per token.
        membrane_updates_dense: Neurons times T.
        parameter_bytes: Weights (int8), thresholds, biases and multipliers (int32), the tied table once.
        state_bytes: State that one context keeps between tokens.
    """

    tokens: int
    layers: tuple[LayerActivity, ...]
    ops: tuple[OpActivity, ...]
    spike_rate: float
    activation_sparsity: float
    connection_sparsity: float
    synaptic_operations: float
    synaptic_operations_dense: float
    membrane_updates: float
    membrane_updates_dense: float
    parameter_bytes: int
    state_bytes: int

    @property
    def footprint_bytes(self) -> int:
        """Parameters and state."""
        return self.parameter_bytes + self.state_bytes


@dataclass(slots=True)
class _Counter:
    """Watches one run of golden and keeps sums."""

    program: Program
    ids: npt.NDArray[np.int64]
    ops: list[OpActivity] = field(default_factory=list)
    layers: list[LayerActivity] = field(default_factory=list)
    _by_input: dict[str, list[Op]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for op in self.program.ops:
            for name in inputs_of(op):
                self._by_input.setdefault(name, []).append(op)
        self._embed(self.program.embed)

    def __call__(self, name: str, value: IntArray) -> None:
        for op in self._by_input.get(name, []):
            if isinstance(op, Linear):
                self._linear(op, value)
            elif isinstance(op, LIF):
                self._lif(op, value)
            elif isinstance(op, Attend):
                self._attend(op, value)
            elif isinstance(op, Readout):
                self._readout(op, value)

    def _add(self, op: Op, kind: str, dense: float, effective: float, accumulates: bool) -> None:
        tokens = len(self.ids)
        self.ops.append(OpActivity(op.name, kind, dense / tokens, effective / tokens, accumulates))

    def _embed(self, op: Embed) -> None:
        used = np.count_nonzero(op.table[self.ids], axis=0)
        effective = int(used @ np.count_nonzero(op.projection, axis=1))
        self._add(op, "embed", len(self.ids) * op.projection.size, effective, accumulates=False)

    def _linear(self, op: Linear, spikes: IntArray) -> None:
        fired = spikes.reshape(-1, spikes.shape[-1])
        effective = int(np.count_nonzero(fired, axis=0) @ np.count_nonzero(op.weight, axis=1))
        self._add(op, "linear", len(fired) * op.weight.size, effective, accumulates=True)

    def _lif(self, op: LIF, current: IntArray) -> None:
        membranes, spikes = lif_membranes(current[0], op)
        left = np.where(spikes[:, :-1] != 0, 0, membranes[:, :-1])
        changed = np.count_nonzero(membranes[:, 0]) + np.count_nonzero(membranes[:, 1:] != left)
        fired = int(spikes.sum(dtype=np.int64))
        self.layers.append(
            LayerActivity(
                name=op.name,
                neurons=spikes.shape[-1],
                spikes_per_token=fired / len(self.ids),
                spike_rate=fired / spikes.size,
                membrane_updates_per_token=int(changed) / len(self.ids),
                silent_neurons=int(np.count_nonzero(~spikes.any(axis=(0, 1)))),
            )
        )

    def _attend(self, op: Attend, qkv: IntArray) -> None:
        length, timesteps = qkv.shape[1], qkv.shape[2]
        split = qkv[0].reshape(length, timesteps, 3, len(op.windows), op.head_dim).astype(np.float32)
        dense = effective = 0
        for head, window in enumerate(op.windows):
            q, k, v = (split[:, :, part, head].swapaxes(0, 1) for part in range(3))
            values = np.count_nonzero(v, axis=2)
            for start in range(0, length, _QUERY_BLOCK):
                stop = min(start + _QUERY_BLOCK, length)
                first = max(0, start - window + 1)
                age = np.arange(start, stop)[:, None] - np.arange(first, stop)[None, :]
                inside = (age >= 0) & (age < window)
                scores = (q[:, start:stop] @ k[:, first:stop].swapaxes(1, 2)) * inside
                dense += 2 * timesteps * op.head_dim * int(inside.sum())
                effective += int(scores.sum(dtype=np.float64))
                effective += int(((scores != 0) * values[:, None, first:stop]).sum(dtype=np.int64))
        self._add(op, "attend", dense, effective, accumulates=True)

    def _readout(self, op: Readout, counts: IntArray) -> None:
        codes = readout_codes(counts, op)[0]
        effective = int(np.count_nonzero(counts[0], axis=0) @ np.count_nonzero(op.weight, axis=1))
        effective += int(np.count_nonzero(codes, axis=0) @ np.count_nonzero(op.table, axis=0))
        self._add(op, "readout", len(codes) * (op.weight.size + op.table.size), effective, accumulates=False)


def count_activity(program: Program, ids: IntArray) -> Activity:
    """Run golden over one text and count.

    Args:
        program: The program.
        ids: Token ids ``[length]``, at least one.

    Returns:
        The counts.

    Raises:
        TextError: A token id is outside the vocabulary.
    """
    ids = np.asarray(ids)
    inside = np.clip(ids, 0, program.vocab_size - 1).astype(np.int64)
    counter = _Counter(program, inside)
    Golden(program).sequence(ids[None, :], tap=counter)
    neurons = sum(layer.neurons for layer in counter.layers)
    steps = neurons * program.timesteps
    spikes = sum(layer.spikes_per_token for layer in counter.layers)
    rate = spikes / steps if steps else 0.0
    weights = _weight_tensors(program)
    return Activity(
        tokens=len(ids),
        layers=tuple(counter.layers),
        ops=tuple(counter.ops),
        spike_rate=rate,
        activation_sparsity=1.0 - rate,
        connection_sparsity=1.0 - sum(map(np.count_nonzero, weights)) / sum(w.size for w in weights),
        synaptic_operations=sum(op.effective for op in counter.ops),
        synaptic_operations_dense=sum(op.dense for op in counter.ops),
        membrane_updates=sum(layer.membrane_updates_per_token for layer in counter.layers),
        membrane_updates_dense=float(steps),
        parameter_bytes=sum(w.size for w in weights) + 4 * _int32_parameters(program),
        state_bytes=sum(int(np.prod(t.shape)) for t in state_tensors(program)),
    )


def _weight_tensors(program: Program) -> list[IntArray]:
    tied = [program.embed.table, program.embed.projection, program.readout.weight]
    return [*tied, *(op.weight for op in program.all(Linear))]


def _int32_parameters(program: Program) -> int:
    count = program.embed.multiplier.size + program.readout.bias.size + program.readout.multiplier.size
    return count + sum(op.threshold.size + op.bias.size for op in program.all(LIF))
