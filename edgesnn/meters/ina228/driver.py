"""INA228 on the serial bridge of ``firmware_bridge/meter``, or on a board with picowatt's own firmware.

It measures voltage and current and supplies nothing. The sync input needs our firmware: picowatt's has none.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import ClassVar

from edgesnn.errors import MeterError, MeterTimeoutError, UsageError
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
from edgesnn.meters.ina228 import protocol as wire
from edgesnn.meters.ina228.exchange import Exchange
from edgesnn.meters.ina228.ports import attached, choose_port
from edgesnn.meters.ina228.stream import Edge, Ina228Stream
from edgesnn.meters.link import MeterLink, SerialLink, drain
from edgesnn.meters.samples.accuracy import MeterAccuracy, load_accuracy

#: Ranges by name, with their ADCRANGE; in the order of the accuracy model.
RANGES = {"fine": 1, "wide": 0}
#: Usual rate: the shunt is converted 540 of every 590 us; its offset is promised for more than 280 us.
USUAL_HZ = 1e6 / 590
#: What the figures of targets/meters/ina228.toml hold for.
REFERENCE_OHM, ASSUMED_TOLERANCE = 0.015, 0.01
#: Options of the address beside the common ones.
OPTIONS = ("shunt", "tolerance")
#: After STOP this long without a byte means that all has come.
QUIET_S = 0.03
_USAGE = "the INA228 measures the supply of the device under test and does not feed it"


class Ina228Meter(Meter):
    """INA228 bridge.

    Options of the address: ``shunt`` (ohms; what the bridge says otherwise), ``tolerance`` (of the shunt, as
    a fraction; 0.01 is assumed otherwise).

    Args:
        address: Where it is: a port, a board number, or nothing for the only one attached.
        link: A wire that is open already, for tests and twins.

    Raises:
        UsageError: An option is unknown or no number.
    """

    name: ClassVar[str] = "ina228"
    summary: ClassVar[str] = "INA228 on an RP2040/RP2350 bridge: volts, amperes and a sync input over USB"
    driver_status: ClassVar[DriverStatus] = DriverStatus.FOREIGN_CLIENT

    def __init__(self, address: MeterAddress, *, link: MeterLink | None = None) -> None:
        self._wanted = address.settings(OPTIONS)
        self._options = {key: address.number(key) for key in OPTIONS if key in address.options}
        if any(value <= 0 for value in self._options.values()):
            raise UsageError("shunt and tolerance must be more than 0", actual=str(address))
        self._address, self._given = address, link
        self._link: MeterLink | None = None
        self._exchange: Exchange | None = None
        self._discarded = (0, 0)  # frames and bytes; asked for after close() too
        self._hello: wire.Hello | None = None
        self._config: wire.Config | None = None
        self._syncs = False
        self._stream: Ina228Stream | None = None
        self._streaming = False
        self._start_ns = 0

    @classmethod
    def discover(cls) -> tuple[Found, ...]:
        return attached()

    @property
    def capabilities(self) -> frozenset[MeterCapability]:
        """Voltage and sample clock always; the sync input when the firmware has it."""
        able = {MeterCapability.MEASURES_VOLTAGE, MeterCapability.SAMPLE_CLOCK}
        if self._syncs:
            able.add(MeterCapability.MARKER_INPUT)
        if self._simulated:
            able.add(MeterCapability.SIMULATED)
        return frozenset(able)

    @property
    def accuracy(self) -> MeterAccuracy:
        """The data sheet's figures, scaled to the shunt in use."""
        model = load_accuracy(self.name)
        ohm = self._channel.shunt_ohm if self._config else REFERENCE_OHM
        wider = self._options.get("tolerance", ASSUMED_TOLERANCE) - ASSUMED_TOLERANCE
        ranges = []
        for one in model.ranges:
            span = RANGES[one.name]
            lsb_a = wire.CURRENT_LSB_A[span]
            full_a = min(wire.COUNT_MAX * lsb_a, wire.COUNT_MAX * wire.SHUNT_LSB_V[span] / ohm)
            changes = {
                "max_a": full_a,
                "gain": max(one.gain + wider, 0.0),
                "offset_a": one.offset_a * REFERENCE_OHM / ohm,
                "resolution_a": max(wire.SHUNT_LSB_V[span] / ohm, lsb_a),
            }
            ranges.append(one.model_copy(update=changes))
        name = f"TI INA228, {ohm * 1e3:.4g} mOhm shunt"
        return model.model_copy(update={"ranges": ranges, "model": name})

    @property
    def loss(self) -> Loss:
        if self._stream is None:
            return Loss(0)
        loss = self._stream.loss
        pieces, size = self._thrown()
        reasons = loss.reasons
        if pieces:
            reasons = (*reasons, f"{pieces} damaged frames were thrown away")
        return replace(loss, discarded_bytes=loss.discarded_bytes + size, reasons=reasons)

    def open(self) -> MeterInfo:
        self._link = self._given or SerialLink(choose_port(self._address.device))
        self._streaming, self._stream = False, None
        bridge = self._exchange = Exchange(self._link, self._sink)
        try:
            hello = self._hello = bridge.hello()
            bridge.command(wire.Ina228FrameType.STOP)  # a session that died may have left it streaming
            drain(self._link, QUIET_S)
            bridge.fresh()
            self._syncs = bridge.knows_marks()
            self._config = bridge.config()
            if not self._config.channels[0].present:
                raise MeterError(
                    f"the bridge on {self._link.port} finds no INA228",
                    remedy="check the four wires between board and INA228, and its address 0x40",
                )
            if self._config.dual:
                bridge.command(wire.Ina228FrameType.SET_MODE, b"\0")
            if "shunt" in self._options:
                bridge.command(
                    wire.Ina228FrameType.SET_SHUNT_CAL, wire.shunt_payload(0, self._options["shunt"])
                )
                self._config = bridge.config()
        except BaseException:
            self.close()
            raise
        return MeterInfo(
            name=self.name,
            model="INA228 bridge" if self._syncs else "INA228 on picowatt",
            serial_number=hello.board.hex(),
            firmware=hello.firmware,
            port=self._link.port,
            simulated=self._simulated,
            details={
                "shunt_ohm": self._channel.shunt_ohm,
                "shunt_cal": self._channel.shunt_cal,
                "sync_input": self._syncs,
                "protocol": hello.version,
            },
        )

    def configure(self, settings: Settings) -> Settings:
        settings = settings.completed(self._wanted)
        if settings.voltage_v is not None:
            raise UsageError(
                _USAGE, actual=f"{settings.voltage_v:g} V", remedy="set the voltage where it is made"
            )
        if settings.mode is not None:
            raise UsageError("the INA228 has no modes", actual=settings.mode)
        name = settings.range or "fine"
        if name not in RANGES:
            raise UsageError(f"the INA228 has no range '{name}'", limit=", ".join(RANGES))
        codes = wire.nearest(settings.rate_hz or USUAL_HZ)
        self._bridge.command(wire.Ina228FrameType.SET_ADC, bytes([0, RANGES[name], *codes]))
        self._config = self._bridge.config()
        rate_hz = 1e6 / self._channel.period_us
        return Settings(None, rate_hz, None, name, settings.dut_min_v, settings.dut_max_v)

    def power(self, on: bool) -> None:
        raise UsageError(_USAGE, actual="on" if on else "off")

    def sync(self) -> ClockPair:
        link, stream = self._open(), self._stream
        if not self._streaming or stream is None:
            raise UsageError("the clock of the INA228 bridge begins with start()")
        if not self._syncs:
            raise UsageError(
                "picowatt's own firmware cannot tell its time",
                remedy="flash firmware_bridge/meter onto the board",
            )
        for _ in range(3):
            self._bridge.answers()
            before_ns = link.now_ns()
            self._bridge.send(wire.Ina228FrameType.GET_MARK)
            mark = self._await_mark(before_ns)
            after_ns = link.now_ns()
            if mark is not None:
                return ClockPair(stream.meter_us(mark.t_us, self._host_s()) / 1e6, before_ns, after_ns)
        raise MeterTimeoutError(f"the bridge on {link.port} did not tell its time", limit="three times 0.5 s")

    def start(self) -> None:
        link = self._open()
        self._config = self._bridge.config()
        index = list(RANGES.values()).index(self._channel.range)
        for _ in range(2):  # the mark at the start sets the clock: without it, start again
            self._bridge.fresh()
            self._discarded = (0, 0)
            self._stream = Ina228Stream(self._channel, index)
            self._start_ns = link.now_ns()
            self._streaming = True
            try:
                self._bridge.command(wire.Ina228FrameType.START)
            except BaseException:
                self._streaming = False
                raise
            limit_ns = self._start_ns + int(wire.REPLY_S * 1e9)
            while self._syncs and not self._stream.marked and link.now_ns() < limit_ns:
                self._bridge.pump(QUIET_S)
            if self._stream.marked or not self._syncs:
                return

    def read(self, timeout_s: float) -> Block:
        link, stream = self._open(), self._stream
        if not self._streaming or stream is None:
            raise UsageError("the meter does not stream; call start() first")
        deadline_ns = link.now_ns() + int(timeout_s * 1e9)
        while True:
            left_s = (deadline_ns - link.now_ns()) / 1e9
            block = stream.take(link.now_ns(), all_of_them=left_s <= 0)
            if block is not None:
                return block
            if left_s <= 0:
                raise MeterTimeoutError(
                    f"the bridge on {link.port} sent no sample in time",
                    limit=f"{timeout_s:g} s",
                    remedy="check the cable between board and INA228; plug the board in again",
                )
            self._bridge.pump(left_s)

    def stop(self) -> Block | None:
        link, stream = self._open(), self._stream
        if not self._streaming or stream is None:
            return None
        host_s, bridge = self._host_s(), self._bridge
        bridge.command(wire.Ina228FrameType.STOP)
        # the reply may overtake samples that wait in a buffer on the way
        limit_ns = link.now_ns() + int(wire.REPLY_S * 1e9)
        while link.now_ns() < limit_ns and bridge.pump(QUIET_S):
            pass
        self._discarded = self._thrown()
        self._streaming = False
        before = self._config.drops if self._config else 0
        self._config = self._bridge.config()
        stream.finish(host_s, (self._config.drops - before) & 0xFFFFFFFF)
        return stream.take(link.now_ns(), all_of_them=True)

    def take_edges(self) -> list[Edge]:
        """Edges of the sync input since the last call, to the microsecond.

        The samples show the level at their middle; a pulse between two middles is here only.
        """
        return self._stream.take_edges() if self._stream else []

    def close(self) -> None:
        if self._link is None:
            return
        if self._streaming and self._exchange is not None:
            self._discarded = self._thrown()
            self._streaming = False
            with contextlib.suppress(MeterError):  # it may be gone
                self._exchange.send(wire.Ina228FrameType.STOP)
        self._link.close()
        self._link = self._exchange = None

    @property
    def _simulated(self) -> bool:
        known = self._hello is not None and self._hello.board == wire.SIMULATED_BOARD
        return known or (self._link is not None and self._link.simulated)

    @property
    def _channel(self) -> wire.Channel:
        if self._config is None:
            raise UsageError("the meter is not open")
        return self._config.channels[0]

    def _open(self) -> MeterLink:
        if self._link is None:
            raise UsageError("the meter is not open")
        return self._link

    def _host_s(self) -> float:
        return (self._open().now_ns() - self._start_ns) / 1e9

    @property
    def _bridge(self) -> Exchange:
        if self._exchange is None:
            raise UsageError("the meter is not open")
        return self._exchange

    def _thrown(self) -> tuple[int, int]:
        """Frames and bytes that were no whole, right frames since the start."""
        if self._exchange is None or not self._streaming:
            return self._discarded
        return self._exchange.reader.discarded, self._exchange.reader.discarded_bytes

    def _sink(self, kind: int, payload: bytes) -> bool:
        """Take a frame of the stream; whether it was one."""
        stream = self._stream if self._streaming else None
        if kind == wire.Ina228FrameType.DATA:
            parsed = wire.parse_data(payload)
            if stream is not None and parsed is not None:
                stream.data(*parsed, self._host_s())
            return True
        mark = wire.parse_mark(payload) if kind == wire.Ina228FrameType.MARK else None
        if stream is None or mark is None or mark.answer:
            return False
        stream.mark(mark, self._host_s())
        return True

    def _await_mark(self, before_ns: int) -> wire.Mark | None:
        link = self._open()
        while (link.now_ns() - before_ns) / 1e9 < wire.REPLY_S:
            for kind, payload in self._bridge.answers():
                if kind == wire.Ina228FrameType.MARK:
                    return wire.parse_mark(payload)
            self._bridge.pump(0.05)
        return None
