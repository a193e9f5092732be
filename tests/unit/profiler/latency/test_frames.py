import numpy as np
import pytest

from edgesnn.errors import RunnerError
from edgesnn.profiler.budgets.workload import FramesWorkload
from edgesnn.profiler.latency.frames import measure_frames
from edgesnn.runners.base import Window

FRAMES = np.zeros((20, 3), np.int8)


def measured(runner, *, decision_frames=5, outputs=1, **workload):
    asked = {"kind": "frames", "windows": 3, "min_window_seconds": 0.1, "min_window_frames": 20, **workload}
    return measure_frames(
        runner,
        FramesWorkload(**asked),
        FRAMES,
        decision_frames=decision_frames,
        outputs=outputs,
        on_progress=lambda *_: None,
    )


@pytest.fixture
def runner(parts):
    """Frame i of a pass takes i + 1 milliseconds; what was asked of every window."""

    def make():
        one = parts.Runner()
        one.passes = []

        def window(given, repeat, warmup):
            one.passes.append((len(given), repeat))
            times = np.tile(1_000_000 * (np.arange(len(given)) + 1), repeat)
            return Window(times, 0, int(times.sum()), "a" * 64, len(times))

        one.window = window
        return one

    return make()


def test_a_decision_takes_as_long_as_its_frames(runner):
    found = measured(runner)
    passes = len(found.frame_ms) // 20
    wanted = np.tile([1 + 2 + 3 + 4 + 5, 6 + 7 + 8 + 9 + 10, 65, 90], passes)
    np.testing.assert_allclose(found.decision_ms, wanted)
    assert found.forward.max_ms == 20.0


def test_a_window_is_whole_passes_that_last_as_long_as_asked(runner):
    found = measured(runner, min_window_seconds=0.5)
    assert {length for length, _ in runner.passes} == {20}
    assert all(window.latencies_ms.sum() >= 500 for window in found.windows)


def test_a_window_is_shorter_where_a_frame_has_very_many_outputs(runner):
    assert len(measured(runner, min_window_seconds=100.0, outputs=2**22).windows[0].latencies_ms) == 20


def test_without_a_length_there_is_no_decision(runner):
    found = measured(runner, decision_frames=None)
    assert found.decision is None
    assert "per_decision_ms" not in found.arrays()


def test_a_device_that_cannot_step_has_no_latency(runner):
    runner.capabilities = frozenset()
    with pytest.raises(RunnerError, match="one step at a time"):
        measured(runner)
