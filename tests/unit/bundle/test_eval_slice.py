"""``eval.npz``: held-out text from outside, checked before anyone scores with it."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from edgesnn.bundle.bundle import Bundle, read_eval_slice
from edgesnn.errors import BundleError
from tests.support.bundles import manifest_of, write_manifest

GOOD = {
    "ids": np.array([0, 4, 2, 1, 3, 0, 2], np.int32),
    "doc_starts": np.array([0, 3, 7], np.int64),
    "doc_bytes": np.array([5, 9], np.int64),
}
PLACES = np.array([1, 2, 4, 6], np.int64)
TEACHER = np.array([4, 0, 3, 1], np.int32)
ANSWERS = {"positions": PLACES, "teacher_top1": TEACHER}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "eval.npz"


def written(path, **changes):
    arrays = {**GOOD, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def refused(path, message="not an evaluation slice"):
    with pytest.raises(BundleError, match=message):
        read_eval_slice(path, 5)


def test_a_good_slice_gives_its_documents(path):
    made = read_eval_slice(written(path, **ANSWERS), 5)
    assert [document.tolist() for document in made.documents()] == [[0, 4, 2], [1, 3, 0, 2]]
    assert (made.ids.dtype, made.doc_starts.dtype, made.doc_bytes.dtype) == (np.int32, np.int64, np.int64)
    assert made.teacher_top1.tolist() == TEACHER.tolist()
    assert read_eval_slice(written(path), 5).teacher_top1 is None


def test_the_teachers_log_probabilities_are_kept_and_cut_with_the_text(path):
    logp = np.array([-0.5, -2.0, -1e-8, -4.0], np.float32)
    whole = read_eval_slice(written(path, **ANSWERS, teacher_native_logp=logp), 5)
    assert whole.teacher_native_logp.tolist() == logp.tolist()
    assert whole.first(3).teacher_native_logp.tolist() == logp[:2].tolist()
    assert read_eval_slice(written(path, **ANSWERS), 5).teacher_native_logp is None


@pytest.mark.parametrize(
    ("logp", "message"),
    [
        (np.array([-1, -1, -1, -1]), "holds no floating-point numbers"),
        (np.array([-1.0, -1.0]), "holds no log-probabilities"),
        (np.array([-1.0, -1.0, 0.5, -1.0]), "holds no log-probabilities"),
        (np.array([-1.0, -np.inf, -1.0, -1.0]), "holds no log-probabilities"),
        (np.array([-1.0, np.nan, -1.0, -1.0]), "holds no log-probabilities"),
    ],
)
def test_what_cannot_be_a_log_probability_is_refused(path, logp, message):
    refused(written(path, **ANSWERS, teacher_native_logp=logp), message)


@pytest.mark.parametrize(("tokens", "documents"), [(0, 1), (1, 1), (3, 1), (4, 2), (7, 2), (1000, 2)])
def test_the_first_documents_hold_as_many_tokens_as_asked(path, tokens, documents):
    whole = read_eval_slice(written(path, **ANSWERS), 5)
    part = whole.first(tokens)
    assert len(part.doc_bytes) == documents
    assert part.positions.tolist() == [place for place in PLACES if place < len(part.ids)]
    assert part.teacher_top1.tolist() == TEACHER[: len(part.positions)].tolist()


def test_compressed_archives_and_other_widths_of_integers_are_read(path):
    np.savez_compressed(path, **{name: array.astype(np.uint8) for name, array in GOOD.items()})
    assert read_eval_slice(path, 5).ids.tolist() == GOOD["ids"].tolist()


@pytest.mark.parametrize(
    "changes",
    [
        {"doc_starts": np.array([0, 3, 8])},
        {"doc_starts": np.array([1, 3, 7])},
        {"doc_starts": np.array([0, 3, 3, 7]), "doc_bytes": np.array([1, 2, 3])},
        {"doc_starts": np.array([0, 5, 3, 7]), "doc_bytes": np.array([1, 2, 3])},
        {"doc_starts": np.array([0, 3, 7], np.uint64)[::-1].copy()},
        {"doc_starts": np.array([0]), "doc_bytes": np.zeros(0, np.int64)},
        {"doc_starts": np.array([0, 7])},
        {"doc_bytes": np.array([5])},
        {"doc_bytes": np.array([5, -1])},
        {"doc_bytes": np.array([0, 0])},
        {"ids": GOOD["ids"][None]},
        {"ids": np.zeros(0, np.int32), "doc_starts": np.array([0]), "doc_bytes": np.zeros(0, np.int64)},
        {"ids": np.array([1, 2]), "doc_starts": np.array([0, 1, 2])},
    ],
    ids=[
        "end beyond",
        "start not 0",
        "an empty document",
        "not ascending",
        "descending unsigned",
        "no documents",
        "too few starts",
        "too few sizes",
        "negative size",
        "no bytes at all",
        "two dimensions",
        "no tokens",
        "nothing to score",
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(path, changes):
    refused(written(path, **changes), "do not fit together")


@pytest.mark.parametrize(
    "changes",
    [
        {"teacher_top1": TEACHER[:-1]},
        {"positions": PLACES[None], "teacher_top1": TEACHER[None]},
        {"positions": PLACES[::-1].copy()},
        {"positions": np.array([1, 2, 3, 6])},
        {"positions": np.array([1, 2, 4, 7])},
        {"positions": np.zeros(0, np.int64), "teacher_top1": np.zeros(0, np.int32)},
    ],
    ids=["too short", "two dimensions", "descending", "a document's first token", "beyond the end", "none"],
)
def test_answers_of_a_teacher_that_do_not_fit_the_text_are_refused(path, changes):
    refused(written(path, **(ANSWERS | changes)), "do not fit its text")


@pytest.mark.parametrize("token", [-1, 5, 2**31 - 1])
def test_token_ids_outside_the_vocabulary_are_refused(path, token):
    refused(written(path, ids=np.array([0, 4, 2, 1, token, 0, 2])), "outside the vocabulary")


def test_a_token_id_that_would_wrap_into_the_vocabulary_is_refused(path):
    refused(written(path, ids=np.array([0, 4, 2, 1, 2**32 + 1, 0, 2], np.int64)), "outside the vocabulary")


@pytest.mark.parametrize("name", ["ids", "doc_starts", "doc_bytes"])
def test_missing_arrays_and_floats_are_refused_by_name(path, name):
    refused(written(path, **{name: None}), f"lacks {name}")
    refused(written(path, **{name: GOOD[name].astype(np.float64)}), f"'{name}'.*no integers")
    refused(written(path, **{name: GOOD[name].astype("U9")}), f"'{name}'.*no integers")


class Payload:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_a_pickle_is_refused_and_not_run(path, capsys):
    np.savez(path, **{**GOOD, "ids": np.array([Payload()], dtype=object)}, allow_pickle=True)
    refused(path)
    path.write_bytes(pickle.dumps(Payload()))
    refused(path)
    np.save(path.with_suffix(".npy"), np.array([Payload()], dtype=object), allow_pickle=True)
    path.with_suffix(".npy").rename(path)
    refused(path)
    assert "never run" not in capsys.readouterr().out


def test_an_array_without_archive_is_refused(path):
    with path.open("wb") as stream:
        np.save(stream, GOOD["ids"])
    refused(path)


def test_truncation_at_every_length_and_every_flipped_byte_is_an_error_of_ours_or_harmless(path):
    whole = written(path).read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        refused(path)
    for position in range(len(whole)):
        edited = bytearray(whole)
        edited[position] ^= 0xFF
        path.write_bytes(edited)
        try:
            read_eval_slice(path, 5)
        except BundleError:
            continue


def test_a_header_that_claims_a_huge_array_allocates_nothing(path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i4", "fortran_order": False, "shape": (2**50,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ids.npy", header.getvalue())
        archive.writestr("doc_starts.npy", header.getvalue())
        archive.writestr("doc_bytes.npy", header.getvalue())
    refused(path)


def test_an_archive_that_unpacks_to_gigabytes_is_not_unpacked(path, monkeypatch):
    monkeypatch.setattr("edgesnn.bundle.bundle._EVAL_MAX_BYTES", 1000)
    np.savez_compressed(path, **{**GOOD, "ids": np.zeros(10_000, np.int32)})
    refused(path, "unpacks to 40,424 bytes, more than 1,000")


def test_a_bundle_without_a_slice_has_none(folder):
    document = manifest_of(folder)
    del document["files"]["eval.npz"]
    write_manifest(folder, document)
    assert Bundle(folder).eval_slice() is None
