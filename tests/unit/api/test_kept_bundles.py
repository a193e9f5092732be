"""The bundle of a student artifact is made once, known by its content, and kept for the next call."""

import os
import shutil

import pytest

from edgesnn.api import bundles
from edgesnn.api.bundles import bundle_of
from edgesnn.scratch import hold, release
from tests.support.bundles import shared_artifact


@pytest.fixture
def artifact(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGESNN_CACHE", str(tmp_path / "cache"))
    return shutil.copytree(shared_artifact(), tmp_path / "student")


@pytest.fixture
def made(monkeypatch):
    """Every bundle that is made, and how often."""
    calls = []

    def counted(*arguments, export=bundles.export_student, **named):
        calls.append(arguments[1])
        return export(*arguments, **named)

    monkeypatch.setattr(bundles, "export_student", counted)
    return calls


def place_of(artifact, formats=()):
    with bundle_of(artifact, formats=formats) as bundle:
        return bundle.path


def test_it_is_made_once_and_the_same_afterwards(artifact, made):
    with bundle_of(artifact, formats=()) as bundle:
        digest, name = bundle.manifest.program_hash, bundle.name
    with bundle_of(artifact, formats=()) as bundle:
        assert (bundle.manifest.program_hash, bundle.name) == (digest, name)
    assert len(made) == 1 and name == "student"


def test_another_file_format_or_name_is_another_bundle(artifact, made, tmp_path):
    places = {place_of(artifact), place_of(artifact, ("onnx",))}
    (artifact / "note.txt").write_text("x")
    places.add(place_of(artifact))
    places.add(place_of(artifact.rename(tmp_path / "renamed")))
    assert len(places) == len(made) == 4


def test_a_damaged_one_is_made_again(artifact, made):
    place = place_of(artifact)
    program = place / "program.snn"
    program.write_bytes(program.read_bytes()[:-1] + b"x")
    with bundle_of(artifact, formats=()) as bundle:
        bundle.program()
    assert made == [place, place]


def test_the_one_that_was_not_used_for_longest_goes_unless_it_is_in_use(artifact, made, monkeypatch):
    monkeypatch.setattr(bundles, "KEPT", 2)
    places = []
    for text in "abc":
        (artifact / "note.txt").write_text(text)
        places.append(place_of(artifact))
        os.utime(places[-1], (len(places), len(places)))
    assert [place.is_dir() for place in places] == [False, True, True]
    held = hold(places[1])
    (artifact / "note.txt").write_text("d")
    places.append(place_of(artifact))
    assert [place.is_dir() for place in places] == [False, True, True, True]
    release(held)


def test_where_the_cache_cannot_be_written_it_is_made_and_removed(artifact, made, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGESNN_CACHE", str(tmp_path / "file"))
    with bundle_of(artifact, formats=()) as bundle:
        place = bundle.path
        assert bundle.program().vocab_size > 0
    assert not place.exists() and len(made) == 1
