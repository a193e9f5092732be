"""Calibration frames: read strictly; what they hold says what samples are."""

import numpy as np
import pytest

from edgesnn.errors import FramesError
from edgesnn.nir.calibration import (
    CalibrationFrames,
    clipped_share,
    read_calibration,
    samples_for,
    to_samples,
)
from edgesnn.nir.fold import Samples


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_frames_may_be_flat_and_labels_may_be_missing(tmp_path):
    frames = np.arange(2 * 3 * 8).reshape(2, 3, 8)
    flat = read_calibration(saved(tmp_path / "a.npz", frames=frames), (2, 2, 2))
    assert flat.frames.shape == (2, 3, 2, 2, 2) and flat.labels is None
    assert (flat.frames[1, 2, 1, 0] == [44, 45]).all()
    both = read_calibration(saved(tmp_path / "b.npz", frames=frames, labels=np.array([1, 0], np.int8)), (8,))
    assert both.labels.tolist() == [1, 0] and both.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"other": np.ones(3)}, "has no array 'frames'"),
        ({"frames": np.ones((2, 3, 9))}, "do not fit the network"),
        ({"frames": np.ones((0, 3, 8))}, "do not fit the network"),
        ({"frames": np.ones(8)}, "do not fit the network"),
        ({"frames": np.full((2, 3, 8), np.nan)}, "not all finite"),
        ({"frames": np.ones((2, 3, 8), complex)}, "not all finite"),
        ({"frames": np.ones((2, 3, 8)), "labels": np.ones(3, int)}, "no classes of its windows"),
        ({"frames": np.ones((2, 3, 8)), "labels": np.ones(2)}, "no classes of its windows"),
        ({"frames": np.ones((2, 3, 8)), "labels": np.array([0, -1])}, "no classes of its windows"),
    ],
)
def test_what_is_no_calibration_set_is_refused(tmp_path, arrays, reason):
    with pytest.raises(FramesError, match=reason) as met:
        read_calibration(saved(tmp_path / "x.npz", **arrays), (8,))
    assert "numpy.savez" in met.value.remedy and met.value.exit_code == 1


def test_a_missing_file_and_one_that_is_no_npz_are_refused(tmp_path):
    with pytest.raises(FramesError, match="cannot read"):
        read_calibration(tmp_path / "none.npz", (8,))
    (tmp_path / "x.npz").write_bytes(b"frames")
    with pytest.raises(FramesError, match="no .npz file that can be read"):
        read_calibration(tmp_path / "x.npz", (8,))


@pytest.mark.parametrize(
    ("frames", "scale", "expected"),
    [
        (None, None, Samples(0, 1, 1.0)),
        (None, 0.5, Samples(-127, 127, 0.5)),
        (np.array([0, 1]), None, Samples(0, 1, 1.0)),
        (np.array([0.0, 1.0]), None, Samples(0, 1, 1.0)),
        (np.array([0, 3]), None, Samples(0, 127, 1.0)),
        (np.array([-1, 1]), None, Samples(-127, 127, 1.0)),
        (np.array([0.0, 0.5]), None, Samples(0, 127, float(np.float32(0.5 / 127)))),
        (np.array([-2.0, 0.5]), None, Samples(-127, 127, float(np.float32(2 / 127)))),
        (np.array([0, 1000]), None, Samples(0, 127, float(np.float32(1000 / 127)))),
        (np.array([0.0, 1.0]), 0.25, Samples(0, 127, 0.25)),
    ],
)
def test_the_frames_say_what_samples_hold(frames, scale, expected):
    given = None if frames is None else CalibrationFrames("x", frames.reshape(1, 1, -1), None)
    assert samples_for(given, scale) == expected


def test_samples_are_rounded_and_cut_and_what_was_cut_is_counted():
    samples, frames = Samples(0, 127, 0.5), np.array([[[-1.0, 0.24, 0.26, 63.5, 64.0, 80.0]]])
    assert to_samples(frames, samples).tolist() == [[[0, 0, 1, 127, 127, 127]]]
    assert clipped_share(frames, samples) == 3 / 6
