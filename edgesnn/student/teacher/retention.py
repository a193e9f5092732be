"""How much of its teacher a student kept, on identical text.

Both predict the next student token at the positions where a native token of the teacher starts. Retention is
the student's top-1 over the teacher's there. Beside it stand the bits per byte of both on the whole text: the
teacher's over its native tokens, the student's over its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesnn.errors import TrainingError
from edgesnn.student.teacher.cache import TeacherCache


@dataclass(frozen=True, slots=True)
class TeacherQuality:
    """A teacher on a slice.

    Attributes:
        bits_per_byte: Over its native tokens; None where the slice has no bytes.
        top1: Share of the retention positions where its best student token was right.
        positions: Retention positions.
        documents: Contexts.
    """

    bits_per_byte: float | None
    top1: float
    positions: int
    documents: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data for metadata.json."""
        return asdict(self)


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


def teacher_quality(arrays: Mapping[str, NDArray[Any]]) -> TeacherQuality:
    """The teacher's figures on a slice.

    Args:
        arrays: Content of an ``eval.npz`` with a teacher's answers.
    """
    nats = -float(arrays["teacher_native_logp"].sum(dtype=np.float64))
    size = int(arrays["doc_bytes"].sum())
    return TeacherQuality(
        nats / math.log(2) / size if size else None,
        float((arrays["ids"][arrays["positions"]] == arrays["teacher_top1"]).mean()),
        len(arrays["positions"]),
        len(arrays["doc_bytes"]),
    )
