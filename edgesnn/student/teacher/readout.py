"""A teacher's readout, taken only where it is asked for, and as exactly as its weights allow."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from edgesnn.student.teacher.loading import Teacher

_STATES = ("past_key_values", "cache_params", "state")
"""What models call the state that they hand out and take back."""


def model_state(output: Any) -> dict[str, Any]:
    """What a model's output hands on to its next call: keys and values, or a recurrent state."""
    return {name: output[name] for name in _STATES if output.get(name) is not None}


class ChosenReadout:
    """A teacher whose forward pass gives logits at chosen positions; as a context it leaves it as it was.

    On a CPU the readout's product is taken in float32 from bfloat16 factors: its result is not rounded to
    bfloat16.

    Args:
        teacher: The teacher.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self._index: Tensor | None = None

    def __enter__(self) -> ChosenReadout:
        model: Any = self._teacher.model
        self._head = model.get_output_embeddings()
        self._precision: Any = None
        if self._teacher.device.type == "cpu" and self._teacher.dtype == torch.bfloat16:
            model.set_output_embeddings(copy.deepcopy(self._head).float())
            self._precision = getattr(torch.backends.mkldnn, "matmul", None)
        if self._precision is not None:
            self._before = getattr(self._precision, "fp32_precision", None)
            self._precision.fp32_precision = "bf16"
        self._hook = model.get_output_embeddings().register_forward_pre_hook(self._select)
        return self

    def __exit__(self, *exception: object) -> None:
        model: Any = self._teacher.model
        self._hook.remove()
        model.set_output_embeddings(self._head)
        if self._precision is not None:
            self._precision.fp32_precision = self._before

    def __call__(self, ids: Tensor, index: Tensor | None = None, **state: Any) -> tuple[Tensor, Any]:
        """One forward pass.

        Args:
            ids: int64 ``[B, L]``.
            index: int64 ``[m]``, places in the flattened ``B * L`` that are read out; None for all.
            state: What the teacher goes on from, or ``use_cache``.

        Returns:
            Logits ``[m, rows]``, and the output they came with.
        """
        self._index = index
        output = self._teacher.model(input_ids=ids, **state)
        return output.logits.reshape(-1, output.logits.shape[-1]), output

    def _select(self, head: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = arguments[0].flatten(0, 1)
        if self._index is not None:
            hidden = hidden[self._index]
        return (hidden[None].to(next(head.parameters()).dtype), *arguments[1:])
