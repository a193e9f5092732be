import pytest

from tests.support.bundles import copied_bundle


@pytest.fixture
def folder(tmp_path):
    """A bundle of its own for every test."""
    return copied_bundle(tmp_path / "bundle")
