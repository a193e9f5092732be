"""The contract of a runner, for every runner on this computer."""

from hashlib import sha256

import numpy as np
import pytest

from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import BundleError, RunnerError, TextError
from edgesnn.program.golden import Golden
from edgesnn.runners import host
from edgesnn.runners.base import Capability, LoadChip, RunnerOptions
from edgesnn.runners.golden import GoldenRunner
from edgesnn.runners.native.runner import NativeRunner
from edgesnn.runners.onnxruntime.runner import OnnxRuntimeFloat32Runner, OnnxRuntimeRunner
from tests.support.bundles import copied_bundle, manifest_of, write_manifest

NATIVE = (NativeRunner,) if NativeRunner.missing() is None else ()
RUNNERS = (GoldenRunner, *NATIVE, OnnxRuntimeRunner, OnnxRuntimeFloat32Runner)
IDS = np.random.default_rng(0).integers(0, 280, (3, 25))


@pytest.fixture(params=RUNNERS, ids=[runner.name for runner in RUNNERS])
def kind(request):
    return request.param


@pytest.fixture
def runner(kind, bundle):
    with kind() as opened:
        opened.open(bundle, RunnerOptions())
        yield opened


def logits_type(runner):
    return np.int32 if Capability.EXACT in runner.capabilities else np.float32


def same(runner, got, want):
    """Bit for bit where the runner promises it, else as close as float32 sums in another order."""
    if Capability.EXACT in runner.capabilities:
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


def test_opening_says_what_runs_and_on_what(kind, bundle):
    with kind() as runner:
        info = runner.open(bundle, RunnerOptions())
    assert info.device and info.engine and info.engine_version
    assert info.simulated is False
    assert info.load_ms > 0 and info.clock_hz > 0
    assert info.model_bytes == bundle.size_of(info.model_files) > 0


def test_nothing_is_missing_here(kind):
    assert kind.missing() is None


def test_sequence_step_and_prefill_agree(runner):
    whole = runner.sequence(IDS)
    assert whole.logits.shape == (3, 25, 280)
    assert whole.logits.dtype == logits_type(runner)
    assert whole.elapsed_ns > 0
    runner.reset(3)
    for i in range(25):
        step = runner.step(IDS[:, i])
        assert step.logits.shape == (3, 280) and step.logits.dtype == logits_type(runner)
        same(runner, step.logits, whole.logits[:, i])
    prefill = runner.prefill(IDS[:, :10])
    assert prefill.logits.shape == (3, 280)
    same(runner, prefill.logits, whole.logits[:, 9])
    for i in range(10, 25):
        same(runner, runner.step(IDS[:, i]).logits, whole.logits[:, i])


@pytest.mark.parametrize(
    "kind", [kind for kind in RUNNERS if Capability.EXACT in kind.capabilities], indirect=True
)
def test_exact_runners_equal_golden_bit_for_bit(runner, bundle):
    np.testing.assert_array_equal(runner.sequence(IDS).logits, Golden(bundle.program()).sequence(IDS))


def test_a_sequence_leaves_the_context_alone(runner):
    runner.reset(1)
    runner.step(IDS[0, :1])
    runner.sequence(IDS)
    after = runner.step(IDS[0, 1:2]).logits
    runner.reset(1)
    runner.step(IDS[0, :1])
    same(runner, runner.step(IDS[0, 1:2]).logits, after)


def test_a_reset_forgets_everything(runner):
    runner.reset(1)
    first = [runner.step(IDS[0, i : i + 1]).logits for i in range(8)]
    runner.reset(1)
    second = [runner.step(IDS[0, i : i + 1]).logits for i in range(8)]
    np.testing.assert_array_equal(first, second)
    runner.reset(2)
    assert runner.step(IDS[:2, 0]).logits.shape == (2, 280)


def test_an_opened_runner_starts_with_an_empty_context_of_one(runner):
    got = runner.step(IDS[0, :1]).logits
    runner.reset(1)
    np.testing.assert_array_equal(got, runner.step(IDS[0, :1]).logits)


@pytest.mark.parametrize("tokens", [np.zeros(2, np.int64), np.zeros(0, np.int64), np.zeros((1, 1), np.int64)])
def test_a_step_of_another_number_of_sequences_is_a_runner_error_and_changes_nothing(runner, tokens):
    runner.reset(1)
    runner.step(IDS[0, :1])
    with pytest.raises(RunnerError, match="another number of sequences"):
        runner.step(tokens)
    after = runner.step(IDS[0, 1:2]).logits
    runner.reset(1)
    runner.step(IDS[0, :1])
    np.testing.assert_array_equal(runner.step(IDS[0, 1:2]).logits, after)


@pytest.mark.parametrize(
    "ids",
    [[[280]], [[-1]], [[2**40]], [[0.0]], [0, 1], [[]]],
    ids=["above", "below", "far", "float", "1-d", "empty"],
)
def test_unusable_token_ids_are_text_errors_in_every_form(runner, ids):
    array = np.array(ids)
    for form in (runner.sequence, runner.prefill):
        with pytest.raises(TextError):
            form(array)
    if array.shape == (1, 1):
        with pytest.raises(TextError):
            runner.step(array[0])


def test_use_before_open_and_after_close_is_a_clear_error(kind, bundle):
    runner = kind()
    calls = [
        lambda: runner.step(IDS[0, :1]),
        lambda: runner.sequence(IDS),
        lambda: runner.prefill(IDS),
        lambda: runner.reset(1),
        lambda: runner.window(IDS[0], 1, 0),
    ]
    for call in calls:
        with pytest.raises(RunnerError, match="holds no bundle; remedy: call open first"):
            call()
    runner.open(bundle, RunnerOptions())
    runner.step(IDS[0, :1])
    runner.close()
    for call in calls:
        with pytest.raises(RunnerError, match="holds no bundle"):
            call()


def test_closing_twice_and_closing_unopened_are_harmless(kind, bundle):
    kind().close()
    runner = kind()
    runner.open(bundle, RunnerOptions())
    runner.close()
    runner.close()


def test_a_closed_runner_can_be_opened_again(kind, bundle):
    runner = kind()
    for _ in range(2):
        runner.open(bundle, RunnerOptions())
        runner.step(IDS[0, :1])
        runner.close()


def test_an_error_inside_the_context_still_closes(kind, bundle):
    runner = kind()
    with pytest.raises(ZeroDivisionError), runner:
        runner.open(bundle, RunnerOptions())
        raise ZeroDivisionError
    with pytest.raises(RunnerError, match="holds no bundle"):
        runner.step(IDS[0, :1])


def test_a_window_times_every_step_and_hashes_every_logit_in_order(runner):
    window = runner.window(IDS[0], repeat=2, warmup=3)
    assert window.tokens == len(window.latencies_ns) == 50
    assert window.latencies_ns.dtype == np.int64 and window.latencies_ns.min() > 0
    assert window.latencies_ns.sum() <= window.ended_ns - window.started_ns
    digest = sha256()
    for _ in range(2):
        runner.reset(1)
        for token in IDS[0]:
            digest.update(runner.step(np.array([token])).logits.tobytes())
    assert window.output_sha256 == digest.hexdigest()


def test_two_windows_have_the_same_hash_and_other_text_another(runner):
    first = runner.window(IDS[0], 1, 0)
    assert runner.window(IDS[0], 1, 5).output_sha256 == first.output_sha256
    assert runner.window(IDS[1], 1, 0).output_sha256 != first.output_sha256
    assert runner.window(IDS[0], 2, 0).output_sha256 != first.output_sha256


def test_a_window_leaves_an_empty_context(runner):
    runner.window(IDS[0], 1, 0)
    after = runner.step(IDS[0, :1]).logits
    runner.reset(1)
    np.testing.assert_array_equal(after, runner.step(IDS[0, :1]).logits)


@pytest.mark.parametrize(("ids", "repeat"), [(IDS[0][:0], 1), (IDS, 1), (IDS[0], 0)])
def test_a_window_over_nothing_is_a_runner_error(runner, ids, repeat):
    with pytest.raises(RunnerError, match="at least one token"):
        runner.window(ids, repeat, 0)


def test_all_exact_runners_give_one_hash(bundle):
    hashes = set()
    for kind in RUNNERS:
        if Capability.EXACT in kind.capabilities:
            with kind() as runner:
                runner.open(bundle, RunnerOptions())
                hashes.add(runner.window(IDS[0], 1, 0).output_sha256)
    assert len(hashes) == 1


def test_the_clock_is_monotonic_and_inside_its_bounds(runner):
    readings = [runner.clock() for _ in range(50)]
    assert all(r.host_before_ns <= r.device_ticks <= r.host_after_ns for r in readings)
    ticks = [r.device_ticks for r in readings]
    assert ticks == sorted(ticks)


class PaperClock:
    """A clock that goes on when it is read or slept by: no machine is too slow for a pattern."""

    now = 0.0

    def perf_counter(self):
        self.now += 1e-4
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    """What the runners of this computer take for the time while they idle and play."""
    made = PaperClock()
    monkeypatch.setattr(host, "time", made)
    return made


def test_idling_and_playing_take_the_time_they_are_given(runner, clock):
    runner.idle(0.03)
    assert clock.now == pytest.approx(0.03)
    runner.play((LoadChip(True, 0.03), LoadChip(False, 0.03), LoadChip(True, 0.0)))
    assert clock.now == pytest.approx(0.09, abs=1e-3)


def test_playing_computes_in_busy_chips_only_and_leaves_an_empty_context(runner, clock, monkeypatch):
    steps, step = [], runner.step
    monkeypatch.setattr(runner, "step", lambda tokens: steps.append(clock.now) or step(tokens))
    runner.play((LoadChip(False, 0.05), LoadChip(True, 0.05)))
    assert len(steps) > 100 and min(steps) >= 0.05
    monkeypatch.undo()
    after = runner.step(IDS[0, :1]).logits
    runner.reset(1)
    np.testing.assert_array_equal(after, runner.step(IDS[0, :1]).logits)


def test_a_bundle_without_the_runners_files_is_a_bundle_error(kind, tmp_path):
    folder = copied_bundle(tmp_path / "bundle")
    document = manifest_of(folder)
    document["exports"] = {}
    del document["files"]["program.snn"]
    write_manifest(folder, document)
    with pytest.raises(BundleError):
        kind().open(Bundle(folder), RunnerOptions())


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_no_bit(bundle, threads):
    with OnnxRuntimeRunner() as runner:
        info = runner.open(bundle, RunnerOptions(threads=threads))
        np.testing.assert_array_equal(runner.sequence(IDS).logits, Golden(bundle.program()).sequence(IDS))
    assert info.details["threads"] == threads


def test_the_float_baseline_computes_the_folded_student(bundle, tmp_path):
    from edgesnn.program.artifact import read_artifact
    from edgesnn.program.float_program import float_logits
    from edgesnn.program.fold import fold
    from tests.support.artifacts import write_artifact

    folded = fold(read_artifact(write_artifact(tmp_path / "tiny")))
    with OnnxRuntimeFloat32Runner() as runner:
        runner.open(bundle, RunnerOptions())
        got = runner.sequence(IDS).logits
    np.testing.assert_allclose(got, float_logits(folded, IDS), rtol=1e-4, atol=1e-4)


def test_a_saved_context_goes_on_as_if_nothing_had_been_between(runner):
    """At every place, past the wrap of every window; a later call does not change what was saved."""
    ids = np.random.default_rng(8).integers(0, 280, 60)
    runner.reset(1)
    saved, wanted = [], []
    for token in ids:
        saved.append(runner.save())
        wanted.append(runner.step(token[None]).logits)
    for place in range(len(ids)):
        runner.restore(saved[place])
        same(runner, runner.step(ids[place : place + 1]).logits, wanted[place])
    runner.restore(saved[20])
    same(runner, runner.extend(ids[None, 20:]).logits, wanted[-1])
    same(runner, runner.step(ids[:1]).logits, _after(runner, ids, ids[:1]))


def _after(runner, ids, token):
    runner.prefill(ids[None])
    return runner.step(token).logits


def test_several_contexts_are_saved_side_by_side(runner):
    runner.reset(3)
    runner.extend(IDS[:, :10])
    saved = runner.save()
    wanted = runner.extend(IDS[:, 10:]).logits
    runner.reset(1)
    runner.restore(saved)
    same(runner, runner.extend(IDS[:, 10:]).logits, wanted)
    with pytest.raises(RunnerError, match="number of sequences"):
        runner.extend(IDS[:2])


EXACT = [runner for runner in RUNNERS if Capability.EXACT in runner.capabilities]


@pytest.mark.parametrize("kind", EXACT, indirect=True)
@pytest.mark.parametrize("other", EXACT)
def test_a_context_moves_from_one_runner_to_another(runner, other, bundle):
    runner.prefill(IDS[:1])
    runner.step(IDS[0, :1])
    wanted = runner.save()
    with other() as second:
        second.open(bundle, RunnerOptions())
        second.restore(wanted)
        same(runner, second.step(IDS[0, 1:2]).logits, runner.step(IDS[0, 1:2]).logits)


def test_a_context_of_another_program_and_no_tokens_are_refused(runner, bundle):
    from edgesnn.program.state import State
    from tests.support.random_program import random_program

    with pytest.raises(RunnerError, match="another program's"):
        runner.restore(State(random_program()))
    for nothing in (np.zeros((1, 0), np.int64), np.zeros(0, np.int64)):
        with pytest.raises((RunnerError, TextError)):
            runner.extend(nothing)
