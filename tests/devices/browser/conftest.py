import pytest

from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import RunnerError
from edgesnn.runners.browser import assets as browser_assets
from tests.support.bundles import shared_bundle
from tests.support.devices.chromium import PLAIN_HOST, Browser, chromium

pytest.importorskip("websockets", reason="websockets is not installed: pip install 'edgesnn[phone]'")
pytest.importorskip("segno", reason="segno is not installed: pip install 'edgesnn[phone]'")


@pytest.fixture(scope="session")
def bundle():
    """One exported tiny student, read only."""
    return Bundle(shared_bundle())


@pytest.fixture(scope="session")
def engine_files():
    """The files of onnxruntime-web, fetched when they are not there."""
    reason = browser_assets.missing()
    if reason is None:
        try:
            return browser_assets.assets()
        except RunnerError as error:
            reason = error.sentence()
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chrome():
    """One headless Chromium for all tests; every tab has cookies and storage of its own."""
    if chromium() is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    browser = Browser(f"--host-resolver-rules=MAP {PLAIN_HOST} 127.0.0.1", "--ignore-certificate-errors")
    yield browser
    browser.close()
