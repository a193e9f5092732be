"""Token ids are checked in one place: what a program can run comes back as int64, all else is refused."""

import numpy as np
import pytest

from edgesnn.errors import TextError
from tests.support.programs import one_layer

PROGRAM = one_layer(np.eye(100), [5] * 100, [0] * 100)
LAST = PROGRAM.vocab_size - 1


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64])
def test_ids_of_every_integer_dtype_are_taken(dtype):
    checked = PROGRAM.check_ids(np.array([[0, 1], [LAST, 0]], dtype)[:, ::-1])
    assert checked.dtype == np.int64 and checked.flags.c_contiguous
    assert checked.tolist() == [[1, 0], [0, LAST]]


@pytest.mark.parametrize(
    ("ids", "actual"),
    [
        (np.array([0]), r"int64 \[1\]"),
        (np.zeros((1, 1, 1), np.int32), r"int32 \[1, 1, 1\]"),
        (np.zeros((1, 0), np.int32), r"int32 \[1, 0\]"),
        (np.zeros((1, 1)), "float64"),
        (np.ones((1, 1), bool), "bool"),
        (np.array([["a"]]), "<U1"),
        (np.array([[None]]), "object"),
        (5, r"int64 \[\]"),
    ],
)
def test_what_is_no_array_of_sequences_is_refused_by_its_dtype_and_shape(ids, actual):
    with pytest.raises(TextError, match=f"non-empty integer array .*actual: {actual}") as caught:
        PROGRAM.check_ids(ids)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("wrong", [-1, LAST + 1, 2**31, -(2**63)])
def test_an_id_outside_the_vocabulary_is_named_with_its_limit(wrong):
    with pytest.raises(TextError, match=f"outside the vocabulary; actual: {wrong}; limit: 0..{LAST};"):
        PROGRAM.check_ids(np.array([[0, wrong, 1]], np.int64))


def test_an_unsigned_id_beyond_int64_does_not_wrap_into_the_vocabulary():
    with pytest.raises(TextError, match=f"actual: {2**64 - 1};"):
        PROGRAM.check_ids(np.array([[2**64 - 1]], np.uint64))
