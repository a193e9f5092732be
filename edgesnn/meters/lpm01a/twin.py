"""A simulated ST X-NUCLEO-LPM01A: the commands, both stream formats, time stamps, events, overcurrent.

It serves what our driver and the runner of MLCommons Tiny ask of the instrument (``output energy`` too).
The event of input D7 is a falling edge of marker bit 0; its line stands before the sample in which the edge
fell, because it is sent when it happens and a sample when it is over.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from edgesnn.meters.lpm01a import protocol
from edgesnn.meters.lpm01a.protocol import Lpm01aFrameType, Stamp
from edgesnn.meters.twins.device import Conditions, Truth, TwinDevice

#: Samples that one USB packet carries in the binary format: 64 bytes.
PACKET_SAMPLES = 32
#: Current at which the overcurrent protection acts, and how long it may last (UM2243 Rev 2 p. 24).
OVERCURRENT_A, OVERCURRENT_S = 0.059, 0.005
#: Marker inputs are looked at this often within a sample, so that short pulses are seen.
EDGE_CHECKS = 8
_DEFAULTS = {
    "volt": "3300m",
    "freq": "100",
    "acqtime": "10",
    "acqmode": "dyn",
    "funcmode": "optim",
    "output": "current",
    "format": "ascii_dec",
    "trigsrc": "sw",
    "trigdelay": "1m",
    "currthres": "1m",
    "pwr": "auto",
    "pwrend": "on",
    "eventsrc": "",
}
_NUMBER = re.compile(r"(\d+)(?:([umk])|([+-]\d{1,2}))?")
_UNITS = {"u": 1e-6, "m": 1e-3, "k": 1e3}


def number(text: str) -> float | None:
    """A number as the instrument reads it: ``2m``, ``2-3``, ``100``; None when it is none."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    return int(found[1]) * (_UNITS[found[2]] if found[2] else 10.0 ** int(found[3] or 0))


class Lpm01aTwin(TwinDevice):
    """A simulated LPM01A.

    Args:
        conditions: What is drawn, and the errors of the analogue part and the clock.
        firmware: Its version; before 1.0.6 it knows neither events nor ``pwr off``.
        nul_bytes: Whether it sends a NUL in front of the first sample after a time stamp, as some do.

    Attributes:
        buffer_percent: What its time stamps say of its send buffer.
        overflow: Whether they say that it ran over.
        settings: Values of its commands, as text.
    """

    def __init__(
        self, conditions: Conditions, firmware: tuple[int, int, int] = (1, 0, 6), nul_bytes: bool = False
    ) -> None:
        self._conditions = conditions
        self._firmware = firmware
        self._nul = nul_bytes
        self._random = np.random.default_rng(conditions.seed)
        self.buffer_percent = 0
        self.overflow = False
        self._truth = Truth(0.0, 0.0, 0.0, 0.0, 0)
        self.replugged()

    @property
    def name(self) -> str:
        return "lpm01a"

    @property
    def buffer_bytes(self) -> int:
        """Size of the send buffer; ST names none, so this is our choice: a third of a second at 100 kHz."""
        return 1 << 16

    @property
    def powered(self) -> bool:
        """Whether the device under test has its supply."""
        return self._powered

    def replugged(self) -> None:
        """As after power-up: nothing streams, every setting is the default, the target is off."""
        self.settings = dict(_DEFAULTS)
        self._line = b""
        self._controlled = self._powered = self._streaming = False
        self._stop_at_s: float | None = None
        self._drop = 0
        self._events = 0
        self._over_s = 0.0

    def drop(self, samples: int) -> None:
        self._drop += samples

    def truth(self) -> Truth:
        return self._truth

    def receive(self, data: bytes, now_s: float) -> bytes:
        *lines, self._line = re.split(rb"[\r\n]+", self._line + data)
        texts = [line.decode("ascii", "replace").strip() for line in lines]
        return b"".join(self._command(text, now_s) for text in texts if text)

    def _command(self, text: str, now_s: float) -> bytes:
        verb, _, argument = text.partition(" ")
        if verb == "echo":
            return b"\r\n" + protocol.PROMPT + text.encode() + b"\r\n"
        if verb == "stop":
            if self._streaming:
                self._stop_at_s = now_s
                return b""
            return self._prompt("Acquisition completed")
        answer = self._answer(verb, argument, now_s)
        if isinstance(answer, str):
            return self._prompt(f"ack {text}{' ' + answer if answer else ''}") + b"\r\n"
        return self._prompt(f"error {text}") + b"\r\n" + f"Error detail: {answer[0]}\r\n\r\n".encode()

    def _prompt(self, text: str) -> bytes:
        return b"\r\n" + protocol.PROMPT + text.encode() + b"\r\n"

    def _answer(self, verb: str, argument: str, now_s: float) -> str | tuple[str]:
        """What follows the acknowledgement, or the detail of an error in a tuple."""
        told = {
            "version": ".".join(map(str, self._firmware)),
            "powershield": "PowerShield present: SIMULATED-0001",
            "status": "ok",
            "range": "100-09 5000-05",
            "temp": "28.0",
            "lcd": "",
            "calib": "",
            "psrst": "",
        }
        if verb in told:
            return told[verb]
        if verb in ("htc", "hrc"):
            self._controlled = verb == "htc"
            return ""
        if not self._controlled:
            return ("host has not taken control",)
        if verb == "start":
            return self._start(now_s)
        if verb == "volt" and argument == "get":
            return f"{round((number(self.settings['volt']) or 0) * 1000):04d}-03"
        if verb == "pwr":
            return self._power(argument)
        if verb not in self.settings or (verb == "eventsrc" and self._firmware < protocol.EVENT_FIRMWARE):
            return ("unknown command",)
        if not self._allowed(verb, argument):
            return ("argument out of range",)
        self.settings[verb] = argument
        return ""

    def _allowed(self, verb: str, argument: str) -> bool:
        value = number(argument)
        if verb == "volt":
            return value is not None and 1.8 - 1e-9 <= value <= 3.3 + 1e-9
        if verb == "freq":
            return argument in protocol.RATES.values()
        choices = {
            "acqmode": ("dyn", "stat"),
            "funcmode": ("optim", "high"),
            "output": ("current", "energy"),
            "format": ("ascii_dec", "bin_hexa"),
            "trigsrc": ("sw", "d7"),
            "pwrend": ("on", "off"),
            "eventsrc": ("d7 fal",),
        }
        return argument in choices[verb] if verb in choices else argument == "inf" or value is not None

    def _power(self, argument: str) -> str | tuple[str]:
        if argument == "get":
            return "on" if self._powered else "off"
        if self._firmware < protocol.EVENT_FIRMWARE:
            return ("invalid argument",)
        state, _, status = argument.partition(" ")
        if state not in ("auto", "on", "off") or status not in ("", "status", "nostatus"):
            return ("invalid argument",)
        self.settings["pwr"] = state
        if state != "auto":
            self._powered = state == "on"
        return ""

    def _start(self, now_s: float) -> str | tuple[str]:
        rate = number(self.settings["freq"]) or 0.0
        if self.settings["format"] == "ascii_dec" and rate > protocol.ASCII_MAX_HZ:
            return ("acquisition time too long for this format",)
        if self.settings["pwr"] == "auto":
            self._powered = True
        self._volts = number(self.settings["volt"]) or 0.0
        self._rate = rate
        self._step_s = 1.0 / (rate * (1 + self._conditions.clock_ppm * 1e-6))
        self._began_s, self._index, self._events, self._over_s, self._drop = now_s, 0, 0, 0.0, 0
        self._stop_at_s = None
        self._d7 = int(self._conditions.load.markers(np.array([now_s]))[0]) & 1
        self._streaming = True
        self._truth = Truth(now_s, now_s, 0.0, 0.0, 0)
        return ""

    def advance(self, now_s: float) -> list[bytes]:
        if not self._streaming:
            return []
        until_s = now_s if self._stop_at_s is None else self._stop_at_s
        limit = int((until_s - self._began_s) / self._step_s + 1e-9)
        pieces: list[bytes] = []
        while self._streaming and self._index < limit:
            # a piece ends where the next time stamp is due
            left = int(self._rate) - self._index % int(self._rate)
            pieces += self._samples(min(limit - self._index, left, 4096))
        if self._stop_at_s is not None and self._streaming:
            pieces += self._ending()
        return pieces

    def _samples(self, count: int) -> list[bytes]:
        pieces = []
        ascii_format = self.settings["format"] == "ascii_dec"
        stamped = self._index % int(self._rate) == 0
        if stamped:
            stamp = Stamp(round(self._index * 1000 / self._rate), self.buffer_percent, self.overflow)
            pieces.append(protocol.encode_stamp(stamp, ascii_format))
        edges_s = (
            self._began_s + np.arange(self._index, self._index + count + 1, dtype=np.float64) * self._step_s
        )
        joules = np.diff(self._conditions.load.energy_j(edges_s)) * self._powered
        events = self._edges(edges_s) if self.settings["eventsrc"] and ascii_format else np.zeros(count, bool)
        self._index += count
        true_a = joules / self._step_s / self._volts
        total, truth = float(joules.sum()), self._truth
        self._truth = Truth(
            truth.start_s,
            float(edges_s[-1]),
            truth.energy_j + total,
            truth.charge_c + total / self._volts,
            truth.samples + count,
        )
        noise = self._random.normal(0, self._conditions.noise_a, count) if self._conditions.noise_a else 0.0
        shown = true_a * (1 + self._conditions.gain) + self._conditions.offset_a + noise
        shown = np.clip(shown, 0.0, protocol.SATURATION_A)
        lost = min(self._drop, count)
        self._drop -= lost
        if ascii_format:
            if self.settings["output"] == "energy":
                shown = shown * self._volts * self._step_s
            pieces += self._lines(shown, events, lost, self._nul and stamped)
        else:
            words = protocol.encode_words(shown[lost:]).astype(">u2").tobytes()
            size = 2 * PACKET_SAMPLES
            pieces += [words[at : at + size] for at in range(0, len(words), size)]
        if self._overcurrent(true_a):
            pieces += self._trip(ascii_format)
        return pieces

    def _lines(
        self, values: npt.NDArray[np.float64], events: npt.NDArray[np.bool_], lost: int, nul: bool
    ) -> list[bytes]:
        pieces = []
        for index, value in enumerate(values):
            if events[index]:
                pieces.append(b"event %02d ris\r\n" % self._events)
                self._events += 1
            if index >= lost:
                pieces.append((b"\0" if nul else b"") + protocol.encode_ascii(float(value)) + b"\r\n")
                nul = False
        return pieces

    def _edges(self, edges_s: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Whether D7 falls during each sample."""
        count = edges_s.size - 1
        fine = edges_s[0] + np.arange(1, count * EDGE_CHECKS + 1) * (self._step_s / EDGE_CHECKS)
        level = self._conditions.load.markers(fine) & 1
        before = np.concatenate([[self._d7], level[:-1]])
        self._d7 = int(level[-1])
        fell = (before == 1) & (level == 0)
        return np.asarray(fell.reshape(count, EDGE_CHECKS).any(axis=1))

    def _overcurrent(self, true_a: npt.NDArray[np.float64]) -> bool:
        if bool((true_a >= OVERCURRENT_A).all()):
            self._over_s += true_a.size * self._step_s
        else:
            below = np.flatnonzero(true_a < OVERCURRENT_A)
            self._over_s = (true_a.size - 1 - int(below[-1])) * self._step_s
        return self._over_s > OVERCURRENT_S

    def _trip(self, ascii_format: bool) -> list[bytes]:
        self._powered = False
        if ascii_format:
            return [b"error: overcurrent detected\r\n", b"pwr off\r\n", *self._ending()]
        frames = protocol.encode_frame(Lpm01aFrameType.OVERCURRENT) + protocol.encode_frame(
            Lpm01aFrameType.POWER_DOWN
        )
        return [frames, *self._ending()]

    def _ending(self) -> list[bytes]:
        self._streaming = False
        self._stop_at_s = None
        if self.settings["pwrend"] == "off":
            self._powered = False
        end = (
            b"end\r\n"
            if self.settings["format"] == "ascii_dec"
            else protocol.encode_frame(Lpm01aFrameType.END)
        )
        summary = b"\r\nsummary beg\r\nsummary end\r\n"
        return [end + summary + self._prompt("Acquisition completed")]
