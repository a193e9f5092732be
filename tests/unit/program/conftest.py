import pytest

from tests.support.artifacts import write_artifact


@pytest.fixture
def artifact(tmp_path):
    """A tiny student artifact of its own for every test."""
    return write_artifact(tmp_path / "student")
