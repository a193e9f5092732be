import pytest

from edgesnn.profiler.counts.host import disturbances, read_host, read_state
from edgesnn.record.model import HostState

CALM = HostState(
    governor="performance",
    frequency_mhz=3000.0,
    temperature_c=50.0,
    load_average_1min=0.2,
    memory_available_bytes=10**9,
)
BLIND = CALM.model_copy(
    update={"governor": None, "frequency_mhz": None, "temperature_c": None, "load_average_1min": None}
)


def host(before, after):
    return read_host(before, after).model_copy(update={"usable_cores": 4})


def test_this_machine_is_described():
    state = read_state()
    found = read_host(state, state)
    assert found.cpu
    assert 1 <= found.usable_cores <= found.logical_cores
    assert 0 < found.before.memory_available_bytes <= found.memory_bytes


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"load_average_1min": 3.0}, {}, "busy before the run: load average 3.0 on 4 cores"),
        ({}, {"governor": "powersave"}, "from performance to powersave"),
        ({}, {"temperature_c": 75.0}, "25 degrees hotter"),
    ],
)
def test_what_may_have_moved_the_times_marks_the_run(before, after, words):
    found = disturbances(host(CALM.model_copy(update=before), CALM.model_copy(update=after)))
    assert len(found) == 1
    assert words in found[0]


def test_what_cannot_be_read_marks_nothing():
    assert disturbances(host(BLIND, BLIND)) == []
    assert disturbances(host(CALM, CALM)) == []
