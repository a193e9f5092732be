"""One metered session in simulated time, through the real driver and decoder; everything is known of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from truth_load import Script, TruthLoad

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import Block, ClockPair, MeterCapability, Settings
from edgesnn.meters.files.format import join
from edgesnn.meters.ina228.driver import Ina228Meter
from edgesnn.meters.lpm01a.driver import Lpm01aMeter
from edgesnn.meters.ppk2.driver import Ppk2Meter
from edgesnn.meters.samples.accuracy import AccuracyKind, MeterAccuracy
from edgesnn.meters.samples.trace import Trace
from edgesnn.meters.twins.catalogue import twin_entry
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.faults import Fault, FaultKind, FaultSchedule
from edgesnn.profiler.power.alignment import BARKER_13
from edgesnn.profiler.power.evaluation import HostSpan, Lap, MeterStream, PowerResult, evaluate
from edgesnn.record.power import Rung
from tests.support.instruments.meter_blocks import receipts_of
from tests.support.instruments.virtual import VirtualLink

METERS: dict[str, Callable[..., Any]] = {"ppk2": Ppk2Meter, "lpm01a": Lpm01aMeter, "ina228": Ina228Meter}
CHIP_S, MARGIN_S, SYNC_S = 0.02, 0.2, 0.25
PULSE_S, GATHER_S = 0.005, 0.02
#: The oscillator of a device under test against true time, parts per million, standard deviation.
DEVICE_PPM = 25.0


@dataclass(frozen=True, slots=True)
class Case:
    """A session as it was drawn; powers in watts.

    Attributes:
        seed: Of everything below and of the noise.
        meter: Name of the driver.
        rate_hz: Sample rate, None for the usual one.
        rung: How windows are found.
        volts: Nominal supply voltage.
        active_w: Mean power while working.
        idle_w: Power while resting.
        swing: Bursts within a token: power swings by this share around its mean; 0 is constant.
        token_s: Length of a token.
        rise_s: How long the load takes from one power to another.
        scatter: Relative standard deviation of the power from window to window.
        drift: Relative change of the active power over ten seconds.
        windows: How many.
        window_s: Length of one.
        idle_s: Length of the idle stretches.
        latency_s: Mean delay of what the host reads and writes, exponentially distributed.
        chip_late_s: Mean lateness of each chip of a preamble, likewise.
        noise: White noise of a sample over the active current.
        faults: What goes wrong, times since the start of the stream.
    """

    seed: int
    meter: str
    rate_hz: float | None
    rung: Rung
    volts: float
    active_w: float
    idle_w: float
    swing: float
    token_s: float
    rise_s: float
    scatter: float
    drift: float
    windows: int
    window_s: float
    idle_s: float
    latency_s: float
    chip_late_s: float
    noise: float
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Instrument:
    """The errors of one unit, drawn from the specification.

    Attributes:
        gain: Relative error of the current.
        offset_a: Offset of the current.
        voltage: Relative error of the voltage that is believed, as (true - believed) / believed.
        clock_ppm: Error of the sample clock.
    """

    gain: float
    offset_a: float
    voltage: float
    clock_ppm: float


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """What came of a case.

    Attributes:
        case: The case.
        result: What our code says of it.
        accuracy: The specification that was in force.
        truth_w: True mean power of every window, its own scatter taken out.
        edges_s: For every window that was found: how far its two edges are from the truth.
        sample_s: Length of a sample.
    """

    case: Case
    result: PowerResult
    accuracy: MeterAccuracy
    truth_w: tuple[float, ...]
    edges_s: tuple[tuple[float, float], ...]
    sample_s: float


class SlowLink(VirtualLink):
    """A wire on which everything takes a while."""

    def __init__(self, device: Any, random: np.random.Generator, latency_s: float) -> None:
        super().__init__(device)
        self._random, self._latency_s = random, latency_s
        self._asked = False

    def pass_time(self, seconds: float) -> None:
        """Let time pass in one step."""
        self._now_ns += round(seconds * 1e9)
        self._tick()

    def write(self, data: bytes) -> None:
        """Send, late."""
        self._asked = True
        self.pass_time(self._random.exponential(self._latency_s))
        super().write(data)

    def read(self, timeout_s: float) -> bytes:
        """Receive, late; what was not asked for is gathered, as the drivers have their ports do it."""
        if not self._asked:
            self.pass_time(GATHER_S)
        self._asked = False
        data = super().read(timeout_s)
        if data:
            self.pass_time(self._random.exponential(self._latency_s))
        return data

    def plan(self, faults: FaultSchedule) -> None:
        """From now on these faults happen."""
        self._faults = faults


def draw_case(seed: int) -> Case:
    """A random session."""
    random = np.random.default_rng([seed, 1])
    meter, rates = [
        ("ppk2", (None,)),
        ("lpm01a", (1000.0, 5000.0)),
        ("lpm01a", (20_000.0, 100_000.0)),
        ("ina228", (None,)),
    ][int(random.integers(4))]
    rate = rates[int(random.integers(len(rates)))]
    rungs = [Rung.MARKER, Rung.CLOCK_MAP, Rung.PREAMBLE]
    if rate is not None and rate > 5000:  # the binary format has no events
        rungs.remove(Rung.MARKER)
    top_w = {"ppk2": 0.4, "lpm01a": 0.09, "ina228": 0.6}[meter]
    active = float(np.exp(random.uniform(np.log(0.008), np.log(top_w))))
    windows, window_s = int(random.integers(3, 6)), float(random.uniform(0.4, 1.2))
    faults = []
    if random.random() < 0.25:
        kind = [FaultKind.DROP_SAMPLES, FaultKind.STALL, FaultKind.CORRUPT_BYTES, FaultKind.DROP_BYTES][
            int(random.integers(4))
        ]
        amount = {
            FaultKind.DROP_SAMPLES: float(random.integers(1, 3000)),
            FaultKind.STALL: float(random.uniform(0.01, 0.3)),
        }.get(kind, float(random.integers(1, 40)))
        faults.append(Fault(kind, float(random.uniform(0.3, windows * window_s)), amount))
    return Case(
        seed=seed,
        meter=meter,
        rate_hz=rate,
        rung=rungs[int(random.integers(len(rungs)))],
        volts={"ppk2": 3.7, "lpm01a": 3.3, "ina228": 3.7}[meter],
        active_w=active,
        idle_w=active * float(random.uniform(0.02, 0.5)),
        swing=float(random.choice([0.0, 0.3, 0.6])),
        token_s=float(random.uniform(0.02, 0.08)),
        rise_s=float(np.exp(random.uniform(np.log(1e-5), np.log(5e-3)))),
        scatter=float(random.choice([0.0, 1e-3, 5e-3, 2e-2])),
        drift=float(random.normal(0, 2e-3)),
        windows=windows,
        window_s=window_s,
        idle_s=float(random.uniform(0.15, 0.3)),
        latency_s=float(np.exp(random.uniform(np.log(5e-5), np.log(2e-3)))),
        chip_late_s=float(random.uniform(0, 3e-4)),
        noise=float(random.choice([0.0, 1e-3, 2e-2])),
        faults=tuple(faults),
    )


def draw_instrument(case: Case, accuracy: MeterAccuracy) -> Instrument:
    """The errors of one unit: normal where a figure is typical, a rectangle where it is promised."""
    random = np.random.default_rng([case.seed, 2])

    def unit() -> float:
        return float(
            random.standard_normal() if accuracy.kind is AccuracyKind.TYPICAL else random.uniform(-1, 1)
        )

    amperes = case.active_w / case.volts
    ranges = accuracy.ranges
    own = next((one for one in ranges if amperes <= one.max_a), ranges[-1])
    volts = accuracy.voltage
    believed = unit() * (volts.gain + volts.offset_v / case.volts)
    drop = float(random.uniform(0, 1)) * volts.burden_v / case.volts
    return Instrument(
        unit() * own.gain,
        unit() * own.offset_a,
        (1 + believed) * (1 - drop) - 1,
        float(random.standard_normal()) * accuracy.clock_ppm,
    )


def run_case(case: Case, *, trials: int) -> Session:
    """Measure a case.

    Args:
        case: What to measure.
        trials: Of the Monte Carlo propagation.

    Raises:
        EdgesnnError: The session failed as a whole, as it would have for a user.
    """
    probe = METERS[case.meter](MeterAddress.parse(case.meter))
    unit = draw_instrument(case, probe.accuracy)
    random = np.random.default_rng([case.seed, 3])
    pulses = case.meter == "lpm01a" and case.rung is Rung.MARKER
    script, spans, factors = _script(case, random, pulses=pulses)
    load = TruthLoad(script, drift_w_per_s=case.drift * case.active_w / 10, share=1 / (1 + unit.voltage))
    conditions = Conditions(
        load,
        voltage_v=case.volts,
        gain=unit.gain,
        offset_a=unit.offset_a,
        noise_a=case.noise * case.active_w / case.volts,
        clock_ppm=unit.clock_ppm,
        seed=case.seed,
    )
    twin = twin_entry(case.meter).make(conditions)
    link = SlowLink(twin, random, case.latency_s)
    with METERS[case.meter](MeterAddress.parse(case.meter), link=link) as meter:
        meter.open()
        set_volts = None if case.meter == "ina228" else case.volts
        settings = meter.configure(Settings(voltage_v=set_volts, rate_hz=case.rate_hz))
        if MeterCapability.SUPPLIES_POWER in meter.capabilities:
            meter.power(True)
        accuracy = meter.accuracy
        meter.start()
        load.origin_s = twin.truth().start_s
        link.plan(FaultSchedule(_shifted(case.faults, load.origin_s), case.seed))
        # the host's clock counts from 1 s before the twin was made
        zero_s = load.origin_s + 1.0
        blocks, syncs = _stream(meter, link, round((zero_s + spans[-1][-1] + MARGIN_S) * 1e9))
    trace = Trace(join(blocks), accuracy, settings.voltage_v)
    stream = MeterStream(trace, syncs, receipts_of(blocks), 0, pulses)
    lap_ppm = random.normal(0, DEVICE_PPM)
    host = [HostSpan(*(None if t is None else round((zero_s + t) * 1e9) for t in span)) for span in spans]
    laps = [_lap(span, case, lap_ppm) for span in host]
    result = evaluate(stream, host, laps, case.rung, trials=trials)
    rate = 1 + unit.clock_ppm * 1e-6
    return Session(
        case,
        result,
        accuracy,
        tuple(load.true_w(span[3], span[4]) / factor for span, factor in zip(spans, factors, strict=True)),
        tuple(
            (window.interval.start_s - span[3] * rate, window.interval.stop_s - span[4] * rate)
            for window, span in zip(result.windows, spans, strict=True)
            if window.interval is not None
        ),
        float(np.median(np.broadcast_to(trace.block.duration_s, len(trace.block)))),
    )


def tokens(case: Case) -> int:
    """Inferences in a window."""
    return max(1, int(case.window_s / case.token_s))


def _script(
    case: Case, random: np.random.Generator, *, pulses: bool
) -> tuple[Script, list[tuple[Any, ...]], list[float]]:
    """What is done, the moments of every window (fields of `HostSpan`), and the scatter of its power."""
    script = Script(case.idle_w, case.rise_s)
    now, spans, factors = MARGIN_S, [], []

    def preamble(now_s: float) -> float:
        for chip in (*BARKER_13, 0):
            script.draw(now_s, case.active_w if chip else case.idle_w)
            now_s += CHIP_S + random.exponential(case.chip_late_s)
        return now_s

    def edge(now_s: float, level: int) -> None:
        if pulses:
            script.mark(now_s - PULSE_S, 1)
            script.mark(now_s, 0)
        else:
            script.mark(now_s, level)

    for _ in range(case.windows):
        idle_from, now = now, now + case.idle_s
        idle_until, first = now, None
        if case.rung is Rung.PREAMBLE:
            first, now = now, preamble(now)
        start, factor = now, 1 + case.scatter * random.standard_normal()
        edge(start, 1)
        for at in range(tokens(case)):
            high, low = (case.active_w * factor * (1 + sign * case.swing) for sign in (1, -1))
            script.draw(start + at * case.token_s, high)
            if case.swing:
                script.draw(start + (at + 0.5) * case.token_s, low)
        now = start + tokens(case) * case.token_s
        stop = now
        script.draw(stop, case.idle_w)
        edge(stop, 0)
        last = None
        if case.rung is Rung.PREAMBLE:
            last = now + CHIP_S
            now = preamble(last)
        rest_from, now = now, now + case.idle_s
        spans.append((idle_from, idle_until, first, start, stop, last, rest_from, now))
        factors.append(factor)
    return script, spans, factors


def _stream(meter: Any, link: VirtualLink, end_ns: int) -> tuple[list[Block], list[ClockPair]]:
    """Read until then, and the clock now and then, as the profiler's process does."""
    blocks: list[Block] = []
    syncs: list[ClockPair] = []
    synced_ns = 0
    while link.now_ns() < end_ns:
        blocks.append(meter.read(2.0))
        if MeterCapability.SAMPLE_CLOCK in meter.capabilities and link.now_ns() - synced_ns > SYNC_S * 1e9:
            synced_ns = link.now_ns()
            syncs.append(meter.sync())
    rest = meter.stop()
    return ([*blocks, rest] if rest is not None else blocks), syncs


def _shifted(faults: tuple[Fault, ...], by_s: float) -> list[Fault]:
    return [Fault(one.kind, one.at_s + by_s, one.amount) for one in faults]


def _lap(span: HostSpan, case: Case, ppm: float) -> Lap:
    seconds = (span.stop_ns - span.start_ns) / 1e9
    return Lap(span.start_ns, span.stop_ns, seconds * (1 + ppm * 1e-6), 1e-6, tokens(case), "0" * 64)
