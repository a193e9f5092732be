"""HDF5 that points out of itself, lies about its size or is none: refused by path, nothing is read of it."""

import os
import random
import sys

import h5py
import numpy as np
import pytest

from edgesnn.errors import MissingExtraError, NetworkError
from edgesnn.nir import hdf5
from edgesnn.nir.graph import read_graph
from edgesnn.nir.hdf5 import read_tree
from tests.support.nir_files import chain, linear, neurons


@pytest.fixture
def path(tmp_path):
    return chain(tmp_path / "net.nir", ("fc", linear(2, 4)), ("lif", neurons(2)))


def problems(path):
    found = []
    read_tree(path, found)
    return found


def replace(path, where, make):
    with h5py.File(path, "a") as file:
        del file[where]
        make(file)


def test_a_good_file_has_no_problems_and_gives_what_stands_in_it(path):
    found = []
    tree = read_tree(path, found)
    assert found == []
    assert tree["version"] == "1.0.8"
    assert tree["node"]["nodes"]["fc"]["type"] == "Linear"
    assert tree["node"]["nodes"]["fc"]["weight"].shape == (2, 4)


def test_a_link_to_another_file_is_refused_and_not_followed(path, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["weight"] = np.ones((2, 4))
    where = "node/nodes/fc/weight"
    replace(path, where, lambda file: file.__setitem__(where, h5py.ExternalLink("other.h5", "/weight")))
    assert problems(path) == ["/node/nodes/fc/weight: a link to another file, 'other.h5'"]
    with pytest.raises(NetworkError, match=r"link to another file.*node 'fc' \(Linear\): without weight"):
        read_graph(path)


def test_a_symbolic_link_is_refused(path):
    where = "node/nodes/fc/weight"
    replace(path, where, lambda file: file.__setitem__(where, h5py.SoftLink("/node/nodes/lif/r")))
    assert problems(path) == ["/node/nodes/fc/weight: a symbolic link, to '/node/nodes/lif/r'"]


def test_a_group_inside_itself_ends(path):
    with h5py.File(path, "a") as file:
        file["node/nodes/again"] = file["node"]
    assert any("more objects or deeper groups" in one for one in problems(path))


def test_data_in_another_file_are_refused(path, tmp_path):
    (tmp_path / "raw").write_bytes(b"\0" * 64)
    where = "node/nodes/fc/weight"
    external = [(str(tmp_path / "raw"), 0, 32)]
    replace(path, where, lambda file: file.create_dataset(where, (2, 4), "f4", external=external))
    assert problems(path) == [f"/node/nodes/fc/weight: its data are in another file, '{tmp_path / 'raw'}'"]


def test_a_virtual_array_is_refused(path, tmp_path):
    layout = h5py.VirtualLayout((2, 4), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "x.h5"), "w", (2, 4))
    where = "node/nodes/fc/weight"
    replace(path, where, lambda file: file.create_virtual_dataset(where, layout))
    assert problems(path) == ["/node/nodes/fc/weight: a virtual array, made of other files"]


@pytest.mark.parametrize("options", [{}, {"chunks": (1024, 1024)}, {"chunks": (2**15, 2**14)}])
def test_a_huge_shape_is_refused_before_memory_is_taken(path, options):
    where = "node/nodes/fc/weight"
    replace(path, where, lambda file: file.create_dataset(where, (2**20, 2**20), "f4", **options))
    [one] = problems(path)
    assert "of shape [1048576, 1048576], too large" in one


def test_a_chunk_larger_than_its_array_is_refused(path, monkeypatch):
    monkeypatch.setattr(hdf5, "BYTES_MAX", 10_000)
    where = "node/nodes/fc/weight"
    replace(
        path, where, lambda f: f.create_dataset(where, (2, 4), "f4", maxshape=(None, 4), chunks=(5000, 4))
    )
    assert "too large" in problems(path)[0]


def test_arrays_that_are_small_alone_but_large_together_are_refused(path, monkeypatch):
    monkeypatch.setattr(hdf5, "BYTES_MAX", 100)
    assert any("too large" in one for one in problems(path))


def test_a_filter_that_is_a_plug_in_is_refused(path):
    def filtered(file):
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((2, 4))
        plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((2, 4))
        h5py.h5d.create(file["node/nodes/fc"].id, b"weight", h5py.h5t.NATIVE_FLOAT, space, plist)

    replace(path, "node/nodes/fc/weight", filtered)
    assert problems(path) == ["/node/nodes/fc/weight: compressed by a plug-in, filter 32015"]


@pytest.mark.parametrize("dtype", [[("a", "f4")], h5py.ref_dtype, h5py.vlen_dtype(np.float32), "c8", "V3"])
def test_what_is_neither_numbers_nor_text_is_refused(path, dtype):
    where = "node/nodes/fc/weight"
    replace(path, where, lambda file: file.create_dataset(where, (2,), dtype))
    assert "not of numbers or text" in problems(path)[0]


def test_a_named_type_is_neither_a_group_nor_an_array(path):
    with h5py.File(path, "a") as file:
        file["node/kind"] = np.dtype("f4")
    assert problems(path) == ["/node/kind: neither a group nor an array"]


def test_an_array_without_a_shape_and_text_that_is_no_text_are_refused(path):
    with h5py.File(path, "a") as file:
        file["node/empty"] = h5py.Empty("f4")
        file.create_dataset("node/text", data=np.array(b"\xff\xfe", "S2"))
    first, second = problems(path)
    assert first == "/node/empty: an array without a shape"
    assert second.startswith("/node/text: damaged: 'utf-8'")


def test_more_objects_than_a_network_has_are_refused_once(path, monkeypatch):
    monkeypatch.setattr(hdf5, "OBJECTS_MAX", 5)
    assert len([one for one in problems(path) if "more objects" in one]) == 1


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no hdf5", b"\x89HDF\r\n\x1a\n" + b"\0" * 50])
def test_what_is_no_hdf5_is_said_in_one_line(tmp_path, content):
    (tmp_path / "x.nir").write_bytes(content)
    with pytest.raises(NetworkError, match="no HDF5 file that can be read") as met:
        read_tree(tmp_path / "x.nir", [])
    assert "\n" not in str(met.value) and met.value.exit_code == 1


def test_a_cut_file_is_no_hdf5(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NetworkError, match="truncated"):
        read_graph(path)


def test_a_missing_file_and_a_folder_are_said(tmp_path):
    with pytest.raises(NetworkError, match="there is no such file"):
        read_tree(tmp_path / "none.nir", [])
    with pytest.raises(NetworkError, match="it is a folder"):
        read_tree(tmp_path, [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_said(path):
    path.chmod(0)
    with pytest.raises(NetworkError, match="Permission denied"):
        read_tree(path, [])


def test_without_h5py_the_error_names_the_extra(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"edgesnn\[nir\]"):
        read_graph(path)


@pytest.mark.parametrize("way", ["one bit", "eight bytes", "an end"])
def test_a_damaged_file_is_a_graph_or_one_error_and_never_anything_else(path, tmp_path, way):
    whole, refused = path.read_bytes(), 0
    for seed in range(40):
        rng, data = random.Random(f"{way} {seed}"), bytearray(whole)
        if way == "one bit":
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif way == "eight bytes":
            for _ in range(8):
                data[rng.randrange(len(data))] = rng.randrange(256)
        else:
            del data[rng.randrange(1, len(data)) :]
        (tmp_path / "damaged.nir").write_bytes(data)
        try:
            read_graph(tmp_path / "damaged.nir")
        except NetworkError:
            refused += 1
    assert refused > 0
