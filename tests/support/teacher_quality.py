"""What a teacher itself scores on the slice that its students are compared on."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TeacherQuality:
    """A teacher on a slice: its native tokens, and its best student tokens at the retention positions."""

    bits_per_byte: float
    top1: float
    positions: int
    documents: int


def teacher_quality(arrays):
    """The figures of an ``eval.npz`` with a teacher's answers."""
    nats = -float(arrays["teacher_native_logp"].sum(dtype=np.float64))
    right = arrays["ids"][arrays["positions"]] == arrays["teacher_top1"]
    return TeacherQuality(
        nats / math.log(2) / int(arrays["doc_bytes"].sum()),
        float(right.mean()),
        len(arrays["positions"]),
        len(arrays["doc_bytes"]),
    )
