"""A measurement from start to end: open, configure, power, read, stop, and open again after an unplug."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from edgesnn.errors import MeterEndedError, MeterError, MeterUnpluggedError
from edgesnn.meters.base import Block, Loss, MeterCapability, MeterInfo, Settings
from edgesnn.meters.calibration.calibrated import CalibratedMeter
from edgesnn.meters.files.format import SegmentInfo
from edgesnn.meters.samples.accuracy import MeterAccuracy

#: A meter that gives nothing for so long has failed.
READ_TIMEOUT_S = 5.0
#: How often an unplugged meter is looked for.
RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class SegmentStart:
    """A segment began.

    Attributes:
        info: What is known of it.
        accuracy: The accuracy in force, a calibration included.
    """

    info: SegmentInfo
    accuracy: MeterAccuracy

    @property
    def meter(self) -> MeterInfo:
        """The instrument."""
        return self.info.meter

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.info.settings


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    """A segment ended.

    Attributes:
        loss: Its account.
        unplugged: What made it end, where that was the loss of the instrument.
    """

    loss: Loss
    unplugged: MeterUnpluggedError | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How to measure.

    Attributes:
        settings: What the user asked for.
        duration_s: Seconds of the meter's clock, over all segments; None until it is stopped.
        power: Whether to switch on the supply of a meter that has one.
        reconnect_s: How long to look for an unplugged meter; None to end with the unplug.
    """

    settings: Settings
    duration_s: float | None = None
    power: bool = True
    reconnect_s: float | None = None


def capture(
    meter: CalibratedMeter, plan: Plan, stopped: Callable[[], bool]
) -> Iterator[SegmentStart | Block | SegmentEnd]:
    """Measure.

    The meter is closed at the end, whatever happens.

    Args:
        meter: Not opened yet.
        plan: How to measure.
        stopped: Whether the user wants to end it; asked between two reads.

    Yields:
        For each segment: `SegmentStart`, its blocks, `SegmentEnd`.

    Raises:
        UsageError: The settings do not suit the meter; nothing was powered.
        MeterError: It cannot be opened, or fails. The segment was ended before that, with its account.
    """
    left_s = float("inf") if plan.duration_s is None else plan.duration_s
    try:
        begun = _begin(meter, plan)
        while True:
            yield begun
            end_s = 0.0
            lost: MeterUnpluggedError | None = None
            try:
                while end_s < left_s and not stopped():
                    block = meter.read(READ_TIMEOUT_S)
                    end_s = max(end_s, end_of(block))
                    yield block
            except MeterEndedError:
                yield SegmentEnd(meter.loss)
                return
            except MeterUnpluggedError as error:
                lost = error
            except MeterError:
                yield SegmentEnd(meter.loss)
                raise
            if lost is None:
                rest = meter.stop()
                if rest is not None and len(rest):
                    yield rest
            yield SegmentEnd(meter.loss, lost)
            if lost is None:
                return
            if plan.reconnect_s is None:
                raise lost
            left_s -= end_s
            again = _begin_again(meter, plan, plan.reconnect_s, stopped, lost)
            if again is None:
                return
            begun = again
    finally:
        meter.close()


def end_of(block: Block) -> float:
    """End of the last sample of a block on the meter's clock; 0 where it has none."""
    if not len(block):
        return 0.0
    length = block.duration_s if isinstance(block.duration_s, float) else float(block.duration_s[-1])
    return float(block.time_s[-1]) + length


def _begin(meter: CalibratedMeter, plan: Plan) -> SegmentStart:
    info = meter.open()
    settings = meter.configure(plan.settings)
    if plan.power and MeterCapability.SUPPLIES_POWER in meter.capabilities:
        meter.power(True)
    capabilities = tuple(sorted(meter.capabilities))
    accuracy = meter.accuracy
    meter.start()
    segment = SegmentInfo(
        info,
        settings,
        accuracy.model_dump(mode="json"),
        capabilities,
        datetime.now(UTC).isoformat(timespec="milliseconds"),
        time.monotonic_ns(),
    )
    return SegmentStart(segment, accuracy)


def _begin_again(
    meter: CalibratedMeter,
    plan: Plan,
    patience_s: float,
    stopped: Callable[[], bool],
    lost: MeterUnpluggedError,
) -> SegmentStart | None:
    """The next segment, or None when the user gave up first.

    Raises:
        MeterUnpluggedError: It did not come back.
    """
    deadline = time.monotonic() + patience_s
    while not stopped():
        with contextlib.suppress(MeterError):
            meter.close()
        try:
            return _begin(meter, plan)
        except MeterError as error:
            if time.monotonic() >= deadline:
                raise MeterUnpluggedError(
                    f"{lost.what} and did not come back",
                    actual=error.what,
                    limit=f"{patience_s:g} s",
                    remedy="check the cable; what was measured before is kept",
                ) from error
            time.sleep(RETRY_S)
    return None
