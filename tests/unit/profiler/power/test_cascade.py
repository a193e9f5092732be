from types import SimpleNamespace

import numpy as np
import pytest

from edgesnn.bundle.eval_frames import EvalFrames
from edgesnn.profiler.budgets.profile import Cascade, Cell
from edgesnn.profiler.power.cascade import MeasuredWake, cascade_quantities, wake_network
from edgesnn.profiler.power.evaluation import PowerResult
from edgesnn.profiler.power.uncertainty import TRIALS, Distribution, PowerBudget
from edgesnn.profiler.quality.decisions import DecisionAccuracy
from edgesnn.profiler.results import Absent
from edgesnn.record.power import Rung
from edgesnn.record.quantities import Kind

CASCADE = Cascade(frames_per_second=100.0, events_per_hour=10.0)
ANSWERS = SimpleNamespace(total_ms=np.full(20, 500.0))


def draws(value, relative=0.0):
    """A quantity whose draws are those of a gain: the same seed is the same instrument."""
    trials = value * (1 + relative * np.random.default_rng(7).standard_normal(TRIALS))
    low, high = np.quantile(trials, [0.025, 0.975])
    return Distribution(value, value * relative, float(low), float(high), {}, trials)


def power(active_w, idle_w, joules, relative=0.0):
    one = (active_w, idle_w, active_w - idle_w, joules, joules * (1 - idle_w / active_w))
    budget = PowerBudget(*(draws(value, relative) for value in one))
    return PowerResult(rung=Rung.MARKER, clock=None, windows=(), budget=budget, trace=None)


def wake(labels, decided, metered, frame_ms=1.0):
    accuracy = DecisionAccuracy(EvalFrames(np.zeros((len(labels), 2, 3), np.int8), labels), decided, "")
    timed = SimpleNamespace(forward=SimpleNamespace(mean_ms=frame_ms), decision_frames=50)
    return MeasuredWake("wake", "0" * 64, {}, accuracy, timed, metered, simulated=True)


LABELS = np.repeat([0, 1], 1000)
DECIDED = np.concatenate([np.repeat([1, 0], [2, 998]), np.repeat([1, 0], [900, 100])])


def quantities(wake_power, answer_power, answers=ANSWERS, cascade=CASCADE, **more):
    one = wake(LABELS, DECIDED, wake_power, **more)
    cell = Cell(voltage_v=3.7, capacity_mah=150.0)
    return cascade_quantities(one, cascade, answers, answer_power, cell, simulated=False)


def test_the_pair_draws_what_listening_draws_and_what_answers_add_above_idle():
    found = quantities(power(0.03, 0.004, 30e-6), power(0.5, 0.004, 1e-3))
    decisions = 100.0 * 3600 / 50
    answers = 10.0 * 0.9 + (decisions - 10.0) * 0.002
    listening = 30e-6 * 100 * 1e3 + 4.0 * (1 - 100 * 0.001)
    added = answers / 3600 * (0.5 - 0.004) * 0.5 * 1e3
    assert found["cascade.answers_per_hour"].value == pytest.approx(answers)
    assert found["cascade.wake_power"].value == pytest.approx(listening)
    assert found["cascade.answers_power"].value == pytest.approx(added)
    assert found["cascade.power"].value == pytest.approx(listening + added)
    assert found["cascade.battery_life"].value == pytest.approx(3.7 * 150 / (listening + added))
    assert found["cascade.power"].kind is Kind.SIMULATED
    assert found["cascade.answers_per_hour"].kind is Kind.MEASURED


def test_the_gain_of_one_instrument_does_not_average_out_over_the_two_sessions():
    gain = 0.05
    found = quantities(power(0.03, 0.004, 30e-6, gain), power(0.5, 0.004, 1e-3, gain))["cascade.power"]
    half = (found.upper - found.lower) / 2 / found.value
    assert half >= 0.98 * 1.96 * gain


def test_few_false_wakes_leave_their_rate_open():
    found = quantities(power(0.03, 0.004, 30e-6), power(0.5, 0.004, 1e-3))["cascade.false_wakes_per_hour"]
    assert found.lower < 0.5 * found.value and found.upper > 2 * found.value


@pytest.mark.parametrize("false", [0, 2, 1000])
def test_intervals_of_rates_hold_the_rate_and_are_those_of_the_shares(false):
    decided = np.concatenate([np.repeat([1, 0], [false, 1000 - false]), np.ones(1000, int)])
    one = wake(LABELS, decided, power(0.03, 0.004, 30e-6))
    cell = Cell(voltage_v=3.7, capacity_mah=150.0)
    found = cascade_quantities(one, CASCADE, ANSWERS, power(0.5, 0.004, 1e-3), cell, simulated=False)
    share, rate = found["cascade.false_wakes"], found["cascade.false_wakes_per_hour"]
    others = 100.0 * 3600 / 50 - 10
    assert rate.lower == pytest.approx(others * share.lower, rel=0.05, abs=1e-9)
    assert rate.upper == pytest.approx(others * share.upper, rel=0.05)
    known = [found[f"cascade.{name}"] for name in ("false_wakes_per_hour", "answers_per_hour", "power")]
    known = known if false < 1000 else known[:2]  # so many answers leave no time: their power is absent
    assert all(each.lower <= each.value <= each.upper for each in known)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"answers": None}, "kind must be prompt or sentence"),
        ({"answer_power": Absent("no meter was given")}, "no meter was given"),
        ({"frame_ms": 11.0}, "cannot keep up"),
        ({"cascade": Cascade(frames_per_second=100.0, events_per_hour=8000.0)}, "only 7200 decisions"),
        (
            {"cascade": Cascade(frames_per_second=100.0, events_per_hour=1.0, background=5)},
            "background, class 5",
        ),
    ],
)
def test_what_cannot_be_said_is_absent_with_its_reason(change, reason):
    given = {"wake_power": power(0.03, 0.004, 30e-6), "answer_power": power(0.5, 0.004, 1e-3), **change}
    found = quantities(**given)
    assert found["cascade.power"].value is None
    assert reason in found["cascade.power"].reason


def test_a_record_keeps_how_often_it_woke():
    kept = wake_network(wake(LABELS, DECIDED, Absent("none")), CASCADE)
    assert (kept.events, kept.events_heard, kept.others, kept.others_heard) == (1000, 900, 1000, 2)
