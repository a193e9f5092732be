"""Whole answers: a prompt is read, tokens are generated, everything from text to text is timed.

The workload kinds ``prompt`` and ``sentence``. The best token is taken each time, so a prompt has one answer,
and a device that gives another one contradicts itself. Choosing the token is not timed. Runs follow each
other at once; a device that idled before is colder.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.errors import RunnerError
from edgesnn.profiler.budgets.statistics import FloatArray, TimesSummary, summarise
from edgesnn.profiler.budgets.workload import Workload
from edgesnn.profiler.latency.session import DECODE_TAIL, TextCodec
from edgesnn.profiler.latency.steps import Progress
from edgesnn.record.timing import Generation
from edgesnn.runners.base import Capability, Output, Runner

#: Runs before anything is timed.
WARMUP_RUNS = 2
#: Most runs of one window.
WINDOW_MAX_RUNS = 10_000
_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class GenerationSession:
    """Timed answers.

    Attributes:
        record: How they were timed, as a record keeps it.
        total: A whole run.
        first: Up to the first token's text.
        token: Every later token; None where a run generates one token only.
        total_ms: Times behind `total`, ``[runs]``.
        first_ms: Times behind `first`, ``[runs]``.
        token_ms: Times behind `token`, ``[runs, generated_tokens - 1]``.
        invalid: Why the runs contradict each other, or None.
    """

    record: Generation
    total: TimesSummary
    first: TimesSummary
    token: TimesSummary | None
    total_ms: FloatArray
    first_ms: FloatArray
    token_ms: FloatArray
    invalid: str | None

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The raw times, milliseconds."""
        return {
            "generation_total_ms": self.total_ms,
            "generation_first_ms": self.first_ms,
            "generation_token_ms": self.token_ms,
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    first_ms: float
    token_ms: FloatArray
    ids: tuple[int, ...]

    @property
    def total_ms(self) -> float:
        return self.first_ms + float(self.token_ms.sum())


def measure_generation(
    runner: Runner,
    workload: Workload,
    tokenizer: TextCodec,
    ids: npt.NDArray[np.integer],
    *,
    on_progress: Progress,
) -> GenerationSession:
    """Time whole answers in the workload's windows.

    Args:
        runner: An open, warm runner.
        workload: What to run; a window has as many runs as last ``min_window_seconds``, at least one.
        tokenizer: The bundle's tokenizer.
        ids: Text as token ids; its first ``prompt_tokens`` are the prompt.
        on_progress: Told of every window.

    Returns:
        The times.

    Raises:
        RunnerError: The device cannot step, gives no logits, or gave times that make no sense.
    """
    missing = {Capability.STEP, Capability.LOGITS} - runner.capabilities
    if missing:
        raise RunnerError(
            f"runner '{runner.name}' cannot generate", actual=f"lacks {', '.join(sorted(missing))}"
        )
    prompt = np.resize(ids, workload.prompt_tokens)
    text = tokenizer.decode(prompt.tolist())
    answer = workload.answer_tokens

    def run() -> _Run:
        return _run(runner, tokenizer, text, prompt, answer)

    typical = float(np.median([run().total_ms for _ in range(WARMUP_RUNS)]))
    per_window = int(np.ceil(workload.min_window_seconds * 1000.0 / typical))
    per_window = min(max(per_window, 1), WINDOW_MAX_RUNS)
    windows: list[list[_Run]] = []
    for number in range(workload.windows):
        on_progress("windows of answers", number, workload.windows)
        windows.append([run() for _ in range(per_window)])
    on_progress("windows of answers", workload.windows, workload.windows)
    runs = [one for window in windows for one in window]
    totals, firsts = np.array([r.total_ms for r in runs]), np.array([r.first_ms for r in runs])
    tokens = np.stack([r.token_ms for r in runs])
    different = sum(one.ids != runs[0].ids for one in runs)
    return GenerationSession(
        record=Generation(
            form="prefill" if Capability.PREFILL in runner.capabilities else "step",
            prompt_tokens=len(prompt),
            generated_tokens=answer,
            runs=[len(window) for window in windows],
            window_seconds=[sum(one.total_ms for one in window) / 1000.0 for window in windows],
            output_sha256=hashlib.sha256(np.array(runs[0].ids, np.int64).tobytes()).hexdigest(),
        ),
        total=summarise(totals),
        first=summarise(firsts),
        token=summarise(tokens.ravel()) if tokens.size else None,
        total_ms=totals,
        first_ms=firsts,
        token_ms=tokens,
        invalid=None
        if different == 0
        else f"the device generated another answer in {different} of {len(runs)} runs from the same prompt",
    )


def _run(
    runner: Runner, tokenizer: TextCodec, text: str, prompt: npt.NDArray[np.integer], answer: int
) -> _Run:
    """One answer; forward passes by the clock of the device or else the host, text by the host's."""
    before = time.perf_counter_ns()
    tokenizer.encode(text)
    elapsed = time.perf_counter_ns() - before
    if Capability.PREFILL in runner.capabilities:
        output = runner.prefill(prompt[None, :])
        elapsed += output.elapsed_ns
    else:
        runner.reset()
        for number in range(len(prompt)):
            output = runner.step(prompt[number : number + 1])
            elapsed += output.elapsed_ns
    ids = [_best(output)]
    first = elapsed + _decode(tokenizer, ids)
    tokens = np.empty(answer - 1)
    for number in range(answer - 1):
        output = runner.step(np.array(ids[-1:], np.int32))
        ids.append(_best(output))
        tokens[number] = output.elapsed_ns + _decode(tokenizer, ids)
    times = tokens / _NS_PER_MS
    if first <= 0 or not (times > 0).all():
        raise RunnerError(
            f"runner '{runner.name}' gave times that make no sense", actual="a token in no time"
        )
    return _Run(first / _NS_PER_MS, times, tuple(ids))


def _best(output: Output) -> int:
    return int(np.argmax(output.logits[0]))


def _decode(tokenizer: TextCodec, ids: list[int]) -> int:
    before = time.perf_counter_ns()
    tokenizer.decode(ids[-DECODE_TAIL:])
    return time.perf_counter_ns() - before
