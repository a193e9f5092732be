import numpy as np
import pytest

from edgesnn.profiler.budgets.judging import (
    BudgetSpec,
    judge_all,
    judge_interval,
    judge_percentile,
    judge_value,
    overall,
    simulation_decides_nothing,
)
from edgesnn.profiler.budgets.profile import Limit
from edgesnn.record.quantities import Kind, Side, absent, present
from edgesnn.record.verdicts import BudgetOutcome, Overall


def _spec(limit, side=Side.BELOW, required=True):
    return BudgetSpec("size_mb", "a subject", side, Limit(limit=limit, required=required))


def _value(value, **more):
    return present(value, "MB", "counted", **more)


@pytest.mark.parametrize(
    ("side", "value", "verdict"),
    [
        (Side.BELOW, 9.999, BudgetOutcome.PASS),
        (Side.BELOW, 10.0, BudgetOutcome.FAIL),
        (Side.AT_MOST, 10.0, BudgetOutcome.PASS),
        (Side.AT_MOST, 10.001, BudgetOutcome.FAIL),
        (Side.ABOVE, 10.0, BudgetOutcome.FAIL),
        (Side.ABOVE, 10.001, BudgetOutcome.PASS),
    ],
)
def test_an_exact_value_is_judged_at_its_limit(side, value, verdict):
    assert judge_value(_spec(10.0, side), _value(value)).verdict is verdict


@pytest.mark.parametrize("value", [9.0, 11.0])
def test_a_simulated_number_neither_passes_nor_fails(value):
    judged = simulation_decides_nothing(judge_value(_spec(10.0), _value(value, kind=Kind.SIMULATED)))
    assert judged.verdict is BudgetOutcome.UNDECIDED
    assert f"it would {'PASS' if value < 10 else 'FAIL'}" in judged.reason
    assert overall([judged], None, allow_unmeasured=True).verdict is Overall.UNDECIDED


def test_a_measured_number_keeps_its_verdict():
    judged = judge_value(_spec(10.0), _value(9.0))
    assert simulation_decides_nothing(judged) is judged


def test_a_missing_value_is_unmeasured_and_never_zero():
    budget = judge_value(_spec(10.0), absent("MB", "no meter was given"))
    assert budget.verdict is BudgetOutcome.UNMEASURED
    assert budget.reason == "no meter was given"
    assert budget.quantity.value is None


def test_without_a_limit_a_value_is_only_reported():
    assert judge_value(_spec(None, required=False), _value(99.0)).verdict is BudgetOutcome.REPORTED


@pytest.mark.parametrize(
    ("n", "over", "verdict"),
    [
        (90, 0, BudgetOutcome.PASS),
        (89, 0, BudgetOutcome.UNDECIDED),
        (90, 1, BudgetOutcome.UNDECIDED),
        (90, 30, BudgetOutcome.FAIL),
    ],
)
def test_a_percentile_is_judged_by_the_early_stopping_bound(n, over, verdict):
    times = np.full(n, 10.0)
    times[np.linspace(0, n - 1, over).astype(int)] = 60.0
    budget = judge_percentile(_spec(50.0), present(10.0, "ms", "clock"), times, 0.95)
    assert budget.verdict is verdict
    if verdict is BudgetOutcome.UNDECIDED:
        assert budget.samples_needed is not None
        assert str(budget.samples_needed) in budget.reason


def test_a_time_equal_to_the_limit_is_over_it():
    budget = judge_percentile(_spec(10.0), present(10.0, "ms", "clock"), np.full(200, 10.0), 0.95)
    assert budget.verdict is BudgetOutcome.FAIL


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.86, 0.90), BudgetOutcome.PASS),
        ((0.84, 0.90), BudgetOutcome.UNDECIDED),
        ((0.80, 0.85), BudgetOutcome.FAIL),
        (None, BudgetOutcome.UNDECIDED),
    ],
)
def test_an_estimate_is_judged_by_its_whole_interval(interval, verdict):
    quantity = _value(0.87, interval=interval)
    budget = judge_interval(_spec(0.85, Side.ABOVE), quantity, n=40, unit_of_n="documents")
    assert budget.verdict is verdict
    assert (budget.samples_needed is not None) == (verdict is BudgetOutcome.UNDECIDED)


def test_repeated_measurements_on_both_sides_of_a_limit_are_undecided():
    spec, quantity = _spec(10.0), _value(11.0)
    assert judge_all(spec, quantity, [8.0, 9.0]).verdict is BudgetOutcome.PASS
    assert judge_all(spec, quantity, [10.0, 11.0]).verdict is BudgetOutcome.FAIL
    assert judge_all(spec, quantity, [9.0, 11.0]).verdict is BudgetOutcome.UNDECIDED


PASSING = judge_value(_spec(10.0), _value(1.0))
FAILING = judge_value(_spec(10.0), _value(11.0))
MISSING = judge_value(_spec(10.0), absent("MB", "no meter was given"))
OPEN = judge_all(_spec(10.0), _value(11.0), [9.0, 11.0])
NOT_GATING = judge_value(_spec(10.0, required=False), _value(11.0))


@pytest.mark.parametrize(
    ("budgets", "invalid", "allow", "verdict", "code"),
    [
        ([PASSING], None, False, Overall.PASS, 0),
        ([PASSING, NOT_GATING], None, False, Overall.PASS, 0),
        ([PASSING, FAILING], None, False, Overall.FAIL, 3),
        ([FAILING, MISSING], None, True, Overall.FAIL, 3),
        ([FAILING], "two answers", False, Overall.FAIL, 3),
        ([PASSING], "two answers", True, Overall.INVALID, 4),
        ([MISSING], None, False, Overall.UNDECIDED, 6),
        ([MISSING], None, True, Overall.PASS, 0),
        ([OPEN], None, False, Overall.UNDECIDED, 6),
        ([OPEN], None, True, Overall.UNDECIDED, 6),
        ([], None, False, Overall.PASS, 0),
    ],
)
def test_the_verdict_sets_the_exit_code(budgets, invalid, allow, verdict, code):
    found = overall(budgets, invalid, allow_unmeasured=allow)
    assert (found.verdict, found.exit_code) == (verdict, code)


@pytest.mark.parametrize(
    ("budgets", "invalid", "verdict", "code"),
    [
        ([PASSING], None, Overall.UNDECIDED, 6),
        ([], None, Overall.UNDECIDED, 6),
        ([FAILING], None, Overall.FAIL, 3),
        ([PASSING], "two answers", Overall.INVALID, 4),
    ],
)
@pytest.mark.parametrize("allow", [False, True])
def test_an_instrument_that_was_asked_for_and_gave_nothing_is_no_pass(budgets, invalid, verdict, code, allow):
    found = overall(budgets, invalid, allow_unmeasured=allow, undelivered="the meter gave no power: all lost")
    assert (found.verdict, found.exit_code) == (verdict, code)
    assert "the meter gave no power: all lost" in found.reasons


def test_an_excused_measurement_is_still_named():
    assert any("no meter" in reason for reason in overall([MISSING], None, allow_unmeasured=True).reasons)
