"""The native runner through the contract of runners, on a bundle."""

import hashlib
import shutil
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from edgesnn.errors import RunnerError, TextError
from edgesnn.program.golden import Golden
from edgesnn.program.snn_format import program_hash, to_bytes
from edgesnn.program.state import State
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.native import build as native_build
from edgesnn.runners.native.engine import kernel_sets
from edgesnn.runners.native.runner import NativeRunner

pytestmark = pytest.mark.skipif(native_build.missing() is not None, reason=str(native_build.missing()))


@pytest.fixture
def bundle(program, tmp_path):
    """What the runner asks of a bundle."""
    (tmp_path / "program.snn").write_bytes(to_bytes(program))
    return SimpleNamespace(
        program=lambda: program,
        file=lambda name: tmp_path / name,
        size_of=lambda names: len(to_bytes(program)),
        manifest=SimpleNamespace(program_hash=program_hash(program)),
    )


@pytest.fixture
def runner(bundle):
    with NativeRunner() as made:
        made.open(bundle, RunnerOptions(threads=2))
        yield made


def ids_of(program, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, program.vocab_size, shape)


def test_it_says_what_executes(bundle):
    with NativeRunner() as made:
        info = made.open(bundle, RunnerOptions(address="reference"))
    assert info.engine == "native" and info.details["kernels"] == "reference" and info.load_ms > 0
    with pytest.raises(RunnerError, match="kernel set"):
        NativeRunner().open(bundle, RunnerOptions(address="quantum"))


def test_step_sequence_and_prefill_equal_golden_side_by_side_on_threads(runner, program):
    ids, golden = ids_of(program, 5, 40), Golden(program)
    want = golden.sequence(ids)
    np.testing.assert_array_equal(runner.sequence(ids).logits, want)
    np.testing.assert_array_equal(runner.prefill(ids[:, :30]).logits, want[:, 29])
    for i in range(30, 40):
        np.testing.assert_array_equal(runner.step(ids[:, i]).logits, want[:, i])


def test_the_best_tokens_and_greedy_runs_equal_golden(runner, program):
    ids, golden, state = ids_of(program, 1, 30), Golden(program), State(program)
    for start, end in ((0, 11), (11, 12), (12, 30)):
        best, values = runner.best(ids[:, start:end], 4, new=start == 0)
        for token in ids[0, start:end]:
            want = golden.step(np.array([token]), state)[0]
        np.testing.assert_array_equal(best, np.argsort(-want, kind="stable")[:4])
        np.testing.assert_array_equal(values, want[best])
    token = int(best[0])
    for count in (1, 7, 40):
        made = runner.greedy(token, count, None)
        wanted = []
        for _ in range(count):
            token = int(golden.step(np.array([token]), state)[0].argmax())
            wanted.append(token)
        assert made == wanted
    end = made[5]
    runner.best(ids, 1, new=True)
    stopped = runner.greedy(int(best[0]), 11 + 7 + 40, end)
    assert stopped.index(end) == len(stopped) - 1
    with pytest.raises(TextError):
        runner.greedy(program.vocab_size, 3, None)


def test_a_sequence_leaves_the_context_alone(runner, program):
    ids, golden, state = ids_of(program, 20), Golden(program), State(program)
    for i, token in enumerate(ids):
        if i % 5 == 0:
            runner.sequence(ids_of(program, 3, 9, seed=i))
        want = golden.step(np.array([token]), state)
        np.testing.assert_array_equal(runner.step(np.array([token])).logits, want)


def test_a_window_times_every_token_in_c_and_hashes_all_logits(runner, program):
    ids = ids_of(program, 12)
    window = runner.window(ids, repeat=3, warmup=4)
    logits = Golden(program).sequence(ids[None])[0]
    digest = hashlib.sha256(b"".join(row.tobytes() for _ in range(3) for row in logits))
    assert window.output_sha256 == digest.hexdigest()
    assert window.tokens == 36 == len(window.latencies_ns) and (window.latencies_ns > 0).all()
    assert window.latencies_ns.sum() <= window.ended_ns - window.started_ns


def test_a_state_goes_from_golden_to_the_engine_and_back(runner, program):
    golden, ids = Golden(program), ids_of(program, 2, 25)
    _, state = golden.prefill(ids[:, :14])
    runner.restore(state)
    for i in range(14, 25):
        np.testing.assert_array_equal(runner.step(ids[:, i]).logits, golden.step(ids[:, i], state))
    saved = runner.save()
    assert saved.count == state.count
    for name, array in state.tensors.items():
        np.testing.assert_array_equal(saved.tensors[name], array)


def test_bad_calls_are_errors(runner, program):
    for bad in (np.array([program.vocab_size]), np.array([-1])):
        with pytest.raises(TextError, match="vocabulary"):
            runner.step(bad)
    with pytest.raises(RunnerError, match="another number of sequences"):
        runner.step(np.array([0, 1]))
    for bad in (np.zeros((1, 0), np.int64), np.zeros(3, np.int64), np.zeros((1, 2))):
        with pytest.raises(TextError):
            runner.sequence(bad)
    runner.close()
    runner.close()
    with pytest.raises(RunnerError, match="holds no bundle"):
        runner.step(np.array([0]))


def test_without_a_compiler_the_reason_and_the_remedy_are_given(monkeypatch):
    monkeypatch.setenv("EDGESNN_CC", "no-such-compiler")
    assert "no-such-compiler" in NativeRunner.missing() and "ziglang" in NativeRunner.missing()
    with pytest.raises(RunnerError, match="cannot be built"):
        native_build.library()


def unoptimised(flags):
    """The flags of a build that is only loaded: optimising takes most of its time."""
    return tuple("-O0" if flag == "-O3" else flag for flag in flags)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_threads_that_start_together_build_one_library(monkeypatch, tmp_path, compiler):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    monkeypatch.setenv("EDGESNN_CC", compiler)
    monkeypatch.setenv("EDGESNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(native_build, "FLAGS", unoptimised(native_build.FLAGS))
    found = []
    threads = [threading.Thread(target=lambda: found.append(native_build.library()[0])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1
    assert sorted(path.name for path in (tmp_path / "cache" / "engine").iterdir()) == [
        "lock",
        found[0].name,
    ]
    assert "reference" in kernel_sets()


def test_a_compiler_that_fails_is_an_error_with_its_words(monkeypatch, tmp_path):
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho the disk is on fire >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("EDGESNN_CC", str(broken))
    monkeypatch.setenv("EDGESNN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(RunnerError, match="on fire"):
        native_build.library()
    assert not list((tmp_path / "cache" / "engine").glob("*.so"))
