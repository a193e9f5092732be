"""Version 1.1 of ``program.snn``: programs that read frames; those that read text stay as they were."""

import hashlib
import random
import struct

import numpy as np
import pytest

from edgesnn.errors import ProgramFormatError
from edgesnn.program.golden import Golden
from edgesnn.program.ops_frames import Conv, FrameOutput, Frames, StatefulLIF, SumPool
from edgesnn.program.snn_format import from_bytes, program_hash, to_bytes
from tests.fuzz.test_snn_fuzz import check, edited
from tests.support import snn_reader
from tests.support.frame_programs import random_frames, random_frames_program, smallest_frames
from tests.support.programs import smallest, with_op
from tests.support.random_program import RandomShape, random_program
from tests.support.snn_reader import fix_up

WRITTEN = [
    "4b0adc89d54f37c927fcb47e58d566020bc7ea1eafc1d80be65fa5b98bc95c8b",
    "1fc7541fcc70e623cb4130ba86972a68939e59eeacd649f4389eb71113e13ca8",
    "34982e2c2e94297a40e63f516e63c25f732f57c96dda3df9ce2a2487c6b1d51a",
]


@pytest.fixture(scope="module")
def data():
    return to_bytes(smallest_frames())


@pytest.mark.parametrize("seed", range(40))
def test_a_program_comes_back_with_the_same_bytes_and_outputs(seed):
    program = random_frames_program(seed)
    data = to_bytes(program)
    stored = from_bytes(data)
    assert to_bytes(stored.program) == data
    assert stored.hash == program_hash(program)
    frames = random_frames(program, np.random.default_rng(seed), 2, 6, 0.4)
    assert np.array_equal(Golden(stored.program).sequence(frames), Golden(program).sequence(frames))
    assert stored.program.frames.shape == program.frames.shape
    assert stored.program.output_scale == program.output_scale


def test_only_programs_of_frames_have_the_new_version(data):
    assert snn_reader.parse(data)["version"] == (1, 1)
    assert snn_reader.parse(to_bytes(smallest()))["version"] == (1, 0)


def test_programs_that_read_text_are_byte_for_byte_what_version_1_0_wrote():
    """SHA-256 of the files that the writer made before there were frames."""
    files = [to_bytes(snn_reader.example_program()), to_bytes(smallest())]
    files.append(to_bytes(random_program(RandomShape(), 3)))
    assert [hashlib.sha256(file).hexdigest() for file in files] == WRITTEN


def test_the_second_reader_sees_the_numbers_and_weights_of_the_page(data):
    program, seen = smallest_frames(), snn_reader.parse(data)
    by_name = {op["name"]: op for op in seen["ops"]}
    kinds = [(op["kind"], op["name"]) for op in seen["ops"]]
    assert kinds == [(type(op).__name__, op.name) for op in program.ops]
    half, quarter = (struct.unpack("<i", struct.pack("<f", x))[0] for x in (0.5, 0.25))
    assert by_name["frames"]["numbers"] == (3, 2, 3, 4, -3, 4, half, 0)
    assert by_name["conv"]["numbers"] == (3, 4, 1, 2, 1, 1, 1, 1)
    assert by_name["pool"]["numbers"] == (4, 2, 2, 2, 2, 1, 0, 1)
    assert by_name["lif"]["numbers"] == (4, 6, 1, 0, 0, 0, 0, 0)
    assert by_name["output"]["numbers"] == (1, quarter, 0, 0, 0, 0, 0, 0)
    conv = next(program.all(Conv))
    stored = seen["tensors"][by_name["conv"]["tensors"][0]]
    assert stored["shape"] == (2, 2, 3, 2)
    for i in range(2):
        for o in range(2):
            column = np.array(stored["values"]).reshape(2, 2, 3, 2)[i, :, :, o]
            assert np.array_equal(column, conv.weight[2 * i + o, 0])
    lif = next(program.all(StatefulLIF))
    values = [seen["tensors"][ref]["values"] for ref in by_name["lif"]["tensors"]]
    assert values == [tuple(t.tolist()) for t in (lif.decay, lif.threshold, lif.bias)]


def refused(data, message=None):
    with pytest.raises(ProgramFormatError, match=message):
        from_bytes(data)


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_every_edit_of_one_byte_is_an_error(data, flip):
    for position in range(len(data)):
        copy = bytearray(data)
        copy[position] ^= flip
        refused(bytes(copy))


def test_truncation_at_every_length_is_an_error(data):
    for length in range(0, len(data), 3):
        refused(data[:length])


@pytest.mark.parametrize("seed", range(3))
def test_an_edited_file_with_a_right_hash_is_refused_or_holds_a_safe_program(data, seed):
    rng = random.Random(seed)
    taken = sum(check(edited(data, rng)) for _ in range(600))
    assert 0 < taken < 600


def test_the_older_version_holds_no_frames_and_no_ops_of_them(data):
    copy = bytearray(data)
    struct.pack_into("<H", copy, 10, 0)
    refused(fix_up(copy), "unknown form")


BROKEN = [
    ("frames", {"shape": ()}, "dimensions"),
    ("frames", {"shape": (2, 3, 4, 1)}, "dimensions"),
    ("frames", {"low": 1}, "least sample"),
    ("frames", {"high": 128}, "largest sample"),
    ("frames", {"scale": 0.0}, "scale"),
    ("frames", {"scale": float("nan")}, "scale"),
    ("frames", {"scale": 0.1}, "scale"),
    ("conv", {"shape": (2, 4, 4)}, "another width"),
    ("conv", {"groups": 1}, "weight"),
    ("conv", {"stride": (0, 1)}, "stride"),
    ("conv", {"padding": (-1, 0)}, "padding"),
    ("conv", {"dilation": (1, 9)}, "output"),
    ("pool", {"padding": (2, 0)}, "padding"),
    ("pool", {"kernel": (5, 9)}, "output"),
    ("lif", {"fraction": 7}, "fraction"),
    ("lif", {"threshold": np.ones(5, np.int32)}, "decay"),
    ("lif", {"decay": np.full(32, 257, np.int32)}, "decay"),
    ("delay", {"delays": np.zeros(2, np.int32)}, "longest delay"),
    ("delay", {"delays": np.ones(5, np.int32)}, "does not divide"),
    ("output", {"scale": -1.0}, "scale"),
    ("output", {"input": "linear"}, "current"),
    ("last", {"membrane": True}, "membrane"),
]


@pytest.mark.parametrize(("name", "changes", "message"), BROKEN)
def test_a_program_that_breaks_a_rule_is_refused_by_the_op_s_name(name, changes, message):
    program = smallest_frames()
    if changes.get("decay") is not None:
        changes = changes | {key: np.ones(32, np.int32) for key in ("threshold", "bias")}
    with pytest.raises(ProgramFormatError, match=message):
        to_bytes(with_op(program, name, **changes))


def test_the_ops_of_the_test_s_file_are_all_there_are():
    kinds = {type(op) for op in smallest_frames().ops}
    assert {Frames, Conv, SumPool, StatefulLIF, FrameOutput} < kinds
    assert len(kinds) == 9
