"""The operations of programs that read frames: a microphone's features, a camera's events.

They complete `edgesnn.program.ops`. A frame is a position and T is 1, so a value has the logical shape
``[batch, frame, 1, channels]``. A value of several dimensions (maps of ``[channels, length]`` or
``[channels, height, width]``) lies flat in that order, channel-major, so flattening is no operation.

Membranes, delays and counts live on from frame to frame until the state is reset. A value of these programs
is of one of four kinds: *spikes* (0 or 1), *graded* (integers inside int16: samples, counts of a pool,
several spikes at once), *current* (int32) and *membrane* (int32).

Sources: the neurons are those of NIR (J. E. Pedersen et al., Neuromorphic intermediate representation,
Nature Communications 15, 2024) in the discrete time of snnTorch, Norse, Sinabs and SpikingJelly, with the
numbers of `edgesnn.program.ops`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

#: A graded value fits int16.
GRADED_MAX = 2**15 - 1
#: A sample of a frame is int8 and symmetric.
SAMPLE_MAX = 127
#: Exclusive bound of a current in a program of frames: with it ``V + 2**6 * I + b - Theta`` fits int32.
FRAME_CURRENT_LIMIT = 2**23
#: Most fraction bits of a membrane.
FRACTION_MAX = 6
#: A count of spikes over frames saturates at plus or minus this; it is exact in float32.
COUNT_MAX = 2**24 - 1
#: Longest delay in frames.
DELAY_MAX = 1024
#: Dimensions of a frame and of a map: channels, height, width.
MAP_DIMENSIONS = 3


class Reset(IntEnum):
    """What a spike does to the membrane of a `StatefulLIF`; ``D`` is its `StatefulLIF.drop`."""

    NONE = 0  #: nothing
    ZERO = 1  #: ``V = 0``
    SUBTRACT = 2  #: ``V = V - D``
    LATE = (
        3  #: D is subtracted one frame later, as snnTorch does: ``- D where V of the frame before > Theta``
    )
    MANY = 4  #: as many spikes as D fits into V: ``s = floor(V / D) where V > Theta``, ``V = V - s D``


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """``out[c] = frame[c]``: int8 frames from outside, the first op of a program without text.

    Attributes:
        name: Name of the op.
        out: Name of the value it makes: spikes where ``low, high`` is ``0, 1``, else graded.
        shape: Shape of one frame: ``(c,)``, ``(c, length)`` or ``(c, height, width)``, flat in this order.
        low: Least sample that may come, -127..0.
        high: Largest sample that may come, 1..127.
        scale: What a sample is worth outside, ``real = sample * scale``, a positive float32. It says how to
            make samples and takes no part in the arithmetic.
    """

    name: str
    out: str
    shape: tuple[int, ...]
    low: int = 0
    high: int = 1
    scale: float = 1.0

    @property
    def channels(self) -> int:
        """Samples of one frame."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Conv:
    """Convolution as networks know it, a cross-correlation in one or two dimensions.

    ``out[o, y, x] = sum over i, u, v of weight[o, i, u, v] in[g I + i, y S0 + u D0 - P0, x S1 + v D1 - P1]``
    with ``I = in/groups``, ``g = trunc(o groups / out)`` and zeros outside of the map. One dimension is a map
    of height 1.

    Attributes:
        name: Name of the op.
        input: Name of spikes or a graded value, flat ``[in, height, width]``.
        out: Name of the current it makes, flat ``[out, height', width']``.
        weight: int8 ``[out, in/groups, kernel height, kernel width]``, in [-127, 127].
        shape: ``(in, height, width)``.
        stride: S, 1 or more each.
        padding: P, zeros on both sides of the map, 0 or more each.
        dilation: D, 1 or more each.
        groups: Divides ``in`` and ``out``.
    """

    name: str
    input: str
    out: str
    weight: npt.NDArray[np.int8]
    shape: tuple[int, int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """``(out, height', width')``: ``(n + 2 P - D (kernel - 1) - 1) // S + 1``; 0 where nothing fits."""
        kernel = (int(self.weight.shape[2]), int(self.weight.shape[3]))
        return (int(self.weight.shape[0]), *_extents(self, kernel, self.dilation))

    @property
    def channels(self) -> int:
        """Channels of the output, flat."""
        return math.prod(self.out_shape)


@dataclass(frozen=True, slots=True, eq=False)
class SumPool:
    """``out[c, y, x] = sum over u, v of in[c, y S0 - P0 + u, x S1 - P1 + v]``, zeros outside of the map.

    An average pool is this one with its divisor folded into the weights behind it.

    Attributes:
        name: Name of the op.
        input: Name of spikes or a graded value, flat ``[c, height, width]``.
        out: Name of the graded value it makes, flat ``[c, height', width']``.
        shape: ``(c, height, width)``.
        kernel: Height and width of the window.
        stride: S, 1 or more each.
        padding: P, 0 or more each, less than the kernel.
    """

    name: str
    input: str
    out: str
    shape: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """``(c, height', width')``: ``(n + 2 P - kernel) // S + 1``; 0 where nothing fits."""
        return (self.shape[0], *_extents(self, self.kernel, (1, 1)))

    @property
    def channels(self) -> int:
        """Channels of the output, flat."""
        return math.prod(self.out_shape)


def _extents(op: Conv | SumPool, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    high, wide = (
        max(0, (op.shape[1 + i] + 2 * op.padding[i] - dilation[i] * (kernel[i] - 1) - 1) // op.stride[i] + 1)
        for i in range(2)
    )
    return high, wide


@dataclass(frozen=True, slots=True, eq=False)
class StatefulLIF:
    """Leaky integrate-and-fire whose membrane lives on from frame to frame; V is 0 after a reset.

    ``V = trunc(V n / 256) + 2**fraction I + bias``, less D where `Reset.LATE` and the membrane of the frame
    before is above its threshold; ``V = clip(V, -(2**23 - 1), 2**23 - 1)``; ``s = V > threshold``; then the
    `Reset`. With a membrane as output it is ``out = V`` before the reset, else ``out = s``.

    With `Reset.ZERO` and 6 fraction bits a frame is one inner timestep of `edgesnn.program.ops.LIF`. n = 256
    is integrate-and-fire, n = 0 a neuron without memory.

    A tensor of parameters has P elements, P dividing the channels: each stands for ``channels / P`` channels
    in a row. So P may be 1, one for each map, or one for each neuron.

    Attributes:
        name: Name of the op.
        input: Name of a current.
        out: Name of what it makes: a membrane; a graded value with `Reset.MANY`; else spikes.
        decay: n, int32 ``[P]``, 0..256.
        threshold: Theta, int32 ``[P]``, 1..2**23 - 2, in membrane units.
        bias: b, int32 ``[P]``, magnitude at most 2**30, in membrane units.
        reset: What a spike does to the membrane.
        inclusive: Whether the source fires at V == threshold: its threshold is then Theta + 1 here.
        fraction: Fraction bits of a membrane, 0..6: it is in ``2**-fraction`` of a current.
        membrane: Whether the membrane is the output, not the spikes.
    """

    name: str
    input: str
    out: str
    decay: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.int32]
    bias: npt.NDArray[np.int32]
    reset: Reset
    inclusive: bool = False
    fraction: int = FRACTION_MAX
    membrane: bool = False

    @property
    def drop(self) -> npt.NDArray[np.int32]:
        """D, int32 ``[P]``: what a spike takes off the membrane, the threshold of the source."""
        return self.threshold + np.int32(self.inclusive)


@dataclass(frozen=True, slots=True, eq=False)
class Delay:
    """``out[i, c] = in[i - delay[c], c]``; zeros stand before the first frame.

    Attributes:
        name: Name of the op.
        input: Name of spikes or a graded value.
        out: Name of the value it makes, of the same kind.
        delays: Frames, int32 ``[P]``, 0..1024, at least one of them not 0; each stands for ``channels / P``
            channels in a row.
    """

    name: str
    input: str
    out: str
    delays: npt.NDArray[np.int32]

    @property
    def longest(self) -> int:
        """Frames that a step remembers."""
        return int(self.delays.max())


@dataclass(frozen=True, slots=True, eq=False)
class FrameOutput:
    """``out[i, c] = in[i, c]``, or the sum of all frames since the reset; the last op of a program of frames.

    A sum is ``count = clip(count + in, -(2**24 - 1), 2**24 - 1)``; a reset begins its window.

    Attributes:
        name: Name of the op.
        input: Name of spikes, a graded value or a membrane.
        out: Name of the output, int32 ``[batch, frame, channels]``.
        summed: Whether the output is the sum since the reset; never of a membrane.
        scale: What a unit of the output is worth outside, ``real = out * scale``, a positive float32. It
            takes no part in the arithmetic.
    """

    name: str
    input: str
    out: str
    summed: bool
    scale: float = 1.0
