"""One session of a device that speaks MLCommons Tiny's protocol, metered twice: their way and ours.

Their way is the runner's arithmetic, written from what it does, not the runner itself: joules of 1 ms summed
between the number of samples that had come at the last two events. Everything runs in simulated time.
"""

import re
from dataclasses import dataclass

import numpy as np

from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import Settings
from edgesnn.meters.files.format import join
from edgesnn.meters.lpm01a.driver import Lpm01aMeter
from edgesnn.meters.lpm01a.twin import Lpm01aTwin
from edgesnn.meters.samples.trace import Trace
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.faults import Fault, FaultKind, FaultSchedule
from edgesnn.meters.twins.live import LiveLoad
from edgesnn.profiler.power.evaluation import HostSpan, Lap, MeterStream, evaluate
from edgesnn.record.power import Rung
from tests.support.instruments.meter_blocks import receipts_of
from tests.support.instruments.mlcommons_dut import MlcommonsDut
from tests.support.instruments.virtual import VirtualLink

VOLTS, ACTIVE_W, IDLE_W = 3.3, 0.06, 0.012
#: What the runner sends, in its order.
SET_UP = (
    *("htc", "pwr off", "acqtime inf", "trigdelay 0", "trigsrc sw", "eventsrc d7 fal", "output energy"),
    *("format ascii_dec", "freq 1k", "volt 3300m", "pwr on nostatus", "start"),
)
SAMPLE, EVENT = re.compile(r"^(\d{4})([+-]\d{2})$"), re.compile(r"^event (\d+) ris$")
#: Meters are opened before the first window.
OPENED_S = 4.0


@dataclass
class Theirs:
    """Joules of every millisecond, and for every event how many samples had come."""

    samples: np.ndarray
    events: list

    def per_inference_j(self, number, count):
        """Energy of one inference of a window, as the runner computes it."""
        first, last = self.events[2 * number : 2 * number + 2]
        return float(self.samples[first:last].sum()) / count

    def seconds(self, number):
        return (self.events[2 * number + 1] - self.events[2 * number]) / 1000


class Session:
    """A device that infers in windows; both meters look at the same load.

    Args:
        windows: How many.
        count: Inferences in each.
        infer_s: Length of one.
        gain: Error of both meters.
        lost_s: What both meters lose of the first window.
    """

    def __init__(self, *, windows=3, count=100, infer_s=0.0203, gain=0.0, lost_s=0.0):
        self.count, self.gain = count, gain
        with LiveLoad(0) as load:
            self.windows = self._infer(load, windows, count, infer_s)
            self.true_j = [
                float(np.diff(load.energy_j(np.array([a, b])))[0]) / count for a, b, _ in self.windows
            ]
            self.faults = (
                [(self.windows[0][0] + 0.4 * (self.windows[0][1] - self.windows[0][0]), lost_s)]
                if lost_s
                else []
            )
            self.end_s = self.windows[-1][1] + 1.5
            self.theirs = self._their_way(load)
            self.loss, self.stream = self._our_way(load)
        self.ours = self.evaluate()

    def evaluate(self):
        """What our code makes of the stream."""
        spans, laps = zip(*(self._host(a, b, n) for a, b, n in self.windows), strict=True)
        return evaluate(self.stream, spans, laps, Rung.MARKER, trials=20_000)

    def _infer(self, load, windows, count, infer_s):
        dut = MlcommonsDut(
            load, infer_s=infer_s, active_w=lambda w, n: ACTIVE_W * (1 + 0.2 * (n % 2)), idle_w=IDLE_W
        )
        link = VirtualLink(dut)
        link.pass_time(OPENED_S)
        self.talk = []
        for command in ("name", "profile", *([f"infer {count} 5"] * windows)):
            link.write(f"{command}%".encode())
            text = b""
            while not text.endswith(b"m-ready\r\n"):
                text += link.read(60.0)
            self.talk.append(text.decode().split())
            link.pass_time(0.5)
        return dut.windows

    def _twin(self, load, rate_hz):
        link = VirtualLink(Lpm01aTwin(Conditions(load, gain=self.gain)))
        faults = [Fault(FaultKind.DROP_SAMPLES, at, round(seconds * rate_hz)) for at, seconds in self.faults]
        link._faults = FaultSchedule(faults)
        return link

    def _their_way(self, load):
        link = self._twin(load, 1000)
        for command in SET_UP:
            link.write(f"{command}\r\n".encode())
        text = b""
        while (link.now_ns() - 1e9) / 1e9 < self.end_s:
            text += link.read(1.0)
        samples, events = [], []
        for line in text.decode().replace("\0", "").splitlines():
            if found := SAMPLE.match(line):
                samples.append(int(found[1]) * 10.0 ** int(found[2]))
            elif EVENT.match(line):
                events.append(len(samples))
        return Theirs(np.array(samples), events)

    def _our_way(self, load):
        link = self._twin(load, 5000)
        with Lpm01aMeter(MeterAddress("lpm01a"), link=link) as meter:
            meter.open()
            meter.configure(Settings(voltage_v=VOLTS, rate_hz=5000))
            meter.power(True)
            meter.start()
            blocks = []
            while (link.now_ns() - 1e9) / 1e9 < self.end_s:
                blocks.append(meter.read(3.0))
            last = meter.stop()
            blocks += [last] if last is not None else []
            return meter.loss, MeterStream(
                Trace(join(blocks), meter.accuracy, VOLTS), (), receipts_of(blocks), 0, True
            )

    def _host(self, start_s, stop_s, count):
        times = (start_s - 0.35, start_s - 0.15, None, start_s, stop_s, None, stop_s + 0.05, stop_s + 0.25)
        span = HostSpan(*(None if t is None else round(1e9 + t * 1e9) for t in times))
        return span, Lap(span.start_ns, span.stop_ns, stop_s - start_s, 1e-6, count, "0" * 64)
