"""Programs that read frames on boards: the firmware at the end of a socket, and on emulated processors."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn.api.verification import verify_bundle
from edgesnn.bundle.frames import FramesBundleSource, write_frames_bundle
from edgesnn.errors import FramesError, RunnerError
from edgesnn.firmware import EMULATED, find_firmware
from edgesnn.program.golden import Golden
from edgesnn.program.ops import Linear
from edgesnn.program.ops_frames import FrameOutput, Frames
from edgesnn.program.program import Program
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.board.board import Board
from edgesnn.runners.board.frames import InferFlag
from edgesnn.runners.board.qemu import QemuRunner
from edgesnn.runners.board.runner import BoardRunner
from edgesnn.runners.golden import GoldenRunner
from tests.devices.board.test_ascii import ask, logits
from tests.support.devices.loopback import Loopback, build_host, why_no_compiler
from tests.support.frame_programs import (
    neuron,
    random_frames,
    random_frames_program,
    smallest_frames,
    weights,
)
from tests.support.patience import patience

pytestmark = pytest.mark.skipif(why_no_compiler() is not None, reason=str(why_no_compiler()))
M7 = "mps2-an500"
emulated = pytest.mark.skipif(QemuRunner.missing() is not None, reason=str(QemuRunner.missing()))


@pytest.fixture(scope="module")
def loopback():
    with Loopback() as board:
        yield board


class LoopbackRunner(BoardRunner):
    """The runner of boards on a firmware of this computer."""

    name = "loopback"
    loopback: Loopback

    def read_address(self, text):
        from edgesnn.runners.board.address import BoardAddress

        return BoardAddress("loopback")

    def connect(self, address, program):
        return self.loopback.line()


def runner_on(loopback):
    runner = LoopbackRunner()
    runner.loopback = loopback
    return runner


def bundle_of(program, folder):
    return write_frames_bundle(FramesBundleSource("x", program, {}, {}), folder, overwrite=False)


def wide_program(inputs=1500, outputs=300):
    """A frame that fits no request, and outputs that fit no reply."""
    rng = np.random.default_rng(0)
    return Program(
        1,
        (
            Frames("frames", "frames", (inputs,), -127, 127, 1.0),
            Linear("linear", "frames", "linear", weights(rng, inputs, outputs)),
            neuron("last", "linear", outputs, rng, spread=20_000.0, membrane=True),
            FrameOutput("output", "last", "output", False),
        ),
    )


def bring(line, data):
    """Load the input of the next inference."""
    ask(line, f"db load {len(data)}")
    said = [ask(line, "db " + data[at : at + 30].hex()) for at in range(0, len(data), 30)]
    return said[-1]


def outputs_of(rows):
    return np.ascontiguousarray(rows).view("<i4")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((0.02, 0.3, 1.0)))
def test_a_board_gives_goldens_outputs_at_once_and_one_by_one(loopback, seed, density):
    program = random_frames_program(seed)
    frames = random_frames(program, np.random.default_rng(seed), 1, 9, density)
    wanted = Golden(program).sequence(frames)[0]
    with loopback.session() as session:
        board = Board(session)
        model = board.load(to_bytes(program))
        assert (model.inputs, model.outputs) == (program.frames.channels, program.outputs)
        run = board.run(frames[0, :6], InferFlag.ALL, InferFlag.FRESH, seconds=patience())
        np.testing.assert_array_equal(outputs_of(board.codes(6)), wanted[:6])
        assert run.sha256 == hashlib.sha256(wanted[:6].astype("<i4").tobytes()).digest()
        assert len(board.ticks(6)) == 6
        for i in range(6, 9):
            run = board.run(frames[0, i : i + 1], seconds=patience())
            np.testing.assert_array_equal(outputs_of(run.codes), wanted[i])
            np.testing.assert_array_equal(board.logits(), wanted[i])
            assert run.sha256 == hashlib.sha256(wanted[i].astype("<i4").tobytes()).digest()


@pytest.mark.parametrize("seed", range(8))
def test_a_state_saved_in_the_middle_goes_on_there_and_in_golden(loopback, tmp_path, seed):
    program = random_frames_program(seed)
    frames = random_frames(program, np.random.default_rng(seed), 1, 14, 0.4)
    wanted = Golden(program).sequence(frames)
    bundle = bundle_of(program, tmp_path / "x")
    with runner_on(loopback) as runner, GoldenRunner() as golden:
        runner.open(bundle, RunnerOptions())
        golden.open(bundle, RunnerOptions())
        for cut in (1, 8, 13):
            np.testing.assert_array_equal(runner.prefill(frames[:, :cut]).logits, wanted[:, cut - 1])
            state = runner.save()
            np.testing.assert_array_equal(runner.sequence(frames).logits, wanted)  # leaves the context alone
            golden.prefill(frames[:, :cut])
            back = golden.save()
            golden.restore(state)
            for i in range(cut, 14):
                np.testing.assert_array_equal(golden.step(frames[:, i]).logits, wanted[:, i])
                np.testing.assert_array_equal(runner.step(frames[:, i]).logits, wanted[:, i])
            runner.restore(back)
            np.testing.assert_array_equal(runner.extend(frames[:, cut:]).logits, wanted[:, -1])


def test_frames_and_outputs_wider_than_a_frame_of_the_line(loopback, tmp_path):
    program = wide_program()
    frames = random_frames(program, np.random.default_rng(0), 1, 5, 0.5)
    wanted = Golden(program).sequence(frames)
    assert int(np.abs(wanted).max()) > 2**20
    with runner_on(loopback) as runner:
        runner.open(bundle_of(program, tmp_path / "x"), RunnerOptions())
        np.testing.assert_array_equal(runner.sequence(frames).logits, wanted)
        runner.reset()
        for i in range(5):
            np.testing.assert_array_equal(runner.step(frames[:, i]).logits, wanted[:, i])
        assert len(runner._board.run(frames[0, :1], seconds=patience()).codes) == 0


def test_a_window_has_goldens_hash_and_a_time_for_every_frame(loopback, tmp_path):
    program = random_frames_program(7)
    frames = random_frames(program, np.random.default_rng(1), 1, 5, 0.4)
    with runner_on(loopback) as runner, GoldenRunner() as golden:
        bundle = bundle_of(program, tmp_path / "x")
        for each in (runner, golden):
            each.open(bundle, RunnerOptions())
        window = runner.window(frames[0], 3, 2)
        assert window.output_sha256 == golden.window(frames[0], 3, 2).output_sha256
        assert len(window.latencies_ns) == 15 and window.latencies_ns.min() > 0
        runner.play(())


def test_little_memory_cuts_a_sequence_into_runs(tmp_path):
    program = wide_program(60, 5)
    frames = random_frames(program, np.random.default_rng(0), 1, 40, 0.5)
    bundle = bundle_of(program, tmp_path / "x")
    with Loopback() as roomy, roomy.session() as session:
        opened = Board(session).load(to_bytes(program))
        used = opened.index_bytes + opened.context_bytes
    with Loopback(arena_bytes=used + 512) as board, runner_on(board) as runner:
        runner.open(bundle, RunnerOptions())
        assert runner._board.model.most_inputs(every=True) < 7
        np.testing.assert_array_equal(runner.sequence(frames).logits, Golden(program).sequence(frames))
        assert runner.prefill(frames).logits.shape == (1, 5)
        with pytest.raises(RunnerError, match="too little memory for the results"):
            runner.window(frames[0, :2], 30, 0)
        with pytest.raises(RunnerError, match="too little memory for what it is sent"):
            runner._board.run(frames[0], seconds=patience())


def test_what_is_no_frame_is_refused_here_and_there(loopback, tmp_path):
    program = smallest_frames()
    with runner_on(loopback) as runner:
        runner.open(bundle_of(program, tmp_path / "x"), RunnerOptions())
        with pytest.raises(FramesError, match="out of range"):
            runner.prefill(np.full((1, 1, 24), 100))
        with pytest.raises(RunnerError, match="one sequence at a time"):
            runner.prefill(np.zeros((2, 1, 24), np.int8))
        board = runner._board
        with pytest.raises(RunnerError, match="refused INFER"):
            board.run(np.full((1, 24), 100, np.int8), seconds=patience())
        with pytest.raises(RunnerError, match="refused READ"):
            board.logits()
        with pytest.raises(RunnerError, match="refused TOP"):
            board.top(1)


def test_a_firmware_that_knows_no_frames_is_named(tmp_path):
    old = build_host("loopback1", "-DDUT_VERSION=1u")
    with Loopback(program=old) as board, runner_on(board) as runner:
        with pytest.raises(RunnerError, match="knows no networks that read frames") as error:
            runner.open(bundle_of(smallest_frames(), tmp_path / "x"), RunnerOptions())
        assert "protocol 1" in str(error.value)


def test_the_protocol_of_mlperf_tiny_takes_a_window_of_frames(loopback):
    program = random_frames_program(11)
    frames = random_frames(program, np.random.default_rng(2), 1, 4, 0.5)
    data = frames.tobytes()
    with loopback.session() as session:
        Board(session).load(to_bytes(program))
    line = loopback.line()
    assert bring(line, data) == "m-load-done\r\n"
    for _ in range(2):
        said = ask(line, "infer 3 1")
        np.testing.assert_array_equal(logits(said), Golden(program).sequence(frames)[0, -1])
    assert logits(ask(line, "results")).tolist() == logits(said).tolist()
    bring(line, data + b"\0")
    said = ask(line, "infer 1 0")
    assert said == f"e-[The input is no whole number of frames of {program.frames.channels} bytes]\r\n"
    assert program.frames.high < 100
    bring(line, bytes([100]) * program.frames.channels)
    assert "e-[A sample is out of range]" in ask(line, "infer 1 0")


@emulated
@pytest.mark.parametrize("machine", sorted(EMULATED))
def test_every_emulated_board_equals_golden_bit_for_bit(tmp_path, machine):
    for seed in (1, 2):
        program = random_frames_program(seed)
        [result] = verify_bundle(bundle_of(program, tmp_path / str(seed)), [f"qemu:{machine}"], tokens=100)
        assert result.mismatches == 0 and set(result.forms) == {"sequence", "step", "prefill"}


@emulated
@pytest.mark.parametrize("kernels", ["reference", "swar", "dsp", "vector"])
def test_every_kernel_set_of_a_board_equals_golden(tmp_path, kernels):
    program = smallest_frames()
    bundle = bundle_of(program, tmp_path / "x")
    frames = random_frames(program, np.random.default_rng(1), 1, 20, 0.5)
    with QemuRunner() as runner:
        info = runner.open(bundle, RunnerOptions(address=f"{M7}?kernels={kernels}"))
        assert info.details["kernels"] == kernels
        np.testing.assert_array_equal(runner.sequence(frames).logits, Golden(program).sequence(frames))


@emulated
def test_a_network_in_the_flash_of_a_board_is_found_there(tmp_path):
    program = random_frames_program(4)
    bundle = bundle_of(program, tmp_path / "x")
    firmware = find_firmware(EMULATED[M7], to_bytes(program))
    frames = random_frames(program, np.random.default_rng(1), 1, 6, 0.5)
    with QemuRunner() as runner:
        info = runner.open(bundle, RunnerOptions(address=f"{M7}?firmware={firmware}"))
        assert info.details["model_bytes_sent"] == 0
        np.testing.assert_array_equal(runner.sequence(frames).logits, Golden(program).sequence(frames))
