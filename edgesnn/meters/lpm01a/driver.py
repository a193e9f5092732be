"""Driver of the ST X-NUCLEO-LPM01A and of the PowerShield part of the STM32L562E-DK.

Up to 5 kHz it streams ASCII, which carries the events of input D7; above that binary, up to 100 kHz, which
has none: align such a run by the clock (`Lpm01aMeter.sync`). Samples come a second at a time, because each
second is checked against the instrument's time stamp before it is handed out.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from typing import ClassVar

import numpy as np

from edgesnn.errors import (
    MeterError,
    MeterProtocolError,
    MeterTimeoutError,
    MeterUnpluggedError,
    UsageError,
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
    Settings,
)
from edgesnn.meters.link import MeterLink, SerialLink, drain
from edgesnn.meters.lpm01a import protocol
from edgesnn.meters.lpm01a.clock import SettledSamples
from edgesnn.meters.lpm01a.port import ANSWER_S, ask, attached, choose, old_firmware, tell
from edgesnn.meters.lpm01a.stream import AsciiStream, BinaryStream, stream_for
from edgesnn.meters.samples.accuracy import MeterAccuracy, load_accuracy

#: Rate without another wish: the fastest one that carries events.
USUAL_HZ = 5_000
#: A read of the port waits this long for more, so that few reads carry a fast stream.
GATHER_S = 0.01
STOP_S = 3.0
#: A read waits at least this long: samples are handed out when the second they belong to is over.
SECOND_S = 1.5
#: Stopping takes up to this long; fewer samples than that are not missed at the end.
TAIL_SLACK_S = 0.05
_MODES = ("optim", "high")
_IDENTITY = re.compile(rb"present\W*([0-9A-Za-z][\w-]*)")


class Lpm01aMeter(Meter):
    """An LPM01A on a serial port.

    Args:
        address: ``lpm01a``, ``lpm01a:SERIAL`` or ``lpm01a:PORT``.
        link: The wire to use instead of looking for a port.
    """

    name: ClassVar[str] = "lpm01a"
    summary: ClassVar[str] = (
        "ST X-NUCLEO-LPM01A / PowerShield: supplies 1.8 to 3.3 V, 100 nA to 50 mA, 100 kHz"
    )
    driver_status: ClassVar[DriverStatus] = DriverStatus.FOREIGN_CLIENT

    def __init__(self, address: MeterAddress, *, link: MeterLink | None = None) -> None:
        self._address = address
        self._wanted = address.settings()
        self._given = self._link = link
        self._firmware = (0, 0, 0)
        self._rate_hz = USUAL_HZ
        self._stream: AsciiStream | BinaryStream | None = None
        self._streaming = self._powered = self._controlled = False
        self._failure: MeterError | None = None
        self._began_ns = self._last_read_ns = self._stamp_ns = 0
        self._pair: ClockPair | None = None
        self._lost_before = 0

    @classmethod
    def discover(cls) -> tuple[Found, ...]:
        """Ports with ST's identity for virtual serial ports; other ST devices share it."""
        return attached(cls.name)

    @property
    def capabilities(self) -> frozenset[MeterCapability]:
        """What it can do at the configured rate."""
        able = {
            MeterCapability.SUPPLIES_POWER,
            MeterCapability.SAMPLE_CLOCK,
            MeterCapability.MAY_INTERRUPT_DUT,
        }
        if self._has_events:
            able |= {MeterCapability.MARKER_INPUT, MeterCapability.MARKER_PULSES}
        if self._link is not None and self._link.simulated:
            able.add(MeterCapability.SIMULATED)
        return frozenset(able)

    @property
    def accuracy(self) -> MeterAccuracy:
        return load_accuracy(self.name)

    @property
    def loss(self) -> Loss:
        return self._stream.clock.loss if self._stream else Loss(received=0)

    @property
    def _has_events(self) -> bool:
        return self._rate_hz <= protocol.ASCII_MAX_HZ and self._firmware >= protocol.EVENT_FIRMWARE

    def open(self) -> MeterInfo:
        self._streaming = self._powered = self._controlled = False
        if self._given is None:
            if self._link is not None:
                self._link.close()
            self._link = SerialLink(
                choose(self.discover(), self._address.device), protocol.BAUD, gather_s=GATHER_S
            )
        link = self._linked()
        try:
            if drain(link):  # it streams what someone else started
                link.write(b"stop\r\n")
                drain(link, quiet_s=0.2)
            self._ask("htc")
            self._controlled = True
            link.write(b"stop\r\n")  # at 1 Hz a stream is easily taken for silence
            drain(link, quiet_s=0.1)
            version = tell(link, "version", protocol.VERSION)
            identity = tell(link, "powershield", _IDENTITY)
        except MeterTimeoutError as error:
            link.close()
            raise MeterTimeoutError(
                f"what is on {link.port} does not answer as a PowerShield",
                actual=error.actual,
                limit=f"'{protocol.PROMPT.decode()}ack htc' within {ANSWER_S:g} s",
                remedy="name its port: lpm01a:PORT; if it is the right one, unplug it and plug it in again",
            ) from error
        except MeterError:
            link.close()
            raise
        limitation: str | None = "it does not tell its firmware's version, so events are not asked for"
        if version is not None:
            self._firmware = (int(version[1]), int(version[2]), int(version[3]))
            limitation = old_firmware(self._firmware)
        return MeterInfo(
            name=self.name,
            model="X-NUCLEO-LPM01A PowerShield",
            serial_number=identity[1].decode() if identity else None,
            firmware=".".join(map(str, self._firmware)) if version else None,
            port=link.port,
            simulated=link.simulated or (identity is not None and b"SIMULATED" in identity[1]),
            details={"limitation": limitation} if limitation else {},
        )

    def configure(self, settings: Settings) -> Settings:
        settings = settings.completed(self._wanted)
        if self._streaming:
            raise UsageError("the meter streams; stop it before it is configured")
        if settings.range is not None:
            raise UsageError("the LPM01A has no fixed ranges", actual=settings.range, limit="no range")
        mode = settings.mode or "optim"
        if mode not in _MODES:
            raise UsageError("the LPM01A has no such mode", actual=mode, limit=", ".join(_MODES))
        rate = USUAL_HZ if settings.rate_hz is None else settings.rate_hz
        if rate not in protocol.RATES:
            raise UsageError(
                "the LPM01A does not take this sample rate",
                actual=f"{rate:g} Hz",
                limit=", ".join(map(str, sorted(protocol.RATES))) + " Hz",
                remedy="name one of them in the meter's address: ...?rate=1000",
            )
        settings.checked(protocol.LOWEST_V, protocol.HIGHEST_V, "LPM01A")
        if settings.voltage_v is None:
            # the set-point that is in force would be applied: the limits of the device hold for it too
            told = protocol.SAMPLE_LINE.search(self._ask("volt get"))
            if told is None:
                raise MeterProtocolError("the LPM01A does not tell its voltage")
            settings = replace(settings, voltage_v=protocol.decode_ascii(told[0]))
            settings.checked(protocol.LOWEST_V - 0.01, protocol.HIGHEST_V + 0.01, "LPM01A")
        else:
            self._ask(f"volt {protocol.millivolts(settings.voltage_v)}")
        self._rate_hz = int(rate)
        ascii_format = self._rate_hz <= protocol.ASCII_MAX_HZ
        for command in (
            "acqtime inf",
            "trigdelay 0",
            "trigsrc sw",
            "acqmode dyn",
            "output current",
            f"funcmode {mode}",
            f"format {'ascii_dec' if ascii_format else 'bin_hexa'}",
            f"freq {protocol.RATES[self._rate_hz]}",
        ):
            self._ask(command)
        if self._has_events:
            self._ask("eventsrc d7 fal")
        if self._firmware < protocol.EVENT_FIRMWARE:
            # its 'pwr off' does not work: let the end of an acquisition switch the supply off
            with contextlib.suppress(MeterError):
                self._ask("pwrend off")
        return replace(settings, rate_hz=float(self._rate_hz), mode=mode)

    def power(self, on: bool) -> None:
        """Switch the supply; not while it streams, where an answer would land among the samples.

        Raises:
            UsageError: It streams.
            MeterError: The firmware is too old.
        """
        if self._streaming:
            raise UsageError("the LPM01A streams; switch its supply before start() or after stop()")
        self._ask("pwr on nostatus" if on else "pwr off")
        self._powered = on

    def sync(self) -> ClockPair:
        """Wait for the next time stamp.

        Raises:
            UsageError: It does not stream: its clock shows only there.
            MeterTimeoutError: No time stamp came.
        """
        stream = self._running()
        link = self._linked()
        self._pair = None
        deadline = link.now_ns() + int(SECOND_S * 1e9)
        while self._pair is None:
            if self._failure is not None:
                raise self._failure
            self._wait(deadline, stream, "time stamp")
        return self._pair

    def start(self) -> None:
        """Begin to stream; if ``power`` was never called, the instrument switches the supply on by itself."""
        link = self._linked()
        self._stream = stream_for(self._rate_hz)
        self._failure, self._pair, self._lost_before = None, None, 0
        self._began_ns = link.now_ns()
        rest = self._ask("start").partition(b"start\r\n")[2].removeprefix(b"\r\n")
        self._streaming = self._powered = True
        self._last_read_ns = self._stamp_ns = link.now_ns()
        self._take(rest)

    def read(self, timeout_s: float) -> Block:
        """The samples of the seconds that are over; waits 1.5 s even if ``timeout_s`` is less."""
        stream = self._running()
        link = self._linked()
        deadline = link.now_ns() + int(max(timeout_s, SECOND_S) * 1e9)
        while True:
            block = self._block()
            if block is not None:
                return block
            if self._failure is not None:
                raise self._failure
            self._wait(deadline, stream, "second of samples")

    def stop(self) -> Block | None:
        """End the stream and hand out what waits.

        No time stamp confirms the last part of a second: its count is checked against the host's clock.
        """
        stream = self._stream
        if stream is None or not self._streaming:
            return None
        self._streaming = False
        link = self._linked()
        with contextlib.suppress(MeterUnpluggedError):
            asked_ns = link.now_ns()
            if not stream.completed:
                link.write(b"stop\r\n")
            deadline = asked_ns + int(STOP_S * 1e9)
            while not stream.completed and link.now_ns() < deadline:
                self._take(link.read((deadline - link.now_ns()) / 1e9))
            if not stream.completed:
                stream.clock.damage("the instrument did not say that it stopped")
            due = int(((asked_ns - self._stamp_ns) / 1e9 - TAIL_SLACK_S) * self._rate_hz * 0.998)
            running = self._failure is None and stream.fault is None
            stream.clock.release(shortfall=max(0, due - stream.clock.held) if running else 0)
        return self._block()

    def close(self) -> None:
        link = self._link
        if link is None:
            return
        with contextlib.suppress(MeterError):
            self.stop()
        if self._powered:
            with contextlib.suppress(MeterError):
                self.power(False)
        if self._controlled:
            with contextlib.suppress(MeterError):
                self._ask("hrc")
        self._powered = self._controlled = False
        link.close()

    def _linked(self) -> MeterLink:
        if self._link is None:
            raise UsageError("the meter is not open")
        return self._link

    def _running(self) -> AsciiStream | BinaryStream:
        if self._stream is None or not self._streaming:
            raise UsageError("the LPM01A does not stream; call start() first")
        return self._stream

    def _ask(self, command: str) -> bytes:
        known = self._firmware != (0, 0, 0)
        return ask(self._linked(), command, old_firmware(self._firmware) if known else None)

    def _wait(self, deadline_ns: int, stream: AsciiStream | BinaryStream, purpose: str) -> None:
        """Read once."""
        link = self._linked()
        left_s = (deadline_ns - link.now_ns()) / 1e9
        if left_s <= 0:
            raise MeterTimeoutError(
                f"no {purpose} came from the LPM01A on {link.port}",
                actual=f"{stream.clock.held} samples without a time stamp"
                if stream.clock.held
                else "nothing",
                limit=f"{SECOND_S:g} s at least",
                remedy="check the cable; start again",
            )
        try:
            self._take(link.read(left_s))
        except MeterUnpluggedError as error:
            if stream.clock.held:
                stream.clock.damage("the instrument went away")
                stream.clock.release()
            self._failure = error

    def _take(self, data: bytes) -> None:
        """Decode what came and note the newest time stamp's arrival."""
        stream = self._stream
        assert stream is not None
        now_ns = self._linked().now_ns()
        stream.feed(data, (now_ns - self._began_ns) / 1e9)
        if stream.stamps:
            meter_s = stream.stamps[-1].time_ms / 1000
            stream.stamps.clear()
            # it was not there when the wire was read before
            self._pair = ClockPair(meter_s, self._last_read_ns, now_ns)
            self._stamp_ns = now_ns
        self._last_read_ns = now_ns
        failure = stream.fault
        if failure is None and stream.ended and self._streaming:
            failure = MeterProtocolError(
                "the LPM01A ended the acquisition by itself", remedy="start it again"
            )
        if failure is not None and self._failure is None:
            stream.clock.damage("the stream ended")
            stream.clock.release()
            self._failure = failure

    def _block(self) -> Block | None:
        """What is ready as one block."""
        stream = self._stream
        assert stream is not None
        pieces: list[SettledSamples] = list(stream.clock.ready)
        stream.clock.ready.clear()
        self._lost_before += sum(piece.lost for piece in pieces)
        if not sum(piece.current_a.size for piece in pieces):
            return None
        lost, self._lost_before = self._lost_before, 0
        index = np.concatenate([np.arange(one.first, one.first + one.current_a.size) for one in pieces])
        return Block(
            time_s=index / self._rate_hz,
            duration_s=1 / self._rate_hz,
            current_a=np.concatenate([one.current_a for one in pieces]).astype(np.float32),
            voltage_v=None,
            power_w=None,
            markers=np.concatenate([one.markers for one in pieces]),
            status=np.concatenate([one.status for one in pieces]),
            range_index=None,
            lost=lost,
            host_ns=self._last_read_ns,
        )
