"""Driver of SCPI instruments: source-measure units, multimeters, supplies; over serial, USB or TCP.

Two ways to measure, by the model's table. *poll*: one query, one reading; a reading stands for the time
since the one before it, so the driver is coarse. *log*: the instrument averages without gaps and the driver
fetches the averages.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from dataclasses import replace
from importlib.util import find_spec
from typing import ClassVar

from edgesnn.errors import MeterError, UsageError
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
    Settings,
)
from edgesnn.meters.link import MeterLink, drain
from edgesnn.meters.samples.accuracy import MeterAccuracy, load_accuracy
from edgesnn.meters.scpi.models import ScpiModel, recognise
from edgesnn.meters.scpi.readings import LogReader, PollReader, Reader, joined
from edgesnn.meters.scpi.talk import Talk
from edgesnn.meters.scpi.visa_link import VisaLink, resource_name

_OWN = ("backend", "baud", "limit")
#: Current limit of the supply without another wish, amperes.
USUAL_LIMIT_A = 0.5


class ScpiMeter(Meter):
    """A SCPI instrument.

    Args:
        address: ``scpi:HOST[:PORT]``, ``scpi:/dev/ttyUSB0`` or ``scpi:VISA-NAME``, with the options
            ``backend``, ``baud`` and ``limit`` (amperes).
        link: The wire to use instead of VISA.
    """

    name: ClassVar[str] = "scpi"
    summary: ClassVar[str] = "SCPI instruments by PyVISA: Keithley 2450, Keysight 34465A, N6705"
    driver_status: ClassVar[DriverStatus] = DriverStatus.TWIN_ONLY

    def __init__(self, address: MeterAddress, *, link: MeterLink | None = None) -> None:
        self._address = address
        self._wanted = address.settings(_OWN)
        self._given = self._link = link
        self._talk: Talk | None = None
        self._model: ScpiModel | None = None
        self._reader: Reader | None = None
        self._settings = Settings()
        self._limit_a: float | None = None
        self._streaming = self._powered = False
        self._ready: deque[Block] = deque()

    @classmethod
    def missing(cls) -> str | None:
        if find_spec("pyvisa") is None:
            return "PyVISA is not installed: pip install 'edgesnn[scpi]'"
        if find_spec("pyvisa_py") is None:
            return "PyVISA has no backend: pip install 'edgesnn[scpi]'"
        return None

    @classmethod
    def discover(cls) -> tuple[Found, ...]:
        """Nothing: to find SCPI instruments is to call out into the network. They are named by address."""
        return ()

    @property
    def capabilities(self) -> frozenset[MeterCapability]:
        """What the instrument that was opened can do."""
        able: set[MeterCapability] = set()
        if self._link is not None and self._link.simulated:
            able.add(MeterCapability.SIMULATED)
        model = self._model
        if model is None:
            return frozenset(able)
        able.add(MeterCapability.MAY_INTERRUPT_DUT)
        if model.supply is not None:
            able.add(MeterCapability.SUPPLIES_POWER)
        if "voltage" in model.fields:
            able.add(MeterCapability.MEASURES_VOLTAGE)
        if "time" in model.fields or model.acquire == "log":
            able.add(MeterCapability.SAMPLE_CLOCK)
        if model.acquire == "poll":
            able.add(MeterCapability.COARSE)
        return frozenset(able)

    @property
    def accuracy(self) -> MeterAccuracy:
        return load_accuracy(self._known().accuracy)

    @property
    def loss(self) -> Loss:
        return self._reader.loss if self._reader else Loss(received=0)

    def open(self) -> MeterInfo:
        self._streaming = self._powered = False
        if self._given is None:
            if self._link is not None:
                self._link.close()
            device = self._address.device
            if device is None:
                raise UsageError(
                    "a SCPI instrument needs an address",
                    limit="scpi:HOST, scpi:HOST:PORT, scpi:/dev/ttyUSB0, scpi:USB0::...::INSTR",
                )
            options = self._address.options
            baud = int(self._address.number("baud")) if "baud" in options else 9600
            self._link = VisaLink(resource_name(device), options.get("backend", "@py"), baud)
        link = self._link
        assert link is not None
        self._talk = Talk(link)
        try:
            drain(link)
            identity = self._talk.ask("*IDN?", 3.0)
            self._model = recognise(identity)
        except MeterError:
            link.close()
            raise
        parts = [one.strip() for one in identity.split(",")] + [""] * 4
        return MeterInfo(
            name=self.name,
            model=f"{parts[0]} {parts[1]}",
            serial_number=parts[2] or None,
            firmware=parts[3] or None,
            port=link.port,
            simulated=link.simulated or "SIMULATED" in identity.upper(),
            details={"idn": identity, "table": self._model.name, "commands": self._model.source},
        )

    def configure(self, settings: Settings) -> Settings:
        model, talk = self._known(), self._talking()
        settings = settings.completed(self._wanted)
        if self._streaming:
            raise UsageError("the meter streams; stop it before it is configured")
        for what, value in (("mode", settings.mode), ("range", settings.range)):
            if value is not None:
                raise UsageError(
                    f"the driver 'scpi' has no {what} to choose", actual=value, limit=f"no {what}"
                )
        period_s = self._period_s(model, settings.rate_hz)
        limit_a = self._current_limit_a(model)
        if model.supply is not None:
            if settings.voltage_v is None:
                raise UsageError(
                    "this instrument supplies the device under test, and no voltage is named",
                    limit=f"{model.supply[0]:g} V to {model.supply[1]:g} V",
                    remedy="name it in the meter's address: ...?voltage=3.7",
                )
            settings.checked(*model.supply, model.name)
        replaced = {"volts": f"{settings.voltage_v:g}" if settings.voltage_v is not None else ""}
        replaced |= {"limit": f"{limit_a:g}", "period": f"{period_s:g}" if period_s else ""}
        talk.send("*CLS")
        for command in [*model.setup, *model.set_voltage, *model.set_period]:
            talk.send(command.format_map(replaced))
        talk.check("its set-up")
        self._limit_a = limit_a if model.supply is not None else None
        self._settings = replace(settings, rate_hz=1 / period_s if period_s else None)
        return self._settings

    def power(self, on: bool) -> None:
        model, talk = self._known(), self._talking()
        if model.supply is None:
            raise UsageError("this instrument cannot switch a supply", actual=model.name)
        self._powered = self._powered or on  # even a refused command may have switched it on
        for command in model.output_on if on else model.output_off:
            talk.send(command)
        talk.check("to switch its output")
        self._powered = on

    def sync(self) -> ClockPair:
        pair = self._running().sync(self._ready)
        if pair is None:
            raise UsageError("this instrument gives no time with its readings", actual=self._known().name)
        return pair

    def start(self) -> None:
        model, talk = self._known(), self._talking()
        talk.send("*CLS")
        for command in model.start:
            talk.send(command)
        self._ready.clear()
        make = LogReader if model.acquire == "log" else PollReader
        bound_a = self.accuracy.ranges[-1].max_a
        if self._limit_a is not None:
            bound_a = min(bound_a, self._limit_a)
        self._reader = make(talk, model, bound_a, self._settings)
        self._streaming = True

    def read(self, timeout_s: float) -> Block:
        reader = self._running()
        return self._ready.popleft() if self._ready else reader.read(timeout_s)

    def stop(self) -> Block | None:
        """End the measurement; what a log still holds, else None."""
        if not self._streaming or self._reader is None:
            return None
        self._streaming = False
        blocks = list(self._ready)
        self._ready.clear()
        with contextlib.suppress(MeterError):
            rest = self._reader.rest()
            blocks += [rest] if rest is not None else []
        with contextlib.suppress(MeterError):
            for command in self._known().stop:
                self._talking().send(command)
        return joined(blocks)

    def close(self) -> None:
        link = self._link
        if link is None:
            return
        with contextlib.suppress(MeterError):
            self.stop()
        if self._powered:
            with contextlib.suppress(MeterError):
                self.power(False)
        self._powered = False
        link.close()

    def _known(self) -> ScpiModel:
        if self._model is None:
            raise UsageError("the meter is not open: which instrument it is, is not known yet")
        return self._model

    def _talking(self) -> Talk:
        if self._talk is None:
            raise UsageError("the meter is not open")
        return self._talk

    def _running(self) -> Reader:
        if self._reader is None or not self._streaming:
            raise UsageError("the meter does not measure; call start() first")
        return self._reader

    def _current_limit_a(self, model: ScpiModel) -> float:
        highest = model.highest_limit_a or math.inf
        limit = self._address.number("limit") if "limit" in self._address.options else USUAL_LIMIT_A
        if not 0 < limit <= highest:
            raise UsageError(
                "the current limit does not suit the instrument",
                actual=f"{limit:g} A",
                limit=f"{highest:g} A",
            )
        return limit

    @staticmethod
    def _period_s(model: ScpiModel, rate_hz: float | None) -> float | None:
        """How long one average of a log is; None for instruments that are polled.

        Raises:
            UsageError: The instrument cannot do that rate.
        """
        shortest, usual, longest = model.shortest_period_s, model.usual_period_s, model.longest_period_s
        if shortest is None or longest is None:
            if rate_hz is not None:
                raise UsageError(
                    "this instrument is asked for one reading after the other; its rate cannot be set",
                    actual=f"{rate_hz:g} Hz",
                    remedy="leave the rate out",
                )
            return None
        if rate_hz is None:
            return usual
        if not 1 / longest <= rate_hz <= 1 / shortest:
            raise UsageError(
                "the instrument does not log at this rate",
                actual=f"{rate_hz:g} Hz",
                limit=f"{1 / longest:g} Hz to {1 / shortest:g} Hz",
            )
        return 1 / rate_hz
