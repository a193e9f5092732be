from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesnn.meters.base import Block
from edgesnn.meters.samples.accuracy import load_accuracy
from edgesnn.meters.samples.trace import Trace
from edgesnn.profiler.power.excerpt import excerpt

RANDOM = np.random.default_rng(1)
STARTS = np.cumsum(RANDOM.uniform(0.9, 1.4, 200))  # with gaps
POWER = RANDOM.uniform(0.01, 0.1, 200).astype(np.float32)


def trace():
    zeros = np.zeros(200, np.uint8)
    block = Block(STARTS, 0.8, POWER, None, None, zeros, zeros, None, 0, 0)
    return Trace(block, load_accuracy("lpm01a"), 3.0)


@given(start=st.floats(-5, 260), length=st.floats(1e-3, 100))
def test_an_excerpt_has_the_same_energy_between_the_same_times_as_the_whole(start, length):
    whole, part = trace(), excerpt(trace(), start, start + length)
    wanted = whole.between(start, start + length)
    if part is None:
        assert wanted.measured_s == 0
        return
    found = part.between(start, start + length)
    assert found.energy_j == pytest.approx(wanted.energy_j)
    assert found.measured_s == pytest.approx(wanted.measured_s)
    assert found.missing_s == pytest.approx(wanted.missing_s, abs=1e-3)


def test_it_copies_nothing():
    whole = trace()
    part = excerpt(whole, 20.0, 90.0)
    assert part is not None
    assert np.shares_memory(part.block.current_a, whole.block.current_a)
    assert np.shares_memory(part.block.time_s, whole.block.time_s)


def test_where_nothing_was_measured_there_is_no_excerpt():
    assert excerpt(trace(), 1e3, 2e3) is None
    assert excerpt(trace(), STARTS[3] + 0.85, STARTS[3] + 0.86) is None
