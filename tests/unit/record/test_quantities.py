"""The one table: every row and every budget hold together, and helpers say the table's unit."""

import pytest
from pydantic import ValidationError

from edgesnn.errors import RecordError
from edgesnn.profiler.budgets.profile import Budgets, FramesBudgets
from edgesnn.record.budgets import BUDGETS, budget_on
from edgesnn.record.quantities import (
    GROUPS,
    QUANTITIES,
    SUMMARIES,
    SUMMARY_KEYS,
    Kind,
    Quantity,
    Side,
    absent,
    known,
    missing,
    present,
)


def test_every_row_of_every_group_is_in_the_table_once():
    rows = [row for group in GROUPS.values() for row in group]
    assert len({row.name for row in rows}) == len(rows)
    assert all(QUANTITIES[row.name] is row for row in rows)
    assert all(f"{prefix}.{key}" in QUANTITIES for prefix in SUMMARIES for key in SUMMARY_KEYS)


def test_every_quantity_has_a_title_of_its_own():
    titles = [one.title for one in QUANTITIES.values()]
    assert sorted(set(titles)) == sorted(titles)
    assert all(name == one.name and one.unit and one.label for name, one in QUANTITIES.items())


def test_a_profile_can_set_exactly_the_budgets_of_the_table_in_its_order():
    for budgets in (Budgets, FramesBudgets):
        assert [name for name in BUDGETS if name in budgets.model_fields] == list(budgets.model_fields)
    assert set(BUDGETS) == {*Budgets.model_fields, *FramesBudgets.model_fields}


def test_every_budget_judges_a_known_quantity_and_is_found_by_it():
    for budget in BUDGETS.values():
        assert budget.quantity in QUANTITIES
        assert budget_on(budget.quantity) is budget
    assert budget_on("latency.p50") is None


def test_what_must_lie_above_its_limit_is_better_when_higher():
    for budget in BUDGETS.values():
        better = QUANTITIES[budget.quantity].better
        assert (better == "higher") == (budget.side is Side.ABOVE), budget.name


def test_a_heading_says_the_unit_unless_the_title_does():
    assert QUANTITIES["memory.peak"].heading == "peak memory, MB"
    assert QUANTITIES["parity.mismatches"].heading == "mismatches with golden"


@pytest.mark.parametrize(
    ("side", "holding", "failing"),
    [(Side.BELOW, 9.9, 10.0), (Side.AT_MOST, 10.0, 10.1), (Side.ABOVE, 10.1, 10.0)],
)
def test_a_side_holds_up_to_its_limit(side, holding, failing):
    assert side.holds(holding, 10.0)
    assert not side.holds(failing, 10.0)


def test_a_number_has_the_unit_of_the_table_and_so_has_its_absence():
    there = known("power.mean", 80.0, "by a meter", Kind.SIMULATED, interval=(79.0, 81.0), n=5)
    assert (there.unit, there.kind, there.lower, there.n) == ("mW", Kind.SIMULATED, 79.0, 5)
    gone = missing(["power.mean", "memory.peak"], "no meter")
    assert {name: (one.unit, one.value, one.reason) for name, one in gone.items()} == {
        "power.mean": ("mW", None, "no meter"),
        "memory.peak": ("MB", None, "no meter"),
    }


def test_a_quantity_is_a_number_or_a_reason_never_both_nor_neither():
    assert present(1.0, "ms", "clock").kind is Kind.MEASURED
    assert absent("ms", "not here").kind is Kind.ABSENT
    with pytest.raises(ValidationError):
        absent("ms", "")
    with pytest.raises(RecordError, match="a number .clock. breaks the schema"):
        present(float("nan"), "ms", "clock")


def test_a_kind_read_from_a_file_is_the_same_word_and_the_same_member():
    one = Quantity.model_validate_json(present(1.0, "ms", "clock").model_dump_json(), strict=True)
    assert one.kind is Kind.MEASURED
    assert one.kind == "MEASURED"
    assert one.model_dump(mode="json")["kind"] == "MEASURED"
