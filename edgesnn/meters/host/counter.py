"""What RAPL counters and fuel gauges share: polled files, host time, no supply, no marker."""

from __future__ import annotations

import time
from abc import abstractmethod

import numpy as np

from edgesnn.errors import MeterError, MeterTimeoutError, UsageError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import Block, ClockPair, Loss, Meter, MeterCapability, SampleStatus, Settings
from edgesnn.meters.clock import Clock
from edgesnn.meters.samples.accuracy import MeterAccuracy, load_accuracy

#: Poll rates that make sense, hertz.
RATE_MIN_HZ, RATE_MAX_HZ = 0.1, 500.0
#: The machine slept when its clocks with and without sleep moved apart by more than this.
SLEEP_NS = 10_000_000
MOST_REASONS = 100


def asleep_ns() -> int:
    """How long this machine has slept since it was started, nanoseconds; 0 where the system does not tell."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()


class HostCounter(Meter):
    """Base of the meters that poll this machine; a subclass gives ``name``, `_begin`, `_sample` and ``open``.

    Args:
        address: Which counter, and its options.
        clock: Where time comes from.
    """

    name = ""
    built_in = True
    usual_hz = 10.0

    def __init__(self, address: MeterAddress, *, clock: Clock | None = None) -> None:
        self._wanted = address.settings()
        self._address = address
        self._clock = clock or Clock()
        self._rate_hz = self.usual_hz
        self._opened = self._streaming = False
        self._start_ns = self._last_ns = self._asleep_ns = 0
        self._received = 0
        self._reasons: list[str] = []

    @property
    def capabilities(self) -> frozenset[MeterCapability]:
        """It is coarse, and that is all."""
        return frozenset({MeterCapability.COARSE})

    @property
    def accuracy(self) -> MeterAccuracy:
        return load_accuracy(self.name)

    @property
    def loss(self) -> Loss:
        """The account since ``start()``: a counter loses nothing, but it can go wrong."""
        return Loss(self._received, reasons=tuple(self._reasons))

    def configure(self, settings: Settings) -> Settings:
        self._check_open()
        settings = settings.completed(self._wanted)
        for what, value in (
            ("voltage", settings.voltage_v),
            ("mode", settings.mode),
            ("range", settings.range),
        ):
            if value is not None:
                raise UsageError(f"a host counter has no {what} to set", actual=str(value))
        rate_hz = settings.rate_hz or self.usual_hz
        if not RATE_MIN_HZ <= rate_hz <= RATE_MAX_HZ:
            raise UsageError(
                "a host counter cannot be read at this rate",
                actual=f"{rate_hz:g} Hz",
                limit=f"{RATE_MIN_HZ:g} Hz to {RATE_MAX_HZ:g} Hz",
            )
        self._rate_hz = rate_hz
        return Settings(rate_hz=rate_hz, dut_min_v=settings.dut_min_v, dut_max_v=settings.dut_max_v)

    def power(self, on: bool) -> None:
        raise UsageError("a host counter supplies no power", actual="on" if on else "off")

    def sync(self) -> ClockPair:
        """Its clock is the host's own."""
        if not self._streaming:
            raise UsageError("the clock of a host counter begins with start()")
        now_ns = self._clock.now_ns()
        return ClockPair((now_ns - self._start_ns) / 1e9, now_ns, now_ns)

    def start(self) -> None:
        self._check_open()
        self._received, self._reasons = 0, []
        self._begin()
        self._asleep_ns = asleep_ns()
        self._start_ns = self._last_ns = self._clock.now_ns()
        self._streaming = True

    def read(self, timeout_s: float) -> Block:
        if not self._streaming:
            raise UsageError("the meter does not stream; call start() first")
        deadline_ns = self._clock.now_ns() + int(timeout_s * 1e9)
        while True:
            due_ns = self._last_ns + int(1e9 / self._rate_hz)
            now_ns = self._clock.now_ns()
            if now_ns < min(due_ns, deadline_ns):
                self._clock.wait((min(due_ns, deadline_ns) - now_ns) / 1e9)
            elif now_ns < due_ns:
                raise MeterTimeoutError(f"{self.name} brought no new value in time", limit=f"{timeout_s:g} s")
            else:
                block = self._sample(self._clock.now_ns())
                if block is not None:
                    self._received += len(block)
                    return block
                if self._clock.now_ns() >= deadline_ns:
                    raise MeterTimeoutError(
                        f"{self.name} stands still",
                        limit=f"{timeout_s:g} s",
                        remedy="a virtual machine often shows counters that never move",
                    )
                self._clock.wait(1 / self._rate_hz)

    def stop(self) -> Block | None:
        self._streaming = False
        return None

    def close(self) -> None:
        self._streaming = self._opened = False

    @abstractmethod
    def _begin(self) -> None:
        """Take the first reading."""

    @abstractmethod
    def _sample(self, now_ns: int) -> Block | None:
        """One sample from the last reading until now, or None when nothing is new."""

    def _now_s(self) -> float:
        return (self._last_ns - self._start_ns) / 1e9

    def _note(self, reason: str) -> None:
        if len(self._reasons) < MOST_REASONS:
            self._reasons.append(reason)

    def _check_open(self) -> None:
        if not self._opened:
            raise UsageError("the meter is not open")

    def _block(
        self,
        now_ns: int,
        status: int,
        *,
        watts: float | None = None,
        amperes: float | None = None,
        volts: float | None = None,
    ) -> Block:
        """One sample that ends now; one in which the machine slept tells nothing.

        The host's clock stands still meanwhile, while a counter goes on, or begins again.
        """
        slept_ns, self._asleep_ns = asleep_ns() - self._asleep_ns, asleep_ns()
        if slept_ns > SLEEP_NS:
            status |= SampleStatus.SUSPECT
            self._note(f"the machine slept for {slept_ns / 1e9:.3g} s near {self._now_s():.6g} s")
        start_ns, self._last_ns = self._last_ns, now_ns
        return Block(
            time_s=np.array([(start_ns - self._start_ns) / 1e9]),
            duration_s=(now_ns - start_ns) / 1e9,
            current_a=None if amperes is None else np.array([amperes], np.float32),
            voltage_v=None if volts is None else np.array([volts], np.float32),
            power_w=None if watts is None else np.array([watts], np.float32),
            markers=np.zeros(1, np.uint8),
            status=np.array([status], np.uint8),
            range_index=None,
            lost=0,
            host_ns=now_ns,
        )


def unreadable(path: str, error: OSError, remedy: str) -> MeterError:
    """The error for a file of the kernel that cannot be read."""
    denied = isinstance(error, PermissionError)
    what = f"this user may not read '{path}'" if denied else f"'{path}' cannot be read"
    return MeterError(what, actual=str(error.strerror or error), remedy=remedy if denied else None)
