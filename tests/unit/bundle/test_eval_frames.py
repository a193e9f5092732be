import numpy as np
import pytest

from edgesnn.bundle import eval_frames
from edgesnn.bundle.bundle import Bundle
from edgesnn.bundle.eval_frames import EVAL_FRAMES_NAME, EvalFrames, read_eval_frames
from edgesnn.errors import BundleError
from tests.support.wake_networks import CHANNELS, held_out, wake_bundle


def test_windows_come_back_as_they_were_written(tmp_path):
    written = held_out(30)
    found = read_eval_frames(wake_bundle(tmp_path / "wake", windows=written))
    np.testing.assert_array_equal(found.frames, written.frames)
    np.testing.assert_array_equal(found.labels, written.labels)
    np.testing.assert_array_equal(found.float_decisions, written.float_decisions)
    assert read_eval_frames(wake_bundle(tmp_path / "bare")) is None


def test_windows_are_under_the_hash_of_the_bundle(tmp_path):
    bundle = wake_bundle(tmp_path / "wake", windows=held_out(30))
    held_out(30, seed=1).write(bundle.file(EVAL_FRAMES_NAME))
    with pytest.raises(BundleError, match="size|changed"):
        Bundle(bundle.path)


def test_a_bundle_keeps_no_more_than_its_limit_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(eval_frames, "EVAL_FRAMES_BYTES", 7 * 10 * CHANNELS)
    bundle = wake_bundle(tmp_path / "wake", windows=held_out(30))
    assert len(read_eval_frames(bundle)) == 7
    assert bundle.manifest.student["held_out"] == {"windows": 7, "of": 30, "frames": 10}


def test_a_drawn_order_is_the_same_every_time_and_keeps_windows_whole():
    given = held_out(50)
    once, again = given.drawn(), given.drawn()
    np.testing.assert_array_equal(once.labels, again.labels)
    assert once.labels.tolist() != given.labels.tolist()
    place = {one.tobytes(): i for i, one in enumerate(given.frames)}
    assert [given.labels[place[one.tobytes()]] for one in once.frames] == once.labels.tolist()


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (EvalFrames(np.zeros((3, 4, CHANNELS + 1), np.int8)), "frames of this network"),
        (EvalFrames(np.full((3, 4, CHANNELS), 2, np.int8)), "frames of this network"),
        (EvalFrames(np.zeros((3, 4, CHANNELS), np.int16)), "frames of this network"),
        (EvalFrames(np.zeros((3, 4, CHANNELS), np.int8), np.zeros((3, 2), int)), "'labels'"),
        (EvalFrames(np.zeros((3, 4, CHANNELS), np.int8), None, np.array([0, -1, 2])), "'float_decisions'"),
    ],
)
def test_frames_that_do_not_fit_are_refused_by_name(tmp_path, windows, message):
    bundle = wake_bundle(tmp_path / "wake", windows=windows)
    with pytest.raises(BundleError, match=message):
        read_eval_frames(bundle)
