import pytest

from edgesnn.bundle.bundle import Bundle
from tests.support.bundles import shared_bundle


@pytest.fixture(scope="session")
def bundle():
    """One exported tiny student, read only."""
    return Bundle(shared_bundle())
