import numpy as np
import pytest
from scipy.stats import binomtest

from edgesnn.bundle.eval_frames import EvalFrames
from edgesnn.profiler.frame_quantities import decision_quantities
from edgesnn.profiler.quality.decisions import DecisionAccuracy, decisions_of, share_interval
from edgesnn.profiler.results import Absent
from edgesnn.program.golden import Golden
from tests.support.wake_networks import held_out, wake_program


def scored(labels, float_decisions, decided):
    frames = np.zeros((len(decided), 2, 3), np.int8)
    given = [None if one is None else np.array(one) for one in (labels, float_decisions)]
    return DecisionAccuracy(EvalFrames(frames, *given), np.array(decided), "by hand")


@pytest.mark.parametrize(("hits", "count"), [(0, 7), (7, 7), (3, 7), (980, 1000)])
def test_the_interval_of_a_share_is_the_exact_one(hits, count):
    found = binomtest(hits, count).proportion_ci(0.95, "exact")
    assert share_interval(hits, count) == pytest.approx((found.low, found.high))


def test_the_gap_to_the_float_network_counts_what_only_one_of_them_has_right():
    accuracy = scored([0, 1, 2, 3], [0, 1, 2, 0], [0, 1, 0, 3])
    value, (low, high) = accuracy.below_float()
    assert value == 0.0
    assert low < -40 and high > 40
    assert scored([0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 0, 0]).below_float()[0] == 50.0


def test_no_difference_in_few_windows_shows_nothing_and_in_many_a_point():
    same = np.zeros(200, np.int64)
    assert scored(same, same, same).below_float()[1][1] > 1.0
    many = np.zeros(2000, np.int64)
    assert scored(many, many, many).below_float()[1][1] < 1.0


@pytest.mark.parametrize("summed", [True, False])
def test_a_decision_is_the_largest_sum_over_a_window_the_first_among_equals(summed):
    program, windows = wake_program(summed=summed), held_out(60)
    spikes = Golden(wake_program(summed=False)).sequence(windows.frames)
    sums = spikes.sum(axis=1)
    wanted = [next(c for c, value in enumerate(row) if value == max(row)) for row in sums.tolist()]
    assert decisions_of(program, windows).tolist() == wanted


def test_what_nobody_knows_is_absent_with_its_reason():
    without = decision_quantities(scored(None, [0, 1], [0, 0]))
    assert without["accuracy.decisions"].reason == "the held-out frames have no labels"
    assert without["accuracy.same_decisions"].value == 0.5
    unasked = decision_quantities(scored([0, 1], None, [0, 0]))
    assert unasked["accuracy.decisions"].value == 0.5
    assert "float network decided" in unasked["accuracy.points_below_float"].reason
    assert decision_quantities(Absent("no"))["accuracy.decisions"].reason == "no"


def test_windows_are_told_apart_by_their_frames():
    ids = [
        DecisionAccuracy(one, one.labels, "").arrays()["accuracy_window_id"]
        for one in (held_out(5), held_out(5, 1))
    ]
    assert not np.array_equal(*ids)
