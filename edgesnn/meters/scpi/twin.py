"""A simulated SCPI instrument: Keithley 2450, Keysight 34465A or N6705, as far as the driver goes.

Like the instruments it answers a query when the measurement is over, keeps errors in a queue, and ignores
what it does not know. Its identity says SIMULATED.
"""

from __future__ import annotations

import re
from collections import deque

import numpy as np

from edgesnn.errors import UsageError
from edgesnn.meters.twins.device import Conditions, Truth, TwinDevice

IDENTITIES = {
    "keithley-2450": "KEITHLEY INSTRUMENTS,MODEL 2450,SIMULATED,1.7.12",
    "keysight-34465a": "Keysight Technologies,34465A,SIMULATED,A.03.03-03.15",
    "keysight-n6705": "Keysight Technologies,N6705C,SIMULATED,E.02.08",
}
#: What an answer takes that needs no measurement.
LATENCY_S = 0.001
#: The log keeps this much (N6700 User's Guide p. 91: about 20 seconds).
KEPT_S = 20.0
#: The multimeter's largest range, with its 20 % over range.
OVERLOAD_A = 12.0
_NUMBER = r"([-+.\deE]+)"


class ScpiTwin(TwinDevice):
    """A simulated instrument.

    Args:
        conditions: What is drawn; ``voltage_v`` is the supply's voltage for the multimeter.
        model: A key of `IDENTITIES`.
        aperture_s: How long one measurement lasts.

    Raises:
        UsageError: There is no such model.
    """

    def __init__(
        self, conditions: Conditions, model: str = "keithley-2450", aperture_s: float = 0.02
    ) -> None:
        if model not in IDENTITIES:
            raise UsageError("there is no twin of this model", actual=model, limit=", ".join(IDENTITIES))
        self._conditions = conditions
        self._model = model
        self._aperture_s = aperture_s
        self._random = np.random.default_rng(conditions.seed)
        self._truth = Truth(0.0, 0.0, 0.0, 0.0, 0)
        self._line = b""
        self.replugged()

    @property
    def name(self) -> str:
        return "scpi"

    @property
    def buffer_bytes(self) -> int:
        return 1 << 18

    @property
    def powered(self) -> bool:
        """Whether its output is on; a multimeter has none."""
        return self._on

    def replugged(self) -> None:
        """As after power-up."""
        self._reset()
        self._errors: deque[str] = deque()
        self._answers: deque[tuple[float, bytes]] = deque()
        self._first_reading_s: float | None = None

    def _reset(self) -> None:
        self._on = self._model == "keysight-34465a"
        self._volts = self._conditions.voltage_v if self._on else 0.0
        self._limit_a = {"keithley-2450": 105e-6, "keysight-n6705": 0.1}.get(self._model, OVERLOAD_A)
        self._log: deque[tuple[float, float]] = deque()
        self._logging_since_s: float | None = None
        self._logged = self._dropped = 0
        self._period_s = 0.1

    def drop(self, samples: int) -> None:
        """Lose averages of the log; a polled instrument has none to lose."""
        self._dropped += samples

    def truth(self) -> Truth:
        """What was drawn since ``*CLS`` or the start of the log."""
        return self._truth

    def receive(self, data: bytes, now_s: float) -> bytes:
        """Take commands; answers come with `advance`."""
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            text = line.decode("ascii", "replace").strip()
            if text:
                self._command(text, now_s)
        return b""

    def advance(self, now_s: float) -> list[bytes]:
        self._take_averages(now_s)
        pieces = []
        while self._answers and self._answers[0][0] <= now_s:
            pieces.append(self._answers.popleft()[1])
        return pieces

    def _answer(self, text: str, due_s: float) -> None:
        self._answers.append((due_s, text.encode() + b"\n"))

    def _command(self, text: str, now_s: float) -> None:
        if text == "*IDN?":
            self._answer(IDENTITIES[self._model], now_s + LATENCY_S)
        elif text == "*RST":
            self._reset()
        elif text == "*CLS":
            self._errors.clear()
            self._truth = Truth(now_s, now_s, 0.0, 0.0, 0)
        elif text == "SYST:ERR?":
            none = '0,"No error"' if self._model.startswith("keithley") else '+0,"No error"'
            self._answer(self._errors.popleft() if self._errors else none, now_s + LATENCY_S)
        else:
            known = {
                "keithley-2450": self._source_measure,
                "keysight-34465a": self._multimeter,
                "keysight-n6705": self._analyser,
            }[self._model]
            if not known(text, now_s):
                self._errors.append('-113,"Undefined header"')

    def _source_measure(self, text: str, now_s: float) -> bool:
        if text in ("SOUR:FUNC VOLT", 'SENS:FUNC "CURR"', "SOUR:VOLT:READ:BACK ON"):
            return True
        if text in ("OUTP ON", "OUTP OFF"):
            self._on = text == "OUTP ON"
        elif found := re.fullmatch(f"SOUR:VOLT:ILIM {_NUMBER}", text):
            self._limit_a = float(found[1])
        elif found := re.fullmatch(f"SOUR:VOLT {_NUMBER}", text):
            self._set(float(found[1]), 210.0)
        elif text == 'READ? "defbuffer1", SOUR, READ, REL':
            end_s, current = self._measure(now_s)
            if self._first_reading_s is None:
                self._first_reading_s = end_s
            relative_s = (end_s - self._first_reading_s) * (1 + self._conditions.clock_ppm * 1e-6)
            volts = self._volts if self._on else 0.0
            self._answer(f"{volts:.6E},{current:.6E},{relative_s:.9f}", end_s)
        else:
            return False
        return True

    def _multimeter(self, text: str, now_s: float) -> bool:
        if text == "READ?":
            end_s, current = self._measure(now_s)
            self._answer("+9.90000000E+37" if abs(current) > OVERLOAD_A else f"{current:+.8E}", end_s)
            return True
        return text == "CONF:CURR:DC"

    def _analyser(self, text: str, now_s: float) -> bool:
        if text in ("OUTP ON,(@1)", "OUTP OFF,(@1)"):
            self._on = text.startswith("OUTP ON")
        elif found := re.fullmatch(rf"VOLT {_NUMBER},\(@1\)", text):
            self._set(float(found[1]), 20.4)
        elif found := re.fullmatch(rf"CURR {_NUMBER},\(@1\)", text):
            self._limit_a = float(found[1])
        elif found := re.fullmatch(rf"SENS:ELOG:PER {_NUMBER},\(@1\)", text):
            self._period_s = float(found[1])
        elif text == "TRIG:ELOG (@1)":
            self._logging_since_s, self._logged, self._dropped = now_s, 0, 0
            self._log.clear()
            self._truth = Truth(now_s, now_s, 0.0, 0.0, 0)
        elif text == "ABOR:ELOG (@1)":
            self._take_averages(now_s)
            self._logging_since_s = None
        elif found := re.fullmatch(r"FETC:ELOG\? (\d+),\(@1\)", text):
            self._take_averages(now_s)
            count = min(int(found[1]), len(self._log))
            records = [self._log.popleft() for _ in range(count)]
            self._answer(",".join(f"{amps:.6E},{volts:.6E}" for amps, volts in records), now_s + LATENCY_S)
        else:
            return text in (
                "SENS:ELOG:FUNC:CURR ON,(@1)",
                "SENS:ELOG:FUNC:VOLT ON,(@1)",
                "TRIG:TRAN:SOUR BUS,(@1)",
                "INIT:ELOG (@1)",
            )
        return True

    def _set(self, volts: float, highest: float) -> None:
        if 0 <= volts <= highest:
            self._volts = volts
        else:
            self._errors.append('-222,"Data out of range"')

    def _shown(self, joules: float, seconds: float) -> float:
        """What the instrument says of a mean current."""
        true_a = joules / seconds / self._volts if self._on and self._volts else 0.0
        noise = self._random.normal(0, self._conditions.noise_a) if self._conditions.noise_a else 0.0
        shown = true_a * (1 + self._conditions.gain) + self._conditions.offset_a + noise
        return shown if self._model == "keysight-34465a" else min(shown, self._limit_a)

    def _measure(self, now_s: float) -> tuple[float, float]:
        """One measurement from now on: its end, and what is read."""
        end_s = now_s + self._aperture_s
        drawn = self._conditions.load.energy_j(np.array([self._truth.start_s, now_s, end_s]))
        total = float(drawn[2] - drawn[0]) if self._on else 0.0
        charge = total / self._volts if self._volts else 0.0
        self._truth = Truth(self._truth.start_s, end_s, total, charge, self._truth.samples + 1)
        return end_s, self._shown(float(drawn[2] - drawn[1]), self._aperture_s)

    def _take_averages(self, now_s: float) -> None:
        """Bring the log up to now."""
        since_s = self._logging_since_s
        if since_s is None:
            return
        step_s = self._period_s / (1 + self._conditions.clock_ppm * 1e-6)
        count = int((now_s - since_s) / step_s + 1e-9) - self._logged
        if count <= 0:
            return
        edges_s = since_s + np.arange(self._logged, self._logged + count + 1, dtype=np.float64) * step_s
        drawn = self._conditions.load.energy_j(edges_s)
        for joules in np.diff(drawn):
            if self._dropped > 0:
                self._dropped -= 1
            else:
                self._log.append((self._shown(float(joules), step_s), self._volts if self._on else 0.0))
        while len(self._log) * self._period_s > KEPT_S:
            self._log.popleft()
        self._logged += count
        total = float(drawn[-1] - self._conditions.load.energy_j(np.array([since_s]))[0]) if self._on else 0.0
        charge = total / self._volts if self._volts else 0.0
        self._truth = Truth(since_s, float(edges_s[-1]), total, charge, self._logged)
