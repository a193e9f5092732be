"""A stretch of a trace without copying it: a session of minutes has many windows and millions of samples."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgesnn.meters.base import Block
from edgesnn.meters.samples.trace import Trace

_T = TypeVar("_T", bound=np.generic)


def excerpt(trace: Trace, start_s: float, stop_s: float) -> Trace | None:
    """The samples that reach into a stretch.

    Args:
        trace: All samples.
        start_s: Start of the stretch, on the meter's clock.
        stop_s: Its end.

    Returns:
        A trace over views of the same arrays; None where no sample reaches into it.
    """
    block = trace.block
    lengths = np.broadcast_to(np.asarray(block.duration_s, np.float64), len(block))
    first = int(np.searchsorted(block.time_s, start_s, side="right"))
    if first and block.time_s[first - 1] + lengths[first - 1] > start_s:
        first -= 1
    inside = slice(first, int(np.searchsorted(block.time_s, stop_s, side="left")))
    if inside.start >= inside.stop:
        return None

    def cut(values: npt.NDArray[_T] | None) -> npt.NDArray[_T] | None:
        return None if values is None else values[inside]

    return Trace(
        Block(
            time_s=block.time_s[inside],
            duration_s=lengths[inside],
            current_a=cut(block.current_a),
            voltage_v=cut(block.voltage_v),
            power_w=cut(block.power_w),
            markers=block.markers[inside],
            status=block.status[inside],
            range_index=cut(block.range_index),
            lost=0,
            host_ns=block.host_ns,
        ),
        trace.accuracy,
        trace.set_voltage_v,
    )
