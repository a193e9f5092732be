"""The contract of a meter: one instrument (group ``edgesnn.meters``). It knows nothing of models.

A meter streams `Block`s. Times in a block are the meter's own: seconds of its sample clock since ``start()``.
Nothing is lost silently: a gap is a jump in ``time_s``, and `Loss` accounts for every sample that should
have come. Every read has a deadline. An unplugged instrument is `MeterUnpluggedError`; whoever opens it
again begins a new segment, because its clock began again too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import IntFlag, StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from edgesnn.closing import Closing
from edgesnn.errors import UsageError

if TYPE_CHECKING:
    from edgesnn.meters.address import MeterAddress
    from edgesnn.meters.samples.accuracy import MeterAccuracy

#: No instrument measures so much; overflow marks such as 9.91E37 (SCPI-99, volume 1, 7.2.1.4) are larger.
LARGEST = 1e9

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]


class MeterCapability(StrEnum):
    """What a meter can do."""

    SUPPLIES_POWER = "supplies-power"  #: feeds the device under test and can switch it
    MEASURES_VOLTAGE = "measures-voltage"  #: voltage is measured, not a set-point
    MARKER_INPUT = "marker-input"  #: digital inputs on the sample clock
    MARKER_PULSES = "marker-pulses"  #: the marker input shows falling edges as pulses of a sample, no levels
    SAMPLE_CLOCK = "sample-clock"  #: sample times come from the instrument
    MAY_INTERRUPT_DUT = "may-interrupt-dut"  #: opening or configuring it can cut the supply
    COARSE = "coarse"  #: too slow or too indirect to time single inferences
    SIMULATED = "simulated"  #: a twin or a recording of one, not an instrument


#: The name of `MeterCapability` in edgesnn 0.1, for the meters of other packages.
Capability = MeterCapability


class DriverStatus(StrEnum):
    """How far a driver was checked; shown to users."""

    HARDWARE = "HARDWARE"  #: tried on the instrument
    FOREIGN_CLIENT = "FOREIGN CLIENT"  #: an independent program accepted the twin that checks it
    TWIN_ONLY = "TWIN ONLY"  #: checked against our own twin only
    HOST = "HOST"  #: reads a counter of this machine, no instrument


class SampleStatus(IntFlag):
    """What is known about one sample; 0 means nothing is wrong with it."""

    OK = 0
    SATURATED = 1  #: outside what the instrument can measure; the value is clamped
    RANGE_SWITCH = 2  #: taken while the instrument changed its range
    SUSPECT = 4  #: framing was lost or a check failed near it; it must not enter a result


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Samples in the order in which they were taken.

    Sample ``k`` is the mean over ``[time_s[k], time_s[k] + duration_s[k])``.

    Attributes:
        time_s: Start of each sample, seconds of the meter's clock since ``start()``, float64 ``[n]``.
        duration_s: Length of each sample: one number, or float64 ``[n]`` where it varies.
        current_a: Amperes, float32 ``[n]``; None where the instrument gives power only.
        voltage_v: Measured volts, float32 ``[n]``; None where the instrument does not measure them.
        power_w: Watts, float32 ``[n]``, from instruments that measure power itself; else None.
        markers: Levels of the digital inputs, bit i is input i, uint8 ``[n]``.
        status: `SampleStatus` bits, uint8 ``[n]``.
        range_index: Index into the ranges of the accuracy model, uint8 ``[n]``; None where there is one
            range.
        lost: Samples known to be missing before or between those of this block.
        host_ns: Host time of receipt, ``Link.now_ns``.
    """

    time_s: FloatArray
    duration_s: float | FloatArray
    current_a: Float32Array | None
    voltage_v: Float32Array | None
    power_w: Float32Array | None
    markers: ByteArray
    status: ByteArray
    range_index: ByteArray | None
    lost: int
    host_ns: int

    def __len__(self) -> int:
        return int(self.time_s.size)

    def known(self) -> npt.NDArray[np.bool_]:
        """Which samples are numbers that can have been measured: not NaN, not an overflow; bool ``[n]``."""
        known = np.ones(len(self), bool)
        for column in (self.current_a, self.voltage_v, self.power_w):
            if column is not None:
                known &= np.abs(column) <= LARGEST
        return known

    def only(self, keep: npt.NDArray[np.bool_]) -> Block:
        """The samples where ``keep``, bool ``[n]``, is true."""
        columns = {one.name: getattr(self, one.name) for one in fields(self)}
        kept: dict[str, Any] = {k: v[keep] for k, v in columns.items() if isinstance(v, np.ndarray)}
        return replace(self, **kept)

    def watts(self, set_voltage_v: float | None) -> FloatArray:
        """Power of each sample.

        Args:
            set_voltage_v: Volts to use where the instrument measured none.

        Returns:
            Watts, float64 ``[n]``.

        Raises:
            UsageError: There is neither power, nor voltage, nor a set-point.
        """
        if self.power_w is not None:
            return self.power_w.astype(np.float64)
        if self.current_a is None:
            raise UsageError("the block holds neither power nor current")
        if self.voltage_v is not None:
            return self.current_a.astype(np.float64) * self.voltage_v
        if set_voltage_v is None:
            raise UsageError(
                "this meter measures current only, and the voltage of the supply is not known",
                remedy="name it in the meter's address: ...?voltage=3.7",
            )
        return self.current_a.astype(np.float64) * set_voltage_v


@dataclass(frozen=True, slots=True)
class Loss:
    """Account of a stream since ``start()``.

    Attributes:
        received: Samples that arrived and could be decoded.
        missing: Samples known to be missing: gaps in counters, frame numbers or time stamps.
        suspected: Samples that should have come by the host's clock and are not explained by ``missing``.
        discarded_bytes: Bytes that belonged to no sample (framing was lost, checksum failed).
        undetectable: Losses that do not show are below this many samples in a row; None where all show.
        reasons: What happened, one sentence each, in order.
    """

    received: int
    missing: int = 0
    suspected: int = 0
    discarded_bytes: int = 0
    undetectable: int | None = None
    reasons: tuple[str, ...] = ()

    @property
    def fraction(self) -> float:
        """Share of the samples that should have come and did not."""
        lost = self.missing + self.suspected
        return lost / (self.received + lost) if lost else 0.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a measurement is to be made, or, as ``configure`` returns it, how it will be made.

    Attributes:
        voltage_v: Supply voltage to set, or (where the meter neither sets nor measures it) that is applied.
        rate_hz: Sample rate; None means the instrument's usual one.
        mode: A mode of the instrument by its own name, for example ``source`` or ``ampere``.
        range: A fixed range by its own name; None means automatic.
        dut_min_v: Lowest voltage that the device under test takes.
        dut_max_v: Highest voltage that the device under test takes.
    """

    voltage_v: float | None = None
    rate_hz: float | None = None
    mode: str | None = None
    range: str | None = None
    dut_min_v: float | None = None
    dut_max_v: float | None = None

    def completed(self, other: Settings) -> Settings:
        """These settings, with what they leave open taken from others (an address, for example)."""
        mine = {one.name: getattr(self, one.name) for one in fields(self)}
        return Settings(
            **{key: getattr(other, key) if value is None else value for key, value in mine.items()}
        )

    def checked(self, lowest_v: float, highest_v: float, instrument: str) -> Settings:
        """These settings, when their voltage suits the instrument and the device under test.

        Args:
            lowest_v: Lowest voltage that the instrument can supply.
            highest_v: Highest.
            instrument: Its name, for the error.

        Returns:
            The same settings.

        Raises:
            UsageError: The voltage is outside a limit; nothing has been powered.
        """
        volts = self.voltage_v
        if volts is None:
            return self
        lowest = max(lowest_v, self.dut_min_v if self.dut_min_v is not None else lowest_v)
        highest = min(highest_v, self.dut_max_v if self.dut_max_v is not None else highest_v)
        if not lowest <= volts <= highest:
            beyond = "the instrument" if not lowest_v <= volts <= highest_v else "the device under test"
            raise UsageError(
                f"the supply voltage does not suit {beyond}; nothing was powered",
                actual=f"{volts:g} V",
                limit=f"{lowest:g} V to {highest:g} V ({instrument})",
                remedy="name another voltage in the meter's address: ...?voltage=V",
            )
        return self


@dataclass(frozen=True, slots=True)
class MeterInfo:
    """Which instrument this is.

    Attributes:
        name: Name of the driver.
        model: Model as the instrument tells it.
        serial_number: As the instrument or its USB descriptor tells it; None if it has none.
        firmware: Version as the instrument tells it; None if it does not.
        port: Where it is attached.
        simulated: Whether it is a twin.
        details: Anything else worth recording (calibration constants, for example), plain data.
    """

    name: str
    model: str
    serial_number: str | None
    firmware: str | None
    port: str
    simulated: bool
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClockPair:
    """One reading of the meter's clock between two of the host's.

    Attributes:
        meter_s: The meter's clock, on the scale of ``Block.time_s``.
        host_before_ns: Host time before the exchange.
        host_after_ns: Host time after it.
    """

    meter_s: float
    host_before_ns: int
    host_after_ns: int


@dataclass(frozen=True, slots=True)
class Found:
    """An instrument that is attached.

    Attributes:
        name: Name of the driver.
        address: What to type to use it, by serial number where it has one.
        port: Where it is attached.
        description: What the operating system says it is.
        trouble: Why it cannot be used now (permissions, another owner), or None.
    """

    name: str
    address: str
    port: str
    description: str
    trouble: str | None = None


class Instrument(Closing, Protocol):
    """What a meter does, once it is made.

    The order of calls: ``open``, ``configure``, ``power`` (where it can), ``start``, ``read``..., ``stop``,
    ``close``. ``close`` may come at any time and more than once; it leaves the supply off that ``power``
    switched on. A ``with`` statement closes it, and does not open it; `Closing` brings that to a meter that
    derives from this class.

    Attributes:
        capabilities: What it can do, as it is configured.
    """

    @property
    def capabilities(self) -> frozenset[MeterCapability]:
        """What it can do, as it is configured."""
        ...

    @property
    def accuracy(self) -> MeterAccuracy:
        """Gain, offset and resolution per range, with their sources."""
        ...

    @property
    def loss(self) -> Loss:
        """The account since ``start()``; it can be asked after ``stop()`` too."""
        ...

    def open(self) -> MeterInfo:
        """Take hold of the instrument, drain what is stale, identify it and read its calibration.

        Raises:
            MeterError: There is no such instrument, or another device answers.
            MeterBusyError: Another process owns the port.
            MeterTimeoutError: Nothing answers.
        """
        ...

    def configure(self, settings: Settings) -> Settings:
        """Set it up.

        Returns:
            The settings as they are in force: what was left open is filled in where the instrument knows it.

        Raises:
            UsageError: A value that this instrument or the device under test cannot take; nothing was
                changed.
        """
        ...

    def power(self, on: bool) -> None:
        """Switch the supply of the device under test (`MeterCapability.SUPPLIES_POWER`).

        Raises:
            UsageError: The meter cannot, or nobody named a voltage.
            MeterError: The instrument refuses.
        """
        ...

    def sync(self) -> ClockPair:
        """Exchange one reading with the meter's clock (`MeterCapability.SAMPLE_CLOCK`).

        Raises:
            UsageError: It has no clock that could be read, or nothing streams.
        """
        ...

    def start(self) -> None:
        """Begin to stream; the meter's clock begins at 0 and the account is empty."""
        ...

    def read(self, timeout_s: float) -> Block:
        """The samples that came, at least one.

        Args:
            timeout_s: Deadline, seconds from now.

        Raises:
            MeterTimeoutError: No whole sample came before the deadline.
            MeterUnpluggedError: The instrument is gone.
            MeterProtocolError: What comes is not this instrument's stream, or it reports a fault.
        """
        ...

    def stop(self) -> Block | None:
        """End the stream; the samples that were still under way, or None when there were none."""
        ...

    def close(self) -> None:
        """Switch off what was switched on and let go of the instrument; safe to call twice."""
        ...


class Meter(Instrument, Protocol):
    """One instrument: what it does, and how it is named and found.

    Attributes:
        name: Name on the command line, before the colon of an address.
        summary: One line for ``edgesnn list meters``.
        driver_status: How far the driver was checked.
        built_in: Whether it is a part of this machine, which has it or does without.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    driver_status: ClassVar[DriverStatus]
    built_in: ClassVar[bool] = False

    def __init__(self, address: MeterAddress) -> None: ...

    @classmethod
    def missing(cls) -> str | None:
        """Why this driver cannot be used here, or None when it can, as here."""
        return None

    @classmethod
    def discover(cls) -> tuple[Found, ...]:
        """The instruments of this kind that are attached; nothing is opened."""
        ...
