"""The estimators against scipy and against simulation; Holm by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats

from edgesnn.reports.comparing import statistics as st

VALUES = some.lists(some.floats(-3, 3), min_size=2, max_size=9).filter(lambda v: np.ptp(v) > 1e-3)


@settings(max_examples=40)
@given(VALUES, VALUES)
def test_welch_is_scipys(base, head):
    ours = st.welch(base, head)
    theirs = stats.ttest_ind(head, base, equal_var=False)
    interval = theirs.confidence_interval(0.9)
    assert ours.degrees_of_freedom == pytest.approx(theirs.df)
    assert ours.p_value() == pytest.approx(theirs.pvalue)
    assert ours.interval(0.9) == pytest.approx((interval.low, interval.high))


def test_equal_values_give_an_interval_of_no_width_and_no_degrees_of_freedom():
    same = st.welch([1.0, 1.0], [1.0, 1.0])
    assert (same.p_value(), same.interval(0.95), same.degrees_of_freedom) == (1.0, (0.0, 0.0), None)
    assert st.welch([1.0, 1.0], [2.0, 2.0]).p_value() == 0.0


def test_sessions_with_one_head_give_the_prediction_interval_of_a_normal_sample():
    base = [[1.0, 1.0], [2.0, 2.0], [4.0, 4.0], [3.0, 3.0], [2.5, 2.5]]
    means = np.array([1.0, 2.0, 4.0, 3.0, 2.5])
    found = st.between_sessions(base, [[5.0, 5.0]])
    half = stats.t.ppf(0.975, 4) * means.std(ddof=1) * math.sqrt(1 + 1 / 5)
    assert found.interval(0.95) == pytest.approx((2.5 - half, 2.5 + half))
    assert found.degrees_of_freedom == pytest.approx(4)


def test_noisier_windows_of_the_head_widen_the_interval():
    base = [[1.0, 1.01], [1.02, 1.03], [0.99, 1.0], [1.01, 1.0], [0.98, 1.0]]
    calm = st.between_sessions(base, [[1.0, 1.0]]).interval(0.95)
    wild = st.between_sessions(base, [[0.5, 1.5]]).interval(0.95)
    assert wild[1] - wild[0] > 2 * (calm[1] - calm[0])


def test_the_session_interval_covers_as_often_as_it_says_while_windows_alone_would_not():
    rng = np.random.default_rng(3)
    missed_sessions = missed_windows = 0
    for _ in range(400):
        sessions = rng.normal(0, 1, 7)[:, None] + rng.normal(0, 0.5, (7, 5))
        base, head = sessions[:6].tolist(), sessions[6:].tolist()
        low, high = st.between_sessions(base, head).interval(0.95)
        missed_sessions += not low <= 0 <= high
        low, high = st.welch(base[-1], head[0]).interval(0.95)
        missed_windows += not low <= 0 <= high
    assert missed_sessions <= stats.binom.ppf(0.999, 400, 0.05)
    assert missed_windows > 200


@pytest.mark.parametrize(
    ("windows", "head"), [(8, (1,)), (8, (1, 1)), (8, (2,)), (2, (1,)), (1, (1,)), (8, (4,))]
)
@pytest.mark.parametrize("between", [0.01, 0.05])
def test_a_head_of_few_windows_gives_no_more_false_alarms_than_stated(windows, head, between):
    rng = np.random.default_rng(5)
    trials, alarms = 600, 0
    for _ in range(trials):
        base = [rng.normal(rng.normal(0, between), 0.03, windows).tolist() for _ in range(5)]
        tried = [rng.normal(rng.normal(0, between), 0.03, count).tolist() for count in head]
        low, high = st.between_sessions(base, tried).interval(0.95)
        alarms += not low <= 0 <= high
    assert alarms <= stats.binom.ppf(0.999, trials, 0.05)


def test_the_bootstrap_of_the_fewest_documents_covers_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(st, "RESAMPLES", 1000)
    rng = np.random.default_rng(7)
    trials, missed, rejected, plain = 800, 0, 0, 0
    for trial in range(trials):
        sizes = np.maximum(5, rng.lognormal(4, 0.8, st.MIN_DOCUMENTS)).astype(int)
        share = np.clip(rng.normal(0.45, 0.12, len(sizes)), 0.05, 0.95)
        before = rng.binomial(sizes, share)
        lost, won = rng.binomial(before, 0.04), rng.binomial(sizes - before, 0.04 * share / (1 - share))
        sides = ((hits.astype(float), sizes.astype(float)) for hits in (before, before - lost + won))
        found = st.paired_ratio_difference(*sides, seed=trial)
        low, high = found.interval(0.95)
        missed += not low <= 0 <= high
        rejected += found.p_value() <= 0.05
        low, high = np.quantile(found.draws, [0.025, 0.975])
        plain += not low <= 0 <= high
    assert missed <= stats.binom.ppf(0.99, trials, 0.05)
    assert abs(rejected - missed) <= 0.01 * trials
    assert plain > missed


def test_holm_takes_the_shares_one_after_the_other_and_stops_at_the_first_that_fails():
    levels = st.holm({"a": 0.001, "b": 0.03, "c": 0.04}, 0.95)
    assert levels == pytest.approx({"a": 1 - 0.05 / 3, "b": 0.975, "c": 0.975})
    assert st.holm({"a": 0.001, "b": 0.02, "c": 0.04}, 0.95)["c"] == pytest.approx(0.95)


@settings(max_examples=60)
@given(some.lists(some.floats(0, 0.2), min_size=1, max_size=6, unique=True))
def test_holm_rejects_the_smallest_until_the_first_that_misses_its_share(values):
    levels = st.holm({str(p): p for p in values}, 0.95)
    rejected = sorted(p for p in values if p < 1 - levels[str(p)])
    expected = []
    for rank, p in enumerate(sorted(values)):
        if p >= 0.05 / (len(values) - rank):
            break
        expected.append(p)
    assert rejected == expected


def test_the_bootstrap_interval_is_that_of_drawing_the_documents():
    rng = np.random.default_rng(0)
    bottom = rng.integers(20, 90, 60).astype(float)
    base, head = np.floor(bottom * 0.4), np.floor(bottom * rng.uniform(0.36, 0.4, 60))
    found = st.paired_ratio_difference((base, bottom), (head, bottom))
    drawn = np.random.default_rng(9).integers(0, 60, (20_000, 60))
    naive = (head[drawn].sum(1) - base[drawn].sum(1)) / bottom[drawn].sum(1)
    assert found.interval(0.95) == pytest.approx(np.quantile(naive, [0.025, 0.975]), rel=0.03)
    assert found.change == pytest.approx((head.sum() - base.sum()) / bottom.sum())


def test_the_number_of_windows_that_would_decide_is_the_least_that_does():
    rng = np.random.default_rng(1)
    base, head = rng.normal(0, 0.05, 5), rng.normal(0.04, 0.05, 5)
    needed = st.needed_windows(base, head, 0.04, 0.95)

    def half(n):
        a, b = base.var(ddof=1), head.var(ddof=1)
        freedom = (a + b) ** 2 * (n - 1) / (a**2 + b**2)
        return stats.t.ppf(0.975, freedom) * math.sqrt((a + b) / n)

    assert half(needed) <= 0.04 < half(needed - 1)
    assert st.needed_windows(base, head, 1e-9, 0.95) is None
