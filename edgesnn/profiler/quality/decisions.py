"""Accuracy of a network that decides: measured once, on golden, on held-out windows of frames.

A decision is the output with the largest sum over the frames of a window that begins at a reset, the first of
them among equals. Windows are independent draws, so a share of them has the exact interval of Clopper and
Pearson. What integers cost is told on the same windows: of the float network's right decisions some become
wrong, of its wrong ones some right; both shares have their exact interval, each at half the error.

Source: C. J. Clopper and E. S. Pearson, The use of confidence or fiducial limits illustrated in the case of
the binomial, Biometrika 26, 1934.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from edgesnn.bundle.eval_frames import EvalFrames
from edgesnn.profiler.budgets.statistics import CONFIDENCE
from edgesnn.program.golden import Golden
from edgesnn.program.ops_frames import FrameOutput
from edgesnn.program.program import Program

#: Values of the widest layer that golden holds at once, few enough for a processor's caches.
_AT_ONCE = 2**18
_POINTS = 100.0

NO_WINDOWS = "the bundle has no held-out frames: import the network with --calibration or --held-out"
NO_LABELS = "the held-out frames have no labels"
NO_FLOAT = "the bundle does not say what the float network decided"

Interval = tuple[float, float]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class DecisionAccuracy:
    """How often a network decides right, and as often as the float network.

    Attributes:
        held_out: The windows that were scored.
        decided: What the integer program decided, int64 ``[windows]``.
        text: Which windows they are.
    """

    held_out: EvalFrames
    decided: IntArray
    text: str

    @property
    def windows(self) -> int:
        """Windows scored."""
        return len(self.decided)

    @property
    def right(self) -> npt.NDArray[np.bool_] | None:
        """Which decisions are right; None without labels."""
        return None if self.held_out.labels is None else self.decided == self.held_out.labels

    @property
    def float_right(self) -> npt.NDArray[np.bool_] | None:
        """Which decisions of the float network were right; None without labels or its decisions."""
        labels, decided = self.held_out.labels, self.held_out.float_decisions
        return None if labels is None or decided is None else decided == labels

    @property
    def same(self) -> npt.NDArray[np.bool_] | None:
        """Which decisions are the float network's; None where nobody asked it."""
        decided = self.held_out.float_decisions
        return None if decided is None else self.decided == decided

    def below_float(self) -> tuple[float, Interval] | None:
        """Accuracy of the float network less this one's, in points of 0.01, with its 95 % interval."""
        mine, theirs = self.right, self.float_right
        if mine is None or theirs is None:
            return None
        lost, won = int((theirs & ~mine).sum()), int((mine & ~theirs).sum())
        lost_low, lost_high = share_interval(lost, self.windows, error=(1 - CONFIDENCE) / 2)
        won_low, won_high = share_interval(won, self.windows, error=(1 - CONFIDENCE) / 2)
        value = _POINTS * (lost - won) / self.windows
        return value, (_POINTS * (lost_low - won_high), _POINTS * (lost_high - won_low))

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """What compares window by window; ``id`` tells windows apart by their frames."""
        named: dict[str, npt.NDArray[np.generic] | None] = {
            "id": np.array([zlib.crc32(one.tobytes()) for one in self.held_out.frames], np.uint32),
            "decided": self.decided,
            "hits": self.right,
            "float_hits": self.float_right,
        }
        return {f"accuracy_window_{name}": array for name, array in named.items() if array is not None}


def share_interval(hits: int, count: int, *, error: float = 1 - CONFIDENCE) -> Interval:
    """The exact interval of a share.

    Args:
        hits: How often.
        count: Of how many, at least 1.
        error: Probability that it misses the true share, at most.
    """
    low = 0.0 if hits == 0 else float(betaincinv(hits, count - hits + 1, error / 2))
    high = 1.0 if hits == count else float(betaincinv(hits + 1, count - hits, 1 - error / 2))
    return low, high


def decisions_of(
    program: Program, held_out: EvalFrames, on_progress: Callable[[int, int], None] | None = None
) -> IntArray:
    """What the integer program decides, by golden.

    Args:
        program: A program that reads frames.
        held_out: Windows of frames.
        on_progress: Told of windows done and in all.

    Returns:
        int64 ``[windows]``.
    """
    golden, last = Golden(program), program.ops[-1]
    summed = isinstance(last, FrameOutput) and last.summed
    step = max(1, _AT_ONCE // (held_out.length * max(program.channels().values())))
    found = []
    for start in range(0, len(held_out), step):
        outputs = golden.sequence(held_out.frames[start : start + step])
        scores = outputs[:, -1] if summed else outputs.sum(axis=1, dtype=np.int64)
        found.append(scores.argmax(axis=-1).astype(np.int64))
        if on_progress is not None:
            on_progress(min(start + step, len(held_out)), len(held_out))
    return np.concatenate(found)


def measure_decisions(
    program: Program,
    held_out: EvalFrames,
    text: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> DecisionAccuracy:
    """Score the integer program; arguments and errors are those of `decisions_of`.

    Args:
        program: A program that reads frames.
        held_out: Windows of frames.
        text: Which windows they are.
        on_progress: Told of windows done and in all.
    """
    return DecisionAccuracy(held_out, decisions_of(program, held_out, on_progress), text)
