"""What really flowed during a calibration: through a resistor that is known, or by a better meter."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

from edgesnn.errors import EdgesnnError, MeterError, UsageError
from edgesnn.meters.base import Block, MeterInfo
from edgesnn.meters.calibration.calibrated import CalibratedMeter
from edgesnn.meters.capture import Plan, SegmentEnd, SegmentStart, capture
from edgesnn.meters.files.format import join
from edgesnn.meters.samples.accuracy import MeterAccuracy
from edgesnn.meters.samples.summary import Accumulator
from edgesnn.meters.samples.uncertainty import standard

_ROOT3 = math.sqrt(3.0)
#: What a meter shows in the first moments after its supply was switched on is not steady yet.
SETTLE_S = 0.2


@dataclass(frozen=True, slots=True)
class SettledReading:
    """Some seconds of a meter.

    Attributes:
        meter: The instrument.
        block: Its samples, the first moments left out.
        accuracy: The accuracy in force.
        voltage_v: Set or measured voltage, volts; None where neither is known.
    """

    meter: MeterInfo
    block: Block
    accuracy: MeterAccuracy
    voltage_v: float | None

    def voltage_u(self) -> float:
        """Standard uncertainty of the voltage at the load, from the accuracy model."""
        volts = self.accuracy.voltage
        assert self.voltage_v is not None
        return math.hypot(
            standard(volts.gain, self.accuracy.kind) * self.voltage_v,
            standard(volts.offset_v, self.accuracy.kind),
            volts.burden_v / _ROOT3,
        )


@dataclass(frozen=True, slots=True)
class ReferenceFlow:
    """What flowed.

    Attributes:
        current_a: Amperes.
        standard_u_a: Standard uncertainty.
        against: What says so, for people.
    """

    current_a: float
    standard_u_a: float
    against: str


def take(meter: CalibratedMeter, plan: Plan) -> SettledReading:
    """Measure for a while.

    Args:
        meter: Not opened yet.
        plan: With a duration.

    Raises:
        MeterError: It fails, or gives too little.
    """
    begun: SegmentStart | None = None
    blocks: list[Block] = []
    for event in capture(meter, plan, lambda: False):
        if isinstance(event, SegmentStart):
            begun = event
        elif not isinstance(event, SegmentEnd):
            blocks.append(event)
    if begun is None or not blocks:
        raise MeterError("the meter gave no sample")
    from edgesnn.meters.files.playback import part

    whole = join(blocks)
    settled = part(whole, int((whole.time_s >= SETTLE_S).argmax()), len(whole))
    volts = begun.settings.voltage_v if settled.voltage_v is None else float(settled.voltage_v.mean())
    return SettledReading(begun.meter, settled, begun.accuracy, volts)


def take_both(
    meter: CalibratedMeter, plan: Plan, other: CalibratedMeter, other_plan: Plan
) -> tuple[SettledReading, SettledReading]:
    """Measure with two meters at the same time, through which the same current flows.

    Raises:
        EdgesnnError: One of them fails.
    """
    found: list[SettledReading] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            found.append(take(other, other_plan))
        except BaseException as error:  # told by the caller's thread
            failures.append(error)

    thread = threading.Thread(target=run, name="reference", daemon=True)
    thread.start()
    try:
        ours = take(meter, plan)
    finally:
        thread.join()
    for failure in failures:
        if isinstance(failure, EdgesnnError):
            raise failure
        raise MeterError("the reference meter failed", actual=repr(failure)) from failure
    return ours, found[0]


def through_resistor(
    ohms: float, tolerance: float, volts: float | None, volts_u: float | None, taken: SettledReading
) -> ReferenceFlow:
    """The current through a resistor.

    Args:
        ohms: Its resistance.
        tolerance: Its promised tolerance, relative: a rectangular distribution.
        volts: Voltage measured at it; None takes the meter's.
        volts_u: Promised limit of that measurement, volts; None takes 0.1 %.
        taken: What the meter showed.

    Raises:
        UsageError: No voltage is known.
    """
    if volts is not None:
        voltage, u = volts, (1e-3 * volts if volts_u is None else volts_u) / _ROOT3
        how = "measured at it"
    elif taken.voltage_v is not None:
        voltage, u = taken.voltage_v, taken.voltage_u()
        how = "measured by the meter" if taken.accuracy.voltage.measured else "set"
    else:
        raise UsageError(
            "the voltage at the resistor is not known",
            remedy="measure it and say --volts, or ...?voltage=3.7",
        )
    current = voltage / ohms
    relative = math.hypot(tolerance / _ROOT3, u / voltage)
    return ReferenceFlow(
        current, relative * current, f"{ohms:g} ohm ± {tolerance:.3%} at {voltage:.4g} V {how}"
    )


def by_meter(taken: SettledReading) -> ReferenceFlow:
    """The current that a reference meter showed.

    Raises:
        MeterError: It gives no current.
    """
    adder = Accumulator(taken.accuracy, taken.voltage_v)
    adder.add(taken.block)
    total = adder.result()
    if total.charge_c is None or total.uncertainty is None or not total.charge_c > 0:
        raise MeterError("the reference meter shows no current", actual=f"{total.charge_c} C")
    current = total.charge_c / total.measured_s
    u = total.uncertainty.charge_c / total.measured_s
    serial = taken.meter.serial_number or taken.meter.port
    return ReferenceFlow(current, u, f"{taken.meter.model} {serial}")
