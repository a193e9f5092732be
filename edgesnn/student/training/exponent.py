"""The exponent of the integer logits that integer-aware training runs with."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn

from edgesnn.student.artifact.evaluate import EvalDocuments, evaluate
from edgesnn.student.kernels.rounding import WEIGHT_MAX, row_scales
from edgesnn.student.model.registry import IntegerAware

TRIED = 4
"""Exponents tried, the largest one 2 above the one that clips nothing: as the compiler does."""

_CLIPPED_TOO = 2


def choose_exponent(model: nn.Module, text: EvalDocuments, fp16: bool) -> int:
    """The exponent with the fewest bits on a text; a tie goes to the smaller one.

    Args:
        model: A student in float form, its norms frozen.
        text: Documents.
        fp16: Whether matrices will be stored as float16.
    """
    student = cast(IntegerAware, model)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.no_grad():
        reach = torch.zeros(1, device=device)
        for a, b in zip(text.doc_starts[:-1].tolist(), text.doc_starts[1:].tolist(), strict=True):
            ids = torch.from_numpy(text.ids[a:b].astype("int64")).to(device)
            reach = torch.maximum(reach, student.logit_reach(ids[None]))
        table = cast(torch.Tensor, model.get_parameter("embed.weight"))
        largest = float((reach * row_scales(table.t()).float()).max())
    top = (math.floor(math.log2(WEIGHT_MAX / largest)) if largest > 0 else 0) + _CLIPPED_TOO
    scores: dict[int, float] = {}
    for exponent in range(top, top - TRIED, -1):
        student.set_integer_aware(fp16, exponent)
        scores[exponent] = evaluate(model, text).nats
    student.leave_integer_aware()
    model.train(was_training)
    return min(scores, key=lambda f: (scores[f], f))
