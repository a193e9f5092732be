"""Held-out windows of frames in a bundle: what a network is timed and scored on wherever the bundle goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import BundleError
from edgesnn.npz import arrays_from
from edgesnn.program.ops_frames import Frames

#: Name of the file.
EVAL_FRAMES_NAME = "eval_frames.npz"
#: Most bytes that the frames of a bundle have unpacked: 1,600 windows of 20 frames of 2 x 32 x 32.
EVAL_FRAMES_BYTES = 2**26
#: Most bytes of the whole file unpacked.
_FILE_BYTES = 2 * EVAL_FRAMES_BYTES
_SEED = 20_240_601


@dataclass(frozen=True, slots=True, eq=False)
class EvalFrames:
    """Windows of frames, each a decision of its own from a reset.

    Attributes:
        frames: int8 ``[windows, frames, channels]``.
        labels: The class of each, int64 ``[windows]``; None where the task is none of classes.
        float_decisions: What the float network decided, int64 ``[windows]``; None where nobody asked it.
    """

    frames: npt.NDArray[np.int8]
    labels: npt.NDArray[np.int64] | None = None
    float_decisions: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Windows."""
        return len(self.frames)

    @property
    def length(self) -> int:
        """Frames of a window."""
        return int(self.frames.shape[1])

    def first(self, windows: int) -> EvalFrames:
        """The first windows; all where there are fewer."""
        return self._chosen(np.arange(min(windows, len(self))))

    def drawn(self) -> EvalFrames:
        """The windows in an order drawn once and for all: the first of them are a fair sample."""
        return self._chosen(np.random.default_rng(_SEED).permutation(len(self)))

    def kept(self) -> EvalFrames:
        """The first windows, as many as a bundle may hold."""
        return self.first(max(1, EVAL_FRAMES_BYTES // (self.length * self.frames.shape[2])))

    def write(self, path: Path) -> None:
        """Write ``eval_frames.npz``; the same windows give the same bytes."""
        arrays: dict[str, npt.NDArray[np.generic]] = {"frames": self.frames}
        if self.labels is not None:
            arrays["labels"] = self.labels
        if self.float_decisions is not None:
            arrays["float_decisions"] = self.float_decisions
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes arrays as flags

    def _chosen(self, places: npt.NDArray[np.int64]) -> EvalFrames:
        labels, decided = self.labels, self.float_decisions
        return EvalFrames(
            self.frames[places],
            None if labels is None else labels[places],
            None if decided is None else decided[places],
        )


def read_eval_frames(bundle: Bundle) -> EvalFrames | None:
    """The held-out windows of a bundle, or None where it has none.

    Args:
        bundle: A bundle whose program reads frames.

    Raises:
        BundleError: The file is none, or does not fit the program.
    """
    frames = bundle.program().frames
    if frames is None or EVAL_FRAMES_NAME not in bundle.manifest.files:
        return None
    path = bundle.file(EVAL_FRAMES_NAME)
    try:
        with path.open("rb") as stream:
            arrays = arrays_from(stream, _FILE_BYTES, ("frames", "labels", "float_decisions"))
    except (ValueError, OSError) as error:
        raise BundleError(f"'{path}' holds no frames: {error}") from None
    given = arrays.get("frames")
    if given is None or not _fits(given, frames):
        found = "no array 'frames'" if given is None else f"{given.dtype} {list(given.shape)}"
        raise BundleError(
            f"'{path}' does not hold frames of this network",
            actual=found,
            limit=f"int8 [windows, frames, {frames.channels}] of {frames.low}..{frames.high}",
            remedy="import the network again",
        )
    for name in ("labels", "float_decisions"):
        classes = arrays.get(name)
        if classes is not None and (
            classes.dtype.kind not in "iu" or classes.shape != given.shape[:1] or (classes < 0).any()
        ):
            raise BundleError(
                f"'{name}' of '{path}' are no classes of its windows",
                actual=f"{classes.dtype} {list(classes.shape)}",
                limit=f"whole numbers of at least 0, [{len(given)}]",
                remedy="import the network again",
            )
    labels, decided = arrays.get("labels"), arrays.get("float_decisions")
    return EvalFrames(
        given,
        None if labels is None else labels.astype(np.int64),
        None if decided is None else decided.astype(np.int64),
    )


def _fits(given: npt.NDArray[np.generic], frames: Frames) -> bool:
    whole = given.dtype == np.int8 and given.ndim == 3 and given.size > 0
    return bool(
        whole
        and given.shape[2] == frames.channels
        and frames.low <= given.min()
        and given.max() <= frames.high
    )
