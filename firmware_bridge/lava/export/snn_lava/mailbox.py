"""How token ids get into the processes and logits out: two memory-mapped files.

``Var.get`` and ``Var.set`` of Lava move one element per message, 50 us each. A mapped file moves none.
"""

from __future__ import annotations

import os

import numpy as np

#: int32 words before the token ids in the file of tokens.
HEADER = 8
#: Words of the header: slot of the context; 1 for a new context; rows; tokens per row; 1 for the logits of
#: every token, 0 for those of the last.
CONTEXT, FRESH, ROWS, LENGTH, ALL = range(5)


class Job:
    """What the processes are asked to do next, read from the file of tokens.

    Args:
        words: The file, int32.

    Attributes:
        context: Slot of the context.
        fresh: Whether the context starts anew.
        every: Whether the logits of every token are wanted, or of the last one only.
        ids: Token ids ``[rows, length]``.
    """

    def __init__(self, words: np.ndarray) -> None:
        header = words[:HEADER]
        rows, length = int(header[ROWS]), int(header[LENGTH])
        self.context = int(header[CONTEXT])
        self.fresh = bool(header[FRESH])
        self.every = bool(header[ALL])
        self.ids = np.array(words[HEADER : HEADER + rows * length]).reshape(rows, length)


def write_job(
    words: np.ndarray, ids: np.ndarray, *, context: int = 0, fresh: bool = True, every: bool = True
) -> None:
    """Put a job into the file of tokens: ids ``[rows, length]`` and what to do with them."""
    rows, length = ids.shape
    words[:5] = (context, fresh, rows, length, every)
    words[HEADER : HEADER + ids.size] = ids.ravel()


class Mapped:
    """A file of int32 words that is mapped again when it has grown.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._bytes = 0
        self._words = np.empty(0, np.int32)

    def words(self) -> np.ndarray:
        """The file's content, int32, shared with everyone who maps it."""
        size = os.stat(self._path).st_size
        if size != self._bytes:
            self._words = np.memmap(self._path, np.int32, mode="r+")
            self._bytes = size
        return self._words
