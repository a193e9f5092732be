"""How much of its teacher a student kept, on identical text.

Both predict the next student token at the positions where a native token of the teacher starts. Retention is
the student's top-1 over the teacher's there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesnn.errors import TrainingError
from edgesnn.student.teacher.cache import TeacherCache


def eval_arrays(cache: TeacherCache) -> dict[str, NDArray[Any]]:
    """The content of ``eval.npz`` with a teacher's answers.

    Args:
        cache: A complete cache over the held-out text.

    Returns:
        ``ids`` int32 ``[n]``, ``doc_starts`` int64 ``[documents + 1]``, ``doc_bytes`` int64 ``[documents]``,
        ``positions`` int64 ``[p]`` (places in ``ids`` where a native token starts), and at these
        places ``teacher_top1`` int32 (the teacher's best student token), ``teacher_logp`` float32
        (log-probability of the id that stands there) and ``teacher_native_logp`` float32 (of the native token
        that starts there; its sum gives the teacher's bits per byte).

    Raises:
        TrainingError: The cache is not complete.
    """
    if not cache.complete:
        raise TrainingError(
            f"the teacher cache '{cache.directory}' is not complete",
            actual=f"{cache.done} of {cache.total} positions",
            remedy="run the teacher again; it goes on where it stopped",
        )
    text = cache.text
    return {
        "ids": np.asarray(text.ids),
        "doc_starts": np.asarray(text.doc_starts),
        "doc_bytes": np.asarray(text.doc_bytes),
        "positions": np.asarray(text.positions),
        "teacher_top1": cache.array("teacher_top1").astype(np.int32),
        "teacher_logp": np.asarray(cache.array("target_logp")),
        "teacher_native_logp": np.asarray(cache.array("native_logp")),
    }
