"""A short run of benchmarks/truth.py: sessions in simulated time whose true power is known."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[4] / "benchmarks"
SESSIONS = 40


@pytest.fixture(scope="module")
def truth():
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("truth")
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in set(sys.modules) - before:
            if name.startswith("truth"):
                del sys.modules[name]


@pytest.fixture(scope="module")
def rows(truth):
    return [truth.measure(seed, trials=4000) for seed in range(SESSIONS)]


@pytest.fixture(scope="module")
def found(truth, rows):
    return truth.summary(rows)


def test_the_interval_holds_the_truth_about_as_often_as_it_says(found):
    assert found["failed"] <= 3
    assert found["power_coverage"] >= 0.85
    assert found["energy_coverage"] >= 0.85


def test_an_interval_a_third_as_wide_would_not(rows):
    good = [row for row in rows if row.failed is None]
    assert np.mean([abs(row.error) <= row.width / 6 for row in good]) < 0.85


def test_the_interval_is_hardly_wider_than_one_who_knows_the_rest_would_give(found):
    assert 0.95 <= found["width_ratio_median"] <= 1.3


def test_a_budget_at_the_true_power_hardly_ever_passes(found):
    assert found["false_pass"] <= 0.08
    assert found["false_fail"] <= 0.08


def test_windows_are_found_without_a_marker_as_well_as_sample_and_rise_allow(found):
    assert found["edge_p95_ratio"] <= 1.5


def test_most_windows_of_a_session_with_a_fault_are_kept_and_the_rest_is_thrown_away(truth, rows):
    faulty = truth.summary([row for row in rows if row.faults])
    whole = truth.summary([row for row in rows if not row.faults])
    assert whole["valid"] == whole["windows"]
    assert 0.6 * faulty["windows"] <= faulty["valid"] < faulty["windows"]


def test_the_same_seed_is_the_same_session(truth, rows):
    assert truth.measure(7, trials=4000) == rows[7]
