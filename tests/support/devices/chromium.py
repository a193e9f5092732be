"""A headless Chromium that plays a phone, driven over its debugging socket."""

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.patience import patience, wait_for

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
#: A name that means this computer, yet is not "localhost": browsers take plain http to it for insecure.
PLAIN_HOST = "phone.test"
PHONE = {"width": 412, "height": 915, "deviceScaleFactor": 2, "mobile": True}
USER_AGENT = (
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/156.0.0.0 Mobile Safari/537.36"
)


def chromium():
    """Path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One Chromium with a profile of its own; `close` ends it."""

    def __init__(self, *flags):
        from websockets.sync.client import connect

        self.folder = tempfile.TemporaryDirectory(prefix="edgesnn-chromium-", ignore_cleanup_errors=True)
        command = [chromium(), *FLAGS, *flags, f"--user-data-dir={self.folder.name}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        told = Path(self.folder.name) / "DevToolsActivePort"
        port, path = wait_for(lambda: told.exists() and told.read_text().split(), "Chromium's socket", 0.1)
        url = f"ws://127.0.0.1:{port}{path}"
        self.socket = connect(url, max_size=None, compression=None).__enter__()
        self.numbers = itertools.count(1)

    def ask(self, method, session=None, **params):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        self.socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self.socket.recv(timeout=patience()))
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def phone(self, url="about:blank", *, scheme="light", user_agent=USER_AGENT):
        """A tab of its own that looks like a phone."""
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        target = self.ask("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session, target, context)
        tab.ask("Emulation.setDeviceMetricsOverride", **PHONE)
        tab.ask("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=5)
        tab.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        tab.ask("Emulation.setUserAgentOverride", userAgent=user_agent, platform="Linux armv81")
        if url != "about:blank":
            tab.ask("Page.navigate", url=url)
        return tab

    def close(self):
        self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(patience(10))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(patience())
        self.folder.cleanup()


class Tab:
    """One tab."""

    def __init__(self, browser, session, target, context):
        self.browser, self.session, self.target, self.context = browser, session, target, context

    def ask(self, method, **params):
        return self.browser.ask(method, self.session, **params)

    def run(self, script):
        """The value of a JavaScript expression."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def text(self):
        """What a person reads."""
        return self.run("document.body ? document.body.innerText : ''")

    def wait_for(self, words):
        """Wait until the page says something."""
        return wait_for(lambda: words in (said := self.text()) and said, f"'{words}' on the page", 0.1)

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        self.browser.ask("Target.closeTarget", targetId=self.target)
        self.browser.ask("Target.disposeBrowserContext", browserContextId=self.context)
