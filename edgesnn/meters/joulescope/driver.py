"""Joulescope JS110, JS220 and JS320 through the maker's package ``pyjoulescope_driver``.

Current, voltage and the general-purpose inputs stream with sample numbers, so a loss is a gap in the numbers.
The topics are those of the package's own recorder and of its documentation
(joulescope-driver.readthedocs.io).
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from edgesnn.errors import (
    MeterError,
    MeterTimeoutError,
    MeterUnpluggedError,
    UsageError,
    missing_extra,
)
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import (
    Block,
    ClockPair,
    DriverStatus,
    Found,
    Loss,
    Meter,
    MeterCapability,
    MeterInfo,
    SampleStatus,
    Settings,
)
from edgesnn.meters.clock import Clock
from edgesnn.meters.joulescope.join import Join
from edgesnn.meters.joulescope.package import (
    EXTRA,
    INPUTS,
    MESSAGES_MAX,
    PACKAGE,
    RANGES,
    RATES_HZ,
    USUAL_HZ,
    JoulescopeDriver,
    model_of,
    new_driver,
)
from edgesnn.meters.samples.accuracy import MeterAccuracy, load_accuracy


class JoulescopeMeter(Meter):
    """A Joulescope. The device of the address is a serial number.

    It measures and does not feed; opening it can interrupt the supply, because its shunts are switched.

    Args:
        address: Which one.
        driver: The package's driver, or one that publishes the same, for tests.
        clock: Where deadlines come from.
    """

    name: ClassVar[str] = "joulescope"
    summary: ClassVar[str] = "Joulescope JS110, JS220, JS320: volts, amperes and inputs at up to 1 MS/s"
    driver_status: ClassVar[DriverStatus] = DriverStatus.TWIN_ONLY

    def __init__(
        self, address: MeterAddress, *, driver: JoulescopeDriver | None = None, clock: Clock | None = None
    ) -> None:
        self._wanted = address.settings()
        self._address, self._given = address, driver
        self._clock = clock or Clock()
        self._driver: JoulescopeDriver | None = None
        self._path: str | None = None
        self._model = "js220"
        self._join: Join | None = None
        self._streaming = self._gone = False
        self._messages: deque[tuple[str, Mapping[str, Any]]] = deque()
        self._came = threading.Event()
        self._overrun = self._invalid = 0
        self._reasons: list[str] = []

    @classmethod
    def missing(cls) -> str | None:
        if find_spec(PACKAGE) is None:
            return f"{PACKAGE} is not installed: pip install 'edgesnn[{EXTRA}]'"
        return None

    @classmethod
    def discover(cls) -> tuple[Found, ...]:
        if cls.missing() is not None:
            return ()
        driver = new_driver()
        try:
            paths = driver.device_paths()
        finally:
            driver.finalize()
        return tuple(
            Found("joulescope", f"joulescope:{path.rpartition('/')[2]}", path, model_of(path).upper())
            for path in paths
        )

    @property
    def capabilities(self) -> frozenset[MeterCapability]:
        """Voltage, sample clock, inputs; opening it may interrupt the device under test."""
        able = {
            MeterCapability.MEASURES_VOLTAGE,
            MeterCapability.SAMPLE_CLOCK,
            MeterCapability.MARKER_INPUT,
            MeterCapability.MAY_INTERRUPT_DUT,
        }
        if self._given is not None:
            able.add(MeterCapability.SIMULATED)
        return frozenset(able)

    @property
    def accuracy(self) -> MeterAccuracy:
        return load_accuracy(self.name)

    @property
    def loss(self) -> Loss:
        if self._join is None:
            return Loss(0)
        reasons = list(self._reasons)
        if self._overrun:
            reasons.append(f"{self._overrun} messages were thrown away: nobody read them")
        return Loss(
            self._join.received - self._invalid, self._join.missing + self._invalid, reasons=tuple(reasons)
        )

    def open(self) -> MeterInfo:
        if self._given is None and self.missing() is not None:
            raise missing_extra(PACKAGE, EXTRA, "to read a Joulescope")
        driver = self._driver = self._given or new_driver()
        try:
            self._path = self._choose(driver.device_paths())
            self._model, self._gone = model_of(self._path), False
            try:
                driver.open(self._path, "defaults")
            except Exception as error:  # the package raises RuntimeError, TimeoutError and others of its own
                raise MeterError(
                    f"the Joulescope '{self._path}' cannot be opened",
                    actual=str(error),
                    remedy="close the Joulescope UI; on Linux install the maker's udev rules",
                ) from error
            driver.subscribe("@", "pub", self._on_event)
            for topic, value in RANGES[self._model]:
                self._publish(topic, value)
        except BaseException:
            self.close()
            raise
        serial_number = self._path.rpartition("/")[2]
        return MeterInfo(
            self.name,
            self._model.upper(),
            serial_number,
            self._version(),
            self._path,
            self._given is not None,
        )

    def configure(self, settings: Settings) -> Settings:
        settings = settings.completed(self._wanted)
        for what, value in (
            ("voltage", settings.voltage_v),
            ("mode", settings.mode),
            ("range", settings.range),
        ):
            if value is not None:
                raise UsageError(f"a Joulescope has no {what} to set here", actual=str(value))
        wanted = settings.rate_hz or USUAL_HZ
        if not RATES_HZ[-1] / 2 <= wanted <= RATES_HZ[0] * 1.1:
            raise UsageError(
                "the Joulescope has no such sample rate",
                actual=f"{wanted:g} Hz",
                limit=f"{RATES_HZ[-1]} Hz to {RATES_HZ[0]} Hz",
            )
        rate_hz = min(RATES_HZ, key=lambda rate: max(rate / wanted, wanted / rate))
        self._publish("h/fs", rate_hz)
        return Settings(rate_hz=float(rate_hz), dut_min_v=settings.dut_min_v, dut_max_v=settings.dut_max_v)

    def power(self, on: bool) -> None:
        raise UsageError("a Joulescope does not feed the device under test", actual="on" if on else "off")

    def sync(self) -> ClockPair:
        raise UsageError(
            "a Joulescope's clock cannot be asked", remedy="use its inputs: they are on the sample clock"
        )

    def start(self) -> None:
        driver, path = self._open()
        self._join = Join(tuple(self._topics()))
        self._messages.clear()
        self._overrun = self._invalid = 0
        self._reasons, self._streaming = [], True
        for topic in self._topics().values():
            driver.subscribe(f"{path}/{topic}/!data", "pub", self._on_data)
        for topic in self._topics().values():
            self._publish(f"{topic}/ctrl", 1)

    def read(self, timeout_s: float) -> Block:
        if not self._streaming or self._join is None:
            raise UsageError("the meter does not stream; call start() first")
        deadline_ns = self._clock.now_ns() + int(timeout_s * 1e9)
        while True:
            self._came.clear()
            block = self._next()
            if block is not None:
                return block
            if self._gone:
                raise MeterUnpluggedError(f"the Joulescope '{self._path}' is gone", remedy="check the cable")
            left_s = (deadline_ns - self._clock.now_ns()) / 1e9
            if left_s <= 0:
                raise MeterTimeoutError(
                    f"the Joulescope '{self._path}' sent no sample in time",
                    limit=f"{timeout_s:g} s",
                    remedy="check that no other program has it",
                )
            if not self._came.wait(min(left_s, 0.05)) and self._given is not None:
                self._clock.wait(0.05)  # a test's clock moves only when someone waits

    def stop(self) -> Block | None:
        if not self._streaming:
            return None
        self._quiet()
        return self._next()

    def close(self) -> None:
        if self._streaming:
            self._quiet()
        driver, self._driver = self._driver, None
        if driver is not None:
            with contextlib.suppress(Exception):  # it may be gone; there is nothing left to do
                if self._path is not None:
                    driver.unsubscribe("@", self._on_event)
                    driver.close(self._path)
            if self._given is None:
                driver.finalize()

    def _topics(self) -> dict[str, str]:
        """Topics of the signals, by their names here."""
        inputs = {f"gpi{index}": f"s/gpi/{index}" for index in range(INPUTS[self._model])}
        return {"i": "s/i", "v": "s/v", **inputs}

    def _next(self) -> Block | None:
        """The next whole stretch of what came."""
        assert self._join is not None
        names = {f"{self._path}/{topic}/!data": name for name, topic in self._topics().items()}
        while self._messages:
            topic, message = self._messages.popleft()
            self._join.add(names[topic], message)
        while (stretch := self._join.take()) is not None:
            block = self._block(*stretch)
            if block is not None:
                return block
        return None

    def _block(self, start_s: float, values: dict[str, Any], lost: int) -> Block | None:
        """A block of the samples that are numbers: the driver fills what it lost with NaN."""
        assert self._join is not None and self._join.period_s is not None
        period_s = self._join.period_s
        right = np.isfinite(values["i"]) & np.isfinite(values["v"])
        wrong = int(right.size - right.sum())
        if lost or wrong:
            self._invalid += wrong
            if len(self._reasons) < 100:
                self._reasons.append(f"{lost + wrong} samples are missing near {start_s:.6f} s")
        if wrong == right.size:
            return None
        current = np.asarray(values["i"], np.float32)[right]
        limit_a = self.accuracy.ranges[-1].max_a
        markers = np.zeros(right.size, np.uint8)
        for index in range(INPUTS[self._model]):
            markers |= np.asarray(values[f"gpi{index}"], np.uint8) << index
        saturated = np.abs(current) >= limit_a
        return Block(
            time_s=start_s + period_s * np.flatnonzero(right).astype(np.float64),
            duration_s=period_s,
            current_a=np.clip(current, -limit_a, limit_a),
            voltage_v=np.asarray(values["v"], np.float32)[right],
            power_w=None,
            markers=markers[right],
            status=(saturated * np.uint8(SampleStatus.SATURATED)).astype(np.uint8),
            range_index=None,
            lost=lost + wrong,
            host_ns=self._clock.now_ns(),
        )

    def _on_data(self, topic: str, value: Mapping[str, Any]) -> None:
        """Called from the driver's thread."""
        if len(self._messages) >= MESSAGES_MAX:
            self._messages.popleft()  # its numbers will show as a gap
            self._overrun += 1
        self._messages.append((topic, value))
        self._came.set()

    def _on_event(self, topic: str, value: Any) -> None:
        """Called from the driver's thread when an instrument comes or goes."""
        if topic == "@/!remove" and value == self._path:
            self._gone = True
            self._came.set()

    def _quiet(self) -> None:
        driver, path = self._open()
        self._streaming = False
        with contextlib.suppress(Exception):  # it may be gone
            for topic in self._topics().values():
                driver.publish(f"{path}/{topic}/ctrl", 0)
                driver.unsubscribe(f"{path}/{topic}/!data", self._on_data)

    def _publish(self, topic: str, value: Any) -> None:
        driver, path = self._open()
        try:
            driver.publish(f"{path}/{topic}", value)
        except Exception as error:  # see open()
            raise MeterError(
                f"the Joulescope '{path}' does not take {topic}={value}", actual=str(error)
            ) from error

    def _open(self) -> tuple[JoulescopeDriver, str]:
        if self._driver is None or self._path is None:
            raise UsageError("the meter is not open")
        return self._driver, self._path

    def _choose(self, paths: list[str]) -> str:
        wanted = self._address.device
        known = [path for path in paths if model_of(path) in RANGES]
        chosen = [path for path in known if wanted in (None, path) or path.endswith(f"/{wanted}")]
        if len(chosen) == 1:
            return chosen[0]
        what = (
            "more than one Joulescope is"
            if chosen
            else "no such Joulescope is"
            if wanted
            else "no Joulescope is"
        )
        raise MeterError(
            f"{what} attached",
            actual=", ".join(paths) or "none",
            remedy="name its serial number: joulescope:SERIAL"
            if chosen
            else "check the cable and the udev rules",
        )

    def _version(self) -> str | None:
        """The firmware's version where the instrument tells it (JS220, JS320: a number of three parts)."""
        driver, path = self._open()
        try:
            number = int(driver.query(f"{path}/c/fw/version"))
        except Exception:  # the JS110 has no such topic
            return None
        return f"{number >> 24}.{number >> 16 & 0xFF}.{number & 0xFFFF}"
