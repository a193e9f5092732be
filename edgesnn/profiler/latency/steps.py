"""Latency of one generated token with full context, and of the first token.

The subject of the budget is one generated token: the prompt's tokenising, shared among the tokens generated
after it, plus the forward pass, plus decoding the token to text. Forward passes are timed inside
`Runner.window`: the device runs alone, from an empty context, and only the steps whose context is full are
counted. Times are those of the device's clock where it has one, else the host's; nothing is subtracted, and
what a window takes beside its steps is reported.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesnn.errors import RunnerError
from edgesnn.profiler.budgets.profile import Workload
from edgesnn.profiler.budgets.statistics import FloatArray, TimesSummary, summarise
from edgesnn.profiler.latency.warmup import WarmUp, warm_up
from edgesnn.runners.base import Capability, Runner, Sighting, Watchful, Window

#: Called with a stage, what is done of it and what there is to do.
Progress = Callable[[str, int, int], None]

#: Entered around every window, for example to idle before and after it while a meter streams.
Around = Callable[[], AbstractContextManager[None]]

#: Ids that one text decode is given: streaming decodes a tail to hold back incomplete UTF-8.
DECODE_TAIL = 8
#: Tokenising the prompt is timed this often.
ENCODE_REPEATS = 30
#: Steps before each window that are not timed, to fill the caches that the pause emptied.
WINDOW_WARMUP = 4
#: Most counted steps of one window.
WINDOW_MAX_TOKENS = 1_000_000
#: A window is planned longer by this factor: steps within it may be faster than those of the warm-up.
PLAN_MARGIN = 1.05
_NS_PER_MS = 1e6


class WindowKeeper(Protocol):
    """Keeps the windows of a session as they are finished, and those of an earlier part of it."""

    def plan(self, steps: int) -> int:
        """Steps of every window, given what is wanted now."""
        ...

    def finished(self) -> Sequence[MeasuredWindow]:
        """The windows of earlier parts."""
        ...

    def keep(self, window: MeasuredWindow) -> None:
        """Take a window that was just finished."""
        ...


class TextCodec(Protocol):
    """The tokenizer of the bundle, as far as latency needs it."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        ...

    def decode(self, ids: list[int]) -> str:
        """Text of ids."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredWindow:
    """One measurement window.

    Attributes:
        latencies_ms: Every step, in order, those with a context not yet full included, ``[n]``.
        counted_ms: The steps with full context.
        started_ns: Host time at the start, ``time.perf_counter_ns``.
        ended_ns: Host time at the end.
        seconds: Host time of the whole window.
        outside_ms_per_token: Time of the window that no step accounts for, per step: transport and host loop.
        output_sha256: Hash of all logits.
    """

    latencies_ms: FloatArray
    counted_ms: FloatArray
    started_ns: int
    ended_ns: int
    seconds: float
    outside_ms_per_token: float
    output_sha256: str


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
    form: str
    prompt_tokens: int
    prompt_tokens_per_second: float
    total_ms: FloatArray
    forward_ms: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Latency:
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
    clock: str
    warm_up: WarmUp
    first_token: FirstToken | None
    invalid: str | None
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class TakenWindows:
    """Windows that were measured before the session, for example in turns with another program's.

    Attributes:
        warm_up: What warming up took.
        windows: The windows, in order, all over the same ids.
    """

    warm_up: WarmUp
    windows: tuple[MeasuredWindow, ...]


def measure_latency(
    runner: Runner,
    workload: Workload,
    tokenizer: TextCodec,
    ids: npt.NDArray[np.int32],
    *,
    context_window: int,
    on_progress: Progress,
    around: Around | None = None,
    keeper: WindowKeeper | None = None,
    taken: TakenWindows | None = None,
) -> Latency:
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
    return Latency(
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


def require_steps(runner: Runner) -> None:
    """Refuse a runner that cannot run one token at a time.

    Raises:
        RunnerError: It cannot.
    """
    if Capability.STEP not in runner.capabilities:
        raise RunnerError(
            f"runner '{runner.name}' cannot run one token at a time, so a generated token has no latency",
            actual=", ".join(sorted(runner.capabilities)),
            limit=Capability.STEP,
        )


def measure_windows(
    runner: Runner,
    workload: Workload,
    ids: npt.NDArray[np.int32],
    *,
    context: int,
    warm: WarmUp,
    on_progress: Progress,
    around: Around | None = None,
    keeper: WindowKeeper | None = None,
) -> tuple[MeasuredWindow, ...]:
    """Run the measurement windows, all over the same ids.

    Args:
        runner: An open, warm runner.
        workload: What to run.
        ids: Text as token ids, repeated as often as needed.
        context: The first step that counts is number ``context``.
        warm: Tells how many steps fill a window.
        on_progress: Told of every window.
        around: Entered around every window. Beside a meter windows are longer, and nothing runs untimed in
            them: what runs draws power.
        keeper: See `measure_latency`; the windows that it has are not measured again.

    Raises:
        RunnerError: A window has another number of times than steps, or a time that is not positive.
    """
    seconds = workload.min_window_seconds if around is None else workload.metered_window_seconds
    untimed = WINDOW_WARMUP if around is None else 0
    wanted = math.ceil(PLAN_MARGIN * seconds * 1000.0 / max(warm.typical_ms, 1e-3))
    counted = min(max(wanted, workload.min_window_tokens), max(WINDOW_MAX_TOKENS, workload.min_window_tokens))
    lead = context - 1
    text = np.resize(ids, lead + counted)
    windows: list[MeasuredWindow] = []
    if keeper is not None:  # windows over other tokens would give other answers
        text = np.resize(ids, keeper.plan(len(text)))
        windows += keeper.finished()
    for number in range(len(windows), workload.windows):
        on_progress("latency windows", number, workload.windows)
        with around() if around is not None else nullcontext():
            window = runner.window(text, 1, untimed)
        windows.append(_measured(runner.name, window, lead, len(text)))
        if keeper is not None:
            keeper.keep(windows[-1])
    on_progress("latency windows", workload.windows, workload.windows)
    return tuple(windows)


def disagreement(windows: Sequence[MeasuredWindow]) -> str | None:
    """Why windows over the same ids contradict each other, or None.

    An integer program has one answer; a device that gives two has no latency worth reporting.
    """
    hashes = [w.output_sha256 for w in windows]
    different = [i for i, value in enumerate(hashes) if value != hashes[0]]
    if not different:
        return None
    return (
        f"the device answered differently in {len(different)} of {len(hashes)} windows over the same tokens "
        f"(window {different[0] + 1}: {hashes[different[0]][:12]}, window 1: {hashes[0][:12]})"
    )


def measure_first_token(
    runner: Runner,
    tokenizer: TextCodec,
    ids: npt.NDArray[np.int32],
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


def _measured(name: str, window: Window, lead: int, steps: int) -> MeasuredWindow:
    times = window.latencies_ns.astype(np.float64) / _NS_PER_MS
    if len(times) != steps or not (times > 0).all():
        raise RunnerError(
            f"runner '{name}' gave times that make no sense",
            actual=f"{len(times)} times, the smallest {times.min(initial=0.0)} ms",
            limit=f"{steps} positive times",
        )
    total_ms = (window.ended_ns - window.started_ns) / _NS_PER_MS
    return MeasuredWindow(
        latencies_ms=times,
        counted_ms=times[lead:],
        started_ns=window.started_ns,
        ended_ns=window.ended_ns,
        seconds=total_ms / 1000.0,
        outside_ms_per_token=(total_ms - float(times.sum())) / steps,
        output_sha256=window.output_sha256,
    )


def _encode_times(tokenizer: TextCodec, ids: npt.NDArray[np.int32], tokens: int) -> FloatArray:
    text = tokenizer.decode(np.resize(ids, tokens).tolist())
    tokenizer.encode(text)
    return _timed(lambda _: tokenizer.encode(text), ENCODE_REPEATS)


def _decode_times(tokenizer: TextCodec, ids: npt.NDArray[np.int32], count: int) -> FloatArray:
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
