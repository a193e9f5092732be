import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import norm

from edgesnn.profiler.budgets.early_stopping import judge_limit, shows_above, shows_below
from edgesnn.profiler.budgets.statistics import (
    PERCENTILES,
    autocorrelation_time,
    drift,
    order_interval,
    percentile,
    summarise,
)


def _series(rng, n, phi=0.0):
    """A stationary AR(1) series with unit variance."""
    noise = rng.normal(size=n + 300) * np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], noise)[300:]


@pytest.mark.parametrize(
    ("q", "row"),
    [
        (0.90, [44, 64, 81, 97, 127, 197]),
        (0.95, [90, 130, 165, 198, 259, 398]),
        (0.97, [152, 219, 277, 332, 433, 667]),
        (0.99, [459, 662, 838, 1001, 1307, 2010]),
        (0.999, [4603, 6636, 8403, 10042, 13105, 20140]),
    ],
)
def test_the_early_stopping_bound_gives_the_table_of_mlperf(q, row):
    for over, least in zip((0, 1, 2, 3, 5, 10), row, strict=True):
        assert shows_below(least, over, q) and not shows_below(least - 1, over, q)


def test_one_sample_less_than_the_minimum_shows_nothing():
    assert shows_below(90, 0, 0.95)
    assert not shows_below(89, 0, 0.95)
    assert not shows_below(0, 0, 0.95)


def test_too_many_samples_over_the_limit_show_that_it_is_exceeded():
    assert shows_above(20, 6, 0.95)
    assert not shows_above(20, 1, 0.95)
    assert not shows_above(20, 0, 0.95)


@pytest.mark.parametrize(("q", "n"), [(0.5, 5), (0.9, 29), (0.95, 59), (0.99, 299)])
def test_an_upper_bound_exists_from_the_published_sample_size_on(q, n):
    assert order_interval(n, q)[1] is not None
    assert order_interval(n - 1, q)[1] is None


@pytest.mark.parametrize("phi", [0.0, 0.6])
@pytest.mark.parametrize("q", PERCENTILES)
def test_intervals_cover_the_true_percentile_also_when_neighbours_are_correlated(q, phi):
    rng = np.random.default_rng(3)
    truth = norm.ppf(q)
    trials, covered = 200, 0
    for _ in range(trials):
        p = percentile(_series(rng, 500, phi), q)
        covered += (p.lower_ms is None or p.lower_ms <= truth) and (p.upper_ms is None or truth <= p.upper_ms)
    assert covered / trials >= 0.93


def test_without_the_effective_n_correlated_samples_would_not_be_covered():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        values = _series(rng, 500, 0.9)
        low, high = order_interval(500, 0.5)
        ordered = np.sort(values)
        covered += ordered[low - 1] <= 0.0 <= ordered[high - 1]
    assert covered / 200 < 0.8


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_the_autocorrelation_time_of_a_known_process_is_found(phi):
    rng = np.random.default_rng(5)
    truth = (1 + phi) / (1 - phi)
    found = np.mean([autocorrelation_time(_series(rng, 4000, phi)) for _ in range(20)])
    assert found == pytest.approx(truth, rel=0.15)


def test_a_constant_series_counts_every_sample():
    assert autocorrelation_time(np.full(100, 3.0)) == 1.0
    assert autocorrelation_time(np.array([1.0])) == 1.0


def test_a_false_pass_is_rare_when_the_percentile_lies_on_the_limit():
    rng = np.random.default_rng(7)
    limit = norm.ppf(0.95)
    passes = sum(judge_limit(_series(rng, 400, 0.5), limit, 0.95).shown_below for _ in range(300))
    assert passes / 300 <= 0.03


def test_correlated_samples_near_the_limit_count_less_than_far_from_it():
    values = 10.0 + _series(np.random.default_rng(6), 120, 0.95)
    far, near = judge_limit(values, 50.0, 0.95), judge_limit(values, 16.0, 0.95)
    assert (far.n, far.margin, far.shown_below) == (120, True, True)
    assert near.tau > 5
    assert not near.shown_below
    assert judge_limit(values, 2.0, 0.95).shown_above


def test_a_limit_far_away_is_decided_and_a_close_one_says_how_many_samples_would_do():
    rng = np.random.default_rng(11)
    values = 10.0 + rng.normal(size=300) * 0.1
    assert judge_limit(values, 50.0, 0.95).shown_below
    assert judge_limit(values, 5.0, 0.95).shown_above
    close = judge_limit(values, float(np.quantile(values, 0.96)), 0.95)
    assert not close.shown_below
    assert not close.shown_above
    assert close.samples_needed is not None
    assert close.samples_needed > 300


def test_too_few_samples_name_the_number_that_decides():
    test = judge_limit(np.linspace(1, 2, 7), 50.0, 0.95)
    assert not test.shown_below
    assert test.samples_needed == 90


def test_p99_is_not_claimed_below_299_samples():
    rng = np.random.default_rng(2)
    assert "299" in summarise(rng.normal(size=200)).p99_note
    assert summarise(rng.normal(size=2000)).p99_note is None


def test_a_summary_orders_its_figures():
    summary = summarise(np.random.default_rng(2).gamma(2.0, size=800))
    values = [summary.min_ms, *(p.value_ms for p in summary.percentiles), summary.max_ms]
    assert values == sorted(values)
    for p in summary.percentiles:
        assert p.lower_ms is None or p.lower_ms <= p.value_ms
        assert p.upper_ms is None or p.upper_ms >= p.value_ms


def test_a_slowing_device_drifts_and_a_steady_one_does_not():
    rng = np.random.default_rng(4)
    noise = rng.normal(size=400) * 0.05
    assert not drift(10.0 + noise).drifted
    slowing = drift(10.0 + np.linspace(0, 2.0, 400) + noise)
    assert slowing.drifted
    assert slowing.ratio > 1.1
    assert drift(np.ones(10)) is None


def test_one_sample_has_a_summary_without_intervals():
    summary = summarise(np.array([3.0]))
    assert summary.percentile(0.5).value_ms == 3.0
    assert summary.percentile(0.5).upper_ms is None
