"""Programs that read frames on the C engine, in every kernel set, and as bundles: what golden gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn.api.bundles import open_bundle
from edgesnn.api.runners import runner_misses
from edgesnn.api.verification import parity_targets, verify_bundle
from edgesnn.bundle.frames import FramesBundleSource, write_frames_bundle
from edgesnn.errors import FramesError, ProgramFormatError, RunnerError, UsageError
from edgesnn.plugins import load_runner
from edgesnn.program.golden import Golden
from edgesnn.program.ops import Linear
from edgesnn.program.ops_frames import FrameOutput, Frames, Reset, StatefulLIF
from edgesnn.program.program import Program
from edgesnn.program.snn_format import to_bytes
from edgesnn.program.state import State
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.golden import GoldenRunner
from edgesnn.runners.native import build as native_build
from edgesnn.runners.native.engine import Engine, kernel_sets
from edgesnn.runners.native.runner import NativeRunner
from tests.support.frame_programs import random_frames, random_frames_program, smallest_frames
from tests.support.programs import smallest

pytestmark = pytest.mark.skipif(native_build.missing() is not None, reason=str(native_build.missing()))
SETS = kernel_sets() if native_build.missing() is None else ()


def engine_of(program, kernels, batch=1, threads=1):
    engine = Engine(to_bytes(program), kernels, 3)
    engine.reset(batch, threads)
    return engine


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((0.02, 0.3, 1.0)), st.sampled_from(SETS or ("reference",)))
def test_every_kernel_set_gives_the_outputs_of_golden(seed, density, kernels):
    program = random_frames_program(seed)
    frames = random_frames(program, np.random.default_rng(seed), 2, 9, density)
    engine = engine_of(program, kernels, 2, 2)
    assert np.array_equal(engine.frames(frames, every=True), Golden(program).sequence(frames))
    engine.close()


@pytest.mark.parametrize("kernels", SETS)
@pytest.mark.parametrize("reset", list(Reset))
@pytest.mark.parametrize("shared", [True, False])
def test_membranes_at_their_limits(kernels, reset, shared):
    """Currents that saturate both ways, the largest thresholds and biases, each decay."""
    width = 77
    rng = np.random.default_rng(int(reset))
    size = 7 if shared else width
    theta = rng.choice([1, 2, 2**22, 2**23 - 2], size).astype(np.int32)
    if reset is Reset.MANY:
        theta = np.maximum(theta, 300)
    bias = rng.choice([-(2**30), -5, 0, 5, 2**30], size).astype(np.int32)
    decay = rng.choice([0, 1, 127, 255, 256], size).astype(np.int32)
    for inclusive in (False, True):
        for membrane in (False, True):
            lif = StatefulLIF(
                "lif", "linear", "lif", decay, theta, bias, reset, inclusive, 6, membrane=membrane
            )  # fmt: skip
            weight = rng.choice(np.array([-127, 0, 127], np.int8), (500, width))
            program = Program(
                1,
                (
                    Frames("frames", "frames", (500,), -127, 127, 1.0),
                    Linear("linear", "frames", "linear", weight),
                    lif,
                    FrameOutput("output", "lif", "output", False),
                ),
            )
            column = np.zeros((1, 12, 500), np.int8)
            column[0, rng.integers(0, 12, 4)] = 127
            column[0, rng.integers(0, 12, 4)] = -127
            engine = engine_of(program, kernels)
            wanted = Golden(program).sequence(column)
            assert np.array_equal(engine.frames(column, every=True), wanted)
            if membrane:
                assert int(np.abs(wanted).max()) == 2**23 - 1
            engine.close()


@pytest.mark.parametrize("seed", range(25))
def test_a_state_saved_anywhere_goes_on_here_and_in_golden(seed):
    program = random_frames_program(seed)
    golden = Golden(program)
    frames = random_frames(program, np.random.default_rng(seed), 1, 14, 0.4)
    whole = golden.sequence(frames)
    for cut in (1, 3, 8, 13):
        engine = engine_of(program, None)
        engine.frames(frames[:, :cut], every=False)
        flat, count = engine.save()
        turned, zero = engine.save(oldest_first=True)
        _, state = golden.prefill(frames[:, :cut])
        assert (count, zero) == (cut, 0)
        assert np.array_equal(turned, state.flat(program, 0))
        for saved, position in ((flat, count), (turned, 0)):
            other = engine_of(program, "reference")
            other.restore(saved, position)
            assert np.array_equal(other.frames(frames[:, cut:], every=True), whole[:, cut:])
            carried = State(program)
            carried.take(program, 0, saved)
            carried.count = position
            rest = [golden.step(frames[:, i], carried) for i in range(cut, 14)]
            assert np.array_equal(np.stack(rest, axis=1), whole[:, cut:])
            other.close()
        engine.close()


def test_a_state_that_no_program_leaves_is_refused():
    engine = engine_of(smallest_frames(), "reference")
    flat, _ = engine.save()
    for value in (b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80"):
        broken = flat.copy()
        broken[-4:] = np.frombuffer(value, np.int8)
        with pytest.raises(RunnerError, match="SNN_E_STATE"):
            engine.restore(broken, 0)
    engine.close()


def test_the_engine_refuses_a_sample_out_of_range_and_tokens():
    engine = engine_of(smallest_frames(), "reference")
    with pytest.raises(Exception, match="SNN_E_FRAME"):
        engine.frames(np.full((1, 1, 24), 100, np.int8), every=True)
    with pytest.raises(Exception, match="SNN_E_TOKEN"):
        engine.step(0, 0)
    with pytest.raises(RunnerError, match="SNN_E_ARGUMENT"):
        engine_of(smallest(), "reference").frames(np.zeros((1, 1, 4), np.int8), every=True)
    assert not engine.two_pass(True)
    engine.close()


# Bundles --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    source = FramesBundleSource("gesture", random_frames_program(3), {"source": "a test"}, {})
    return write_frames_bundle(source, tmp_path_factory.mktemp("frames") / "bundle", overwrite=False)


def test_a_bundle_says_what_it_reads_and_is_read_back(bundle):
    opened = open_bundle(bundle.path)
    program = random_frames_program(3)
    assert opened.reads_frames
    assert opened.manifest.student["input_shape"] == list(program.frames.shape)
    assert opened.manifest.student["source"] == "a test"
    assert {entry.dtype for entry in opened.manifest.state} <= {"int16", "int32"}
    assert to_bytes(opened.program()) == to_bytes(program)


def test_a_program_that_reads_text_is_no_bundle_of_frames(tmp_path):
    with pytest.raises(ProgramFormatError, match="reads text"):
        write_frames_bundle(FramesBundleSource("x", smallest(), {}, {}), tmp_path / "x", overwrite=False)


def test_verify_finds_no_difference_and_says_on_what_it_looked(bundle):
    results = verify_bundle(bundle, tokens=300)
    assert [result.target for result in results] == ["golden", "native"]
    for result in results:
        assert result.mismatches == 0
        assert set(result.forms) == {"sequence", "step", "prefill"}
        assert result.text == "random frames"
        assert result.tokens > 300


def test_verify_finds_a_difference(bundle, monkeypatch):
    honest = Engine.frames

    def lying(self, frames, *, every):
        out = honest(self, frames, every=every)
        out.flat[-1] += 1
        return out

    monkeypatch.setattr(Engine, "frames", lying)
    (result,) = verify_bundle(bundle, ["native"], tokens=100)
    assert result.mismatches > 0
    assert result.worst_layer is None


def test_every_other_runner_says_why_it_does_not_run_here(bundle):
    """Those of a format want its files, boards want to be named, and the others run text only."""
    reasons = parity_targets(bundle)
    assert reasons["golden"] is None and reasons["native"] is None
    assert all(reason for name, reason in reasons.items() if name not in ("golden", "native"))
    for name in ("browser", "onnxruntime-fp32"):
        assert "reads frames" in runner_misses(load_runner(name), bundle)
    with pytest.raises(
        UsageError, match="the runner 'onnxruntime-fp32' cannot run a network that reads frames"
    ):
        load_runner("onnxruntime-fp32")().open(bundle, RunnerOptions())


@pytest.mark.parametrize("kind", [GoldenRunner, NativeRunner])
def test_a_runner_takes_frames_where_ids_stand(kind, bundle):
    program = bundle.program()
    frames = random_frames(program, np.random.default_rng(1), 2, 11, 0.4)
    wanted = Golden(program).sequence(frames)
    with kind() as runner:
        runner.open(bundle, RunnerOptions(threads=2))
        assert np.array_equal(runner.sequence(frames).logits, wanted)
        shaped = frames.reshape(2, 11, *program.frames.shape)
        assert np.array_equal(runner.sequence(shaped).logits, wanted)
        assert np.array_equal(runner.prefill(frames[:, :4]).logits, wanted[:, 3])
        assert np.array_equal(runner.extend(frames[:, 4:7]).logits, wanted[:, 6])
        state = runner.save()
        assert np.array_equal(runner.step(frames[:, 7]).logits, wanted[:, 7])
        runner.restore(state)
        assert np.array_equal(runner.step(frames[:, 7]).logits, wanted[:, 7])
        runner.reset(1)
        assert np.array_equal(runner.step(frames[:1, 0]).logits, wanted[:1, 0])
        with pytest.raises(RunnerError, match="another number of sequences"):
            runner.step(frames[:, 0])
        with pytest.raises(FramesError, match="out of range"):
            runner.sequence(np.full((1, 2, program.frames.channels), program.frames.high + 1, np.int16))
        window = runner.window(frames[0], 3, 2)
        assert window.tokens == len(window.latencies_ns) == 33


def test_a_window_hashes_the_same_outputs_on_both(bundle):
    frames = random_frames(bundle.program(), np.random.default_rng(1), 1, 5, 0.4)[0]
    digests = set()
    for kind in (GoldenRunner, NativeRunner):
        with kind() as runner:
            runner.open(bundle, RunnerOptions())
            digests.add(runner.window(frames, 2, 1).output_sha256)
    assert len(digests) == 1


def test_what_needs_text_says_so(bundle):
    with pytest.raises(UsageError, match="reads frames"):
        _ = bundle.vocab_size
    with pytest.raises(UsageError, match="reads frames"):
        bundle.file("tokenizer.json")
