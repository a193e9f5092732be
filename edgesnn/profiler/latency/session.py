"""Latency of one generated token with full context, and of the first token.

The subject of the budget is one generated token: the prompt's tokenising, shared among the tokens generated
after it, plus the forward pass, plus decoding the token to text. Forward passes are timed in windows
(`edgesnn.profiler.latency.steps`). Times are those of the device's clock where it has one, else the host's;
nothing is subtracted, and what a window takes beside its steps is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesnn.profiler.budgets.statistics import FloatArray, TimesSummary, summarise
from edgesnn.profiler.budgets.workload import Workload
from edgesnn.profiler.latency.steps import (
    Around,
    MeasuredWindow,
    Progress,
    TakenWindows,
    WindowKeeper,
    disagreement,
    measure_windows,
    require_steps,
)
from edgesnn.profiler.latency.warmup import warm_up
from edgesnn.record.timing import ClockName, Latency, LatencyWindow, PromptForm, WarmUp
from edgesnn.runners.base import Capability, Runner, Sighting, Watchful

#: Ids that one text decode is given: streaming decodes a tail to hold back incomplete UTF-8.
DECODE_TAIL = 8
#: Tokenising the prompt is timed this often.
ENCODE_REPEATS = 30
_NS_PER_MS = 1e6


class TextCodec(Protocol):
    """The tokenizer of the bundle, as far as latency needs it."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        ...

    def decode(self, ids: list[int]) -> str:
        """Text of ids."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class FirstToken:
    """From a prompt's text to the text of the first token.

    Attributes:
        total: Encode, forward over the prompt, decode.
        forward: Forward over the prompt alone.
        form: ``prefill``, or ``step`` where the device takes the prompt token by token.
        prompt_tokens: Tokens of the prompt.
        prompt_tokens_per_second: Tokens of the prompt over the median forward time.
        total_ms: The times behind `total`, in order.
        forward_ms: The times behind `forward`, in order.
    """

    total: TimesSummary
    forward: TimesSummary
    form: PromptForm
    prompt_tokens: int
    prompt_tokens_per_second: float
    total_ms: FloatArray
    forward_ms: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class LatencySession:
    """What one latency session found.

    Attributes:
        per_token: One generated token: tokenise share, forward, decode.
        forward: The forward pass alone.
        decode: Text decode alone.
        encode: Tokenising the whole prompt.
        tokenise_share_ms: Median of `encode` over the generated tokens.
        per_token_ms: The times behind `per_token`, in order.
        decode_ms: The times behind `decode`, in order.
        encode_ms: The times behind `encode`, in order.
        windows: The windows, in order.
        context: Tokens that every counted step saw at least, itself included.
        full_context: Whether that is the program's context window.
        tokens_per_second: Counted tokens over the time of their steps, decodes and shares.
        clock: ``device`` or ``host``.
        warm_up: What warming up took.
        first_token: Prompt to first token, or None when the profile leaves it out.
        invalid: Why the session is invalid, or None.
        marks: What the runner saw of its device meanwhile.
    """

    per_token: TimesSummary
    forward: TimesSummary
    decode: TimesSummary
    encode: TimesSummary
    tokenise_share_ms: float
    per_token_ms: FloatArray
    decode_ms: FloatArray
    encode_ms: FloatArray
    windows: tuple[MeasuredWindow, ...]
    context: int
    full_context: bool
    tokens_per_second: float
    clock: ClockName
    warm_up: WarmUp
    first_token: FirstToken | None
    invalid: str | None
    marks: tuple[str, ...] = ()

    def record(self, text: str) -> Latency:
        """How the times were taken, as a record keeps it.

        Args:
            text: What the token ids were taken from.
        """
        return Latency(
            text=text,
            clock=self.clock,
            context=self.context,
            full_context=self.full_context,
            autocorrelation_time=self.per_token.autocorrelation_time,
            p99_note=self.per_token.p99_note,
            warm_up=self.warm_up,
            drift=self.forward.drift,
            first_token_form=None if self.first_token is None else self.first_token.form,
            windows=latency_windows(self.windows),
        )

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The raw times, milliseconds.

        ``window_NN_latencies_ms`` holds every step of one window, the first ``context - 1`` of them with a
        context that is not yet full.
        """
        found: dict[str, npt.NDArray[np.generic]] = {
            "per_token_ms": self.per_token_ms,
            "text_decode_ms": self.decode_ms,
            "tokenise_prompt_ms": self.encode_ms,
        }
        for number, window in enumerate(self.windows):
            found[f"window_{number:02d}_latencies_ms"] = window.latencies_ms
        if self.first_token is not None:
            found["first_token_ms"] = self.first_token.total_ms
            found["first_token_forward_ms"] = self.first_token.forward_ms
        return found


def latency_windows(windows: Sequence[MeasuredWindow]) -> list[LatencyWindow]:
    """Windows as a record keeps them."""
    origin = windows[0].started_ns
    return [
        LatencyWindow(
            offset_s=(window.started_ns - origin) / 1e9,
            seconds=window.seconds,
            steps=len(window.latencies_ms),
            counted_steps=len(window.counted_ms),
            median_ms=float(np.median(window.counted_ms)),
            mean_ms=float(window.counted_ms.mean()),
            output_sha256=window.output_sha256,
        )
        for window in windows
    ]


def measure_latency(
    runner: Runner,
    workload: Workload,
    tokenizer: TextCodec,
    ids: npt.NDArray[np.integer],
    *,
    context_window: int,
    on_progress: Progress,
    around: Around | None = None,
    keeper: WindowKeeper | None = None,
    taken: TakenWindows | None = None,
) -> LatencySession:
    """Run the latency session of a profile.

    Args:
        runner: An open runner with `Capability.STEP`.
        workload: What to run.
        tokenizer: The bundle's tokenizer.
        ids: Text as token ids ``[length]``, repeated as often as needed.
        context_window: The program's.
        on_progress: Told of every window and first token.
        around: Entered around every window of a metered session; None where there is no meter.
        keeper: Keeps the windows as they are finished; None keeps them in memory only.
        taken: Windows measured already under this workload; None measures them now.

    Returns:
        The session's result.

    Raises:
        RunnerError: The device cannot step, or gave times that make no sense.
    """
    require_steps(runner)
    if isinstance(runner, Watchful):
        runner.watch()
    context = context_window if workload.context is None else workload.context
    if taken is None:
        warm = warm_up(runner, ids, workload.warmup_tokens)
        windows = measure_windows(
            runner,
            workload,
            ids,
            context=context,
            warm=warm,
            on_progress=on_progress,
            around=around,
            keeper=keeper,
        )
    else:
        warm, windows = taken.warm_up, taken.windows
    forward_ms = np.concatenate([w.counted_ms for w in windows])
    encode_ms = _encode_times(tokenizer, ids, workload.prompt_tokens)
    decode_ms = _decode_times(tokenizer, ids, len(forward_ms))
    share = float(np.median(encode_ms)) / workload.generated_tokens
    per_token_ms = forward_ms + np.resize(decode_ms, len(forward_ms)) + share
    first = None
    if workload.first_tokens:
        first = measure_first_token(runner, tokenizer, ids, workload, on_progress)
    sighting = runner.seen() if isinstance(runner, Watchful) else Sighting()
    return LatencySession(
        per_token=summarise(per_token_ms),
        forward=summarise(forward_ms),
        decode=summarise(decode_ms),
        encode=summarise(encode_ms),
        tokenise_share_ms=share,
        per_token_ms=per_token_ms,
        decode_ms=decode_ms,
        encode_ms=encode_ms,
        windows=windows,
        context=context,
        full_context=context >= context_window,
        tokens_per_second=1000.0 / float(per_token_ms.mean()),
        clock="device" if Capability.DEVICE_CLOCK in runner.capabilities else "host",
        warm_up=warm,
        first_token=first,
        invalid=sighting.invalid or disagreement(windows),
        marks=sighting.marks,
    )


def measure_first_token(
    runner: Runner,
    tokenizer: TextCodec,
    ids: npt.NDArray[np.integer],
    workload: Workload,
    on_progress: Progress,
) -> FirstToken:
    """Time the way from a prompt's text to the text of the first token.

    Args:
        runner: An open, warm runner.
        tokenizer: The bundle's tokenizer.
        ids: Text as token ids; its first ``prompt_tokens`` are the prompt.
        workload: What to run.
        on_progress: Told of every tenth repetition.
    """
    prompt = np.resize(ids, workload.prompt_tokens)
    text = tokenizer.decode(prompt.tolist())
    prefill = Capability.PREFILL in runner.capabilities
    repeats = workload.first_tokens
    totals, forwards = np.empty(repeats), np.empty(repeats)
    for i in range(-2, repeats):
        before = time.perf_counter_ns()
        tokenizer.encode(text)
        encoded = time.perf_counter_ns() - before
        if prefill:
            output = runner.prefill(prompt[None, :])
            logits, forward = output.logits[0], output.elapsed_ns
        else:
            runner.reset()
            outputs = [runner.step(prompt[[n]]) for n in range(len(prompt))]
            logits, forward = outputs[-1].logits[0], sum(o.elapsed_ns for o in outputs)
        token = int(np.argmax(logits)) if Capability.LOGITS in runner.capabilities else int(prompt[-1])
        before = time.perf_counter_ns()
        tokenizer.decode([token])
        decoded = time.perf_counter_ns() - before
        if i >= 0:
            totals[i], forwards[i] = encoded + forward + decoded, forward
            if i % 10 == 0:
                on_progress("first token", i, repeats)
    on_progress("first token", repeats, repeats)
    forward_ms, total_ms = forwards / _NS_PER_MS, totals / _NS_PER_MS
    return FirstToken(
        total=summarise(total_ms),
        forward=summarise(forward_ms),
        form="prefill" if prefill else "step",
        prompt_tokens=len(prompt),
        prompt_tokens_per_second=1000.0 * len(prompt) / float(np.median(forward_ms)),
        total_ms=total_ms,
        forward_ms=forward_ms,
    )


def _encode_times(tokenizer: TextCodec, ids: npt.NDArray[np.integer], tokens: int) -> FloatArray:
    text = tokenizer.decode(np.resize(ids, tokens).tolist())
    tokenizer.encode(text)
    return _timed(lambda _: tokenizer.encode(text), ENCODE_REPEATS)


def _decode_times(tokenizer: TextCodec, ids: npt.NDArray[np.integer], count: int) -> FloatArray:
    ring = np.resize(ids, len(ids) + DECODE_TAIL).tolist()
    tokenizer.decode(ring[:DECODE_TAIL])
    return _timed(lambda i: tokenizer.decode(ring[(s := i % len(ids)) : s + DECODE_TAIL]), min(count, 2000))


def _timed(call: Callable[[int], object], count: int) -> FloatArray:
    times = np.empty(count)
    for i in range(count):
        before = time.perf_counter_ns()
        call(i)
        times[i] = time.perf_counter_ns() - before
    return times / _NS_PER_MS
