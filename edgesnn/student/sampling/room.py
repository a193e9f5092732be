"""Keys and values that grow in room taken ahead: a step writes its own and copies none of the others."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import Tensor

_AHEAD = 64
"""Positions of room taken at a time: everything is copied once in so many steps, not in each."""


def with_room(past: Any) -> Any:
    """Give a teacher's states room to grow in.

    Args:
        past: What it keeps of a context, a ``transformers`` cache; changed in place where its layers are
            plain keys and values of every token.

    Returns:
        The same object.
    """
    layers = getattr(past, "layers", [])
    for number, layer in enumerate(layers):
        if type(layer).__name__ == "DynamicLayer" and layer.is_initialized:
            layers[number] = _roomy_layer()(layer)
    return past


@cache
def _roomy_layer() -> Any:
    from transformers import cache_utils

    base: Any = cache_utils.DynamicLayer

    class RoomyLayer(base):  # type: ignore[misc]
        """What `DynamicLayer` does, without its copy at every token."""

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.lazy_initialization(layer.keys, layer.values)
            self.keys, self.values = layer.keys, layer.values
            self._room: tuple[Tensor, Tensor] | None = None

        def update(
            self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
        ) -> tuple[Tensor, Tensor]:
            kept = self.keys.shape[-2]
            wanted = kept + key_states.shape[-2]
            if self._room is None or wanted > self._room[0].shape[-2]:
                self._room = (_larger(self.keys, wanted), _larger(self.values, wanted))
            keys, values = self._room
            keys[..., kept:wanted, :] = key_states
            values[..., kept:wanted, :] = value_states
            self.keys, self.values = keys[..., :wanted, :], values[..., :wanted, :]
            return self.keys, self.values

        def batch_select_indices(self, indices: Tensor) -> None:
            super().batch_select_indices(indices)
            self._room = None

    return RoomyLayer


def _larger(kept: Tensor, wanted: int) -> Tensor:
    """The same numbers with room behind them."""
    room = kept.new_empty((*kept.shape[:-2], wanted + _AHEAD, kept.shape[-1]))
    room[..., : kept.shape[-2], :] = kept
    return room
