"""The C export as a stranger builds it: strictly, with both compilers, and for other processors."""

import importlib.util
import shutil
import subprocess

import numpy as np
import pytest

from edgesnn import toolchain
from edgesnn.errors import UsageError
from edgesnn.exporters.base import ExportSource
from edgesnn.exporters.c.cross import NAMES, cross_build, parse_targets
from edgesnn.exporters.c.exporter import CExporter
from edgesnn.program.golden import Golden
from edgesnn.program.snn_format import program_hash
from edgesnn.program.state import State
from tests.parity.native.conftest import add_example
from tests.support.frame_programs import random_frames, random_frames_program

KERNELS = ("reference", "swar", "dsp", "vector")
TOKENS = 40
#: The user-mode emulators that run the binaries of each target.
QEMU = {"aarch64": "qemu-aarch64-static", "armhf": "qemu-arm-static", "riscv64": "qemu-riscv64-static"}


def ids_of(program):
    return np.random.default_rng(0).integers(0, program.vocab_size, (1, TOKENS))


def logits_of(command, folder, program, kernels):
    ids = [str(i) for i in ids_of(program)[0]]
    done = subprocess.run(
        [*command, "program.snn", "--logits", "-k", kernels, *ids],
        cwd=folder,
        stdout=subprocess.PIPE,
        check=True,
    )
    return np.frombuffer(done.stdout, "<i4").reshape(TOKENS, -1)


@pytest.fixture
def copied(project, tmp_path):
    return shutil.copytree(project, tmp_path / "c")


@pytest.mark.parametrize("kernels", KERNELS)
def test_the_example_builds_strictly_and_gives_goldens_logits(built, program, kernels):
    want = Golden(program).sequence(ids_of(program))[0]
    np.testing.assert_array_equal(logits_of(["./snn_example"], built, program, kernels), want)


def test_the_example_continues_a_prompt_as_golden_does(built, program):
    golden, prompt = Golden(program), ids_of(program)[:, :9]
    logits, state = golden.prefill(prompt)
    want, last = [], logits[0, -1]
    for _ in range(12):
        want.append(int(last.argmax()))
        last = golden.step(np.array([want[-1]]), state)[0]
    arguments = ["./snn_example", "program.snn", "-n", "12"]
    words = [str(i) for i in prompt[0]]
    by_argument = subprocess.run([*arguments, *words], cwd=built, capture_output=True, text=True, check=True)
    by_input = subprocess.run(
        arguments, cwd=built, capture_output=True, text=True, check=True, input=" ".join(words)
    )
    assert [int(line) for line in by_argument.stdout.split()] == want
    assert by_input.stdout == by_argument.stdout
    assert isinstance(state, State)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["program.snn", "300"], "SNN_E_TOKEN"),
        (["program.snn", "x"], "not a token id"),
        (["program.snn", "-1"], "not a token id"),
        (["nothing.snn", "1"], "cannot read"),
        (["main.c", "1"], "SNN_E_MAGIC"),
        (["program.snn", "-k", "fast", "1"], "no such kernels"),
    ],
)
def test_the_example_says_what_is_wrong(built, arguments, message):
    done = subprocess.run(["./snn_example", *arguments], cwd=built, capture_output=True, text=True)
    assert done.returncode == 1 and message in done.stderr


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_the_cmake_project_builds(project, program, tmp_path):
    quick = "-DCMAKE_C_FLAGS_RELEASE=-O0"  # the project is what is tested; optimising takes most of the time
    subprocess.run(["cmake", "-S", project, "-B", tmp_path, quick], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", tmp_path], check=True, capture_output=True)
    want = Golden(program).sequence(ids_of(program))[0]
    np.testing.assert_array_equal(logits_of([tmp_path / "snn_example"], project, program, "vector"), want)


@pytest.mark.parametrize("compiler", ["gcc", pytest.param("zig", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_a_cross_build_gives_goldens_logits_under_qemu(copied, program, name, compiler, monkeypatch):
    gcc = f"{toolchain.TARGETS[name].triplet}-gcc"
    if shutil.which(QEMU[name]) is None:
        pytest.skip(f"{QEMU[name]} is not installed")
    if compiler == "zig":
        if importlib.util.find_spec("ziglang") is None:
            pytest.skip("ziglang is not installed")
        monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    elif shutil.which(gcc) is None:
        pytest.skip(f"{gcc} is not installed")
    folder = copied
    binary = cross_build(folder, (name,))[name]
    monkeypatch.undo()
    want = Golden(program).sequence(ids_of(program))[0]
    for kernels in KERNELS:
        found = logits_of([QEMU[name], binary], folder, program, kernels)
        np.testing.assert_array_equal(found, want, err_msg=kernels)


def test_an_unknown_cross_target_is_a_usage_error():
    assert parse_targets("aarch64, riscv64") == ("aarch64", "riscv64")
    for text in ("mips", "", "aarch64,sparc"):
        with pytest.raises(UsageError):
            parse_targets(text)


def test_the_example_runs_a_network_that_reads_frames(tmp_path, built):
    network = random_frames_program(3)
    result = CExporter().export(ExportSource(network, None, "wake", program_hash(network)), tmp_path)
    assert "vocab" not in result.files and result.signatures["outputs"] == network.outputs
    folder = tmp_path / "c"
    add_example(folder, built)
    frames = random_frames(network, np.random.default_rng(1), 1, 12, 0.4)
    (folder / "frames.bin").write_bytes(frames.tobytes())
    want = Golden(network).sequence(frames)[0]
    for kernels in KERNELS:
        command = ["./snn_example", "program.snn", "--frames", "frames.bin", "-k", kernels]
        text = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
        assert [[int(number) for number in line.split()] for line in text.splitlines()] == want.tolist()
        binary = subprocess.run([*command, "--logits"], cwd=folder, capture_output=True, check=True).stdout
        np.testing.assert_array_equal(np.frombuffer(binary, "<i4").reshape(want.shape), want)
    (folder / "part.bin").write_bytes(frames.tobytes()[:-1])
    (folder / "wrong.bin").write_bytes(bytes([100]) * network.frames.channels)
    for arguments, message in (
        (["5"], "reads frames: give --frames FILE"),
        (["--frames", "part.bin"], "no whole number of frames"),
        (["--frames", "wrong.bin"], "SNN_E_FRAME"),
        (["--frames", "nothing.bin"], "cannot read"),
    ):
        done = subprocess.run(
            ["./snn_example", "program.snn", *arguments], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 1 and message in done.stderr
