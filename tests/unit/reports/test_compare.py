"""The contract of a comparison: what is comparable, what gates, what each outcome needs."""

import math
from dataclasses import replace

import pytest

from edgesnn.errors import UsageError
from edgesnn.reports.comparing.compare import MIN_SESSIONS, base_sides, compare_runs
from edgesnn.reports.comparing.judging import outcome_of
from edgesnn.reports.comparing.result import ComparisonVerdict, Outcome
from edgesnn.reports.comparing.summary import Shown
from edgesnn.reports.comparing.thresholds import Thresholds, parse_thresholds
from tests.support.run_documents import BUDGET_BYTES, Device, changed, session_of

BOARD = Device()


def sessions(device, count, first=0, **options):
    return [
        session_of(device, first + n, created=f"2026-01-{n + 1:02d}T00:00:00+00:00", **options)
        for n in range(count)
    ]


BASE = base_sides(sessions(BOARD, 8))


def head_of(device=BOARD, seed=100, **options):
    return session_of(device, seed, created="2026-02-01T00:00:00+00:00", **options)


def judged(head, base=BASE, **options):
    found = compare_runs(base, [head] if not isinstance(head, list) else head, **options)
    return found, {one.name: one for one in found.targets[0].metrics} if found.targets else {}


def test_the_same_build_is_not_called_worse():
    found, metrics = judged(head_of())
    assert found.exit_code == 0
    assert metrics["activity.synaptic_operations"].outcome is Outcome.NO_CHANGE
    assert all(one.outcome is not Outcome.REGRESSION for one in metrics.values())


@pytest.mark.parametrize(
    ("change", "metric"),
    [
        ({"latency_ms": 2.0 * 1.05}, "forward.p50"),
        ({"power_mw": 80.0 * 1.05}, "energy.per_token"),
        ({"accuracy_points": -1.0}, "accuracy.top1"),
        ({"mismatches": 1}, "parity.mismatches"),
        ({"answers": "ce"}, "output.differing_windows"),
        ({"model_bytes": BUDGET_BYTES + 1}, "size.model"),
    ],
)
def test_an_injected_regression_is_caught(change, metric):
    quiet = changed(BOARD, session_sd=0.003)
    found, metrics = judged(head_of(changed(quiet, **change)), base_sides(sessions(quiet, 8)))
    assert metrics[metric].outcome is Outcome.REGRESSION
    assert (found.verdict, found.exit_code) == (ComparisonVerdict.REGRESSION, 3)


def test_one_byte_over_the_budget_fails_the_budget_too():
    found, _ = judged(head_of(changed(BOARD, model_bytes=BUDGET_BYTES + 1)))
    assert [one.name for one in found.targets[0].budgets if one.verdict == "FAIL"] == ["size_mb"]


def test_a_count_may_grow_by_what_a_user_allows_and_no_more():
    head = head_of(changed(BOARD, spikes=5040))
    name = "activity.synaptic_operations"
    assert judged(head)[1][name].outcome is Outcome.REGRESSION
    assert judged(head, thresholds=Thresholds({name: 0.01}))[1][name].outcome is Outcome.NO_CHANGE
    assert judged(head, thresholds=Thresholds({name: 0.007}))[1][name].outcome is Outcome.REGRESSION


def test_an_improvement_is_said_and_passes():
    quiet = changed(BOARD, session_sd=0.003)
    head = head_of(changed(quiet, latency_ms=1.5))
    found, metrics = judged(head, base_sides(sessions(quiet, 8)))
    assert metrics["forward.p50"].outcome is Outcome.IMPROVEMENT
    assert (found.verdict, found.exit_code) == (ComparisonVerdict.IMPROVEMENT, 0)


@pytest.mark.parametrize("count", [1, MIN_SESSIONS - 1])
def test_times_are_information_below_five_sessions_while_counts_gate_from_the_first(count):
    head = head_of(changed(BOARD, latency_ms=4.0, mismatches=1))
    found, metrics = judged(head, base_sides(sessions(BOARD, count)))
    assert metrics["forward.p50"].outcome is Outcome.INFORMATION
    assert metrics["forward.p50"].lower is None
    assert metrics["parity.mismatches"].outcome is Outcome.REGRESSION
    assert f"{count} of 5 sessions" in found.targets[0].mode_reason


def test_one_session_whose_windows_took_turns_gates_times_by_welch_with_its_degrees_of_freedom():
    turns = changed(BOARD, interleaving="f" * 32, session_sd=0.0)
    base = base_sides([session_of(turns, 1)])
    found, metrics = judged(head_of(changed(turns, latency_ms=2.0 * 1.05)), base)
    assert found.targets[0].mode == "interleaved"
    p50 = metrics["forward.p50"]
    assert p50.outcome is Outcome.REGRESSION
    assert 4 <= p50.degrees_of_freedom <= 8
    assert (p50.n_base, p50.n_head, p50.unit_of_n) == (5, 5, "windows")


def test_records_of_two_other_sessions_do_not_count_as_one():
    base = base_sides([session_of(changed(BOARD, interleaving="a" * 32), 1)])
    _, metrics = judged(head_of(changed(BOARD, interleaving="b" * 32)), base)
    assert metrics["forward.p50"].outcome is Outcome.INFORMATION


def test_noise_is_inconclusive_passes_with_a_note_and_fails_strictly():
    loud = changed(BOARD, session_sd=0.2)
    base = base_sides(sessions(loud, 6))
    found, metrics = judged(head_of(loud), base)
    assert metrics["forward.p50"].outcome is Outcome.INCONCLUSIVE
    assert metrics["forward.p50"].needed > 6
    assert found.exit_code == 0
    assert any("sessions on each side would decide" in reason for reason in found.reasons)
    assert judged(head_of(loud), base, strict=True)[0].exit_code == 6


@pytest.mark.parametrize(
    ("change", "low", "high", "outcome"),
    [
        (0.05, 0.01, 0.09, Outcome.REGRESSION),
        (0.02, 0.01, 0.04, Outcome.INCONCLUSIVE),  # shown to be worse, not by how much
        (0.02, 0.01, 0.029, Outcome.NO_CHANGE),
        (0.0, -0.029, 0.029, Outcome.NO_CHANGE),
        (0.05, -0.01, 0.11, Outcome.INCONCLUSIVE),
        (-0.05, -0.09, -0.01, Outcome.IMPROVEMENT),
    ],
)
def test_outcomes_follow_interval_estimate_and_threshold(change, low, high, outcome):
    assert outcome_of(change, low, high, 0.03, "lower") is outcome
    mirrored = {Outcome.REGRESSION: Outcome.IMPROVEMENT, Outcome.IMPROVEMENT: Outcome.REGRESSION}
    assert outcome_of(change, low, high, 0.03, "higher") is mirrored.get(outcome, outcome)


@pytest.mark.parametrize("part", ["model", "target", "engine", "profile"])
def test_another_key_is_not_compared_and_the_difference_is_named(part):
    found, _ = judged(head_of(changed(BOARD, **{part: "else"})))
    assert not found.targets
    assert (found.verdict, found.exit_code) == (ComparisonVerdict.UNDECIDED, 6)
    assert f"{part} 'student'" in found.unmatched[0].reason or part in found.unmatched[0].reason


def test_hash_and_versions_are_listed_as_changed_and_never_part_of_the_key():
    head = head_of(changed(BOARD, program="ba"))
    found, metrics = judged(head)
    assert [one.what for one in found.targets[0].changed] == ["program hash"]
    assert "output.differing_windows" not in metrics  # another program may give other logits


def test_a_run_without_counterpart_still_answers_for_its_budgets():
    head = head_of(changed(BOARD, model="new", mismatches=2))
    found, _ = judged([head_of(), head])
    assert found.exit_code == 3
    assert any("parity_mismatches FAIL" in reason for reason in found.reasons)


def test_a_target_that_is_gone_is_noted_and_fails_strictly():
    base = base_sides([*sessions(BOARD, 5), session_of(changed(BOARD, target="phone"), 1)])
    calm = [head_of()]
    assert any("phone" in reason for reason in compare_runs(base, calm).reasons)
    assert compare_runs(base, calm).exit_code == 0
    assert compare_runs(base, calm, strict=True).exit_code == 6


def test_an_invalid_run_decides_nothing():
    found, metrics = judged(replace(head_of(), verdict="INVALID"))
    assert found.exit_code == 6
    assert metrics["forward.p50"].outcome is Outcome.INFORMATION


def test_another_meter_makes_energies_information_because_its_gain_does_not_cancel():
    _, metrics = judged(replace(head_of(), meter_identity="another"))
    assert metrics["power.mean"].outcome is Outcome.INFORMATION
    assert metrics["forward.p50"].outcome is not Outcome.INFORMATION


def test_mixed_units_are_inconclusive_and_not_divided():
    head = head_of()
    moved = replace(head.series["forward.p50"], unit="us")
    _, metrics = judged(replace(head, series={**head.series, "forward.p50": moved}))
    assert metrics["forward.p50"].outcome is Outcome.INCONCLUSIVE
    assert metrics["forward.p50"].change is None


def test_what_the_head_no_longer_measures_stays_open():
    head = head_of()
    counts = {name: one for name, one in head.counts.items() if name != "parity.mismatches"}
    found, metrics = judged(replace(head, counts=counts))
    assert metrics["parity.mismatches"].outcome is Outcome.INCONCLUSIVE
    assert judged(replace(head, counts=counts), strict=True)[0].exit_code == 6
    assert found.exit_code == 0


def test_other_documents_or_another_tokenizer_are_not_paired():
    head = head_of()
    other = tuple(value + 1 for value in head.documents["bytes"])
    _, metrics = judged(replace(head, documents={**head.documents, "bytes": other}))
    assert "other documents" in metrics["accuracy.top1"].reason
    split = tuple(value * 2 for value in head.documents["positions"])
    _, metrics = judged(replace(head, documents={**head.documents, "positions": split}))
    assert "tokenizer" in metrics["accuracy.top1"].reason
    assert metrics["accuracy.bits_per_byte"].level is not None


def test_documents_that_nobody_kept_leave_accuracy_open():
    _, metrics = judged(replace(head_of(), documents={}))
    assert metrics["accuracy.top1"].outcome is Outcome.INCONCLUSIVE


def test_a_thousand_targets_are_compared_and_the_worst_stands_first():
    one, broken = head_of(), head_of(changed(BOARD, mismatches=1))

    def on(session, number):
        return replace(session, key=replace(session.key, target=f"board-{number}"))

    base = base_sides([on(one, number) for number in range(1000)])
    found = compare_runs(base, [on(broken if number == 700 else one, number) for number in range(1000)])
    assert found.targets[0].key.target == "board-700"
    assert [target.verdict for target in found.targets].count(ComparisonVerdict.REGRESSION) == 1


def test_the_good_direction_of_what_is_only_shown_is_the_table_s():
    head = head_of()
    names = {"duty.battery_life": "higher", "latency.p95": "lower", "of.a.runner": "lower"}
    shown = {name: Shown(2.0, "h", "MEASURED", None) for name in names}
    _, metrics = judged(replace(head, quantities=shown))
    assert {name: metrics[name].better for name in names} == names


def test_thresholds_are_read_in_their_units():
    known = ["power.mean", "accuracy.bits_per_byte", "activity.spikes"]
    given = parse_thresholds(["times=2%", "accuracy=1points", "accuracy.bits_per_byte=0.1bits"], known).given
    assert given == {"times": 0.02, "accuracy": 0.01, "accuracy.bits_per_byte": 0.1}
    for wrong in ("times=2", "times=2points", "tiems=2%", "accuracy=3%", "times=-2%", "bits=1%", "nonsense"):
        with pytest.raises(UsageError):
            parse_thresholds([wrong], known)


def test_a_relative_threshold_lies_at_the_logarithm():
    _, metrics = judged(head_of())
    assert metrics["forward.p50"].threshold == pytest.approx(math.log(1.03))
