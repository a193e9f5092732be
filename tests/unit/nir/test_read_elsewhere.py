"""What other libraries made of the files that we write for them (`tests/foreign/nir_readers/`)."""

import io
import zipfile

import numpy as np
import pytest

from edgesnn.nir.hdf5 import read_tree
from edgesnn.program.golden import Golden
from tests.foreign.nir_readers.collect import HERE, file_for, program_for
from tests.support.nir_files import READ_BACK

ALL = [(library, case) for library, cases in READ_BACK.items() for case in cases]


def same(a, b):
    """Whether two trees of HDF5 hold the same."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and np.array_equal(a, b)


@pytest.mark.parametrize(("library", "case"), ALL)
def test_a_library_fires_as_golden_from_the_file_that_is_written_today(library, case, tmp_path):
    with zipfile.ZipFile(HERE / "recorded.zip") as archive:
        (tmp_path / "then.nir").write_bytes(archive.read(f"{library}.{case}.nir"))
        theirs = np.load(io.BytesIO(archive.read(f"{library}.{case}.npy")))
    program, frames = program_for(case, tmp_path)
    (tmp_path / "now.nir").write_bytes(file_for(library, case, program))
    assert same(read_tree(tmp_path / "now.nir", []), read_tree(tmp_path / "then.nir", [])), (
        "the files have changed: let the libraries read them again, tests/foreign/nir_readers/collect.py"
    )
    given = np.load(frames)["frames"]
    golden = Golden(program).sequence(given.reshape(*given.shape[:2], -1).astype(np.int8))
    assert theirs.any() and (theirs != golden).mean() <= 0.01
