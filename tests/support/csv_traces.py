"""CSV traces for tests: written as other tools write them, read as ``edgesnn meter record`` reads them."""

from dataclasses import dataclass

from edgesnn.meters.base import Loss
from edgesnn.meters.capture import Plan, SegmentEnd, SegmentStart, capture
from edgesnn.meters.opening import open_meter, settings_of
from edgesnn.meters.samples.summary import Accumulator, StreamSummary

JOULESCOPE = "#time (s),current (A),voltage (V)\n"


def rows(count, cell="{:.6f},{:.6f},{:.6f}", change=None):
    """Rows of 27 mA at 3.7 V, 1 ms each; ``change`` gives other texts for the current by row."""
    made = []
    for k in range(count):
        parts = cell.format(k * 1e-3, 0.027, 3.7)
        made.append(parts if k not in (change or {}) else f"{k * 1e-3:.6f},{change[k]},3.700000")
    return "\n".join(made) + "\n"


@dataclass(frozen=True)
class Measured:
    """What came of a trace."""

    summary: StreamSummary
    loss: Loss


def measure(tmp_path, text, options="", *, name="trace.csv", encoding="utf-8"):
    """Measure a trace by its address, as every command does."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    address = f"csv:{path}?speed=max{options}"
    added, loss = None, Loss(0)
    for event in capture(open_meter(address), Plan(settings_of(address)), lambda: False):
        if isinstance(event, SegmentStart):
            added = Accumulator(event.accuracy, event.settings.voltage_v)
        elif isinstance(event, SegmentEnd):
            loss = event.loss
        else:
            added.add(event)
    return Measured(added.result(), loss)
