"""Token by token on a runner of whole sequences: every token runs its whole context again.

What a runner without `Capability.STEP` cannot do, its callers still want: the next token. Here a step is one
sequence over the tokens so far, and its time is that of the sequence.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import RunnerError
from edgesnn.program.state import State
from edgesnn.runners.base import Capability, DeviceInfo, IntArray, Output, Runner, RunnerOptions
from edgesnn.runners.host import HostRunner, check_batch


def stepping(runner: Runner, context: int | None = None, ids: int | None = None) -> Runner:
    """A runner that takes one token at a time: the runner itself where it can, else a `Recomputing` one.

    Args:
        runner: An open runner.
        context: See `Recomputing`.
        ids: See `Recomputing`.
    """
    able = runner.capabilities
    if Capability.STEP in able or Capability.SEQUENCE not in able:
        return runner
    return Recomputing(runner, context, ids)


class Recomputing(HostRunner):
    """Steps, prompts and windows of a runner that has whole sequences only.

    Args:
        runner: The open runner, which whoever opened it closes.
        context: Tokens that a step runs at most, the last ones of the text; None runs all of it. In a window
            it keeps every counted step at one length.
        ids: Ids that the tokenizer knows; the logits of others, which stand for no text, are left out.
    """

    summary: ClassVar[str] = "one sequence per token, on a runner of whole sequences"

    def __init__(self, runner: Runner, context: int | None = None, ids: int | None = None) -> None:
        self._runner, self._context, self._known = runner, context, ids
        self._ids: np.ndarray[tuple[int, int], np.dtype[np.int64]] = np.empty((1, 0), np.int64)
        self.name = runner.name
        self.capabilities = runner.capabilities | {Capability.STEP, Capability.PREFILL}

    def open(self, bundle: Bundle, options: RunnerOptions) -> DeviceInfo:
        """Refuse: the runner inside is open already.

        Raises:
            RunnerError: Always.
        """
        del bundle, options
        raise RunnerError(f"runner '{self.name}' is open already")

    def reset(self, batch: int = 1) -> None:
        self._ids = np.empty((batch, 0), np.int64)

    def step(self, tokens: IntArray) -> Output:
        """Run the text so far and one token per sequence; the time is that of the whole sequence."""
        check_batch(tokens, self._ids.shape[0])
        return self._last(np.concatenate([self._ids, np.asarray(tokens, np.int64)[:, None]], axis=1))

    def sequence(self, ids: IntArray) -> Output:
        return self._runner.sequence(ids)

    def prefill(self, ids: IntArray) -> Output:
        return self._last(np.asarray(ids))

    def extend(self, ids: IntArray) -> Output:
        """Run more tokens behind the text: one sequence over all of it."""
        return self._last(np.concatenate([self._ids, np.asarray(ids, np.int64)], axis=1))

    def save(self) -> State:
        """Refuse: there is no state, only the tokens themselves.

        Raises:
            RunnerError: Always.
        """
        raise RunnerError(f"runner '{self.name}' has no state to save")

    def restore(self, state: State) -> None:
        """Refuse, as `save` does.

        Raises:
            RunnerError: Always.
        """
        del state
        raise RunnerError(f"runner '{self.name}' has no state to restore")

    def close(self) -> None:
        """Leave the runner inside as it is: whoever opened it closes it."""

    def _last(self, ids: IntArray) -> Output:
        cut = ids if self._context is None else ids[:, -self._context :]
        output = self._runner.sequence(cut)
        self._ids = np.asarray(cut, np.int64)
        return Output(output.logits[:, -1, : self._known], output.elapsed_ns)


def prefix_logits(runner: Runner, ids: IntArray) -> npt.NDArray[np.float32]:
    """Logits of every place as a generating reader gets them: each from the tokens up to it and no others.

    Args:
        runner: A runner with `Capability.SEQUENCE` and `Capability.BATCH`; its attention may see the future.
        ids: Token ids ``[batch, length]``; what stands behind a place does not count: padding is harmless.

    Returns:
        Float logits ``[batch, length, vocab]``.
    """
    rows = [runner.sequence(ids[:, : end + 1]).logits[:, -1] for end in range(ids.shape[1])]
    return np.stack(rows, axis=1).astype(np.float32, copy=False)
