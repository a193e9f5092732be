"""A session that goes on after somebody set the clock, or after the machine started again."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from edgesnn import system
from edgesnn.profiler import moments
from edgesnn.profiler.latency.spread import offsets
from edgesnn.profiler.latency.steps import MeasuredWindow
from edgesnn.profiler.session_store import SessionStore

SECOND = 1_000_000_000


def window(began_ns):
    times = np.full(10, 100.0)
    return MeasuredWindow(times, times[2:], began_ns, began_ns + SECOND, 1.0, 0.0, "0" * 64)


def begun(folder, *, count, boot="one"):
    """A session of windows of 1 s, 3 s apart, the first 100 s ago."""
    store = SessionStore(folder, {"what": "this"})
    began = time.perf_counter_ns() - 100 * SECOND
    for number in range(count):
        store.add(window(began + 3 * number * SECOND), None)
    return began


@pytest.fixture
def set_clock(monkeypatch):
    """Sets the wall clock by so many seconds, and names the start of the machine."""

    def move(seconds, boot):
        clock = SimpleNamespace(
            perf_counter_ns=time.perf_counter_ns, time_ns=lambda: time.time_ns() + seconds * SECOND
        )
        monkeypatch.setattr(moments, "time", clock)
        monkeypatch.setattr(system, "boot", lambda: boot)

    return move


@pytest.mark.parametrize("seconds", [-40_000_000, -50, 0, 5, 40_000_000])
def test_a_clock_that_was_set_moves_no_window(tmp_path, set_clock, seconds):
    set_clock(0, "one")
    began = begun(tmp_path / "s", count=3)
    set_clock(seconds, "one")
    found = [one.window for one in SessionStore(tmp_path / "s", {"what": "this"}).windows]
    assert found[0].started_ns == began and list(offsets(found)) == [0.0, 3.0, 6.0]


@pytest.mark.parametrize("boot", ["two", ""])
def test_after_another_start_the_wall_clock_places_them(tmp_path, set_clock, boot):
    set_clock(0, "one")
    began = begun(tmp_path / "s", count=2)
    set_clock(10, boot)
    found = [one.window for one in SessionStore(tmp_path / "s", {"what": "this"}).windows]
    assert abs(found[0].started_ns - (began - 10 * SECOND)) < SECOND
    assert np.allclose(offsets(found), [0.0, 3.0], atol=0.1)


def test_a_clock_that_was_set_back_before_another_start_leaves_their_order(tmp_path, set_clock):
    set_clock(0, "one")
    store_began = begun(tmp_path / "s", count=1)
    set_clock(-1000, "two")
    store = SessionStore(tmp_path / "s", {"what": "this"})
    store.add(window(store_began + 50 * SECOND), None)
    set_clock(-1000, "three")
    found = [one.window for one in SessionStore(tmp_path / "s", {"what": "this"}).windows]
    assert list(offsets(found)) == [0.0, 1.0]  # the second not before the end of the first
