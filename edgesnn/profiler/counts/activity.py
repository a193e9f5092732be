"""What a program does on a text: spikes, synaptic operations, membrane updates, sparsity, footprint.

Counted in whole numbers on golden, so the figures hold for every device that passes parity, and two builds
compare exactly. Definitions follow NeuroBench (J. Yik et al., The NeuroBench framework for benchmarking
neuromorphic computing algorithms and systems, Nature Communications 16, 2025), spelt out for the operations
that it does not know; `docs/activity.md` has every formula.

* A *synaptic operation* is one product of an activation with a weight that joins a sum. *Dense* counts all of
  them, zeros included; *effective* counts those whose activation and weight are both nonzero.
* `Linear`: activations are the input's spikes at every inner timestep. Dense ``T * in * out``. A matrix that
  feeds an `Attend` through its LIF is counted in its three parts q, k and v.
* `Attend`: no trained weights; the stored spikes take their place. *score* counts ``q * k``, *value* counts
  ``score * v``, over all tokens inside the head's window. Dense ``T * dh`` each per such token and
  head; effective where q and k, or score and v, are both nonzero.
* `Embed`: looking the row up is no operation. Its *projection* counts once per token, as the equation says
  (an engine may precompute it): activations are the row's codes. Dense ``r * d``.
* `Readout`: *factor* is the counts times D, *table* the codes z8 times the tied table, once per token. Dense
  ``d * r`` and ``r * vocab``.
* Not counted as synaptic: biases, multiply-shifts, `Add`, `Shift`, `Count`. Operations on spikes are
  accumulates; those of `Embed` and `Readout` are multiply-accumulates, counted apart.
* `Conv`: a weight counts wherever its window meets a place of the input; padding is no place. A `Conv` or
  `Linear` of graded values multiplies; *effective* are products of two nonzero factors.
* `SumPool` and `Delay` have no weights: their additions and copies are not counted as synaptic.
* A *membrane update*: at the first inner timestep of a token every membrane is written anew; after it those
  whose membrane the timestep left, after its reset, at another value than it found. A membrane that lives on
  from frame to frame counts where a frame left it at another value than it found.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.chips.work import WorkTotals
from edgesnn.profiler.counts.activity_counter import ActivityCounter
from edgesnn.program.golden import Golden
from edgesnn.program.ops import LIF, Linear
from edgesnn.program.ops_frames import Conv, Delay, StatefulLIF
from edgesnn.program.program import Program
from edgesnn.program.state import state_tensors
from edgesnn.record.counts import Activity, Layer, SynapticOp, TokenShift, Work
from edgesnn.record.quantities import Kind

IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class ActivityCounts:
    """What a program does on one text.

    Attributes:
        work: The totals that energy estimates start from.
        layers: Every LIF, in order.
        ops: Every part of an op with synaptic operations, in order.
        shifts: Every token shift, in order.
        weights: Weights in all: matrices, the tied table once.
        zero_weights: Those of them that are 0.
        parameter_bytes: Weights (int8), thresholds, biases and multipliers (int32), the tied table once.
        state_bytes: State that one context keeps between tokens.
    """

    work: WorkTotals
    layers: list[Layer]
    ops: list[SynapticOp]
    shifts: list[TokenShift]
    weights: int
    zero_weights: int
    parameter_bytes: int
    state_bytes: int

    @property
    def spike_rate(self) -> float:
        """Spikes per neuron and inner timestep over all LIFs, 0..1."""
        return self.work.spike_rate

    @property
    def activation_sparsity(self) -> float:
        """Share of neurons and inner timesteps without a spike."""
        return 1.0 - self.work.spike_rate

    @property
    def connection_sparsity(self) -> float:
        """Share of zero weights."""
        return self.zero_weights / self.weights if self.weights else 0.0

    @property
    def synaptic_operations(self) -> float:
        """Effective ones, per token."""
        work = self.work
        return (work.linear_effective + work.attend_effective + work.multiply_effective) / work.tokens

    @property
    def synaptic_operations_dense(self) -> float:
        """All of them, per token."""
        work = self.work
        return (work.linear_dense + work.attend_dense + work.multiply_dense) / work.tokens

    @property
    def membrane_updates(self) -> float:
        """Updates that changed a membrane, per token."""
        return self.work.membrane_updates / self.work.tokens

    @property
    def membrane_updates_dense(self) -> float:
        """Neurons times T."""
        return float(self.work.neurons * self.work.timesteps)

    @property
    def footprint_bytes(self) -> int:
        """Parameters and state."""
        return self.parameter_bytes + self.state_bytes

    def record(self, text: str) -> Activity:
        """The counts as a record keeps them.

        Args:
            text: What the token ids were taken from.
        """
        return Activity(
            kind=Kind.MEASURED,
            how="counted on golden, one sequence from an empty context",
            text=text,
            tokens=self.work.tokens,
            parameter_bytes=self.parameter_bytes,
            state_bytes=self.state_bytes,
            layers=self.layers,
            ops=self.ops,
            shifts=self.shifts,
            work=Work(**asdict(self.work)),
        )


def count_activity(program: Program, ids: IntArray) -> ActivityCounts:
    """Run golden over one text and count.

    Args:
        program: The program.
        ids: Token ids ``[length]``, at least one, or frames ``[length, channels]``.

    Returns:
        The counts; for a program that reads frames a token is a frame.

    Raises:
        TextError: There is no token, or an id is outside the vocabulary.
        FramesError: There is no frame, or a sample is out of range.
    """
    given = program.check_input(np.asarray(ids)[None, :])
    counter = ActivityCounter(program, given[0])
    Golden(program).sequence(given, tap=counter)
    weights = _weight_tensors(program)
    size = sum(w.size for w in weights)
    return ActivityCounts(
        work=counter.work(),
        layers=counter.layers,
        ops=counter.ops,
        shifts=counter.shifts,
        weights=size,
        zero_weights=size - int(sum(map(np.count_nonzero, weights))),
        parameter_bytes=size + 4 * _int32_parameters(program),
        state_bytes=sum(int(np.prod(t.shape)) * np.dtype(t.dtype).itemsize for t in state_tensors(program)),
    )


def _weight_tensors(program: Program) -> list[IntArray]:
    if program.frames is not None:
        return [*(op.weight for op in program.all(Linear)), *(op.weight for op in program.all(Conv))]
    tied = [program.embed.table, program.embed.projection, program.readout.weight]
    return [*tied, *(op.weight for op in program.all(Linear))]


def _int32_parameters(program: Program) -> int:
    if program.frames is not None:
        neurons = sum(3 * op.threshold.size for op in program.all(StatefulLIF))
        return neurons + sum(op.delays.size for op in program.all(Delay))
    count = program.embed.multiplier.size + program.readout.bias.size + program.readout.multiplier.size
    return count + sum(op.threshold.size + op.bias.size for op in program.all(LIF))
