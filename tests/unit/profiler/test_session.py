import dataclasses

import numpy as np
import pytest

from edgesnn.errors import RunnerError
from edgesnn.profiler.counts.memory import Probe
from edgesnn.profiler.latency.comparison import compare_forward, no_comparison
from edgesnn.profiler.results import Absent
from edgesnn.record.quantities import Kind
from edgesnn.record.verdicts import BudgetOutcome
from edgesnn.runners.base import Capability

PROBE = Probe(1_000_000, 50_000_000, 60_000_000, 70_000_000, 12.0, 10.0, 300.0, 8, "a probe of the tests")


def _budget(result, name):
    return next(b for b in result.budgets if b.name == name)


def test_a_good_run_passes_every_budget_that_gates(run_paper, make_profile):
    profile = make_profile(
        latency_ms_p95={"limit": 50.0, "required": True},
        first_token_ms_p95={"limit": 1000.0, "required": True},
        size_mb={"limit": 10.0, "required": True},
        retention={"limit": 0.85, "required": True},
        parity_mismatches={"limit": 0.0, "required": True},
        synaptic_operations={"limit": 1e9, "required": True},
    )
    result = run_paper(profile=profile)
    assert result.verdict.exit_code == 0, result.verdict.reasons
    assert _budget(result, "latency_ms_p95").verdict is BudgetOutcome.PASS


def test_power_without_a_meter_is_unmeasured_with_its_reason(run_paper, make_profile):
    profile = make_profile(power_mw={"limit": 100.0, "required": True})
    result = run_paper(profile=profile)
    budget = _budget(result, "power_mw")
    assert (budget.verdict, budget.reason) == (BudgetOutcome.UNMEASURED, "no meter was given")
    assert budget.quantity.value is None
    assert result.verdict.exit_code == 6
    assert run_paper(profile=profile, allow_unmeasured=True).verdict.exit_code == 0


@pytest.mark.parametrize(
    ("budgets", "name"),
    [
        ({"latency_ms_p95": {"limit": 1.0, "required": True}}, "latency_ms_p95"),
        ({"first_token_ms_p95": {"limit": 1.0, "required": True}}, "first_token_ms_p95"),
        ({"size_mb": {"limit": 5.0, "required": True}}, "size_mb"),
        ({"retention": {"limit": 0.95, "required": True}}, "retention"),
        ({"synaptic_operations": {"limit": 1.0, "required": True}}, "synaptic_operations"),
    ],
)
def test_a_budget_that_is_shown_to_be_exceeded_fails_the_run(run_paper, make_profile, budgets, name):
    result = run_paper(profile=make_profile(**budgets))
    assert _budget(result, name).verdict is BudgetOutcome.FAIL
    assert result.verdict.exit_code == 3
    assert any(name in reason for reason in result.verdict.reasons)


def test_a_mismatching_logit_fails_parity(run_paper, parts, make_profile):
    parity = parts.parity.model_copy(update={"mismatches": 1})
    profile = make_profile(parity_mismatches={"limit": 0.0, "required": True})
    assert run_paper(parity=parity, profile=profile).verdict.exit_code == 3


def test_a_device_that_answers_differently_is_invalid(run_paper, parts, make_profile):
    runner = parts.Runner(answers=["a", "b", "a"])
    result = run_paper(runner=runner, profile=make_profile(latency_ms_p95={"limit": 50.0, "required": True}))
    assert result.verdict.exit_code == 4
    assert _budget(result, "latency_ms_p95").verdict is BudgetOutcome.UNDECIDED


def test_a_short_context_does_not_decide_the_latency_budget(run_paper, make_profile):
    limit = {"limit": 50.0, "required": True}
    result = run_paper(profile=make_profile({"context": 2}, latency_ms_p95=limit))
    assert _budget(result, "latency_ms_p95").verdict is BudgetOutcome.UNDECIDED
    assert "context of 2 tokens" in _budget(result, "latency_ms_p95").reason
    assert result.verdict.exit_code == 6


def test_too_few_windows_say_how_many_samples_would_decide(run_paper, make_profile):
    limit = {"limit": 50.0, "required": True}
    profile = make_profile({"windows": 1, "min_window_tokens": 20}, latency_ms_p95=limit)
    budget = _budget(run_paper(profile=profile), "latency_ms_p95")
    assert budget.verdict is BudgetOutcome.UNDECIDED
    assert budget.samples_needed >= 90


def test_a_student_without_teacher_has_no_retention_and_says_so(run_paper, parts, make_profile):
    accuracy = dataclasses.replace(
        parts.accuracy, retention=None, retention_interval=None, retention_reason="trained without teacher"
    )
    result = run_paper(accuracy=accuracy, profile=make_profile(retention={"limit": 0.85, "required": True}))
    assert _budget(result, "retention").reason == "trained without teacher"
    assert result.verdict.exit_code == 6


def test_a_runner_without_steps_has_no_latency_and_says_so(run_paper, parts):
    result = run_paper(runner=parts.Runner(capabilities=frozenset({Capability.SEQUENCE})))
    quantity = result.quantities["latency.p95"]
    assert (quantity.value, quantity.kind) == (None, Kind.ABSENT)
    assert "one token at a time" in quantity.reason


def test_times_of_a_simulated_device_say_simulated(run_paper, parts):
    simulated = dataclasses.replace(parts.device, simulated=True)
    assert run_paper(device=simulated).quantities["forward.p50"].kind is Kind.SIMULATED


def test_memory_is_the_largest_peak_of_fresh_processes(run_paper, make_profile):
    probes = iter([PROBE, dataclasses.replace(PROBE, peak_bytes=80_000_000)])
    profile = make_profile({"memory_probes": 2}, memory_mb={"limit": 75.0, "required": True})
    result = run_paper(profile=profile, memory_probe=lambda: next(probes))
    assert result.quantities["memory.peak"].value == 80.0
    assert result.quantities["memory.baseline"].value == 50.0
    assert _budget(result, "memory_mb").verdict is BudgetOutcome.UNDECIDED


def test_a_probe_that_dies_leaves_memory_unmeasured_with_its_words(run_paper, make_profile):
    def die():
        raise RunnerError("the memory probe died with signal 9", actual="out of memory")

    result = run_paper(profile=make_profile({"memory_probes": 1}), memory_probe=die)
    assert "signal 9: out of memory" in result.quantities["memory.peak"].reason


def test_every_quantity_is_there_or_has_a_reason(run_paper):
    for name, quantity in run_paper(accuracy=Absent("nothing to score")).quantities.items():
        assert (quantity.value is None) == (quantity.kind is Kind.ABSENT), name
        assert quantity.value is not None or quantity.reason, name


def test_a_slower_engine_is_called_slower_and_a_faster_one_faster(run_paper, parts):
    result = run_paper(target="int")

    def against(nanoseconds, subject_runner):
        runner = parts.Runner(step_ns=nanoseconds, rng=np.random.default_rng(1))
        other = dataclasses.replace(result.subject, target="float", runner=runner)
        return compare_forward(other, result, on_progress=parts.silent, subject_runner=subject_runner)

    faster = against(1_000_000, parts.Runner())
    assert faster.ratio.value == pytest.approx(2.0, rel=0.01)
    assert faster.ratio.lower > 1.9
    assert faster.ratio.n == 6
    assert "int is slower than float: 1.99 times" in faster.statement
    assert "int is faster than float" in against(4_000_000, parts.Runner()).statement
    unsteady = parts.Runner(step_ns=lambda window, n: np.full(n, 1_800_000 + 400_000 * (window % 2)))
    assert "no difference between int and float shown" in against(2_000_000, unsteady).statement


def test_each_engine_fills_the_time_of_a_window_with_its_own_steps(run_paper, parts, make_profile):
    """A hundred times as many steps of the slow one would take a hundred times as long and say no more."""
    result = run_paper(target="slow", profile=make_profile({"min_window_seconds": 0.2}))
    slow, fast = parts.Runner(step_ns=2_000_000), parts.Runner(step_ns=20_000)
    other = dataclasses.replace(result.subject, target="fast", runner=fast)
    compare_forward(other, result, on_progress=parts.silent, subject_runner=slow)
    assert max(slow.contexts) < 300 and min(fast.contexts) > 1500


def test_engines_that_cannot_alternate_are_shown_without_a_claim(run_paper, parts):
    result = run_paper(target="int")
    other = dataclasses.replace(result.subject, target="float", runner=parts.Runner(step_ns=1_000_000))
    found = compare_forward(other, result, on_progress=parts.silent)
    assert found.ratio.lower is None
    assert "claims nothing" in found.statement


def test_an_engine_that_is_not_there_is_named_with_its_reason():
    assert no_comparison("float", Absent("not installed")).ratio.reason == "not installed"
