"""A meter for a profile: the process that reads it, and for a twin the load it shall draw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from edgesnn.errors import MeterError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import Block, MeterCapability
from edgesnn.meters.capture import Plan, SegmentEnd, SegmentStart, capture
from edgesnn.meters.opening import open_meter, settings_of
from edgesnn.meters.samples.trace import Trace
from edgesnn.profiler.power.feed import ACTIVE_W, IDLE_W, SimulatedLoad, free_port
from edgesnn.profiler.power.meter_process import MeterProcess, OnLive

SIMULATED = "sim"
#: Options of a simulated meter's address that say what the device under test draws, watts.
ACTIVE, IDLE = "active", "idle"


def measure_power(meter: str, seconds: float, *, power: bool = True) -> Trace:
    """Read a power meter for some time, all of it in memory; ``edgesnn meter record`` is for hours.

    Args:
        meter: Its address, for example ``ppk2?voltage=3.7`` or ``sim:ppk2?voltage=3.7``.
        seconds: How long, by the meter's clock.
        power: Whether to switch on the supply of a meter that has one.

    Returns:
        Every sample.

    Raises:
        UsageError: The address is wrong, or its settings do not suit the meter.
        MeterError: The meter cannot be opened, failed, or was unplugged.

    Examples:
        >>> trace = edgesnn.measure_power("sim:ppk2?voltage=3.7", 0.2)
        >>> len(trace.power_w()) > 1000
        True
    """
    opened, blocks, begun = open_meter(meter), list[Block](), None
    for event in capture(opened, Plan(settings_of(meter), seconds, power), lambda: False):
        if isinstance(event, SegmentStart):
            begun = event
        elif not isinstance(event, SegmentEnd):
            blocks.append(event)
        elif event.unplugged is not None:
            raise event.unplugged
    if begun is None or not blocks:
        raise MeterError(f"the meter '{meter}' gave no sample", remedy="measure for longer")
    return Trace.of(blocks, begun.accuracy, begun.settings.voltage_v)


@contextmanager
def metering(
    address: str | None, on_live: OnLive | None = None, path: Path | None = None
) -> Iterator[tuple[MeterProcess, SimulatedLoad | None] | None]:
    """A running meter, closed at the end on every path.

    Args:
        address: The meter's address; None for no meter. ``sim:NAME`` without a ``load`` draws ``active``
            watts while the device works and ``idle`` watts while it rests.
        on_live: Told how the power goes.
        path: Where the recording is kept; None keeps none.

    Raises:
        UsageError: The address is wrong.
        DeviceError: The meter cannot be opened, or another process has it.
    """
    if address is None:
        yield None
        return
    parsed = MeterAddress.parse(address)
    with ExitStack() as stack:
        if parsed.name != SIMULATED or "load" in parsed.options:
            yield stack.enter_context(MeterProcess(address, on_live, path)), None
            return
        active = parsed.number(ACTIVE) if ACTIVE in parsed.options else ACTIVE_W
        idle = parsed.number(IDLE) if IDLE in parsed.options else IDLE_W
        port = free_port()
        options = {key: value for key, value in parsed.options.items() if key not in (ACTIVE, IDLE)}
        fed = replace(parsed, options={**options, "load": f"live:{port}"})
        meter = stack.enter_context(MeterProcess(str(fed), on_live, path))
        pulses = MeterCapability.MARKER_PULSES in meter.capabilities
        yield meter, stack.enter_context(SimulatedLoad(port, active, idle, pulses=pulses))
