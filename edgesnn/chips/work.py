"""What a program did on one text, as whole numbers: the input of every energy estimate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkTotals:
    """Totals over a text; divide by `tokens` for figures per token. `docs/activity.md` has the formulas.

    *Effective* is what happened for the spikes that occurred, *dense* all there is. *Multiply* names the
    embedding's projection and the readout, whose activations are no spikes.

    Attributes:
        tokens: Tokens of the text, at least 1.
        timesteps: T, inner timesteps per token, at least 1.
        neurons: LIF neurons.
        spikes: Spikes of all of them.
        membrane_updates: As NeuroBench counts them.
        linear_effective: Accumulates of linear layers whose weight is not zero.
        linear_dense: All of them.
        linear_weight_bytes: Weights of the rows that a spike selects, zeros included.
        attend_effective: Accumulates of scores and of values.
        attend_dense: All of them; half are scores, half values.
        attend_bits_read: Bits of stored keys and values that spikes select.
        attend_bits_dense: Bits of all keys and values inside the windows.
        attend_bits_written: Bits of new keys and values.
        multiply_effective: Products of two nonzero factors in embedding and readout.
        multiply_dense: All of them.
        multiply_weight_bytes: Weights that a nonzero activation selects there.
        lookup_bytes: Bytes of embedding rows looked up.
        residual_adds: int32 additions of the residual stream.
        shift_bits: Spikes (0 or 1) of shifted channels, kept for one token.
        stateful: Whether membranes live on from token to token, as in a network that reads frames: there a
            token is a frame, and *multiply* names the layers that read graded values.
    """

    tokens: int
    timesteps: int
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
    multiply_effective: int
    multiply_dense: int
    multiply_weight_bytes: int
    lookup_bytes: int
    residual_adds: int
    shift_bits: int
    stateful: bool = False

    @property
    def neuron_steps(self) -> int:
        """Membrane updates if every neuron counts at every inner timestep."""
        return self.neurons * self.timesteps * self.tokens

    @property
    def spike_rate(self) -> float:
        """Spikes per neuron and inner timestep, 0..1; 0 without neurons."""
        return self.spikes / self.neuron_steps if self.neuron_steps else 0.0
