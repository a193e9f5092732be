"""The arrays of a Lava export by name, each stored once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.program.ops import Embed, Linear, Readout


class LavaArrays:
    """Collects arrays; equal ones share a name.

    Attributes:
        stored: The arrays by name.
    """

    def __init__(self) -> None:
        self.stored: dict[str, npt.NDArray[Any]] = {}
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, name: str, array: npt.NDArray[Any]) -> str:
        """Keep an array.

        Args:
            name: Its name, unless an equal array is kept already.
            array: The array.

        Returns:
            The name under which it is kept.
        """
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._names:
            self._names[key] = name
            self.stored[name] = np.ascontiguousarray(array)
        return self._names[key]

    def names(self, op: Embed | Linear | Readout, *fields: str) -> dict[str, str]:
        """Keep some arrays of an op; their names by field."""
        return {field: self.add(f"{op.name}.{field}", getattr(op, field)) for field in fields}
