from __future__ import annotations

import numpy as np
import pytest

from edgesnn.errors import UndecidedError
from edgesnn.meters.base import Block, ClockPair, SampleStatus
from edgesnn.meters.samples.accuracy import AccuracyKind, MeterAccuracy, RangeAccuracy, VoltageAccuracy
from edgesnn.meters.samples.trace import Trace
from edgesnn.profiler.power.alignment import BARKER_13
from edgesnn.profiler.power.evaluation import HostSpan, Lap, MeterStream, evaluate
from edgesnn.record.power import Rung

RATE = 1000.0
ACTIVE, IDLE = 0.08, 0.012
HASH = "0" * 64
OFFSET_S = 5.0  # the host's clock when the meter started


def accuracy():
    return MeterAccuracy(
        name="test",
        model="test",
        kind=AccuracyKind.TYPICAL,
        source="made up",
        ranges=[RangeAccuracy(name="only", max_a=1.0, gain=0.02)],
        voltage=VoltageAccuracy(measured=False, gain=0.0),
        clock_ppm=20.0,
        clock_source="made up",
    )


class Bench:
    """A device under test whose power at every moment is known, and a meter of 1 kS/s that integrates it."""

    def __init__(self, windows=3, seconds=2.0, idle=1.0, preamble_chip=None):
        self.edges = [0.0]
        self.watts = []
        self.levels = []
        self.spans = []
        self.laps = []
        self._add(0.3, IDLE)
        for _ in range(windows):
            idle_from = self.now
            self._add(idle, IDLE)
            idle_until = self.now
            first = self._preamble(preamble_chip)
            start = self.now
            self._add(seconds, ACTIVE, 1)
            stop = self.now
            last = self._preamble(preamble_chip)
            rest = self.now
            self._add(idle, IDLE)
            self.spans.append(
                HostSpan(*(_ns(t) for t in (idle_from, idle_until, first, start, stop, last, rest, self.now)))
            )
            self.laps.append(Lap(_ns(start), _ns(stop), stop - start, 1e-6, 100, HASH))
        self._add(0.3, IDLE)

    @property
    def now(self):
        return self.edges[-1]

    def _add(self, seconds, watts, marker=0):
        self.edges.append(self.edges[-1] + seconds)
        self.watts.append(watts)
        self.levels.append(marker)

    def _preamble(self, chip):
        if chip is None:
            return None
        began = self.now
        for busy in (*BARKER_13, 0):
            self._add(chip, ACTIVE if busy else IDLE)
        return began

    def stream(self, *, jitter=0.0, status=None, keep=None, markers=True):
        time_s = np.arange(int(self.now * RATE)) / RATE
        energy = np.concatenate([[0.0], np.cumsum(np.diff(self.edges) * self.watts)])
        power = np.diff(np.interp(np.append(time_s, time_s[-1] + 1 / RATE), self.edges, energy)) * RATE
        index = np.searchsorted(self.edges, time_s, side="right") - 1
        levels = np.array(self.levels, np.uint8)[np.minimum(index, len(self.levels) - 1)]
        bits = np.zeros(time_s.size, np.uint8) if status is None else status(time_s)
        keep = np.ones(time_s.size, bool) if keep is None else keep(time_s)
        block = Block(
            time_s=time_s[keep],
            duration_s=1 / RATE,
            current_a=(power[keep] / 4.0).astype(np.float32),
            voltage_v=None,
            power_w=None,
            markers=levels[keep] * np.uint8(markers),
            status=bits[keep],
            range_index=None,
            lost=int((~keep).sum()),
            host_ns=_ns(self.now),
        )
        syncs = [ClockPair(t, _ns(t - 1e-4), _ns(t + 1e-4)) for t in np.linspace(0.1, self.now - 0.1, 20)]
        ends = np.arange(0.1, self.now, 0.1)
        receipts = np.stack([ends, ends + OFFSET_S + 0.01 + jitter * np.arange(ends.size) % 0.01], axis=1)
        return MeterStream(Trace(block, accuracy(), 4.0), syncs, receipts)


def _ns(seconds):
    return None if seconds is None else round((seconds + OFFSET_S) * 1e9)


@pytest.mark.parametrize("rung", [Rung.MARKER, Rung.CLOCK_MAP])
def test_every_window_has_the_power_that_was_drawn(rung):
    bench = Bench()
    found = evaluate(bench.stream(), bench.spans, bench.laps, rung)
    assert len(found.valid) == 3
    for window in found.windows:
        assert window.mean_w == pytest.approx(ACTIVE, rel=1e-3)
        assert window.idle_before_w == pytest.approx(IDLE, rel=1e-3)
        assert window.idle_after_w == pytest.approx(IDLE, rel=1e-3)
        assert window.energy_j == pytest.approx(ACTIVE * 2.0, rel=1e-3)
    assert found.budget.active_w.value == pytest.approx(ACTIVE, rel=1e-3)
    assert found.budget.dynamic_w.value == pytest.approx(ACTIVE - IDLE, rel=1e-3)
    assert found.budget.energy_per_inference_j.value == pytest.approx(ACTIVE * 2.0 / 100, rel=1e-3)
    assert found.budget.active_w.budget["gain"] == pytest.approx(0.02 * ACTIVE, rel=0.02)


def test_a_coded_preamble_finds_the_windows_without_marker_and_clock():
    bench = Bench(preamble_chip=0.02)
    stream = bench.stream()
    found = evaluate(MeterStream(stream.trace, (), stream.receipts), bench.spans, bench.laps, Rung.PREAMBLE)
    assert [window.invalid for window in found.windows] == [None] * 3
    assert found.budget.active_w.value == pytest.approx(ACTIVE, rel=2e-3)


def test_host_timestamps_are_coarse_and_their_edges_wide():
    bench = Bench()
    stream = bench.stream()
    found = evaluate(MeterStream(stream.trace, (), stream.receipts), bench.spans, bench.laps, Rung.HOST)
    assert found.rung.coarse
    assert found.windows[0].interval.edge_sd_s > 0.01
    assert found.budget.active_w.value == pytest.approx(ACTIVE, rel=0.02)


def test_a_window_that_lost_more_than_a_thousandth_is_invalid_and_not_repaired():
    bench = Bench()
    start = bench.spans[1].start_ns / 1e9 - OFFSET_S
    stream = bench.stream(keep=lambda t: ~((t > start + 0.5) & (t < start + 0.51)))
    found = evaluate(stream, bench.spans, bench.laps, Rung.MARKER)
    assert [window.invalid is None for window in found.windows] == [True, False, True]
    assert "no good sample" in found.windows[1].invalid
    assert found.budget.active_w.value == pytest.approx(ACTIVE, rel=1e-3)


def test_suspect_samples_make_a_window_invalid():
    bench = Bench()
    start = bench.spans[0].start_ns / 1e9 - OFFSET_S
    stream = bench.stream(status=lambda t: (t > start + 1.0).astype(np.uint8) * int(SampleStatus.SUSPECT))
    found = evaluate(stream, bench.spans, bench.laps, Rung.MARKER)
    assert not found.valid and found.budget is None


def test_saturated_samples_make_a_window_invalid():
    bench = Bench()
    start = bench.spans[2].start_ns / 1e9 - OFFSET_S
    stream = bench.stream(status=lambda t: (np.abs(t - start - 1) < 0.01).astype(np.uint8))
    found = evaluate(stream, bench.spans, bench.laps, Rung.MARKER)
    assert "limit of the instrument" in found.windows[2].invalid


def test_a_marker_that_was_not_wired_is_a_reason_and_no_number():
    bench = Bench()
    found = evaluate(bench.stream(markers=False), bench.spans, bench.laps, Rung.MARKER)
    assert all("raised 0 times for 3 windows" in window.invalid for window in found.windows)
    assert found.budget is None


def test_a_device_whose_lap_contradicts_the_meter_is_not_believed():
    bench = Bench()
    bench.laps[1] = Lap(bench.laps[1].start_ns, bench.laps[1].stop_ns, 1.5, 1e-6, 100, HASH)
    found = evaluate(bench.stream(), bench.spans, bench.laps, Rung.MARKER)
    assert "the device says 1.5 s" in found.windows[1].invalid


def test_a_meter_whose_clock_was_not_read_cannot_be_mapped():
    bench = Bench()
    stream = bench.stream()
    with pytest.raises(UndecidedError, match="clock was not read"):
        evaluate(MeterStream(stream.trace, (), stream.receipts), bench.spans, bench.laps, Rung.CLOCK_MAP)
