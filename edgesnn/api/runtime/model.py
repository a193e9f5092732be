"""A runner as a language model of float logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.program.state import State
from edgesnn.runners.base import Capability, IntArray, Output, Runner
from edgesnn.runners.recompute import Recomputing

#: Tokens of a prompt that are run as one sequence: the memory of a longer prompt does not grow with it.
CHUNK = 512


class RunnerModel:
    """A runner that holds one context.

    Args:
        runner: The open runner.
        scale: What an integer logit stands for.
        state: A context to go on with; None begins a new one.
        pending: Tokens of that context that its state has not seen.

    Attributes:
        stepped: Tokens behind the prompt that the context has seen.
    """

    def __init__(
        self, runner: Runner, scale: float, state: State | None = None, pending: list[int] | None = None
    ) -> None:
        self._runner, self._scale, self._state = runner, scale, state
        self._pending = list(pending or ())
        self.stepped = 0

    def prompt(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Run a prompt behind the context, or as a new one; logits after its last token."""
        whole = np.concatenate([np.array(self._pending, np.int64), ids])
        if self._state is not None:
            self._runner.restore(self._state)
        elif Capability.PREFILL in self._runner.capabilities:
            # each token of the rest would run the whole prompt again
            cut = len(whole) if isinstance(self._runner, Recomputing) else CHUNK
            first = self._runner.prefill(whole[None, :cut])
            return self._float((self._more(whole[cut:]) or first).logits[0])
        else:
            self._runner.reset(1)
        output = self._more(whole)
        assert output is not None  # a prompt has tokens
        return self._float(output.logits[0])

    def next(self, token: int) -> npt.NDArray[np.float32]:
        """Continue by one token; logits after it."""
        logits = self._runner.step(np.array([token], np.int64)).logits[0]
        self.stepped += 1
        return self._float(logits)

    def _more(self, ids: IntArray) -> Output | None:
        """Run tokens behind the context."""
        output = None
        if Capability.STATE in self._runner.capabilities:
            for start in range(0, len(ids), CHUNK):
                output = self._runner.extend(ids[None, start : start + CHUNK])
        else:
            for token in ids:
                output = self._runner.step(token[None])
        return output

    def _float(self, logits: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        if np.issubdtype(logits.dtype, np.integer):
            return logits.astype(np.float32) * np.float32(self._scale)
        return logits.astype(np.float32)
