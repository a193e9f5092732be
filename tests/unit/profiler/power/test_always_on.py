from types import SimpleNamespace

import numpy as np
import pytest

from edgesnn.profiler.budgets.profile import Cell
from edgesnn.profiler.budgets.statistics import summarise
from edgesnn.profiler.frame_quantities import always_on_quantities
from edgesnn.profiler.latency.frames import FrameSession
from edgesnn.profiler.power.evaluation import PowerResult
from edgesnn.profiler.power.uncertainty import TRIALS, Distribution, PowerBudget
from edgesnn.profiler.results import Absent
from edgesnn.record.power import Rung
from edgesnn.record.quantities import Kind

CELL = Cell(voltage_v=3.7, capacity_mah=150.0)


def timed(frame_ms=2.0, decision_frames=25):
    times = np.full(100, frame_ms)
    return FrameSession(
        forward=summarise(times),
        decision=None,
        frame_ms=times,
        decision_ms=times,
        decision_frames=decision_frames,
        windows=(),
        clock="host",
        warm_up=SimpleNamespace(),
        invalid=None,
    )


def metered(frame_j=60e-6, idle_w=0.004, spread=0.1):
    def draws(value, seed):
        trials = value * (1 + spread * np.random.default_rng(seed).standard_normal(TRIALS))
        low, high = np.quantile(trials, [0.025, 0.975])
        return Distribution(value, value * spread, float(low), float(high), {}, trials)

    idle = None if idle_w is None else draws(idle_w, 1)
    budget = PowerBudget(draws(0.03, 2), idle, None, draws(frame_j, 3), None)
    return PowerResult(rung=Rung.MARKER, clock=None, windows=(), budget=budget, trace=None)


def said(session, power, rate=100.0, simulated=False):
    return always_on_quantities(session, power, rate, CELL, simulated=simulated)


def test_between_frames_a_device_idles():
    found = said(timed(), metered())
    wanted = 60e-6 * 100 * 1e3 + 4.0 * (1 - 100 * 0.002)
    assert found["duty.busy_share"].value == pytest.approx(0.2)
    assert found["duty.power"].value == pytest.approx(wanted)
    assert found["duty.battery_life"].value == pytest.approx(3.7 * 150 / wanted)
    # two independent errors of 10 %: of 6 mW of frames and 3.2 mW of idling
    half = (found["duty.power"].upper - found["duty.power"].lower) / 2
    assert half == pytest.approx(1.96 * 0.1 * np.hypot(6.0, 3.2), rel=0.03)


def test_a_decision_takes_the_energy_of_its_frames():
    found = said(timed(decision_frames=25), metered())["energy.per_decision"]
    assert found.value == pytest.approx(25 * 60.0)
    assert found.upper == pytest.approx(25 * 60.0 * (1 + 1.96 * 0.1), rel=0.02)


@pytest.mark.parametrize("simulated", [True, False])
def test_what_a_simulated_meter_saw_is_simulated(simulated):
    kinds = {one.kind for one in said(timed(), metered(), simulated=simulated).values()}
    assert kinds == {Kind.SIMULATED if simulated else Kind.MEASURED}


@pytest.mark.parametrize(
    ("session", "power", "rate", "reason"),
    [
        (timed(frame_ms=11.0), metered(), 100.0, "cannot keep the rate"),
        (timed(), metered(), None, "frames_per_second"),
        (timed(), Absent("no meter was given"), 100.0, "no meter was given"),
        (timed(), metered(idle_w=None), 100.0, "idle stretches"),
        (Absent("the device is emulated"), metered(), 100.0, "emulated"),
    ],
)
def test_power_at_a_rate_that_cannot_be_said_is_absent_with_its_reason(session, power, rate, reason):
    found = said(session, power, rate)
    assert found["duty.power"].value is None
    assert reason in found["duty.power"].reason
