"""Parity: an engine's integer logits against golden's, bit for bit, in every form the engine has.

Three forms, on sequences longer than the largest context window, alone and side by side: `sequence`; `step`
from a new context; `prefill` of a part and `step` after it, which must continue exactly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.errors import RunnerError
from edgesnn.program.golden import Golden
from edgesnn.program.ops_frames import Frames
from edgesnn.program.program import Program
from edgesnn.record.model import Parity
from edgesnn.runners.base import Capability, Inspectable, Runner

IntArray = npt.NDArray[np.integer]
Int32Array = npt.NDArray[np.int32]
Progress = Callable[[str, int, int], None]

_PAST_WRAP = 1.5
_DENSITIES = (0.02, 0.1, 0.5, 1.0)
_BATCH = 3


@dataclass(frozen=True, slots=True, eq=False)
class ParityCase:
    """One batch of token ids or frames and what golden makes of them.

    Attributes:
        ids: Token ids ``[batch, length]`` or frames ``[batch, length, channels]``.
        logits: Integer logits of golden ``[batch, length, vocab]``, or outputs.
    """

    ids: IntArray
    logits: Int32Array


class _Tally:
    """Counts what differs."""

    def __init__(self) -> None:
        self.mismatches: dict[str, int] = {}
        self.compared = 0
        self.tokens = 0
        self.largest = 0

    def add(self, form: str, got: npt.NDArray[np.generic], want: Int32Array) -> None:
        if got.shape != want.shape or got.dtype != np.int32:
            raise RunnerError(
                f"{form} returned logits of the wrong type or shape",
                actual=f"{got.dtype} {list(got.shape)}",
                limit=f"int32 {list(want.shape)}",
            )
        difference = np.abs(got.astype(np.int64) - want)
        self.mismatches[form] = self.mismatches.get(form, 0) + int(np.count_nonzero(difference))
        self.compared += want.size
        self.tokens += want.size // want.shape[-1]
        self.largest = max(self.largest, int(difference.max(initial=0)))


def parity_ids(
    program: Program, text: IntArray | None, tokens: int, seed: int = 0
) -> list[npt.NDArray[np.int64]]:
    """Token ids to compare on: text where there is some, random ids beside it.

    Args:
        program: The program.
        text: Ids of real text, or None.
        tokens: At least as many tokens in all.
        seed: Seed of the random ids.

    Returns:
        Batches ``[batch, length]``: text and random ids, one sequence and three side by side, each longer
        than the largest context window.
    """
    rng = np.random.default_rng(seed)
    length = max(int(program.context_window * _PAST_WRAP) + 3, 32)
    while 2 * (1 + _BATCH) * length < tokens:
        length += 64
    batches: list[npt.NDArray[np.int64]] = []
    cursor = 0
    for batch in (1, _BATCH):
        batches.append(rng.integers(0, program.vocab_size, (batch, length)))
        if text is not None and len(text) >= length:
            rows = []
            for _ in range(batch):
                start = cursor % max(1, len(text) - length)
                rows.append(np.asarray(text[start : start + length], np.int64))
                cursor += length
            batches.append(np.stack(rows))
        else:
            batches.append(rng.integers(0, program.vocab_size, (batch, length + 17)))
    return batches


def parity_frames(frames: Frames, count: int, seed: int = 0) -> list[IntArray]:
    """Random frames to compare on, at several densities.

    Args:
        frames: What the program reads.
        count: At least as many frames in all.
        seed: Seed of the frames.

    Returns:
        Batches int8 ``[batch, length, channels]``, one sequence and three side by side, with a share of 2 %,
        10 %, 50 % and all of their samples not 0, the samples from the whole range; the densest hold the
        extremes only.
    """
    rng = np.random.default_rng(seed)
    length = max(32, -(-count // (len(_DENSITIES) * (1 + _BATCH))))
    batches: list[IntArray] = []
    for density in _DENSITIES:
        for batch in (1, _BATCH):
            shape = (batch, length, frames.channels)
            samples = rng.integers(frames.low, frames.high, shape, endpoint=True)
            if density == 1:
                samples = rng.choice([frames.low, frames.high], shape)
            batches.append((samples * (rng.random(shape) < density)).astype(np.int8))
    return batches


def golden_cases(program: Program, batches: Sequence[IntArray]) -> list[ParityCase]:
    """What golden makes of some token ids; shared by every target."""
    golden = Golden(program)
    return [ParityCase(ids, golden.sequence(ids)) for ids in batches]


def verify_runner(
    runner: Runner,
    target: str,
    program: Program,
    cases: list[ParityCase],
    *,
    text: str,
    on_progress: Progress | None = None,
) -> Parity:
    """Compare an open runner with golden.

    Args:
        runner: An open runner with `Capability.EXACT` and `Capability.LOGITS`.
        target: Name of the target, for the result.
        program: The program.
        cases: Token ids with golden's logits.
        text: What the ids were taken from, for the result.
        on_progress: Called with a form, cases done and cases in all.

    Returns:
        The result; ``mismatches`` is 0 when every bit is the same.

    Raises:
        RunnerError: The runner gives logits of another type or shape, or dies.
    """
    started = time.perf_counter()
    tally = _Tally()
    able = runner.capabilities
    checked = [case for case in cases if Capability.BATCH in able or case.ids.shape[0] == 1]
    pairs = list(_plan(able, checked))
    if not pairs:
        raise RunnerError(
            f"target '{target}' has no form that can be compared", actual=", ".join(sorted(able))
        )
    for done, (form, case) in enumerate(pairs):
        if on_progress is not None:
            on_progress(form, done, len(pairs))
        _compare(runner, form, case, tally)
    mismatches = sum(tally.mismatches.values())
    return Parity(
        target=target,
        mismatches=mismatches,
        logits_compared=tally.compared,
        tokens=tally.tokens,
        forms=tally.mismatches,
        worst_layer=_first_wrong_layer(runner, program, checked, tally.mismatches),
        largest_difference=tally.largest,
        text=text,
        seconds=time.perf_counter() - started,
    )


def _plan(able: frozenset[Capability], cases: list[ParityCase]) -> Iterator[tuple[str, ParityCase]]:
    for case in cases:
        if Capability.SEQUENCE in able:
            yield "sequence", case
        if Capability.STEP in able:
            yield "step", case
        if Capability.PREFILL in able and Capability.STEP in able:
            yield "prefill", case


def _compare(runner: Runner, form: str, case: ParityCase, tally: _Tally) -> None:
    batch, length = case.ids.shape[:2]
    if form == "sequence":
        tally.add(form, runner.sequence(case.ids).logits, case.logits)
        return
    if form == "step":
        runner.reset(batch)
        _compare_steps(runner, form, case, tally, range(length))
        return
    for cut in sorted({1, length // 7, length - length // 8}):
        tally.add(form, runner.prefill(case.ids[:, :cut]).logits, case.logits[:, cut - 1])
        stop = length if cut > length // 2 else min(length, cut + 24)
        _compare_steps(runner, form, case, tally, range(cut, stop))


def _compare_steps(runner: Runner, form: str, case: ParityCase, tally: _Tally, positions: range) -> None:
    for i in positions:
        tally.add(form, runner.step(case.ids[:, i]).logits, case.logits[:, i])


def _first_wrong_layer(
    runner: Runner, program: Program, cases: list[ParityCase], forms: dict[str, int]
) -> str | None:
    """The first layer whose spikes differ in the sequence form, where the runner can show them.

    Every spike right and logits wrong is the readout. None when the sequence form is right.
    """
    if not isinstance(runner, Inspectable) or Capability.INTERMEDIATE not in runner.capabilities:
        return None
    if not forms.get("sequence"):
        return None
    for case in cases:
        wanted: dict[str, npt.NDArray[np.integer]] = {}
        Golden(program).sequence(case.ids, wanted.__setitem__)
        got = runner.values(case.ids)
        for op in program.ops:
            if op.out in got and not np.array_equal(got[op.out], wanted[op.out]):
                return op.name
    return program.ops[-1].name
