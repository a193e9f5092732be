"""Frames of a user to calibrate on: read strictly, and what they say of the samples that will come."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import FramesError
from edgesnn.nir.fold import Samples
from edgesnn.nir.nodes import Float64Array, Shape
from edgesnn.npz import arrays_from
from edgesnn.program.ops_frames import SAMPLE_MAX

#: Bytes that an unpacked calibration set may have.
BYTES_MAX = 2**31
_REMEDY = "numpy.savez(FILE, frames=frames, labels=labels) with frames [n, frames, *shape] and labels [n]"


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationFrames:
    """Windows of frames, and what each of them is.

    Attributes:
        name: Name of the file.
        frames: Real values ``[n, frames, *shape]``, of a dtype of its own.
        labels: int64 ``[n]``, or None.
    """

    name: str
    frames: npt.NDArray[Any]
    labels: npt.NDArray[np.int64] | None


def read_calibration(path: Path, shape: Shape) -> CalibrationFrames:
    """Read a calibration set.

    Args:
        path: An ``.npz`` with ``frames`` ``[n, frames, *shape]`` and, if the task is one of classes,
            ``labels`` ``[n]``.
        shape: Shape of one frame; frames may also be flat.

    Raises:
        FramesError: It is none.
    """
    try:
        with open(path, "rb") as stream:
            arrays = arrays_from(stream, BYTES_MAX, {"frames", "labels"})
    except OSError as error:
        raise FramesError(f"cannot read '{path}'", actual=error.strerror, remedy=_REMEDY) from None
    except ValueError as error:
        raise FramesError(
            f"'{path}' is no .npz file that can be read", actual=error, remedy=_REMEDY
        ) from None
    if "frames" not in arrays:
        raise FramesError(f"'{path}' has no array 'frames'", actual=sorted(arrays), remedy=_REMEDY)
    frames, labels = arrays["frames"], arrays.get("labels")
    flat = (int(np.prod(shape)),)
    if frames.ndim < 3 or frames.size == 0 or frames.shape[2:] not in (shape, flat):
        raise FramesError(
            f"'frames' of '{path}' do not fit the network",
            actual=f"shape {list(frames.shape)}",
            limit=f"[n, frames, {', '.join(map(str, shape))}]",
            remedy=_REMEDY,
        )
    if frames.dtype.kind not in "biuf" or (frames.dtype.kind == "f" and not np.isfinite(frames).all()):
        raise FramesError(
            f"'frames' of '{path}' are not all finite numbers", actual=frames.dtype, remedy=_REMEDY
        )
    if labels is not None:
        if labels.shape != frames.shape[:1] or labels.dtype.kind not in "iu" or (labels < 0).any():
            raise FramesError(
                f"'labels' of '{path}' are no classes of its windows",
                actual=f"{labels.dtype} {list(labels.shape)}",
                limit=f"whole numbers of at least 0, [{len(frames)}]",
                remedy=_REMEDY,
            )
        labels = labels.astype(np.int64)
    return CalibrationFrames(path.name, frames.reshape(*frames.shape[:2], *shape), labels)


def samples_for(calibration: CalibrationFrames | None, scale: float | None) -> Samples:
    """What frames hold: spikes where nothing else is said or seen.

    Args:
        calibration: Frames as they come, or None.
        scale: What a sample is worth, where the user says so.

    Returns:
        Spikes; counts, where whole numbers go beyond 1; samples with a scale by which the largest becomes
        127, where there are others.
    """
    if calibration is None:
        return Samples() if scale is None else Samples(-SAMPLE_MAX, SAMPLE_MAX, _float32(scale))
    frames = calibration.frames
    low, high = float(frames.min()), float(frames.max())
    least = 0 if low >= 0 else -SAMPLE_MAX
    if scale is not None:
        return Samples(least, SAMPLE_MAX, _float32(scale))
    whole = frames.dtype.kind != "f" or bool((frames == np.rint(frames)).all())
    if whole and low >= 0 and high <= 1:
        return Samples()
    if whole and max(-low, high) <= SAMPLE_MAX:
        return Samples(least, SAMPLE_MAX)
    return Samples(least, SAMPLE_MAX, _float32(max(-low, high) / SAMPLE_MAX))


def to_samples(frames: npt.NDArray[Any], samples: Samples) -> npt.NDArray[np.int8]:
    """Real values as a program reads them, flat int8 ``[n, frames, c]``."""
    codes = np.clip(np.rint(frames.astype(np.float64) / samples.scale), samples.low, samples.high)
    return codes.astype(np.int8).reshape(*frames.shape[:2], -1)


def clipped_share(frames: Float64Array, samples: Samples) -> float:
    """Share of values that lie outside of what samples can say, 0..1."""
    codes = np.rint(frames.astype(np.float64) / samples.scale)
    return float(((codes < samples.low) | (codes > samples.high)).mean())


def _float32(scale: float) -> float:
    return float(np.float32(scale))
