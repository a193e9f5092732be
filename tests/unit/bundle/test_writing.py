"""A bundle appears whole or not at all."""

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgesnn.api import export_student
from edgesnn.bundle.bundle import Bundle
from edgesnn.bundle.writer import new_folder
from edgesnn.errors import ArtifactError, ExportError, OutputError, TextError
from edgesnn.exporters.base import ExportResult
from tests.support.artifacts import change_metadata, write_artifact


@pytest.fixture
def artifact(tmp_path):
    return write_artifact(tmp_path / "student", depth=1)


@pytest.fixture
def exporter(monkeypatch):
    """An exporter of its own in the place of every format; `behave` says what it does with the folder."""

    class Fake:
        name, summary = "fake", "a fake"
        behave = staticmethod(lambda folder: (folder / "fake.bin").write_bytes(b"fake"))

        def export(self, source, folder):
            Fake.behave(folder)
            return ExportResult({"step": "fake.bin"}, {})

    monkeypatch.setattr("edgesnn.plugins.load_exporter", lambda name: Fake)
    return Fake


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "student")


def test_an_export_writes_the_folder_and_nothing_beside_it(artifact, exporter, tmp_path):
    bundle = export_student(artifact, tmp_path / "deep" / "bundle", ["fake"])
    assert left(tmp_path) == ["deep"]
    assert left(tmp_path / "deep") == ["bundle"]
    assert set(bundle.manifest.files) == {"program.snn", "tokenizer.json", "eval.npz", "fake.bin"}
    assert bundle.path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [RuntimeError("died"), ExportError("cannot carry it"), KeyboardInterrupt()])
def test_an_exporter_that_fails_leaves_nothing_behind(artifact, exporter, tmp_path, error):
    def fail(folder):
        (folder / "half.bin").write_bytes(b"half")
        raise error

    exporter.behave = staticmethod(fail)
    with pytest.raises(type(error)):
        export_student(artifact, tmp_path / "bundle", ["fake"])
    assert left(tmp_path) == []


def test_an_exporter_that_does_not_write_what_it_says_is_an_error(artifact, exporter, tmp_path):
    exporter.behave = staticmethod(lambda folder: None)
    with pytest.raises(ExportError, match="'fake' did not write its file 'fake.bin'"):
        export_student(artifact, tmp_path / "bundle", ["fake"])
    assert left(tmp_path) == []


def test_a_full_disk_leaves_nothing_behind_and_keeps_the_bundle_before(artifact, exporter, tmp_path):
    before = export_student(artifact, tmp_path / "bundle", ["fake"]).manifest

    def full(folder):
        (folder / "fake.bin").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    exporter.behave = staticmethod(full)
    with pytest.raises(OutputError, match="cannot write .*No space left on device"):
        export_student(artifact, tmp_path / "bundle", ["fake"], overwrite=True)
    assert left(tmp_path) == ["bundle"]
    assert Bundle(tmp_path / "bundle").manifest == before


def test_an_existing_folder_is_kept_without_force(artifact, exporter, tmp_path):
    export_student(artifact, tmp_path / "bundle", ["fake"])
    with pytest.raises(OutputError, match="exists already.*--force"):
        export_student(artifact, tmp_path / "bundle", ["fake"])


def test_force_replaces_the_whole_bundle(artifact, exporter, tmp_path):
    export_student(artifact, tmp_path / "bundle", ["fake"])
    (tmp_path / "bundle" / "old.txt").write_text("old")
    exporter.behave = staticmethod(lambda folder: (folder / "fake.bin").write_bytes(b"new"))
    bundle = export_student(artifact, tmp_path / "bundle", ["fake"], overwrite=True)
    assert bundle.file("fake.bin").read_bytes() == b"new"
    assert not (tmp_path / "bundle" / "old.txt").exists()
    assert left(tmp_path) == ["bundle"]


def test_force_does_not_replace_a_folder_that_is_no_bundle(artifact, exporter, tmp_path):
    """``-o . --force`` or ``-o ~ --force`` must not remove what a user keeps there."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(OutputError, match="is not a bundle and is not replaced"):
        export_student(artifact, tmp_path / "mine", ["fake"], overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"
    with pytest.raises(OutputError):
        export_student(artifact, artifact, ["fake"], overwrite=True)
    assert (artifact / "student.safetensors").is_file()
    assert left(tmp_path) == ["mine"]


def test_force_fills_an_empty_folder(artifact, exporter, tmp_path):
    (tmp_path / "bundle").mkdir()
    assert export_student(artifact, tmp_path / "bundle", ["fake"], overwrite=True).path.is_dir()
    assert left(tmp_path) == ["bundle"]


def test_a_file_in_the_place_of_the_folder_is_never_replaced(artifact, exporter, tmp_path):
    (tmp_path / "bundle").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError):
            export_student(artifact, tmp_path / "bundle", ["fake"], overwrite=overwrite)
    assert (tmp_path / "bundle").read_text() == "mine"


def test_a_parent_that_is_a_file_cannot_hold_a_bundle(artifact, exporter, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot write"):
        export_student(artifact, tmp_path / "file" / "bundle", ["fake"])


def test_a_read_only_parent_is_a_clear_error(artifact, exporter, tmp_path, monkeypatch):
    """The error of the system stands in for the parent, because root writes into read-only folders."""

    def refuse(prefix, dir):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("edgesnn.scratch.tempfile.mkdtemp", refuse)
    with pytest.raises(OutputError, match="cannot write '.*bundle': Permission denied"):
        export_student(artifact, tmp_path / "bundle", ["fake"])
    assert left(tmp_path) == []


@pytest.mark.parametrize("failing", [1, 2])
def test_an_exchange_that_fails_half_way_leaves_the_old_folder_in_its_place(tmp_path, monkeypatch, failing):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "old").write_text("old")
    replace, calls = Path.replace, []

    def fail_once(self, target):
        calls.append(target)
        if len(calls) == failing:
            raise OSError(errno.EBUSY, "Device or resource busy")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_once)
    with (
        pytest.raises(OutputError, match="resource busy"),
        new_folder(tmp_path / "bundle", overwrite=True) as new,
    ):
        (new / "new").write_text("new")
    assert left(tmp_path) == ["bundle"]
    assert left(tmp_path / "bundle") == ["old"]


# What an export refuses before it writes ------------------------------------------------------------------


def test_a_tokenizer_of_another_vocabulary_is_refused(artifact, exporter, tmp_path):
    from tests.support.artifacts import tiny_tokenizer

    (artifact / "tokenizer.json").write_text(tiny_tokenizer(265).to_str())
    with pytest.raises(ArtifactError, match="is not this student's; actual: 265 tokens; limit: 280 tokens"):
        export_student(artifact, tmp_path / "bundle", ["fake"])
    assert left(tmp_path) == []


def test_a_missing_or_damaged_tokenizer_is_refused(artifact, exporter, tmp_path):
    (artifact / "tokenizer.json").write_text("{")
    with pytest.raises(TextError, match="is no tokenizer"):
        export_student(artifact, tmp_path / "bundle", ["fake"])
    (artifact / "tokenizer.json").unlink()
    with pytest.raises(TextError, match="no tokenizer at"):
        export_student(artifact, tmp_path / "bundle", ["fake"])


@pytest.mark.parametrize("text", [[1], "x", 7, {"prompt_template": 3}])
def test_a_prompt_template_that_is_no_text_is_refused(artifact, exporter, tmp_path, text):
    change_metadata(artifact, text=text)
    with pytest.raises(ArtifactError, match="'text' in metadata.json"):
        export_student(artifact, tmp_path / "bundle", ["fake"])


def test_a_student_without_held_out_text_makes_a_bundle_without_calibration(artifact, exporter, tmp_path):
    (artifact / "eval.npz").unlink()
    bundle = export_student(artifact, tmp_path / "bundle", ["fake"])
    assert bundle.manifest.quantisation["calibration"] is None
    assert bundle.eval_slice() is None


def test_held_out_text_whose_first_part_scores_no_bytes_makes_no_claim(
    artifact, exporter, tmp_path, monkeypatch
):
    """Four documents of two special tokens each have nothing that bits per byte could divide by."""
    monkeypatch.setattr("edgesnn.api.students.CALIBRATION_TOKENS", 4)
    ids = np.array([0, 1, 0, 1, 0, 1, 0, 40], np.int32)
    np.savez(artifact / "eval.npz", ids=ids, doc_starts=np.arange(0, 9, 2), doc_bytes=np.array([0, 0, 0, 1]))
    bundle = export_student(artifact, tmp_path / "bundle", ["fake"])
    assert bundle.manifest.quantisation["calibration"] is None


def test_two_exports_of_one_student_differ_in_nothing_but_the_time(artifact, tmp_path):
    first = export_student(artifact, tmp_path / "first", ["onnx"])
    second = export_student(artifact, tmp_path / "second", ["onnx"])
    assert first.manifest.model_copy(update={"created": ""}) == second.manifest.model_copy(
        update={"created": ""}
    )


def test_the_reference_name_yields_to_a_folder_of_that_name(exporter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(write_artifact(tmp_path / "student", depth=1), tmp_path / "reference")
    bundle = export_student(Path("reference"), tmp_path / "bundle", ["fake"])
    assert (bundle.name, bundle.program().vocab_size) == ("reference", 280)
