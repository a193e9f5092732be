"""A runner as a language model: what it says about the next token, and runs of greedy tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.program.state import State
from edgesnn.runners.base import BEST_MAX, Capability, Choosing, IntArray, Output, Runner
from edgesnn.runners.recompute import Recomputing
from edgesnn.text.sampling import Scores

#: Tokens of a prompt that are run as one sequence: the memory of a longer prompt does not grow with it.
CHUNK = 512


class RunnerModel:
    """A runner that holds one context.

    Args:
        runner: The open runner.
        scale: What an integer logit stands for.
        state: A context to go on with; None begins a new one.
        pending: Tokens of that context that its state has not seen.
        deciding: How many of the best tokens will be looked at; None for all. A runner that cannot give them
            alone gives all.

    Attributes:
        stepped: Tokens behind the prompt that the context has seen.
    """

    def __init__(
        self,
        runner: Runner,
        scale: float,
        state: State | None = None,
        pending: list[int] | None = None,
        *,
        deciding: int | None = None,
    ) -> None:
        self._runner, self._scale, self._state = runner, scale, state
        self._pending = list(pending or ())
        self._chooser: Choosing | None = None
        self._k = 0 if deciding is None else deciding
        if Capability.BEST in runner.capabilities and 1 <= self._k <= BEST_MAX:
            assert isinstance(runner, Choosing)
            self._chooser = runner
        self.stepped = 0

    def prompt(self, ids: npt.NDArray[np.int64]) -> Scores:
        """Run a prompt behind the context, or as a new one; what may follow its last token."""
        whole = np.concatenate([np.array(self._pending, np.int64), ids])
        if self._state is not None:
            self._runner.restore(self._state)
            return self._after(whole)
        if self._chooser is not None:
            first = self._best(self._chooser, whole[None, :CHUNK], new=True)
            return self._after(whole[CHUNK:]) if len(whole) > CHUNK else first
        if Capability.PREFILL in self._runner.capabilities:
            # each token of the rest would run the whole prompt again
            cut = len(whole) if isinstance(self._runner, Recomputing) else CHUNK
            first = self._all(self._runner.prefill(whole[None, :cut]))
            return self._after(whole[cut:]) if len(whole) > cut else first
        self._runner.reset(1)
        return self._after(whole)

    def next(self, token: int) -> Scores:
        """Continue by one token; what may follow it."""
        self.stepped += 1
        if self._chooser is not None:
            return self._best(self._chooser, np.array([[token]], np.int64))
        return self._all(self._runner.step(np.array([token], np.int64)))

    def greedy(self, token: int, count: int, end: int | None) -> list[int]:
        """Continue by one token and the best ones after it, at most ``count``, the last at ``end``."""
        if self._chooser is None:
            scores = self.next(token)
            place = int(np.argmax(scores.logits))
            return [place if scores.ids is None else int(scores.ids[place])]
        made = self._chooser.greedy(token, count, end)
        self.stepped += len(made)
        return made

    def _after(self, ids: IntArray) -> Scores:
        """Run tokens behind the context; there is at least one."""
        if self._chooser is not None:
            for start in range(0, len(ids), CHUNK):
                scores = self._best(self._chooser, ids[None, start : start + CHUNK])
            return scores
        if Capability.STATE in self._runner.capabilities:
            for start in range(0, len(ids), CHUNK):
                output = self._runner.extend(ids[None, start : start + CHUNK])
        else:
            for token in ids:
                output = self._runner.step(token[None])
        return self._all(output)

    def _best(self, chooser: Choosing, ids: IntArray, *, new: bool = False) -> Scores:
        tokens, logits = chooser.best(ids, self._k, new=new)
        return Scores(self._float(logits), tokens)

    def _all(self, output: Output) -> Scores:
        return Scores(self._float(output.logits[0]))

    def _float(self, logits: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        if np.issubdtype(logits.dtype, np.integer):
            return logits.astype(np.float32) * np.float32(self._scale)
        return logits.astype(np.float32)
