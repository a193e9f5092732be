"""``program.snn``: one form for one program, and every other byte is an error."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from edgesnn.errors import ProgramFormatError
from edgesnn.program.golden import Golden
from edgesnn.program.ops import Attend, inputs_of
from edgesnn.program.snn_format import from_bytes, program_hash, read_program, to_bytes
from tests.support import snn_reader
from tests.support.programs import one_layer, programs, smallest, with_op
from tests.support.random_program import RandomShape, random_program
from tests.support.snn_reader import fix_up

ROOT = Path(__file__).parents[3]
HEADER, OP, TENSOR = 128, 128, 64
U16, U32, U64 = "<H", "<I", "<Q"


@pytest.fixture(scope="module")
def data():
    return to_bytes(smallest())


def changed(data, at, form, value):
    """The file with one field changed, hash and CRC made right again."""
    copy = bytearray(data)
    struct.pack_into(form, copy, at, value)
    assert bytes(copy) != data
    return fix_up(copy)


def tensor_at(data, index):
    return snn_reader.parse(data)["at"][1] + TENSOR * index


def refused(data, message=None):
    with pytest.raises(ProgramFormatError, match=message):
        from_bytes(data)


# What is written is what is read --------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(programs())
def test_a_program_comes_back_with_the_same_ops_bytes_and_logits(program):
    data = to_bytes(program)
    stored = from_bytes(data)
    assert to_bytes(stored.program) == data
    assert stored.hash == program_hash(program) == data[32:64].hex()
    assert stored.program.timesteps == program.timesteps
    assert [(type(op), op.name) for op in stored.program.ops] == [(type(op), op.name) for op in program.ops]
    ids = np.random.default_rng(0).integers(0, program.vocab_size, (2, 7))
    np.testing.assert_array_equal(Golden(stored.program).sequence(ids), Golden(program).sequence(ids))


def test_a_second_reader_written_from_the_page_sees_the_same_program(data):
    """tests/support/snn_reader.py shares no code with the package."""
    program, seen = smallest(), snn_reader.parse(data)
    assert (seen["magic"], seen["version"], seen["order"]) == (b"EDGESNN\0", (1, 0), 0x01020304)
    assert (seen["size"], seen["header_bytes"], seen["timesteps"]) == (len(data), 128, program.timesteps)
    maker = {op.out: index for index, op in enumerate(program.ops)}
    widths = program.channels()
    for op, found in zip(program.ops, seen["ops"], strict=True):
        assert (found["kind"], found["name"]) == (type(op).__name__, op.name)
        assert found["inputs"] == [maker[name] for name in inputs_of(op)]
        assert found["channels"] == widths[op.out]
        assert found["clip"] == getattr(op, "clip", False)
        arrays = [getattr(op, field) for field in FIELDS[found["kind"]][1]]
        for ref, array in zip(found["tensors"], arrays, strict=True):
            tensor = seen["tensors"][ref]
            wanted = np.array(array, np.int32) if isinstance(op, Attend) else array
            assert (tensor["dtype"], tensor["shape"]) == (wanted.dtype.name, wanted.shape)
            assert tensor["values"] == tuple(wanted.ravel().tolist())
            assert tensor["at"] % 64 == 0
        numbers = [getattr(op, field) for field in FIELDS[found["kind"]][0]]
        numbers += [len(op.windows)] if isinstance(op, Attend) else []
        assert list(found["numbers"]) == numbers + [0] * (8 - len(numbers))


FIELDS = {
    "Embed": (["shift"], ["table", "projection", "multiplier"]),
    "Linear": ([], ["weight"]),
    "LIF": (["decay"], ["threshold", "bias"]),
    "Shift": ([], ["channels"]),
    "Attend": (["head_dim"], ["windows"]),
    "Add": ([], []),
    "Saturate": ([], []),
    "Count": ([], []),
    "Readout": (["shift", "exponent"], ["weight", "bias", "multiplier", "table"]),
}


def test_the_worked_example_of_the_page_is_what_the_code_writes():
    page = (ROOT / "docs" / "program_snn.md").read_text("utf-8")
    assert snn_reader.worked_example() in page, "run: python -m tests.support.snn_reader"


def test_the_worked_example_runs_to_the_logits_that_the_page_gives():
    page = (ROOT / "docs" / "program_snn.md").read_text("utf-8")
    logits = Golden(snn_reader.example_program()).sequence(np.array([[0, 1]]))[0].tolist()
    assert f"`{logits}`" in page


def test_the_same_program_gives_the_same_bytes_whatever_its_values_are_called(data):
    assert to_bytes(smallest()) == data
    program = smallest()
    renamed = with_op(program, program.ops[0].name, out="other")
    second = replace(renamed.ops[1], input="other")
    readers = (
        replace(op, left="other") if getattr(op, "left", None) == "x0" else op for op in renamed.ops[2:]
    )
    assert to_bytes(replace(renamed, ops=(renamed.ops[0], second, *readers))) == data


def test_memory_layout_of_arrays_does_not_reach_the_file():
    program = random_program(RandomShape(), 2)
    table = np.asfortranarray(program.embed.table)
    strided = np.repeat(program.embed.projection, 2, axis=1)[:, ::2]
    moved = with_op(program, "embed", table=table, projection=strided)
    assert to_bytes(with_op(moved, "readout", table=table)) == to_bytes(program)


def test_the_hash_changes_with_every_part_of_the_content():
    program = smallest()
    lif = program.ops[1].name
    hashes = [
        program_hash(program),
        program_hash(replace(program, timesteps=program.timesteps + 1)),
        program_hash(with_op(program, lif, decay=229)),
        program_hash(with_op(program, lif, clip=False)),
        program_hash(with_op(program, lif, threshold=program.ops[1].threshold + 1)),
        program_hash(with_op(program, "readout", exponent=11)),
        program_hash(with_op(program, "readout", shift=14)),
        program_hash(with_op(program, "embed", shift=11)),
        program_hash(with_op(program, "embed", name="other")),
    ]
    assert len(set(hashes)) == len(hashes)


def test_equal_tensors_are_stored_once():
    same = one_layer(np.eye(2), [5, 6], [5, 6])
    tensors = snn_reader.parse(to_bytes(same))["tensors"]
    assert len({(t["dtype"], t["shape"], t["values"]) for t in tensors}) == len(tensors)
    bias = one_layer(np.eye(2), [5, 6], [6, 5])
    assert len(to_bytes(bias)) == len(to_bytes(same)) + 128


def test_a_program_that_breaks_a_rule_is_not_written():
    with pytest.raises(ProgramFormatError, match="decay of"):
        to_bytes(with_op(smallest(), smallest().ops[1].name, decay=0))


def test_a_program_longer_than_readers_accept_is_not_written(monkeypatch):
    monkeypatch.setattr("edgesnn.program.snn_format.OPS_MAX", 19)
    with pytest.raises(ProgramFormatError, match="too long for program.snn"):
        to_bytes(smallest())


def test_a_file_that_is_missing_or_a_folder_is_a_clear_error(tmp_path):
    with pytest.raises(ProgramFormatError, match="cannot read"):
        read_program(tmp_path / "program.snn")
    with pytest.raises(ProgramFormatError, match="cannot read"):
        read_program(tmp_path)


# Damage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF, 0x5A])
def test_every_edit_of_one_byte_is_an_error(data, flip):
    for position in range(len(data)):
        edited = bytearray(data)
        edited[position] ^= flip
        refused(bytes(edited))


def test_truncation_at_every_length_is_an_error(data):
    for length in range(len(data)):
        refused(data[:length])


def test_bytes_behind_the_end_are_an_error(data):
    refused(data + b"\0", "size in program.snn lies")
    longer = bytearray(data + bytes(64))
    struct.pack_into(U64, longer, 16, len(longer))
    refused(fix_up(longer), "one form")


# Lies whose hash and CRC are right ------------------------------------------------------------------------


def test_another_magic_version_or_byte_order_is_named(data):
    refused(b"EDGESNN1" + data[8:], "wrong magic")
    refused(changed(data, 8, U16, 2), "unknown version.*actual: 2.0")
    refused(changed(data, 8, U16, 0), "unknown version")
    refused(changed(data, 10, U16, 2), "unknown version.*actual: 1.2")
    refused(changed(data, 10, U16, 1), "one form")
    refused(changed(data, 12, U32, 0x04030201), "other byte order")


def test_lying_sizes_of_file_and_header_are_errors(data):
    refused(changed(data, 16, U64, len(data) + 1), "size in program.snn lies")
    refused(changed(data, 16, U64, 2**64 - 1), "size in program.snn lies")
    refused(changed(data, 28, U32, 64), "size in program.snn lies")


@pytest.mark.parametrize("count", [0, 1, 19, 21, 4096, 4097, 2**31, 2**32 - 1])
def test_a_lying_number_of_ops_is_an_error(data, count):
    refused(changed(data, 68, U32, count), "counts|offsets")


@pytest.mark.parametrize("count", [0, 1, 1000, 16384, 16385, 2**32 - 1])
def test_a_lying_number_of_tensors_is_an_error(data, count):
    refused(changed(data, 72, U32, count))


@pytest.mark.parametrize("field", [80, 88, 96])
@pytest.mark.parametrize("value", [0, 64, 2**63, 2**64 - 1])
def test_lying_offsets_of_the_tables_are_errors(data, field, value):
    refused(changed(data, field, U64, value), "offsets of program.snn lie")


@pytest.mark.parametrize("value", [0, 1, 128, 2**32, 2**63, 2**64 - 64])
def test_tensors_that_overlap_or_lie_elsewhere_are_errors(data, value):
    refused(changed(data, tensor_at(data, 1) + 24, U64, value), "size of tensor 1 of program.snn lies")


def test_a_misaligned_tensor_is_an_error(data):
    at = tensor_at(data, 0) + 24
    offset = struct.unpack_from(U64, data, at)[0]
    for step in (1, 32, 63):
        refused(changed(data, at, U64, offset + step), "size of tensor 0")


@pytest.mark.parametrize("size", [0, 1, 2**31, 2**63, 2**64 - 1])
def test_a_lying_size_of_a_tensor_is_an_error(data, size):
    refused(changed(data, tensor_at(data, 0) + 32, U64, size), "size of tensor 0")


@pytest.mark.parametrize("extent", [0, 1, 2**16, 2**31, 2**32 - 1])
def test_a_lying_shape_is_an_error(data, extent):
    refused(changed(data, tensor_at(data, 0) + 4, U32, extent), "size of tensor 0")


def test_unknown_dtypes_and_dimensions_are_errors(data):
    at = tensor_at(data, 0)
    for dtype in (0, 3, 255):
        refused(changed(data, at, "<B", dtype), "unknown form")
    for dims in (0, 3, 4, 5, 255):
        refused(changed(data, at + 1, "<B", dims), "unknown form")


@pytest.mark.parametrize("kind", [0, 16, 65535])
def test_an_unknown_kind_of_op_is_an_error(data, kind):
    refused(changed(data, HEADER, U16, kind), "unknown kind")


def test_an_op_that_reads_itself_or_a_later_one_is_an_error(data):
    for source in (1, 2, 1000, 2**31, 2**32 - 2):
        refused(changed(data, HEADER + OP + 4, U32, source), "no earlier op")


def test_an_op_that_names_a_tensor_that_does_not_exist_is_an_error(data):
    for ref in (len(snn_reader.parse(data)["tensors"]), 2**31, 2**32 - 2):
        refused(changed(data, HEADER + 48, U32, ref), "a tensor that does not exist")


def test_missing_and_additional_inputs_and_tensors_are_errors(data):
    refused(changed(data, HEADER + OP + 4, U32, 2**32 - 1), "lacks inputs or tensors")
    refused(changed(data, HEADER + OP + 8, U32, 0), "lacks inputs or tensors")
    refused(changed(data, HEADER + 48, U32, 2**32 - 1), "lacks inputs or tensors")
    refused(changed(data, HEADER + 60, U32, 0), "lacks inputs or tensors")


@pytest.mark.parametrize("name", [b"", b"a b", b"\xff", b"a\0b", b"\x01", b"x" * 64])
def test_unprintable_names_are_errors(data, name):
    edited = bytearray(data)
    edited[HEADER + 64 : HEADER + 128] = name.ljust(64, b"\0")
    refused(fix_up(edited), "name of")


def test_fields_that_must_be_zero_must_be_zero(data):
    parsed = snn_reader.parse(data)
    header = [76, 104, 127]
    op = [HEADER + 2, HEADER + 16 + 31, HEADER + OP + 3]
    tensor = [tensor_at(data, 0) + at for at in (2, 3, 12, 16, 20, 40, 63)]
    padding = [
        t["at"] + len(t["values"]) * {"int8": 1, "int32": 4}[t["dtype"]]
        for t in parsed["tensors"][:-1]
        if (len(t["values"]) * {"int8": 1, "int32": 4}[t["dtype"]]) % 64
    ]
    for at in header + op + tensor + padding:
        assert data[at] == 0
        refused(changed(data, at, "<B", 4))


def test_an_unsafe_program_is_refused_even_when_its_form_is_right():
    program = one_layer(np.full((1033, 1), 100), [1], [0], table=np.ones((1, 1)))
    data = bytearray(to_bytes(program))
    at = next(t for t in snn_reader.parse(data)["tensors"] if t["shape"] == (1033, 1))["at"]
    data[at : at + 1033] = b"\x7f" * 1033
    refused(fix_up(data), "unsafe program: op 'linear'")


def test_a_rule_of_programs_holds_for_files_too(data):
    at = HEADER + OP + 16
    refused(changed(data, at, "<i", 0), "decay of")
    refused(changed(data, 64, U32, 0), "timesteps")
    refused(changed(data, 64, U32, 2**31), "timesteps")
