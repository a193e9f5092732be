"""Blocks of samples for tests."""

import numpy as np

from edgesnn.meters.base import Block, MeterInfo, Settings
from edgesnn.meters.files.format import SegmentInfo
from tests.support.instruments.plain_meter import accuracy


def block(current_a, *, start_s=0.0, step_s=0.001, **columns):
    """Samples of a uniform stream; columns replace those that a plain meter would give."""
    count = len(current_a)
    given = {
        "time_s": start_s + np.arange(count) * step_s,
        "duration_s": step_s,
        "current_a": np.asarray(current_a, np.float32),
        "voltage_v": None,
        "power_w": None,
        "markers": np.zeros(count, np.uint8),
        "status": np.zeros(count, np.uint8),
        "range_index": None,
        "lost": 0,
        "host_ns": 0,
        **columns,
    }
    return Block(**given)


def segment(*, voltage_v=2.0, simulated=True, **changes):
    """The beginning of a segment of a plain meter."""
    info = MeterInfo("plain", "PLAIN", "P1", "1", "virtual:plain", simulated)
    return SegmentInfo(
        info,
        Settings(voltage_v=voltage_v),
        accuracy(**changes).model_dump(mode="json"),
        (),
        "2026-01-01T00:00:00",
        0,
    )


def receipts_of(blocks):
    """When the newest sample of every block was taken and received, float64 ``[n, 2]``, seconds."""
    rows = []
    for one in blocks:
        if len(one):
            length = np.broadcast_to(np.asarray(one.duration_s, np.float64), len(one))[-1]
            rows.append((float(one.time_s[-1] + length), one.host_ns / 1e9))
    return np.array(rows, np.float64).reshape(-1, 2)
