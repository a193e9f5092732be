"""What windows say: outliers, drift, ratios of two programs, and the order in which they take turns."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesnn.profiler.budgets.workload import Workload
from edgesnn.profiler.latency.ratio import interleaved_order, ratio_of_windows
from edgesnn.profiler.latency.spread import (
    outliers,
    short_windows,
    window_drift,
    window_marks,
    windows_median_throughput,
)
from edgesnn.profiler.latency.steps import MeasuredWindow


def _window(median_ms, started_s=0.0, steps=100):
    times = np.full(steps, median_ms)
    seconds = steps * median_ms / 1e3
    started, ended = int(started_s * 1e9), int((started_s + seconds) * 1e9)
    return MeasuredWindow(times, times, started, ended, seconds, 0.0, "0" * 64)


def test_the_worked_example_of_welch_is_reproduced():
    # degrees of freedom by Satterthwaite's formula, written out
    a, b = np.array([10.0, 10.2, 9.9, 10.1, 10.3]), np.array([11.0, 11.6, 10.5, 11.9, 11.2])
    found = ratio_of_windows(a, b)
    va, vb = np.log(a).var(ddof=1) / 5, np.log(b).var(ddof=1) / 5
    freedom = (va + vb) ** 2 / (va**2 / 4 + vb**2 / 4)
    assert found.degrees_of_freedom == pytest.approx(freedom)
    assert found.value == pytest.approx(np.exp(np.log(b).mean() - np.log(a).mean()))
    assert np.sqrt(found.lower * found.upper) == pytest.approx(found.value)
    assert found.lower > 1.0
    assert "B is slower than A" in found.statement("time")
    assert f"{freedom:.1f} degrees of freedom" in found.statement("time")


def test_the_ratio_turns_round_with_its_sides():
    rng = np.random.default_rng(1)
    a, b = rng.lognormal(0, 0.05, 6), rng.lognormal(0.1, 0.1, 5)
    there, back = ratio_of_windows(a, b), ratio_of_windows(b, a)
    assert there.value == pytest.approx(1 / back.value)
    assert there.lower == pytest.approx(1 / back.upper)


def test_the_interval_holds_the_true_ratio_as_often_as_it_says():
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(600):
        a, b = rng.lognormal(0.0, 0.03, 5), rng.lognormal(np.log(1.1), 0.06, 5)
        found = ratio_of_windows(a, b)
        held += found.lower <= 1.1 <= found.upper
    assert 0.925 <= held / 600 <= 0.985


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [([1.0], [2.0, 2.1], "fewer than two"), ([1.0, 1.0], [2.0, 2.0], "no window differs")],
)
def test_windows_that_carry_no_variance_give_no_interval_and_say_why(a, b, words):
    found = ratio_of_windows(np.array(a), np.array(b))
    assert found.lower is None and found.degrees_of_freedom is None
    assert words in found.reason and words in found.statement("time")


@given(windows=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_the_order_is_made_of_blocks_that_a_steady_drift_costs_the_same(windows, seed):
    order = interleaved_order(windows, seed)
    assert order.count("A") == order.count("B") == windows + windows % 2
    blocks = [order[i : i + 4] for i in range(0, len(order), 4)]
    assert set(blocks) <= {"ABBA", "BAAB"}
    places = {role: [i for i, one in enumerate(order) if one == role] for role in "AB"}
    assert sum(places["A"]) == sum(places["B"])
    assert interleaved_order(windows, seed) == order


def test_a_drawn_order_changes_with_its_seed():
    assert len({interleaved_order(12, seed) for seed in range(20)}) > 5


def test_a_window_far_from_the_others_is_named_with_its_score():
    values = np.array([1.00, 1.01, 0.99, 1.02, 1.50])
    (found,) = outliers(values)
    assert found.window == 5
    assert found.score == pytest.approx(0.49 / (1.4826 * 0.01))


def test_an_outlier_among_equal_windows_is_found_though_their_mad_is_zero():
    assert [one.window for one in outliers(np.array([1.0] * 9 + [3.0]))] == [10]
    assert outliers(np.array([1.0] * 5)) == []


def test_normal_scatter_rarely_has_outliers():
    rng = np.random.default_rng(3)
    flagged = sum(bool(outliers(rng.normal(1.0, 0.01, 20))) for _ in range(300))
    assert flagged < 60


def test_a_trend_is_drift_and_a_single_slow_window_is_not():
    at = np.arange(8.0)
    trend = window_drift(1.0 + 0.02 * at, at)
    assert trend.drifted and trend.change == pytest.approx(0.14, abs=0.01)
    wild = np.array([1.0, 1.001, 0.999, 5.0, 1.0, 1.002, 0.998, 1.0])
    assert not window_drift(wild, at).drifted
    assert window_drift(np.ones(3), np.arange(3.0)) is None


def test_marks_name_short_windows_and_outliers_and_keep_both():
    workload = Workload(min_window_seconds=0.1)
    windows = [_window(m, i) for i, m in enumerate((1.0, 1.01, 1.02, 0.99, 2.0))]
    windows[3] = replace(windows[3], counted_ms=np.full(50, 0.99))
    marks = window_marks(windows, workload)
    assert any("window 4 lasted 0.0495 s" in mark for mark in marks)
    assert any("window 5 lies apart" in mark and "kept" in mark for mark in marks)
    assert short_windows(windows[:3], workload) == []


def test_throughput_is_the_median_of_the_windows_and_not_of_their_sum():
    windows = [_window(m) for m in (1.0, 2.0, 4.0)]
    assert windows_median_throughput(windows) == pytest.approx(500.0)
