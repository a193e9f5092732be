"""Arrays of files that anybody may have made: right, or one kind of error."""

import io
import zipfile

import numpy as np
import pytest

from edgesnn.npz import array_from, arrays_from

ARRAYS = {
    "floats": np.linspace(0, 1, 50),
    "bytes": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "columns": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "empty": np.zeros((0, 4), np.float32),
    "scalar": np.array(3.5),
    "text": np.array(["ab", "c"]),
}
LIMIT = 10_000


def packed(arrays=ARRAYS, save=np.savez_compressed):
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(save):
    found = arrays_from(io.BytesIO(packed(save=save)), LIMIT)
    assert list(found) == list(ARRAYS)
    for name, array in found.items():
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert (array.dtype, array.flags.writeable) == (ARRAYS[name].dtype, True)
    assert list(arrays_from(io.BytesIO(packed()), LIMIT, ("bytes", "none"))) == ["bytes"]


def test_any_changed_bit_is_an_error_or_changes_nothing():
    data = packed()
    for bit in range(0, 8 * len(data), 61):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            found = arrays_from(io.BytesIO(changed), LIMIT)
        except ValueError:
            continue
        same = {name: array.tobytes() for name, array in found.items()}
        assert all(same.get(name, array.tobytes()) == array.tobytes() for name, array in ARRAYS.items()), bit


def test_what_unpacks_to_more_than_the_limit_is_not_unpacked():
    data = packed({"zeros": np.zeros(1 << 22)})
    assert len(data) < 100_000
    with pytest.raises(ValueError, match="33,554,560 bytes, more than 10,000"):
        arrays_from(io.BytesIO(data), LIMIT)
    lying = bytearray(data)  # the directory says less than there is
    place = lying.rindex(b"PK\x01\x02") + 24
    lying[place : place + 4] = (100).to_bytes(4, "little")
    with pytest.raises(ValueError):
        arrays_from(io.BytesIO(lying), LIMIT)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1125899906842624,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f8', 'fortran_order': False, ",
        "[" * 900,
        "",
    ],
)
def test_a_header_is_not_believed(header):
    text = header.ljust(1117).encode() + b"\n"
    with pytest.raises(ValueError):
        array_from(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(8))


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06", b"\x93NUMPY", b"no archive at all"])
def test_what_is_no_archive_is_an_error(data):
    with pytest.raises(ValueError):
        arrays_from(io.BytesIO(data), LIMIT)
    with pytest.raises(ValueError):
        array_from(data)


def test_two_parts_of_one_name_are_an_error():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, pytest.warns(UserWarning):
        archive.writestr("a.npy", b"")
        archive.writestr("a.npy", b"")
    with pytest.raises(ValueError, match="one name"):
        arrays_from(stream, LIMIT)
