import dataclasses

import pytest

from edgesnn.profiler.counts.host import HostState, disturbances, read_host, read_state

HOST = dataclasses.replace(read_host(), usable_cores=4)
CALM = HostState("performance", 3000.0, 50.0, 0.2, 10**9)


def test_this_machine_is_described():
    host, state = read_host(), read_state()
    assert host.cpu
    assert 1 <= host.usable_cores <= host.logical_cores
    assert 0 < state.memory_available_bytes <= host.memory_bytes


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"load_average_1min": 3.0}, {}, "busy before the run: load average 3.0 on 4 cores"),
        ({}, {"governor": "powersave"}, "from performance to powersave"),
        ({}, {"temperature_c": 75.0}, "25 degrees hotter"),
    ],
)
def test_what_may_have_moved_the_times_marks_the_run(before, after, words):
    found = disturbances(HOST, dataclasses.replace(CALM, **before), dataclasses.replace(CALM, **after))
    assert len(found) == 1
    assert words in found[0]


def test_what_cannot_be_read_marks_nothing():
    blind = HostState(None, None, None, None, 10**9)
    assert disturbances(HOST, blind, blind) == []
    assert disturbances(HOST, CALM, CALM) == []
