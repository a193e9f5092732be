"""Over random fault schedules in simulated time, an LPM01A's energy is right or what is not is flagged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn.errors import MeterProtocolError, MeterTimeoutError
from edgesnn.meters.lpm01a import protocol
from edgesnn.meters.lpm01a.stream import stream_for
from edgesnn.meters.lpm01a.twin import Lpm01aTwin
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.faults import Fault, FaultKind, FaultSchedule
from tests.support.instruments.lpm01a import LOAD, VOLTS, Bench

SECONDS = 3.0
#: Highest power of the load, watts, and how often it changes a second.
PEAK_W, EDGES_HZ = 0.082, 6


def schedules(kinds):
    amounts = {
        FaultKind.DROP_BYTES: st.integers(1, 400),
        FaultKind.DUPLICATE_BYTES: st.integers(1, 400),
        FaultKind.DROP_SAMPLES: st.integers(1, 900),
        FaultKind.STALL: st.floats(0.05, 0.9),
    }
    fault = st.sampled_from(kinds).flatmap(
        lambda kind: st.builds(Fault, st.just(kind), st.floats(0.05, SECONDS - 0.5), amounts[kind])
    )
    return st.lists(fault, min_size=1, max_size=4)


#: Losses and doublings are not mixed: within one second they could cancel, which nothing can show.
SCHEDULES = st.one_of(
    schedules([FaultKind.DROP_BYTES, FaultKind.DROP_SAMPLES, FaultKind.STALL]),
    schedules([FaultKind.DUPLICATE_BYTES, FaultKind.STALL]),
)


def limit_j(true_j, faults):
    """What stamps of 1 ms cannot resolve: a millisecond at each end of a stretch and each change of load."""
    return 1e-3 * true_j + 1e-3 * PEAK_W * (len(faults) + 1 + EDGES_HZ * SECONDS / 2)


def stream_check(rate_hz, faults, step_s=0.06):
    """Twin, damage and decoder only, in coarse steps of time: hundreds of schedules in seconds."""
    twin, schedule = Lpm01aTwin(Conditions(LOAD)), FaultSchedule(faults)
    form = "ascii_dec" if rate_hz <= protocol.ASCII_MAX_HZ else "bin_hexa"
    setup = f"htc\rvolt 3300m\rformat {form}\rfreq {protocol.RATES[rate_hz]}\rpwr on\rstart\r"
    assert b"error" not in twin.receive(setup.encode(), 0.0)
    stream, now_s, waiting = stream_for(rate_hz), 0.0, b""
    while not stream.ended and now_s < SECONDS + 3:
        now_s += step_s
        for fault in schedule.due(now_s):
            if fault.kind is FaultKind.DROP_SAMPLES:
                twin.drop(int(fault.amount))
        if now_s >= SECONDS:
            twin.receive(b"stop\r", now_s)
        waiting += b"".join(twin.advance(now_s))
        if not schedule.stalled(now_s):
            stream.feed(schedule.damage(waiting), now_s)
            waiting = b""
    if stream.fault is not None:
        return  # told, which is as good as flagged
    clock = stream.clock
    settled = sum(piece.current_a.size + piece.lost for piece in clock.ready)
    clock.damage("no stamp confirms the end")
    clock.release()
    measured = true = 0.0
    end = 0
    for piece in clock.ready:
        assert piece.first >= end
        end = piece.first + piece.current_a.size + piece.lost
        if not (piece.status & 4).any():
            measured += float(piece.current_a.sum()) * VOLTS / rate_hz
            edges = np.array([piece.first, piece.first + piece.current_a.size]) / rate_hz
            true += float(np.diff(LOAD.energy_j(edges))[0])
    assert abs(measured - true) <= limit_j(true, faults)
    loss = clock.loss
    # the last part of a second has no stamp behind it: what was lost there is the driver's to notice
    assert loss.received + loss.missing == pytest.approx(twin.truth().samples, abs=1.1 * rate_hz)
    confirmed = (clock.stamp.time_ms if clock.stamp else 0) * rate_hz // 1000
    assert settled == pytest.approx(confirmed, abs=clock.tolerance)


@settings(max_examples=120, deadline=None)
@given(SCHEDULES)
def test_a_damaged_ascii_stream_is_right_or_flagged(faults):
    stream_check(1000, faults)


@settings(max_examples=120, deadline=None)
@given(SCHEDULES)
def test_a_damaged_binary_stream_is_right_or_flagged(faults):
    stream_check(20_000, faults)


@settings(max_examples=15, deadline=None)
@given(SCHEDULES, st.sampled_from([1000, 20_000]))
def test_what_the_driver_hands_out_of_a_damaged_stream_is_right_or_flagged(faults, rate_hz):
    bench = Bench(rate_hz, faults=faults).begin()
    try:
        bench.run(SECONDS)
    except (MeterTimeoutError, MeterProtocolError):
        last = bench.meter.stop()
        bench.blocks += [last] if last is not None else []
    if not bench.blocks:
        return
    good = ~bench.suspect
    assert (np.diff(bench.column("time_s")) > 0).all()
    measured = float((bench.current_a * VOLTS / rate_hz)[good].sum())
    true = float(bench.true_joules()[good].sum())
    assert abs(measured - true) <= limit_j(true, faults)
    loss = bench.meter.loss
    slack = 2 * loss.undetectable + 0.15 * rate_hz
    accounted = loss.received + loss.missing + loss.suspected
    assert accounted == pytest.approx(bench.twin.truth().samples, abs=slack)
