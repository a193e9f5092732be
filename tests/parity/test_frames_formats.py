"""Networks that read frames as ONNX and TFLite: what golden gives, whatever the state and its limits."""

import json

import numpy as np
import pytest

from edgesnn.api.verification import verify_bundle
from edgesnn.bundle.frames import FramesBundleSource, write_frames_bundle
from edgesnn.errors import FramesError, RunnerError
from edgesnn.plugins import exporter_misses, load_exporter, load_runner
from edgesnn.program.golden import Golden
from edgesnn.program.ops import Linear
from edgesnn.program.ops_frames import Conv, Delay, FrameOutput, Frames, Reset, StatefulLIF, SumPool
from edgesnn.program.program import Program
from edgesnn.program.state import state_tensors
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.golden import GoldenRunner
from tests.support.frame_programs import neuron, random_frames, random_frames_program, smallest_frames

ENGINES = {"onnx": "onnxruntime", "tflite": "litert"}
pytestmark = pytest.mark.parametrize("form", sorted(ENGINES))


@pytest.fixture(autouse=True)
def _needs(form):
    missing = exporter_misses(form) or load_runner(ENGINES[form]).missing()
    if missing is not None:
        pytest.skip(missing)


@pytest.fixture
def opened(form, tmp_path):
    """Opens a program in the engine of a form."""
    runners = []

    def open_program(program, runner=None):
        folder = tmp_path / f"bundle{len(runners)}"
        runner = runner or load_runner(ENGINES[form])()
        runners.append(runner)
        runner.open(bundle_of(program, form, folder), RunnerOptions())
        return runner

    yield open_program
    for runner in runners:
        runner.close()


def bundle_of(program, form, folder):
    source = FramesBundleSource("wake", program, {}, {})
    return write_frames_bundle(source, folder, {form: load_exporter(form)()}, overwrite=False)


@pytest.mark.parametrize("seed", range(30))
def test_random_programs_give_the_outputs_of_golden_in_every_form(opened, seed):
    program = random_frames_program(seed)
    runner, rng = opened(program), np.random.default_rng(seed)
    for density in (0.02, 0.3, 1.0):
        frames = random_frames(program, rng, 2, 9, density)
        wanted = Golden(program).sequence(frames)
        np.testing.assert_array_equal(runner.sequence(frames).logits, wanted)
        np.testing.assert_array_equal(runner.prefill(frames[:, :4]).logits, wanted[:, 3])
        for i in range(4, 9):
            np.testing.assert_array_equal(runner.step(frames[:, i]).logits, wanted[:, i])


@pytest.mark.parametrize("reset", list(Reset))
@pytest.mark.parametrize("size", [1, 7, 77])
def test_membranes_at_their_limits(opened, reset, size):
    """Currents that saturate both ways, the largest thresholds and biases, each decay."""
    rng, width = np.random.default_rng(int(reset)), 77
    theta = rng.choice([1, 2, 2**22, 2**23 - 2], size).astype(np.int32)
    if reset is Reset.MANY:
        theta = np.maximum(theta, 300)
    bias = rng.choice([-(2**30), -5, 0, 5, 2**30], size).astype(np.int32)
    decay = rng.choice([0, 1, 127, 255, 256], size).astype(np.int32)
    weight = rng.choice(np.array([-127, 0, 127], np.int8), (500, width))
    frames = np.zeros((1, 12, 500), np.int8)
    frames[0, rng.integers(0, 12, 4)] = 127
    frames[0, rng.integers(0, 12, 4)] = -127
    for membrane in (False, True):
        program = Program(
            1,
            (
                Frames("frames", "frames", (500,), -127, 127, 1.0),
                Linear("linear", "frames", "linear", weight),
                StatefulLIF(
                    "lif", "linear", "lif", decay, theta, bias, reset, membrane, 6, membrane=membrane
                ),
                FrameOutput("output", "lif", "output", False),
            ),
        )
        wanted = Golden(program).sequence(frames)
        np.testing.assert_array_equal(opened(program).sequence(frames).logits, wanted)
        assert not membrane or int(np.abs(wanted).max()) > 2**22


def test_graded_values_wider_than_a_byte_and_sums_at_the_limit_of_currents(opened):
    """Sums of pools up to 127 * 256 in both signs, times weights, up to the bound that is proven."""
    rng = np.random.default_rng(0)
    weight = np.array([[127, -127], [1, 127]], np.int8)[:, :, None, None]
    program = Program(
        1,
        (
            Frames("frames", "frames", (2, 32, 16), -127, 127, 1.0),
            SumPool("pool", "frames", "pool", (2, 32, 16), (16, 16), (16, 16)),
            Conv("conv", "pool", "conv", weight, (2, 2, 1)),
            neuron("lif", "conv", 4, rng, reset=Reset.NONE, spread=1.0, fraction=0, membrane=True),
            FrameOutput("output", "lif", "output", False),
        ),
    )
    frames = rng.choice(np.array([-127, 127], np.int8), (1, 6, 1024))
    frames[:, 1], frames[:, 2] = 127, -127
    frames[:, 3, :512], frames[:, 3, 512:] = 127, -127
    wanted = Golden(program).sequence(frames)
    assert int(np.abs(wanted).max()) > 2**22
    np.testing.assert_array_equal(opened(program).sequence(frames).logits, wanted)


def test_counts_saturate(opened):
    """A count that is restored near its limit stops there."""
    program = smallest_frames()
    runner, golden = opened(program), opened(program, GoldenRunner())
    state = golden.save()
    state.tensors["count.output"][...] = 2**24 - 3
    for each in (runner, golden):
        each.restore(state)
    frames = random_frames(program, np.random.default_rng(0), 1, 12, 1.0)
    for i in range(12):
        got, wanted = (each.step(frames[:, i]).logits for each in (runner, golden))
        np.testing.assert_array_equal(got, wanted)
    assert int(wanted.max()) == 2**24 - 1


@pytest.mark.parametrize("seed", range(8))
def test_a_context_moves_there_and_back_in_the_middle(opened, seed):
    program = random_frames_program(seed)
    runner, golden = opened(program), opened(program, GoldenRunner())
    frames = random_frames(program, np.random.default_rng(seed), 2, 14, 0.4)
    wanted = Golden(program).sequence(frames)
    for cut in (1, 7, 13):
        for first, second in ((runner, golden), (golden, runner)):
            first.reset(2)
            for i in range(cut):
                first.step(frames[:, i])
            second.restore(first.save())
            first.sequence(frames[:, :3])  # leaves the context alone
            for i in range(cut, 14):
                for each in (first, second):
                    np.testing.assert_array_equal(each.step(frames[:, i]).logits, wanted[:, i])


def test_delays_are_kept_however_long(opened):
    rng = np.random.default_rng(3)
    program = Program(
        1,
        (
            Frames("frames", "frames", (6,), -3, 4, 1.0),
            Delay("delay", "frames", "delay", np.array([0, 1, 37], np.int32)),
            Linear("linear", "delay", "linear", rng.integers(-127, 128, (6, 3)).astype(np.int8)),
            neuron("lif", "linear", 3, rng, spread=100.0, membrane=True),
            FrameOutput("output", "lif", "output", False),
        ),
    )
    frames = random_frames(program, rng, 1, 90, 0.5)
    runner = opened(program)
    np.testing.assert_array_equal(runner.sequence(frames).logits, Golden(program).sequence(frames))
    for i in range(50):
        runner.step(frames[:, i])
    moved = opened(program)
    moved.restore(runner.save())
    wanted = Golden(program).sequence(frames)
    for i in range(50, 90):
        np.testing.assert_array_equal(moved.step(frames[:, i]).logits, wanted[:, i])


def test_verify_finds_no_difference_and_finds_one(form, tmp_path, monkeypatch):
    bundle = bundle_of(random_frames_program(3), form, tmp_path / "b")
    [result] = verify_bundle(bundle, [ENGINES[form]], tokens=100)
    assert result.mismatches == 0 and set(result.forms) == {"sequence", "step", "prefill"}
    kind = load_runner(ENGINES[form])
    honest = kind.sequence

    def lying(self, frames):
        output = honest(self, frames)
        output.logits[..., -1] += 1
        return output

    monkeypatch.setattr(kind, "sequence", lying)
    [result] = verify_bundle(bundle, [ENGINES[form]], tokens=100)
    assert result.forms["sequence"] > 0 and result.forms["step"] == 0


def test_the_file_says_what_it_takes_and_gives(form, tmp_path):
    program = smallest_frames()
    bundle = bundle_of(program, form, tmp_path / "b")
    entry = bundle.manifest.exports[form]
    assert entry.files == {"step": f"network.{form}"}
    names = [tensor.name for tensor in state_tensors(program)]
    inputs, outputs = (
        [item["name"] for item in entry.signatures["step"][way]] for way in ("inputs", "outputs")
    )
    assert sorted(inputs) == sorted(["frame", *names])
    assert sorted(outputs) == sorted(["outputs", *(f"new.{name}" for name in names)])
    assert json.loads(json.dumps(entry.signatures))["step"]["inputs"][0]["dtype"] == "int8"
    assert bundle.manifest.sizes[f"{form} step"] == (bundle.path / f"network.{form}").stat().st_size


def test_a_window_and_what_is_no_frame(opened):
    program = random_frames_program(3)
    runner, golden = opened(program), opened(program, GoldenRunner())
    frames = random_frames(program, np.random.default_rng(1), 1, 5, 0.4)
    digests = {each.window(frames[0], 2, 1).output_sha256 for each in (runner, golden)}
    assert len(digests) == 1
    with pytest.raises(FramesError, match="out of range"):
        runner.step(np.full((1, program.frames.channels), 100))
    with pytest.raises(RunnerError, match="another number of sequences"):
        runner.step(np.zeros((2, program.frames.channels), np.int8))
