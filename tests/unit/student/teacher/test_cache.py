"""A cache that belongs to something else, is damaged, truncated, partial, or met a full disk."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn.errors import OutputError, TrainingError  # noqa: E402
from edgesnn.student.teacher import PassSettings, TeacherCache, run_teacher, trim_for  # noqa: E402
from edgesnn.student.teacher import cache as cache_module  # noqa: E402
from edgesnn.student.text.data import record_document  # noqa: E402

pytestmark = pytest.mark.torch

SETTINGS = PassSettings(k=16, max_length=48, chunk_positions=100)


@pytest.fixture(scope="module")
def finished(teacher, trimmed, documents, tmp_path_factory):
    return run_teacher(teacher, trimmed, documents, tmp_path_factory.mktemp("finished"), SETTINGS)


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished.directory, tmp_path / "copy")


def test_a_finished_array_is_a_plain_npy_file(finished):
    for name, entry in finished.manifest["arrays"].items():
        array = np.load(finished.directory / f"{name}.npy", mmap_mode="r")
        assert array.shape == tuple(entry["shape"]) and array.dtype == entry["dtype"]
        assert (array == finished.array(name)).all()
    assert finished.manifest["schema"] == "edgesnn.teacher-cache/1"
    assert finished.array("topk_ids").dtype == np.uint16


def test_a_large_vocabulary_gets_32_bit_ids(finished, trimmed, monkeypatch, tmp_path):
    monkeypatch.setattr(cache_module, "SMALL_IDS", 100)
    key = cache_module.CacheKey(**finished.manifest["key"])
    cache = TeacherCache.create(tmp_path / "wide", key, finished.text, trimmed)
    assert cache.array("topk_ids").dtype == np.uint32


def test_what_is_no_number_is_neither_kept_nor_used(copy, finished, trimmed, tmp_path):
    key = cache_module.CacheKey(**finished.manifest["key"])
    rows = {name: finished.array(name)[:3].copy() for name in finished.manifest["arrays"]}
    rows["native_logp"][1] = np.nan
    fresh = TeacherCache.create(tmp_path / "fresh", key, finished.text, trimmed)
    with pytest.raises(TrainingError, match=r"does not answer with numbers in float32.*--teacher-dtype"):
        fresh.append(rows)
    assert fresh.done == 0 and TeacherCache.open(tmp_path / "fresh").done == 0
    # a cache of a version that kept them: its checksums are right
    old = TeacherCache.create(tmp_path / "old", key, finished.text, trimmed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TeacherCache, "_check_numbers", lambda *_: None)
        old.append(rows)
    with pytest.raises(TrainingError, match=r"NaN or infinity in native_logp.*delete that cache"):
        TeacherCache.open(tmp_path / "old")


def test_no_machine_path_is_in_the_manifest(finished, teacher_folder):
    text = (finished.directory / "manifest.json").read_text()
    assert str(teacher_folder.parent) not in text and str(finished.directory) not in text


def test_another_text_vocabulary_or_setting_is_an_error_that_names_it(copy, teaching, save_teacher, tmp_path):
    teacher, trimmed, documents = teaching

    def expect(match, teacher=teacher, trimmed=trimmed, documents=documents, settings=SETTINGS):
        with pytest.raises(TrainingError, match=f"belongs to another run.*{match}"):
            run_teacher(teacher, trimmed, documents, copy, settings)

    expect("differing: text", documents=[*documents, record_document("a", "b")])
    expect("differing: trimming", trimmed=trim_for(teacher, 340))
    expect(r"differing: tau \(2.0, asked 3.0\)", settings=dataclasses.replace(SETTINGS, tau=3.0))
    expect(r"differing: k \(16, asked 8\)", settings=dataclasses.replace(SETTINGS, k=8))
    expect("differing: max_length", settings=dataclasses.replace(SETTINGS, max_length=40))
    from edgesnn.student.teacher import load_teacher

    other = load_teacher(str(save_teacher(tmp_path / "other", seed=1)), dtype="float32", system="Be brief.")
    expect("teacher .*teacher_files", teacher=other)
    talkative = load_teacher(str(save_teacher(tmp_path / "x")), dtype="float32", system="Talk much.")
    expect("chat", teacher=dataclasses.replace(talkative, name=teacher.name))


def test_no_cache_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match="no teacher cache"):
        TeacherCache.open(tmp_path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"schema": "edgesnn.teacher-cache/9"}', "unknown schema"),
        ('{"schema": "edgesnn.teacher-cache/1"}', "damaged"),
    ],
)
def test_a_broken_manifest_is_an_error(copy, content, match):
    (copy / "manifest.json").write_text(content)
    with pytest.raises(TrainingError, match=match):
        TeacherCache.open(copy)


@pytest.mark.parametrize("name", ["topk_logp", "tail_logp", "ids", "positions", "teacher_top1"])
def test_a_truncated_or_changed_array_is_an_error(copy, name):
    path = copy / f"{name}.npy"
    good = path.read_bytes()
    for bad in (good[:-1], good[:60], b"", good[:-1] + bytes([good[-1] ^ 1])):
        path.write_bytes(bad)
        with pytest.raises(TrainingError, match="damaged"):
            TeacherCache.open(copy)
    path.unlink()
    with pytest.raises(TrainingError, match="damaged"):
        TeacherCache.open(copy)


def test_a_manifest_that_counts_too_much_is_an_error(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["positions"]["done"] -= 1
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(TrainingError, match="damaged"):
        TeacherCache.open(copy)


def test_a_damaged_map_is_an_error(copy):
    (copy / "trimming.npz").write_bytes(b"PK")
    with pytest.raises(TrainingError, match="damaged"):
        _ = TeacherCache.open(copy).trimmed


def test_a_full_disk_leaves_a_usable_cache_that_goes_on(teaching, finished, tmp_path, monkeypatch):
    folder = tmp_path / "full"
    real, calls = cache_module.os.fsync, []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) > 20:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(cache_module.os, "fsync", fsync)
    with pytest.raises(OutputError, match="No space left on device.*positions done are usable"):
        run_teacher(*teaching, folder, SETTINGS)
    monkeypatch.setattr(cache_module.os, "fsync", real)
    partial = TeacherCache.open(folder)
    assert 0 < partial.done < partial.total
    assert (partial.array("topk_ids") == finished.array("topk_ids")[: partial.done]).all()
    assert (partial.rows() >= 0).sum() == partial.done
    done = run_teacher(*teaching, folder, SETTINGS)
    for name in done.manifest["arrays"]:
        assert (folder / f"{name}.npy").read_bytes() == (finished.directory / f"{name}.npy").read_bytes()
