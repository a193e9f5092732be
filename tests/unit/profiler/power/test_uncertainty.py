from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from edgesnn.meters.samples.accuracy import AccuracyKind, MeterAccuracy, RangeAccuracy, VoltageAccuracy
from edgesnn.profiler.power.uncertainty import COMPONENTS, WindowSample, propagate

TRIALS = 40_000


def accuracy(
    kind=AccuracyKind.TYPICAL, *, gain=0.0, offset=0.0, voltage=0.0, burden=0.0, ppm=0.0, resolution=0.0
):
    return MeterAccuracy(
        name="test",
        model="test",
        kind=kind,
        source="made up",
        ranges=[
            RangeAccuracy(name="low", max_a=0.01, gain=gain, offset_a=offset, resolution_a=resolution),
            RangeAccuracy(name="high", max_a=1.0, gain=2 * gain, offset_a=offset, resolution_a=resolution),
        ],
        voltage=VoltageAccuracy(measured=False, gain=voltage, burden_v=burden),
        clock_ppm=ppm,
        clock_source="made up",
    )


def window(*, mean_w=0.08, idle_w=0.01, share=(1.0, 0.0), edge=0.0, seconds=10.0, inferences=100):
    shares = np.array(share)
    return WindowSample(mean_w, idle_w, seconds, inferences, 4.0, shares, shares, edge)


def test_without_any_error_every_quantity_is_exact():
    found = propagate([window()] * 5, accuracy(), seed=1, trials=1000)
    assert found.active_w.value == found.active_w.lower == found.active_w.upper == pytest.approx(0.08)
    assert found.idle_w.value == pytest.approx(0.01)
    assert found.dynamic_w.value == pytest.approx(0.07)
    assert found.energy_per_inference_j.value == pytest.approx(0.008)
    assert found.dynamic_energy_per_inference_j.value == pytest.approx(0.007)


def test_a_typical_gain_is_a_standard_deviation_and_does_not_average_out():
    for count in (4, 50):
        found = propagate([window()] * count, accuracy(gain=0.02), seed=1, trials=TRIALS)
        assert found.active_w.sd == pytest.approx(0.0016, rel=0.03)
        assert found.active_w.budget["gain"] == pytest.approx(0.0016, rel=0.03)


def test_a_promised_gain_is_a_rectangle():
    found = propagate([window()] * 5, accuracy(AccuracyKind.BOUND, gain=0.1), seed=1, trials=TRIALS)
    assert found.active_w.sd == pytest.approx(0.008 / np.sqrt(3), rel=0.03)
    assert found.active_w.upper <= 0.08 / 0.9 + 1e-9
    assert found.active_w.lower >= 0.08 / 1.1 - 1e-9


@pytest.mark.parametrize("gain", [0.1, 0.15])
def test_what_a_meter_shows_is_solved_for_what_is_true(gain):
    """Of units that read 0.08 W of any power, 2.5 % see more than the interval's upper end, not 5 %."""
    found = propagate([window()] * 5, accuracy(gain=gain), seed=1, trials=200_000)
    errors = np.random.default_rng(2).normal(0, gain, 200_000)
    truth = 0.08 / (1 + errors)
    assert (truth > found.active_w.upper).mean() == pytest.approx(0.025, abs=0.003)
    assert (truth < found.active_w.lower).mean() == pytest.approx(0.025, abs=0.003)
    assert found.active_w.above(found.active_w.upper) == pytest.approx(0.025, abs=1e-4)


def test_the_gain_of_each_range_counts_by_its_share_of_the_charge():
    found = propagate([window(share=(0.5, 0.5))] * 3, accuracy(gain=0.02), seed=1, trials=TRIALS)
    assert found.active_w.sd == pytest.approx(0.08 * 0.03, rel=0.03)


def test_offset_cancels_in_dynamic_power_and_gain_does_not():
    found = propagate([window()] * 5, accuracy(offset=1e-3), seed=1, trials=TRIALS)
    assert found.active_w.sd == pytest.approx(4e-3, rel=0.03)
    assert found.dynamic_w.sd == pytest.approx(0.0, abs=1e-12)
    found = propagate([window()] * 5, accuracy(gain=0.02), seed=1, trials=TRIALS)
    assert found.dynamic_w.sd == pytest.approx(1.4e-3, rel=0.03)


def test_half_a_step_of_the_converter_is_a_rectangle_even_where_the_rest_is_typical():
    found = propagate([window()] * 5, accuracy(resolution=2e-3), seed=1, trials=TRIALS)
    assert found.active_w.upper <= 0.08 + 4.0 * 1e-3 + 1e-12
    assert found.active_w.sd == pytest.approx(4.0 * 1e-3 / np.sqrt(3), rel=0.03)


def test_a_burden_only_lowers():
    found = propagate([window()] * 5, accuracy(burden=0.4), seed=1, trials=TRIALS)
    assert found.active_w.upper <= 0.08 + 1e-12
    assert found.active_w.lower == pytest.approx(0.08 * (1 - 0.1 * 0.975), rel=0.01)


def test_repeatability_is_students_interval_of_the_mean():
    random = np.random.default_rng(3)
    values = 0.08 + random.normal(0, 1e-3, 5)
    found = propagate([window(mean_w=v, idle_w=None) for v in values], accuracy(), seed=1, trials=200_000)
    half = student.ppf(0.975, 4) * values.std(ddof=1) / np.sqrt(5)
    assert found.active_w.upper - found.active_w.value == pytest.approx(half, rel=0.05)
    assert found.idle_w is None and found.dynamic_w is None


def test_doubtful_edges_can_only_have_lowered_the_power_and_that_does_not_average_out():
    # an edge outside lets idle in, 0.07 W less for as long; the mean of half a normal is sd/sqrt(2 pi)
    less = 0.07 * 2 * 0.1 / np.sqrt(2 * np.pi) / 10
    for count in (4, 64):
        found = propagate([window(edge=0.1)] * count, accuracy(), seed=1, trials=TRIALS).active_w
        assert found.trials.min() >= 0.08 - 1e-12
        assert found.trials.mean() - 0.08 == pytest.approx(less, rel=0.03)
    assert found.lower > 0.08


def test_a_shift_that_all_windows_share_does_not_average_out():
    def shifted(count):
        one = replace(window(), common_sd_s=0.1)
        return propagate([one] * count, accuracy(), seed=1, trials=TRIALS).active_w

    assert shifted(64).sd == pytest.approx(shifted(4).sd, rel=0.02)
    # one edge inside, the other outside, by the same: 0.07 W less for that long
    assert shifted(4).upper - 0.08 == pytest.approx(0.07 * 2.2414 * 0.1 / 10, rel=0.03)


def test_an_unsure_length_of_the_window_counts_for_energy_even_where_idling_takes_as_much():
    same = replace(window(edge=0.1), idle_w=0.08)
    found = propagate([same] * 4, accuracy(), seed=1, trials=TRIALS)
    assert found.active_w.sd == pytest.approx(0.0, abs=1e-12)
    assert found.energy_per_inference_j.sd == pytest.approx(0.008 * 0.1 * np.sqrt(2) / 10 / 2, rel=0.03)


def test_the_clock_matters_for_energy_and_not_for_power():
    found = propagate([window()] * 5, accuracy(ppm=1000.0), seed=1, trials=TRIALS)
    assert found.active_w.sd == pytest.approx(0.0, abs=1e-12)
    assert found.energy_per_inference_j.sd == pytest.approx(0.008 * 1e-3, rel=0.03)


def test_independent_components_add_in_squares():
    values = [window(mean_w=v, edge=0.05) for v in (0.079, 0.080, 0.081, 0.080, 0.0795, 0.0805)]
    found = propagate(values, accuracy(gain=0.05, offset=5e-4, voltage=0.02, ppm=100), seed=1, trials=TRIALS)
    alone = np.sqrt(sum(found.active_w.budget[name] ** 2 for name in COMPONENTS))
    assert found.active_w.sd == pytest.approx(alone, rel=0.1)


def test_the_same_seed_gives_the_same_interval():
    first, second = (propagate([window()] * 5, accuracy(gain=0.1), seed=7, trials=1000) for _ in range(2))
    assert np.array_equal(first.active_w.trials, second.active_w.trials)
