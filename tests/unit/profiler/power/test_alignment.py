from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesnn.errors import UndecidedError
from edgesnn.profiler.power.alignment import (
    BARKER_13,
    SLEEP_SD_S,
    check_lap,
    find_preamble,
    fit_clock,
    from_clock,
    from_preambles,
)


def chips_power(time_s, start_s, chip_s, chips=BARKER_13, *, low=0.01, high=0.08):
    at = np.floor((time_s - start_s) / chip_s).astype(int)
    on = (at >= 0) & (at < len(chips)) & (np.asarray(chips)[np.clip(at, 0, len(chips) - 1)] == 1)
    return np.where(on, high, low)


def mean_power(start_s, chip_s, period_s, seconds):
    """What an integrating meter sees of a coded load, from a grid a hundred times finer."""
    fine = (np.arange(round(seconds / period_s) * 100) + 0.5) * period_s / 100
    return chips_power(fine, start_s, chip_s).reshape(-1, 100).mean(axis=1)


@given(
    drift_ppm=st.floats(-200, 200),
    offset=st.floats(-1e3, 1e3),
    trip=st.floats(1e-5, 5e-3),
    seed=st.integers(0, 99),
)
def test_a_fitted_clock_maps_within_its_stated_uncertainty(drift_ppm, offset, trip, seed):
    random = np.random.default_rng(seed)
    host = np.concatenate([np.arange(8) * 0.01, 60 + np.arange(8) * 0.01])
    trips = trip * (1 + random.exponential(1.0, 16))
    inside = random.uniform(0, 1, 16)
    meter = offset + (1 + drift_ppm * 1e-6) * (host + trips * inside)
    clock = fit_clock(meter, host, host + trips)
    truth = offset + (1 + drift_ppm * 1e-6) * 30.0
    assert abs(clock.meter_s(30.0) - truth) <= 5 * clock.sd_s + 1e-9
    assert clock.drift_ppm == pytest.approx(drift_ppm, abs=5 * clock.sd_s / 60 * 1e6 + 0.01)


def test_slow_exchanges_do_not_move_the_clock():
    host = np.arange(10, dtype=float)
    trips = np.full(10, 1e-3)
    trips[[2, 7]] = 0.5  # queued somewhere: their middle says nothing
    meter = 100 + host + np.where(trips > 0.1, 0.49, 0.5e-3)
    clock = fit_clock(meter, host, host + trips)
    assert clock.meter_s(5.0) == pytest.approx(105.0, abs=1e-3)
    assert clock.readings == 8


@pytest.mark.parametrize("readings", [0, 1])
def test_one_reading_gives_no_rate(readings):
    with pytest.raises(UndecidedError, match="cannot be compared"):
        fit_clock([1.0] * readings, [0.0] * readings, [0.1] * readings)


def test_readings_at_one_time_give_no_rate():
    with pytest.raises(UndecidedError, match="cannot be compared"):
        fit_clock([1.0, 1.0], [5.0, 5.0], [5.1, 5.1])


def test_a_window_of_mapped_times_is_as_long_as_the_meters_clock_says():
    clock = fit_clock([10.0, 70.006], [0.0, 60.0], [1e-4, 60.0001])
    window = from_clock(clock, 20.0, 40.0)
    assert window.seconds == pytest.approx(20.002, abs=1e-6)


@given(start=st.floats(0.5, 1.5), noise=st.floats(0, 0.01), seed=st.integers(0, 99))
def test_a_preamble_is_found_where_it_was_played(start, noise, seed):
    period, chip = 1e-3, 0.02
    power = mean_power(start, chip, period, 3.0)
    power = power + np.random.default_rng(seed).normal(0, noise, power.size)
    found = find_preamble(np.arange(power.size) * period, power, BARKER_13, chip, period)
    assert found.believed
    assert abs(found.start_s - start) <= 1.5 * period


def test_noise_alone_is_no_preamble():
    power = np.random.default_rng(1).normal(0.05, 0.01, 3000)
    assert not find_preamble(np.arange(3000) * 1e-3, power, BARKER_13, 0.02, 1e-3).believed


def test_a_load_that_never_changes_is_no_preamble():
    assert not find_preamble(np.arange(3000) * 1e-3, np.full(3000, 0.05), BARKER_13, 0.02, 1e-3).believed


def test_chips_that_the_meter_cannot_resolve_are_refused():
    with pytest.raises(UndecidedError, match="too slow"):
        find_preamble(np.arange(100) * 0.1, np.ones(100), BARKER_13, 0.2, 0.1)


def test_a_trace_shorter_than_the_pattern_is_refused():
    with pytest.raises(UndecidedError, match="shorter"):
        find_preamble(np.arange(100) * 1e-3, np.ones(100), BARKER_13, 0.02, 1e-3)


def test_two_preambles_give_the_window_in_spite_of_drift():
    period, chip, rate = 1e-3, 0.02, 1 + 300e-6
    first, last = 0.7, 0.7 + 20.0 * rate
    power = np.maximum(
        mean_power(first, chip * rate, period, 25.0), mean_power(last, chip * rate, period, 25.0)
    )
    time_s = np.arange(power.size) * period
    a = find_preamble(time_s[:2000], power[:2000], BARKER_13, chip, period)
    b = find_preamble(time_s[20000:], power[20000:], BARKER_13, chip, period)
    window = from_preambles(a, b, 20.0, 1.0, 18.0)
    assert window.start_s == pytest.approx(first + 1.0 * rate, abs=2 * period)
    assert window.seconds == pytest.approx(18.0 * rate, abs=3 * period)


def test_a_lap_time_that_contradicts_the_window_is_a_reason():
    window = from_clock(fit_clock([0.0, 60.0], [0.0, 60.0], [1e-4, 60.0001]), 10.0, 20.0)
    assert check_lap(window, 10.0, 1e-6, 50.0).reason is None
    wrong = check_lap(window, 10.5, 1e-6, 50.0)
    assert not wrong.agrees and "standard deviations" in (wrong.reason or "")


@given(start=st.floats(0.5, 1.5), late=st.lists(st.floats(0, 1e-3), min_size=13, max_size=13))
def test_chips_that_a_host_plays_late_do_not_move_the_start(start, late):
    period, chip = 1e-4, 0.02
    lengths = chip + np.array(late)
    bounds = start + np.concatenate([[0.0], np.cumsum(lengths)])
    fine = (np.arange(round(3.0 / period) * 10) + 0.5) * period / 10
    at = np.searchsorted(bounds, fine, side="right") - 1
    on = (at >= 0) & (at < 13) & (np.asarray(BARKER_13)[np.clip(at, 0, 12)] == 1)
    power = np.where(on, 0.08, 0.01).reshape(-1, 10).mean(axis=1)
    found = find_preamble(np.arange(power.size) * period, power, BARKER_13, float(lengths.mean()), period)
    assert found.believed
    assert abs(found.start_s - start) <= period


@pytest.mark.parametrize("rise", [1e-3, 4e-3])
def test_a_slow_load_is_seen_and_its_lag_is_stated(rise):
    period, chip, start = 1e-4, 0.02, 0.7
    nodes, watts = [0.0], [0.01]
    for number, busy in enumerate((*BARKER_13, 0)):
        nodes += [start + number * chip, start + number * chip + rise]
        watts += [watts[-1], 0.08 if busy else 0.01]
    time_s = np.arange(20_000) * period
    power = np.interp(time_s + period / 2, nodes, watts)
    found = find_preamble(time_s, power, BARKER_13, chip, period)
    assert found.start_s == pytest.approx(start + rise / 2, abs=period)
    assert found.rise_s == pytest.approx(rise, rel=0.15)
    window = from_preambles(found, replace(found, start_s=found.start_s + 5.0), 5.0, 0.5, 4.0)
    assert window.edge_sd_s < 2 * period < window.common_sd_s


def test_where_the_first_edge_cannot_be_told_the_sleeps_of_the_host_count():
    period, chip = 1e-4, 0.02
    power = mean_power(0.5, chip, period, 1.5)
    power[: round(0.5 / period)] = 0.08  # busy until the code begins
    found = find_preamble(np.arange(power.size) * period, power, BARKER_13, chip, period)
    assert found.believed
    assert found.sd_s >= SLEEP_SD_S


def test_readings_of_a_few_seconds_with_long_round_trips_do_not_bend_the_clock():
    host = np.array([0.0, 1.0, 2.0, 3.0])
    meter = host + np.array([0.001, 0.019, 0.004, 0.015])  # anywhere within 20 ms
    clock = fit_clock(meter, host, host + 0.02)
    assert abs(clock.drift_ppm) < 50.0
    assert clock.meter_s(-1.0) == pytest.approx(-1.0, abs=0.01 + 2 * clock.sd_s)
