"""Every budget of a profile, judged on quantities that are there or missing."""

import numpy as np

from edgesnn.profiler.budgets.judging import overall
from edgesnn.profiler.budgets.profile import Budgets
from edgesnn.profiler.budgets.verdicts import judge
from edgesnn.profiler.counts.memory import Probe
from edgesnn.profiler.results import Absent
from edgesnn.record.budgets import BUDGETS
from edgesnn.record.quantities import QUANTITIES, Kind, known, missing
from edgesnn.record.verdicts import BudgetOutcome, Overall

NOTHING = Absent("nothing was measured")


def _judged(profile, found=(), memory=NOTHING):
    quantities = missing(QUANTITIES, NOTHING.reason) | dict(found)
    return {one.name: one for one in judge(profile, quantities, NOTHING, memory, NOTHING)}


def test_what_is_missing_is_unmeasured_where_it_has_a_limit_and_reported_where_it_has_none(make_profile):
    judged = _judged(make_profile(size_mb={"limit": 1.0, "required": True}))
    assert list(judged) == list(Budgets.model_fields)
    assert judged["size_mb"].verdict is BudgetOutcome.UNMEASURED
    others = {one.verdict for name, one in judged.items() if name != "size_mb"}
    assert others == {BudgetOutcome.REPORTED}


def test_the_first_token_s_budget_names_the_prompt_of_the_workload(make_profile):
    judged = _judged(make_profile({"prompt_tokens": 12}))
    assert judged["first_token_ms_p95"].subject == "prompt of 12 tokens to first token, p95"


def test_every_budget_shows_the_quantity_that_the_table_names(make_profile):
    found = {name: known(name, float(place), "by hand") for place, name in enumerate(QUANTITIES)}
    for name, budget in _judged(make_profile(), found).items():
        assert budget.quantity is found[BUDGETS[name].quantity]
        assert budget.side is BUDGETS[name].side


def test_memory_is_judged_by_every_process_and_not_by_the_largest_alone(make_profile):
    probes = [Probe(0, 0, 0, peak, 0.0, 0.0, 0.0, 1, "tests") for peak in (60_000_000, 80_000_000)]
    profile = make_profile(memory_mb={"limit": 70.0, "required": True})
    found = {"memory.peak": known("memory.peak", 80.0, "by hand")}
    assert _judged(profile, found, probes)["memory_mb"].verdict is BudgetOutcome.UNDECIDED


def test_a_share_of_documents_is_judged_by_its_interval(make_profile):
    profile = make_profile(top1={"limit": 0.4, "required": True})
    found = {"accuracy.top1": known("accuracy.top1", 0.5, "by hand", interval=(0.3, 0.7), n=10)}
    budget = _judged(profile, found)["top1"]
    assert budget.verdict is BudgetOutcome.UNDECIDED and "documents would decide" in budget.reason


def test_a_simulated_number_decides_no_budget(make_profile):
    profile = make_profile(size_mb={"limit": 10.0, "required": True})
    found = {"size.model": known("size.model", float(np.pi), "by hand", Kind.SIMULATED)}
    assert _judged(profile, found)["size_mb"].verdict is BudgetOutcome.UNDECIDED


def test_a_retention_against_a_teacher_near_chance_neither_passes_nor_fails(make_profile):
    profile = make_profile(retention={"limit": 0.7, "required": True})
    for value in (3.86, 0.1):
        near = (value - 0.05, value + 0.05)
        found = known("accuracy.retention", value, "by hand", interval=near, n=10, reason="it is near chance")
        budget = _judged(profile, {"accuracy.retention": found})["retention"]
        assert (budget.verdict, budget.reason) == (BudgetOutcome.UNDECIDED, "it is near chance")
        whole = overall([budget], None, allow_unmeasured=True)
        assert whole.verdict is Overall.UNDECIDED and "near chance" in whole.reasons[0]
