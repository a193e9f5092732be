"""A bundle is believed only as far as its hashes go."""

import json
import os
from hashlib import sha256

import numpy as np
import pytest

from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import BundleError, ProgramFormatError
from edgesnn.program.snn_format import to_bytes
from tests.support.bundles import manifest_of, replace_file, write_manifest
from tests.support.random_program import random_program

FILES = {
    "program.snn",
    "tokenizer.json",
    "eval.npz",
    "student.onnx",
    "student.step.onnx",
    "student.prefill.onnx",
    "student.fp32.onnx",
    "student.fp32.step.onnx",
    "student.fp32.prefill.onnx",
}


def refused(folder, message):
    with pytest.raises(BundleError, match=message):
        Bundle(folder)


def test_a_bundle_that_was_just_exported_opens_and_lists_every_file(folder):
    bundle = Bundle(folder)
    assert set(bundle.manifest.files) == FILES
    assert {path.name for path in folder.iterdir()} == FILES | {"manifest.json"}
    for name, entry in bundle.manifest.files.items():
        content = (folder / name).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(content), sha256(content).hexdigest())
    assert bundle.size_of(("program.snn", "eval.npz")) == sum(
        (folder / name).stat().st_size for name in ("program.snn", "eval.npz")
    )


def test_the_state_of_the_manifest_is_the_programs(folder):
    from edgesnn.program.state import state_tensors

    bundle = Bundle(folder)
    stated = {entry.name: tuple(entry.shape) for entry in bundle.manifest.state}
    assert stated == {t.name: ("batch", *t.shape) for t in state_tensors(bundle.program())}


def test_the_proof_and_the_hash_of_the_manifest_are_the_programs(folder):
    from dataclasses import asdict

    from edgesnn.program.bounds import prove
    from edgesnn.program.snn_format import program_hash

    bundle = Bundle(folder)
    assert bundle.manifest.bounds == [asdict(bound) for bound in prove(bundle.program())]
    assert bundle.manifest.program_hash == program_hash(bundle.program())


def test_a_bundle_can_be_moved(folder, tmp_path):
    folder.rename(tmp_path / "elsewhere")
    assert Bundle(tmp_path / "elsewhere").program().vocab_size == 280


@pytest.mark.parametrize("name", sorted(FILES))
def test_one_changed_bit_in_any_file_is_found(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    refused(folder, f"file '{name}' was changed after the export")


def test_a_file_of_another_size_is_found_before_it_is_read(folder):
    with (folder / "student.onnx").open("ab") as stream:
        stream.write(b"\0")
    refused(folder, "file 'student.onnx' has another size")


def test_a_missing_file_or_a_folder_in_its_place_is_named(folder):
    (folder / "eval.npz").unlink()
    refused(folder, "file 'eval.npz' of the bundle is missing")
    (folder / "eval.npz").mkdir()
    refused(folder, "file 'eval.npz' of the bundle is missing")


def test_a_folder_without_manifest_and_no_folder_at_all_are_named(folder, tmp_path):
    (folder / "manifest.json").unlink()
    refused(folder, "is not a bundle: it has no manifest.json")
    refused(tmp_path / "nowhere", "does not exist")
    refused(folder / "program.snn", "does not exist")


ESCAPES = [
    "../x",
    "../../etc/passwd",
    "a/../../x",
    "/etc/passwd",
    "..",
    "..\\x",
    "a\\..\\x",
    "C:x",
    "//server/x",
    "",
    ".",
    "a\0b",
    "line\nbreak",
    "\ud800",
    "x" * 5000,
]


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_that_leaves_the_folder_or_cannot_exist_is_refused(folder, tmp_path, name):
    (tmp_path / "x").write_bytes(b"secret")
    document = manifest_of(folder)
    document["files"][name] = {"sha256": sha256(b"secret").hexdigest(), "bytes": 6}
    write_manifest(folder, document)
    refused(folder, "outside|missing|no system|cannot be read|link")


def test_a_link_is_refused_even_to_the_right_content(folder, tmp_path):
    path = folder / "eval.npz"
    path.rename(tmp_path / "eval.npz")
    path.symlink_to(tmp_path / "eval.npz")
    refused(folder, "file 'eval.npz' of bundle .* is a link")


def test_a_folder_behind_a_link_is_refused(folder, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_bytes(b"x")
    (folder / "sub").symlink_to(tmp_path / "outside")
    document = manifest_of(folder)
    document["files"]["sub/x"] = {"sha256": sha256(b"x").hexdigest(), "bytes": 1}
    write_manifest(folder, document)
    refused(folder, "is a link")


def test_a_bundle_that_is_reached_through_a_link_opens(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert Bundle(tmp_path / "link").name == "tiny"


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(folder):
    (folder / "eval.npz").unlink()
    os.mkfifo(folder / "eval.npz")
    refused(folder, "file 'eval.npz' of the bundle is missing")


@pytest.mark.parametrize(
    "schema", ["edgesnn.bundle/2", "edgesnn.bundle/1.1", "edgesnn.run/1", "", None, 1, [1]]
)
def test_an_unknown_schema_is_refused(folder, schema):
    write_manifest(folder, {**manifest_of(folder), "schema": schema})
    refused(folder, "unknown schema")


def test_a_key_that_the_schema_does_not_have_is_refused_by_name(folder):
    write_manifest(folder, {**manifest_of(folder), "colour": "red"})
    refused(folder, "breaks its schema at 'colour'")
    document = manifest_of(folder)
    del document["colour"]
    document["files"]["eval.npz"]["mode"] = 7
    write_manifest(folder, document)
    refused(folder, "breaks its schema at 'files.eval.npz.mode'")


@pytest.mark.parametrize(
    "key",
    ["producer", "name", "created", "program_hash", "files", "exports", "state", "student", "text", "bounds"],
)
def test_a_missing_or_wrongly_typed_key_is_refused_by_name(folder, key):
    document = manifest_of(folder)
    write_manifest(folder, {**document, key: 7})
    refused(folder, f"breaks its schema at '{key}'")
    del document[key]
    write_manifest(folder, document)
    refused(folder, f"breaks its schema at '{key}'")


@pytest.mark.parametrize(
    "entry",
    [
        {"sha256": "0" * 63, "bytes": 1},
        {"sha256": "G" * 64, "bytes": 1},
        {"sha256": "A" * 64, "bytes": 1},
        {"sha256": "0" * 64, "bytes": -1},
        {"sha256": "0" * 64, "bytes": "1"},
        {"sha256": "0" * 64, "bytes": 1.5},
        {"sha256": "0" * 64},
        {},
        None,
        [],
    ],
)
def test_an_unusable_entry_of_a_file_is_refused(folder, entry):
    document = manifest_of(folder)
    document["files"]["eval.npz"] = entry
    write_manifest(folder, document)
    refused(folder, "breaks its schema at 'files.eval.npz")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 200_000, b"[]", b"1", b'"x"'])
def test_a_manifest_that_is_no_json_object_is_refused(folder, content):
    (folder / "manifest.json").write_bytes(content)
    refused(folder, "is not JSON|unknown schema")


def test_a_huge_manifest_is_not_parsed(folder):
    with (folder / "manifest.json").open("r+b") as stream:
        stream.truncate(64 * 2**20 + 1)
    refused(folder, "too large for a manifest; actual: 67108865; limit: 67108864")


def test_another_program_than_the_manifests_is_refused(folder):
    bundle = replace_file(folder, "program.snn", to_bytes(random_program()))
    with pytest.raises(BundleError, match="another program than the manifest's"):
        bundle.program()


def test_a_damaged_program_whose_file_hash_is_right_is_refused_by_its_reader(folder):
    content = bytearray((folder / "program.snn").read_bytes())
    content[-1] ^= 1
    with pytest.raises(ProgramFormatError, match="CRC"):
        replace_file(folder, "program.snn", bytes(content)).program()


def test_a_form_that_was_not_exported_is_named_with_the_remedy(folder):
    bundle = Bundle(folder)
    assert bundle.has_export("onnx") and not bundle.has_export("tflite")
    with pytest.raises(BundleError, match="holds no step form of format 'tflite'.*--format tflite"):
        bundle.export_file("tflite", "step")
    with pytest.raises(BundleError, match="holds no other form"):
        bundle.export_file("onnx", "other")
    with pytest.raises(BundleError, match="has no file 'other.bin'"):
        bundle.file("other.bin")


def test_an_export_that_names_an_unlisted_file_is_refused_when_it_is_used(folder):
    document = manifest_of(folder)
    document["exports"]["onnx"]["files"]["step"] = "../step.onnx"
    write_manifest(folder, document)
    with pytest.raises(BundleError, match=r"has no file '../step.onnx'"):
        Bundle(folder).export_file("onnx", "step")


def test_the_manifest_holds_no_machine_path(folder, tmp_path):
    text = (folder / "manifest.json").read_text("utf-8")
    assert str(tmp_path) not in text
    assert "/tmp" not in text and "edgesnn-tests-" not in text
    assert json.loads(text)["name"] == "tiny"


def test_files_beside_those_of_the_manifest_are_left_alone(folder):
    (folder / "notes.txt").write_text("mine")
    assert "notes.txt" not in Bundle(folder).manifest.files


def test_a_program_is_read_once(folder):
    bundle = Bundle(folder)
    assert bundle.program() is bundle.program()
    assert np.array_equal(bundle.program().embed.table, bundle.program().readout.table)
