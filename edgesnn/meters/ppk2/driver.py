"""Nordic Power Profiler Kit II: supplies 0.8 to 5 V or measures in line, 100,000 samples a second.

See docs/meters/ppk2.md for wiring, accuracy and what this stream can and cannot show.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from edgesnn.errors import (
    MeterError,
    MeterProtocolError,
    MeterTimeoutError,
    MeterUnpluggedError,
    UsageError,
)
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
from edgesnn.meters.link import MeterLink, SerialLink, drain
from edgesnn.meters.ppk2 import protocol
from edgesnn.meters.ppk2.ports import found, ports_of
from edgesnn.meters.ppk2.stream import SampleStream
from edgesnn.meters.samples.accuracy import MeterAccuracy, load_accuracy

if TYPE_CHECKING:
    from edgesnn.meters.address import MeterAddress

#: Bytes are collected this long before they are read; see `SerialLink`.
GATHER_S = 0.025
#: While samples are late no read waits longer than this, so that a backlog is soon gone.
DOUBT_S = 0.005
#: A reply of metadata takes well under 0.1 s; ppk2lab waits 2 s.
REPLY_S = 1.0
ATTEMPTS = 3
#: The stream has ended when nothing came for this long.
QUIET_S = 0.1
#: So many bytes without one stretch of samples among them are not a stream of this instrument (0.16 s).
UNREADABLE_BYTES = 1 << 16
#: The quickest of all receipts takes at most this long from the end of a sample (ASSUMED; one unit on one
#: host was 2.27 ms early at the other end, ppk2lab: docs/protocol-spec.md).
TRANSPORT_NS = 5_000_000
MODES = {"ampere": protocol.MODE_AMPERE, "source": protocol.MODE_SOURCE}


class Ppk2Meter(Meter):
    """A Power Profiler Kit II.

    Args:
        address: ``ppk2``, ``ppk2:SERIAL`` or ``ppk2:PORT``, with the options that every meter takes.
        link: A wire to use instead of a serial port.
    """

    name: ClassVar[str] = "ppk2"
    summary: ClassVar[str] = "Nordic Power Profiler Kit II: 0.8-5 V supply or in line, 100 kS/s, 8 markers"
    driver_status: ClassVar[DriverStatus] = DriverStatus.FOREIGN_CLIENT

    def __init__(self, address: MeterAddress, *, link: MeterLink | None = None) -> None:
        address.settings()  # an unknown option is told before anything is opened
        self._address = address
        self._given = link
        self._link: MeterLink | None = None
        self._serial_number: str | None = None
        self._metadata: protocol.Metadata | None = None
        self._settings = Settings()
        self._powered = False
        self._streaming = False
        self._stream: SampleStream | None = None
        self._accuracy = load_accuracy(self.name)

    @classmethod
    def discover(cls) -> tuple[Found, ...]:
        """The PPK2s on USB, each by its measuring port."""
        return found(cls.name)

    @property
    def capabilities(self) -> frozenset[MeterCapability]:
        """In ampere mode it feeds nothing."""
        able = {MeterCapability.MARKER_INPUT, MeterCapability.SAMPLE_CLOCK, MeterCapability.MAY_INTERRUPT_DUT}
        if self._settings.mode != "ampere":
            able.add(MeterCapability.SUPPLIES_POWER)
        if self._link is not None and self._link.simulated:
            able.add(MeterCapability.SIMULATED)
        return frozenset(able)

    @property
    def accuracy(self) -> MeterAccuracy:
        """Nordic's typical figures."""
        return self._accuracy

    @property
    def loss(self) -> Loss:
        loss = self._stream.loss if self._stream is not None else Loss(0)
        if self._metadata is None or not (lacking := self._metadata.lacking()):
            return loss
        reason = f"the PPK2 gave no {lacking}: samples of these ranges are suspect"
        return replace(loss, reasons=(reason, *loss.reasons))

    def open(self) -> MeterInfo:
        failures: list[str] = []
        if self._given is not None:
            candidates = [self._given.port]
        else:
            candidates, self._serial_number = ports_of(self._address.device)
        for port in candidates:
            self._link = self._given if self._given is not None else SerialLink(port, gather_s=GATHER_S)
            try:
                self._metadata = self._identify()
            except (MeterProtocolError, MeterTimeoutError) as error:
                self._drop_link()
                if len(candidates) == 1:
                    raise
                failures.append(f"{port}: {error}")
            except BaseException:
                self._drop_link()
                raise
            else:
                return self._info(port, self._metadata)
        raise MeterProtocolError(
            "no port of this PPK2 answers as its measuring port", actual="; ".join(failures)
        )

    def configure(self, settings: Settings) -> Settings:
        """Set mode and voltage and read both back.

        A change of either switches the device under test off first.
        In ampere mode the path to the device under test is closed, as Nordic's application does it; the
        voltage is then the one that the user says is applied, and serves the calibration.
        """
        self._need_idle("be configured")
        mode = settings.mode or "source"
        if mode not in MODES:
            raise UsageError(f"the PPK2 has no mode '{mode}'", limit=" or ".join(sorted(MODES)))
        if settings.rate_hz not in (None, protocol.SAMPLE_RATE_HZ):
            raise UsageError(
                "the PPK2 has one sample rate", actual=f"{settings.rate_hz:g} Hz", limit="100000 Hz"
            )
        if settings.range is not None:
            raise UsageError("the PPK2 chooses its range itself", actual=settings.range)
        settings.checked(protocol.LOWEST_MV / 1000, protocol.HIGHEST_MV / 1000, "PPK2")
        link = self._opened()
        if (mode, settings.voltage_v) != (self._settings.mode, self._settings.voltage_v):
            self.power(False)  # nothing is fed while the voltage changes, nor what an earlier user left on
        link.write(protocol.set_mode(MODES[mode]))
        if settings.voltage_v is not None:
            link.write(protocol.set_voltage(round(settings.voltage_v * 1000)))
        self._metadata = metadata = self._read_metadata()
        self._confirm("mode", metadata.mode, MODES[mode])
        if settings.voltage_v is not None:
            self._confirm("voltage in mV", metadata.vdd_mv, round(settings.voltage_v * 1000))
        self._settings = Settings(
            settings.voltage_v,
            float(protocol.SAMPLE_RATE_HZ),
            mode,
            None,
            settings.dut_min_v,
            settings.dut_max_v,
        )
        if mode == "ampere":
            self.power(True)
        return self._settings

    def power(self, on: bool) -> None:
        link = self._opened()
        if on and self._settings.mode != "ampere" and self._settings.voltage_v is None:
            raise UsageError(
                "nobody named the supply voltage, and the last one is no safe choice; nothing was powered",
                remedy="name it in the meter's address: ...?voltage=3.3",
            )
        link.write(protocol.set_power(on))
        self._powered = on

    def sync(self) -> ClockPair:
        """The sample clock against the host's: when the newest sample ended.

        The instrument cannot be asked for its clock. The pair is the end of the newest sample and the
        bounds within which it ended: its receipt, less what this receipt came later than the quickest one
        so far, and up to 5 ms (assumed) before that.

        Raises:
            UsageError: Nothing streams.
        """
        stream = self._streams()
        before = stream.newest
        deadline = self._opened().now_ns() + int(REPLY_S * 1e9)
        while stream.newest == before:
            self._receive(stream, deadline)
        latest = stream.received_ns - round(stream.delay_ns)
        return ClockPair(stream.newest * protocol.SAMPLE_S, latest - TRANSPORT_NS, latest)

    def start(self) -> None:
        metadata = self._need_idle("start")
        volts = self._settings.voltage_v
        table = protocol.conversion_table(
            metadata, volts * 1000 if volts is not None else metadata.vdd_mv or 0
        )
        link = self._opened()
        drain(link, 0.0)
        self._stream = SampleStream(table)
        link.write(protocol.AVERAGE_START)
        self._streaming = True

    def read(self, timeout_s: float) -> Block:
        stream = self._streams()
        deadline = self._opened().now_ns() + int(timeout_s * 1e9)
        while (block := stream.take()) is None:
            try:
                self._receive(stream, deadline)
            except MeterTimeoutError:
                if (block := stream.take(anyway=True)) is not None:
                    return block
                raise
        return block

    def stop(self) -> Block | None:
        if self._stream is None or not self._streaming:
            return None
        link, self._streaming = self._opened(), False
        with contextlib.suppress(MeterUnpluggedError):  # what came before that is still worth having
            link.write(protocol.AVERAGE_STOP)
            deadline = link.now_ns() + int(2e9)
            while link.now_ns() < deadline and (data := link.read(QUIET_S)):
                self._stream.feed(data, link.now_ns(), ending=True)
        self._stream.feed(b"", link.now_ns(), final=True)
        return self._stream.take(anyway=True)

    def close(self) -> None:
        if self._link is None:
            return
        try:
            with contextlib.suppress(MeterError):
                self.stop()
            with contextlib.suppress(MeterError):  # also when it could not be stopped
                if self._powered:
                    self._link.write(protocol.set_power(False))
                    # Closing a port may throw away what was not sent yet; the answer proves that it was.
                    self._read_metadata()
        finally:
            self._powered = self._streaming = False
            self._drop_link()

    def _identify(self) -> protocol.Metadata:
        """Silence it and ask who it is."""
        link = self._opened()
        for attempt in range(ATTEMPTS):
            link.write(protocol.AVERAGE_STOP)
            drain(link)
            try:
                metadata = self._read_metadata()
            except (MeterProtocolError, MeterTimeoutError):
                if attempt == ATTEMPTS - 1:
                    raise
                continue
            # behind stale bytes the first line may be damaged: ask again
            if not (metadata.stale and metadata.absent) or attempt == ATTEMPTS - 1:
                break
        return metadata

    def _read_metadata(self) -> protocol.Metadata:
        """Ask for the metadata and wait for all of it."""
        link = self._opened()
        link.write(protocol.GET_METADATA)
        deadline = link.now_ns() + int(REPLY_S * 1e9)
        data = b""
        while (metadata := protocol.parse_metadata(data)) is None:
            left = (deadline - link.now_ns()) / 1e9
            if left <= 0:
                raise _no_metadata(link.port, data)
            data += link.read(left)
        return metadata

    def _confirm(self, what: str, told: int | None, wanted: int) -> None:
        """Check what the instrument says that it was set to; where it says nothing there is no check."""
        if told is not None and told != wanted:
            raise MeterProtocolError(
                f"the PPK2 did not take its {what}; nothing was powered",
                actual=str(told),
                limit=str(wanted),
                remedy="unplug it and plug it in again",
            )

    def _info(self, port: str, metadata: protocol.Metadata) -> MeterInfo:
        details: dict[str, Any] = {
            "constants": {name: list(row) for name, row in metadata.constants.items()},
            "assumed_constants": list(metadata.absent),
            "values": dict(metadata.values),
            "keys": metadata.keys,
        }
        number, simulated = self._serial_number, self._opened().simulated
        return MeterInfo(self.name, "PPK2", number, None, port, simulated, details)

    def _receive(self, stream: SampleStream, deadline_ns: int) -> None:
        """Read once and feed the stream."""
        link = self._opened()
        left_s = max(deadline_ns - link.now_ns(), 0) / 1e9
        data = link.read(min(left_s, DOUBT_S) if stream.in_doubt else left_s)
        if data:
            stream.feed(data, link.now_ns())
            if stream.unreadable_bytes > UNREADABLE_BYTES:
                raise MeterProtocolError(
                    f"what comes from {link.port} is not the sample stream of a PPK2",
                    actual=f"{stream.unreadable_bytes} bytes without a sample counter that runs on",
                    remedy="check that no other program talks to it; unplug it and plug it in again",
                )
        elif link.now_ns() >= deadline_ns:
            raise MeterTimeoutError(
                f"the PPK2 on {link.port} sent no sample in time",
                remedy="check the cable; unplug the instrument and plug it in again",
            )

    def _opened(self) -> MeterLink:
        if self._link is None:
            raise UsageError("the meter is not open")
        return self._link

    def _streams(self) -> SampleStream:
        if self._stream is None or not self._streaming:
            raise UsageError("the meter was not started")
        return self._stream

    def _need_idle(self, purpose: str) -> protocol.Metadata:
        self._opened()
        if self._metadata is None or self._streaming:
            raise UsageError(f"the meter cannot {purpose} while it streams")
        return self._metadata

    def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()


def _no_metadata(port: str, data: bytes) -> MeterError:
    """What it means that no metadata came."""
    if not data:
        return MeterTimeoutError(
            f"what is on {port} does not answer as a PPK2",
            actual="nothing came",
            limit=f"{REPLY_S:g} s",
            remedy="check the port (edgesnn list meters); a PPK2 has two, the first one measures",
        )
    return MeterProtocolError(
        f"what is on {port} is not a PPK2: it answers without calibration metadata",
        actual=f"{len(data)} bytes, ending in {data[-40:]!r}",
        remedy="check the port: edgesnn list meters",
    )
