import numpy as np
import pytest

from edgesnn.errors import RunnerError
from edgesnn.profiler.latency.session import measure_latency
from edgesnn.profiler.latency.warmup import GIVE_UP_FACTOR, SETTLED_STEPS, warm_up
from edgesnn.runners.base import Capability

IDS = np.arange(50, dtype=np.int32)


def _measure(parts, runner, profile, context_window=9):
    return measure_latency(
        runner,
        profile.workload,
        parts.tokenizer,
        IDS,
        context_window=context_window,
        on_progress=parts.silent,
    )


def test_only_steps_with_full_context_count(parts, make_profile):
    slow_start = parts.Runner(step_ns=lambda window, n: np.where(np.arange(n) < 8, 90_000_000, 2_000_000))
    slow_start.step = parts.Runner().step
    latency = _measure(parts, slow_start, make_profile())
    assert latency.context == 9
    assert latency.full_context
    assert latency.forward.max_ms == pytest.approx(2.0)
    assert all(len(w.latencies_ms) == len(w.counted_ms) + 8 for w in latency.windows)


def test_a_shorter_context_is_stated(parts, make_profile):
    latency = _measure(parts, parts.Runner(), make_profile({"context": 4}))
    assert latency.context == 4
    assert not latency.full_context


def test_a_generated_token_is_its_share_of_tokenising_plus_forward_plus_decode(parts, make_profile):
    latency = _measure(parts, parts.Runner(), make_profile({"generated_tokens": 16}))
    assert latency.tokenise_share_ms == pytest.approx(latency.encode.percentile(0.5).value_ms / 16, rel=0.2)
    forward = np.concatenate([w.counted_ms for w in latency.windows])
    rest = latency.per_token_ms - forward - latency.tokenise_share_ms
    np.testing.assert_allclose(rest, np.resize(latency.decode_ms, len(rest)))
    assert latency.tokens_per_second == pytest.approx(1000.0 / latency.per_token_ms.mean())


def test_a_window_lasts_at_least_as_long_as_asked(parts, make_profile):
    latency = _measure(parts, parts.Runner(), make_profile({"min_window_seconds": 0.5}))
    assert all(w.counted_ms.sum() >= 490 for w in latency.windows)


def test_different_answers_make_the_session_invalid(parts, make_profile):
    latency = _measure(parts, parts.Runner(answers=["a", "a", "b"]), make_profile())
    assert "differently in 1 of 3 windows" in latency.invalid
    assert _measure(parts, parts.Runner(answers=["a", "a", "a"]), make_profile()).invalid is None


def test_a_device_that_slows_down_is_seen_to_drift(parts, make_profile):
    hot = parts.Runner(step_ns=lambda window, n: np.full(n, 2_000_000 * (1 + window)))
    hot.step = parts.Runner().step
    assert _measure(parts, hot, make_profile()).forward.drift.drifted
    assert not _measure(parts, parts.Runner(), make_profile()).forward.drift.drifted


def test_the_first_token_takes_prefill_where_there_is_one_and_steps_elsewhere(parts, make_profile):
    stepping = _measure(parts, parts.Runner(), make_profile()).first_token
    assert stepping.form == "step"
    assert stepping.forward.percentile(0.5).value_ms == pytest.approx(16.0, rel=0.02)
    able = parts.Runner(capabilities=frozenset({Capability.STEP, Capability.PREFILL, Capability.LOGITS}))
    prefilling = _measure(parts, able, make_profile()).first_token
    assert prefilling.form == "prefill"
    assert prefilling.prompt_tokens_per_second == pytest.approx(8 / 0.002, rel=0.02)


def test_a_runner_that_cannot_step_is_refused(parts, make_profile):
    with pytest.raises(RunnerError, match="one step at a time"):
        _measure(parts, parts.Runner(capabilities=frozenset({Capability.SEQUENCE})), make_profile())


def test_times_that_make_no_sense_are_refused(parts, make_profile):
    broken = parts.Runner(step_ns=lambda window, n: np.zeros(n))
    broken.step = parts.Runner().step
    with pytest.raises(RunnerError, match="no sense"):
        _measure(parts, broken, make_profile())


def test_warming_up_goes_on_until_the_minimum_settles(parts):
    falling = parts.Runner()
    times = iter([*range(3_000_000, 1_000_000, -40_000), *[1_000_000] * 2000])
    falling._times = lambda n: np.array([next(times)])
    warm = warm_up(falling, IDS, 4)
    assert warm.settled
    assert warm.steps > 50 + SETTLED_STEPS - 2
    assert warm.minimum_ms == 1.0


def test_warming_up_ends_on_a_device_that_never_settles(parts):
    restless = parts.Runner()
    times = iter(3e12 * 0.98 ** np.arange(5000))
    restless._times = lambda n: np.array([next(times)])
    warm = warm_up(restless, IDS, 4)
    assert not warm.settled
    assert warm.steps == GIVE_UP_FACTOR * SETTLED_STEPS
