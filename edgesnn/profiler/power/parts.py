"""A metered session in parts: each has a clock of its own, all together are one result.

A session that was interrupted goes on with the meter started again, so the meter's clock began again too.
Every part is evaluated on its own clock; the windows of all parts are then propagated together, because it
was one instrument. In the record later parts follow the earlier ones on one axis of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.meters.base import Block, ClockPair
from edgesnn.meters.files.format import join
from edgesnn.meters.files.recording import Recording
from edgesnn.meters.samples.trace import Trace
from edgesnn.profiler.power.evaluation import (
    SEED,
    HostSpan,
    Lap,
    MeteredWindow,
    MeterStream,
    PowerResult,
    evaluate,
)
from edgesnn.profiler.power.uncertainty import propagate
from edgesnn.record.power import Rung

#: Time before the first idle stretch that is read too: the clocks are not yet mapped exactly.
BEFORE_S = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class SessionPart:
    """Windows over which the meter did not stop.

    Attributes:
        stream: What the meter gave.
        spans: Host times around every window.
        laps: What the device says of every window.
        rung: How they are to be found.
        info: What is known of the meter.
        loss: The account of the stream.
    """

    stream: MeterStream
    spans: tuple[HostSpan, ...]
    laps: tuple[Lap, ...]
    rung: Rung
    info: dict[str, Any]
    loss: dict[str, Any]


def read_stream(
    path: Path,
    syncs: Sequence[ClockPair],
    receipts: Sequence[tuple[float, float]],
    *,
    from_ns: int | None = None,
    until_ns: int | None = None,
    marker_bit: int = 0,
    pulses: bool = False,
) -> MeterStream:
    """What a meter recorded.

    Args:
        path: The recording; one that was cut off will do.
        syncs: Readings of the meter's clock.
        receipts: Meter time of newest samples and host time of their receipt, seconds.
        from_ns: Host time before which nothing is wanted; what is left out ends somewhere before it.
        until_ns: Host time after which nothing is taken, to the sample.
        marker_bit: The input that the device raises.
        pulses: Whether it is pulsed at the start and the end.

    Raises:
        RecordingError: There is no such recording, or no sample in it.
    """
    arrived = np.array(receipts, np.float64).reshape(-1, 2)
    start_s = max(0.0, _meter_s(arrived, from_ns) - BEFORE_S) if from_ns is not None else 0.0
    stop_s = _meter_s(arrived, until_ns) if until_ns is not None else float("inf")
    with Recording(path) as recording:
        trace = Trace.of_segment(recording.segments[-1], start_s, stop_s)
    if until_ns is not None:
        block = trace.block.only(trace.block.time_s < stop_s)
        trace = Trace(block, trace.accuracy, trace.set_voltage_v)
    return MeterStream(trace, tuple(syncs), arrived, marker_bit, pulses)


def covers(stream: MeterStream, span: HostSpan) -> bool:
    """Whether a stream holds a window and half of the idle stretch after it.

    Args:
        stream: What the meter gave.
        span: Host times around the window.
    """
    # the last sample may be the one that holds that moment
    length_s = float(np.broadcast_to(stream.trace.block.duration_s, len(stream.trace.block))[-1])
    return stream.trace.stop_s + length_s >= _meter_s(stream.receipts, middle_of_rest_ns(span))


def middle_of_rest_ns(span: HostSpan) -> int:
    """Host time half way through the idle stretch after a window."""
    return (span.rest_from_ns + span.rest_until_ns) // 2


def evaluate_parts(parts: Sequence[SessionPart], *, seed: int = SEED) -> PowerResult:
    """Find the windows of every part, integrate, and propagate all of them together.

    Args:
        parts: At least one, in order, all with the same meter.
        seed: Of the uncertainty's draws.

    Raises:
        UndecidedError: The windows of a part cannot be found on its rung.
    """
    results = [evaluate(part.stream, part.spans, part.laps, part.rung, seed=seed) for part in parts]
    if len(results) == 1:
        return results[0]
    windows: list[MeteredWindow] = []
    blocks: list[Block] = []
    end_s = 0.0
    for result in results:
        shift_s = end_s - result.trace.start_s if blocks else 0.0
        windows += [_shifted(window, shift_s) for window in result.windows]
        block = result.trace.block
        blocks.append(replace(block, time_s=block.time_s + shift_s))
        end_s = result.trace.stop_s + shift_s
    last = results[-1]
    trace = Trace(join(blocks), last.trace.accuracy, last.trace.set_voltage_v)
    samples = [window.sample for window in windows if window.sample is not None]
    budget = propagate(samples, trace.accuracy, seed=seed) if samples else None
    return replace(last, windows=tuple(windows), budget=budget, trace=trace)


def joined_loss(parts: Sequence[SessionPart]) -> dict[str, Any]:
    """The accounts of all parts as one, the single ones under ``parts`` where there are several."""
    losses = [part.loss for part in parts]
    if len(losses) == 1:
        return losses[0]
    total = {key: sum(loss[key] for loss in losses) for key in ("received", "missing", "suspected")}
    lost = total["missing"] + total["suspected"]
    return {
        **losses[-1],
        **total,
        "discarded_bytes": sum(loss["discarded_bytes"] for loss in losses),
        "fraction": lost / (total["received"] + lost) if lost else 0.0,
        "reasons": [reason for loss in losses for reason in loss["reasons"]],
        "parts": losses,
    }


def _shifted(window: MeteredWindow, shift_s: float) -> MeteredWindow:
    interval = window.interval
    if interval is None:
        return window
    moved = replace(interval, start_s=interval.start_s + shift_s, stop_s=interval.stop_s + shift_s)
    return replace(window, interval=moved)


def _meter_s(receipts: npt.NDArray[np.float64], host_ns: int) -> float:
    """Meter time at a host time: a receipt is late, never early, so the least delay is the best guess."""
    if not len(receipts):
        return 0.0
    return host_ns / 1e9 + float((receipts[:, 0] - receipts[:, 1]).max())
