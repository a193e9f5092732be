"""The C reader under bad input: every byte, every size, and thousands of damaged files under sanitizers."""

import shutil
import subprocess

import pytest

from edgesnn import resources
from edgesnn.errors import EdgesnnError
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.native import build as native_build
from edgesnn.runners.native.engine import Engine
from tests.support.frame_programs import random_frames_program, smallest_frames
from tests.support.patience import patience
from tests.support.programs import smallest
from tests.support.random_program import RandomShape, random_program

pytestmark = pytest.mark.skipif(native_build.missing() is not None, reason=str(native_build.missing()))

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
ROUNDS = 6000


@pytest.fixture(autouse=True, scope="module")
def found_once():
    """Every engine asks where its library is, which reads all of its sources; here it is asked once."""
    found = native_build.library()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgesnn.runners.native.engine.library", lambda: found)
        yield


@pytest.fixture(scope="module")
def program():
    return to_bytes(smallest())


def refusal(data):
    with pytest.raises(EdgesnnError) as error:
        Engine(data, "reference", 1).close()
    return error.value.what


def test_every_one_byte_edit_is_an_error(program):
    for at in range(len(program)):
        for flip in (1 << at % 8, 0xFF):
            damaged = bytearray(program)
            damaged[at] ^= flip
            assert "SNN_E_" in refusal(bytes(damaged)), at


def test_every_one_byte_edit_of_a_program_that_reads_frames_is_an_error():
    frames = to_bytes(smallest_frames())
    for at in range(len(frames)):
        damaged = bytearray(frames)
        damaged[at] ^= 1 << at % 8
        assert "SNN_E_" in refusal(bytes(damaged)), at


def test_every_truncation_and_extension_is_an_error(program):
    for size in [*range(0, len(program), 7), len(program) - 1]:
        assert "SNN_E_" in refusal(program[:size])
    assert "SNN_E_SIZE" in refusal(program + b"\0" * 64)


@pytest.mark.parametrize(
    ("at", "value", "status"),
    [
        (0, b"X", "MAGIC"),
        (8, b"\x02", "VERSION"),
        (10, b"\x02", "VERSION"),
        (10, b"\x01", "CRC"),
        (12, b"\x01\x02\x03\x04", "ENDIAN"),
        (16, b"\xff", "SIZE"),
        (24, b"\0\0\0\0", "CRC"),
        (200, b"\xff", "CRC"),
    ],
)
def test_each_damage_has_its_own_status(program, at, value, status):
    damaged = bytearray(program)
    damaged[at : at + len(value)] = value
    assert f"SNN_E_{status}" in refusal(bytes(damaged))


def test_a_file_shorter_than_its_header_is_truncated(program):
    assert "SNN_E_TRUNCATED" in refusal(program[:100])


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("gcc with its sanitizers is not installed")
    engine, binary = resources.folder("engine"), tmp_path_factory.mktemp("fuzz") / "fuzz_reader"
    sources = [engine / name for name in native_build.SOURCES if name != "snn_host.c"]
    command = ["gcc", "-std=gnu99", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-DSNN_NO_CRC", *SANITIZERS]
    subprocess.run([*command, engine / "fuzz" / "fuzz_reader.c", *sources, "-o", binary], check=True)
    return binary


SHAPES = (
    RandomShape(
        vocab=5, dim=4, depth=1, windows=(1, 3), mlp=3, rank=2, timesteps=2, shifted=2, saturate=True
    ),
    RandomShape(vocab=40, dim=144, depth=1, windows=(2, 3), mlp=70, rank=65, timesteps=3, shifted=70),
    RandomShape(vocab=33, dim=64, depth=1, windows=(4,), mlp=300, rank=64, timesteps=4, density=0.6),
)


@pytest.mark.parametrize("seed", [None, 2, 7, 11])
def test_damaged_files_of_programs_that_read_frames_cause_no_finding(fuzzer, tmp_path, seed):
    file = tmp_path / "program.snn"
    file.write_bytes(to_bytes(smallest_frames() if seed is None else random_frames_program(seed)))
    done = subprocess.run(
        [fuzzer, file, str(seed or 0), str(ROUNDS)], capture_output=True, text=True, timeout=patience()
    )
    assert done.returncode == 0, done.stderr[-3000:]
    refused, ran = (int(word) for word in done.stdout.split() if word.isdigit())
    assert refused + ran == ROUNDS and refused > ROUNDS // 10 and ran > ROUNDS // 50


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_damaged_files_without_a_checksum_cause_no_finding(fuzzer, tmp_path, number):
    file = tmp_path / "program.snn"
    file.write_bytes(to_bytes(random_program(SHAPES[number], number)))
    done = subprocess.run(
        [fuzzer, file, str(number), str(ROUNDS)], capture_output=True, text=True, timeout=patience()
    )
    assert done.returncode == 0, done.stderr[-3000:]
    refused, ran = (int(word) for word in done.stdout.split() if word.isdigit())
    assert refused + ran == ROUNDS and refused > ROUNDS // 10 and ran > ROUNDS // 50


def test_a_student_too_large_for_the_engine_is_refused_not_run():
    wide = RandomShape(vocab=4, dim=1, depth=1, windows=(1,), mlp=65_600, rank=1, timesteps=1, shifted=0)
    assert "SNN_E_LIMIT" in refusal(to_bytes(random_program(wide, 0)))
