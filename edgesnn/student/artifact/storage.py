"""How an artifact's matrices are stored: float32, float16, or int8 codes beside their scales."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgesnn.errors import ArtifactError
from edgesnn.student.kernels.rounding import int8_codes

SCALE = "_scale"
"""What follows the name of a matrix of int8 codes in the name of its scales."""

BY_COLUMN = frozenset({"embed.weight"})
"""Tables whose columns have a scale each in the integer program; of all other matrices rows have."""


def stored_state(model: nn.Module, storage: str) -> dict[str, Tensor]:
    """The state dict as it is stored.

    Vectors (norms and biases) stay float32: they are small, and a variance can exceed what float16 holds. A
    matrix of int8 codes has its float32 scales beside it, under its name and `SCALE`, in a shape that
    broadcasts over it.

    Args:
        model: The student.
        storage: ``float32``, ``float16`` or ``int8``: how matrices are stored.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 2 and storage == "int8":
            state[name], state[name + SCALE] = int8_codes(tensor, by_column=name in BY_COLUMN)
        else:
            half = storage != "float32" and tensor.ndim > 1
            state[name] = (tensor.half() if half else tensor.float()).detach().contiguous()
    return state


def restored_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict that a stored one stands for: int8 codes times their scales, all else as it is.

    Raises:
        ArtifactError: Codes have no scales, or scales that do not fit them.
    """
    restored = dict(state)
    for name, codes in state.items():
        if codes.dtype != torch.int8:
            continue
        scales = restored.pop(name + SCALE, None)
        shapes = [
            tuple(n if i == axis else 1 for i, n in enumerate(codes.shape)) for axis in range(codes.ndim)
        ]
        if scales is None or scales.dtype != torch.float32 or tuple(scales.shape) not in shapes:
            raise ArtifactError(
                f"tensor '{name}' is int8 without scales that fit it",
                actual=None if scales is None else f"{scales.dtype} {list(scales.shape)}",
                limit=f"'{name}{SCALE}', float32, one number a row or a column",
            )
        restored[name] = codes.float() * scales
    return restored
