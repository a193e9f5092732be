"""The operations of the integer program: frozen dataclasses whose docstrings are their equations.

A program is a list of these over named values. Every value has the logical shape
``[batch, position, T, channels]`` (T inner timesteps) unless its op says otherwise. All arithmetic is
integer; nothing overflows int32, by the compiler's proof (`edgesnn.program.bounds`). ``trunc`` rounds
toward zero, as C's ``/`` does.

Source of the definition: Loihi's fixed-point LIF with its numbers restricted so that plain int32
arithmetic is enough on every backend (see ``docs/integer_program.md``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgesnn.program.ops_frames import Conv, Delay, FrameOutput, Frames, StatefulLIF, SumPool

Int8Array: TypeAlias = npt.NDArray[np.int8]
Int32Array: TypeAlias = npt.NDArray[np.int32]

#: Membranes are in 1/64 of a current: 6 fraction bits.
MEMBRANE_SCALE = 64
#: A membrane is saturated to plus or minus this.
MEMBRANE_MAX = 2**23 - 1
#: The decay is ``n / 256``.
DECAY_DENOMINATOR = 256
#: Exclusive bound of a current and of the residual stream.
CURRENT_LIMIT = 2**17
#: Largest magnitude that `Saturate` lets through.
RESIDUAL_MAX = CURRENT_LIMIT - 1
#: Largest threshold; a neuron above it can never fire and is stored with this one.
THETA_MAX = 2**23 - 2
#: Largest magnitude of a LIF bias: with it ``V*n/256 + 64*I + b`` stays inside int32.
LIF_BIAS_MAX = 2**30
#: Weights lie in [-127, 127]; -128 never occurs.
WEIGHT_MAX = 127
#: Exclusive bound of a value before a multiply-shift (`Embed`, `Readout`).
PRODUCT_LIMIT = 2**31
#: Exclusive bound of ``logits_q``: exact in float32.
LOGIT_LIMIT = 2**24
#: A count of spikes over T must fit int8.
TIMESTEPS_MAX = 127
#: Widest attention head: a score of binary vectors must fit uint8.
HEAD_DIM_MAX = 255


@dataclass(frozen=True, slots=True, eq=False)
class Embed:
    """``out[c] = trunc((sum_j P[j, c] * E[token, j]) * multiplier[c] / 2**shift)``, at every inner timestep.

    Attributes:
        name: Name of the op.
        out: Name of the current it makes, ``[.., d]`` int32.
        table: E, int8 ``[vocab, r]``, shared with `Readout`.
        projection: P, int8 ``[r, d]``, input-major.
        multiplier: int32 ``[d]``, at least 0.
        shift: k0, 0..31.
    """

    name: str
    out: str
    table: Int8Array
    projection: Int8Array
    multiplier: Int32Array
    shift: int


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """``out[c] = sum_j in[j] * weight[j, c]``, int32, magnitude below 2**17 (2**23 in a program of frames).

    Attributes:
        name: Name of the op.
        input: Name of a spike value, ``[.., in]``; in a program of frames it may be graded.
        out: Name of the current it makes, ``[.., out]``.
        weight: int8 ``[in, out]``, input-major, in [-127, 127].
    """

    name: str
    input: str
    out: str
    weight: Int8Array


@dataclass(frozen=True, slots=True, eq=False)
class LIF:
    """Leaky integrate-and-fire over the T inner timesteps of one token, from V = 0.

    ``V = trunc(V * n / 256) + 64 * I + bias``; ``V = clip(V, -(2**23 - 1), 2**23 - 1)``;
    ``s = V > threshold``; ``V = 0 where s``.

    Attributes:
        name: Name of the op.
        input: Name of a current, ``[.., T, c]``.
        out: Name of the spike value it makes, ``[.., T, c]`` in {0, 1}.
        decay: n, 1..256.
        threshold: Theta, int32 ``[c]``, 1..2**23 - 2, in membrane units.
        bias: b, int32 ``[c]``, magnitude at most 2**30, in membrane units.
        clip: Whether the lower saturation can be reached. The upper one can never change a spike.
    """

    name: str
    input: str
    out: str
    decay: int
    threshold: Int32Array
    bias: Int32Array
    clip: bool


@dataclass(frozen=True, slots=True, eq=False)
class Shift:
    """``out[i, t, c] = in[i - 1, t, c]`` for the shifted channels, ``in[i, t, c]`` for the others.

    Zeros stand before the first token. The state is the unshifted spikes of those channels.

    Attributes:
        name: Name of the op.
        input: Name of a spike value.
        out: Name of the spike value it makes.
        channels: Ascending channel numbers that are shifted, int32.
    """

    name: str
    input: str
    out: str
    channels: Int32Array


@dataclass(frozen=True, slots=True, eq=False)
class Attend:
    """``o_i[h, t] = sum over j in (i - W_h, i] of (q_i[h, t] . k_j[h, t]) * v_j[h, t]``, causal, no softmax.

    Attributes:
        name: Name of the op.
        input: Name of a spike value ``[.., 3 * heads * head_dim]``: q, k, v, each head-major.
        out: Name of the current it makes, ``[.., heads * head_dim]``, int32.
        head_dim: dh, at most 255.
        windows: W_h per head, at least 1; ``dh * W_h < 2**17``.
    """

    name: str
    input: str
    out: str
    head_dim: int
    windows: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Channels of the output."""
        return self.head_dim * len(self.windows)

    @property
    def ring(self) -> int:
        """Slots of the ring that a step needs: the longest window less the token itself."""
        return max(self.windows) - 1

    @property
    def slots(self) -> int:
        """Tokens that a step remembers, over all heads: every window less the token itself."""
        return sum(self.windows) - len(self.windows)

    @property
    def rings(self) -> tuple[tuple[int, int], ...]:
        """First slot and number of slots of every head."""
        sizes = [window - 1 for window in self.windows]
        return tuple((sum(sizes[:head]), size) for head, size in enumerate(sizes))


@dataclass(frozen=True, slots=True, eq=False)
class Add:
    """``out = left + right``, int32 currents of one scale per channel.

    Attributes:
        name: Name of the op.
        left: Name of a current.
        right: Name of a current.
        out: Name of the current it makes.
    """

    name: str
    left: str
    right: str
    out: str


@dataclass(frozen=True, slots=True, eq=False)
class Saturate:
    """``out = clip(in, -(2**17 - 1), 2**17 - 1)``; stands where no proof bounds the residual stream.

    Attributes:
        name: Name of the op.
        input: Name of a current.
        out: Name of the current it makes.
    """

    name: str
    input: str
    out: str


@dataclass(frozen=True, slots=True, eq=False)
class Count:
    """``out[c] = sum over t of spikes[t, c]``, shape ``[batch, position, c]``, at most T.

    Attributes:
        name: Name of the op.
        input: Name of a spike value.
        out: Name of the count it makes.
    """

    name: str
    input: str
    out: str


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """``z = c @ D + bias``; ``z8 = clip(trunc(z * M / 2**shift), -127, 127)``; ``logits_q = z8 @ E.T``.

    Float logits are ``logits_q * 2**-exponent``: exact, because ``abs(logits_q) < 2**24``.

    Attributes:
        name: Name of the op.
        input: Name of a count, ``[batch, position, d]``.
        out: Name of the logits it makes, int32 ``[batch, position, vocab]``.
        weight: D, int8 ``[d, r]``, input-major.
        bias: bz, int32 ``[r]``.
        multiplier: M, int32 ``[r]``, at least 0; ``abs(z) * M < 2**31``.
        shift: k, 0..31.
        table: E, int8 ``[vocab, r]``, shared with `Embed`.
        exponent: f of the float logits.
    """

    name: str
    input: str
    out: str
    weight: Int8Array
    bias: Int32Array
    multiplier: Int32Array
    shift: int
    table: Int8Array
    exponent: int


#: Ops of programs that read token ids, and of programs that read frames (`edgesnn.program.ops_frames`).
TokenOp: TypeAlias = Embed | Linear | LIF | Shift | Attend | Add | Saturate | Count | Readout
FrameOp: TypeAlias = Frames | Linear | Conv | SumPool | StatefulLIF | Delay | Add | Saturate | FrameOutput
Op: TypeAlias = TokenOp | FrameOp


def inputs_of(op: Op) -> tuple[str, ...]:
    """Names of the values that an op reads, in order; empty for one that reads what comes from outside."""
    if isinstance(op, (Embed, Frames)):
        return ()
    if isinstance(op, Add):
        return (op.left, op.right)
    return (op.input,)
