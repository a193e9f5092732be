"""A headless Chromium over its debugging pipe: what a page says, asks for and looks like. No port."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from tests.support.patience import patience

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_chromium():
    """The program, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One tab.

    Attributes:
        requests: Every address that the tab asked for.
        messages: Every message of console, policy and page errors.
    """

    def __init__(self, process, to_browser, from_browser):
        self._process, self._to, self._from = process, to_browser, from_browser
        self._buffer, self._next, self._session = b"", 0, None
        self.requests, self.messages, self._loaded = [], [], False
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, path, *, width=1280, height=900, dark=False):
        """Load a file, and wait until it has."""
        self._loaded = False
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        failed = self._call("Page.navigate", url=Path(path).resolve().as_uri()).get("errorText")
        assert not failed, failed
        self._wait(lambda: self._loaded)

    def evaluate(self, expression):
        """The value of an expression in the page."""
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get(
            "value"
        )

    def screenshot(self, path, *, whole=False):
        """A picture of what the window, or the whole page, shows."""
        shot = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def _call(self, method, **parameters):
        self._next += 1
        number = self._next
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        answer = {}

        def answered():
            return bool(answer)

        self._wait(answered, lambda found: answer.update(found) if found.get("id") == number else None)
        assert "error" not in answer, answer
        return answer["result"]

    def _wait(self, done, take=lambda found: None):
        deadline = time.monotonic() + patience()
        while not done():
            left = deadline - time.monotonic()
            assert left > 0, "chromium did not answer in time"
            if not select.select([self._from], [], [], left)[0]:
                continue
            chunk = os.read(self._from, 1 << 16)
            assert chunk, "chromium ended"
            self._buffer += chunk
            *whole, self._buffer = self._buffer.split(b"\0")
            for text in whole:
                found = json.loads(text)
                self._note(found)
                take(found)

    def _note(self, found):
        event, detail = found.get("method"), found.get("params", {})
        if event == "Network.requestWillBeSent":
            self.requests.append(detail["request"]["url"])
        elif event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Log.entryAdded":
            self.messages.append(detail["entry"]["text"])
        elif event == "Runtime.consoleAPICalled":
            self.messages.append(json.dumps(detail["args"]))
        elif event == "Runtime.exceptionThrown":
            self.messages.append(detail["exceptionDetails"]["text"])


def _high(descriptor):
    """The same descriptor with a number of two digits."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


@contextmanager
def chromium():
    """A browser with a fresh profile, ended and cleaned up whatever happens."""
    # Far from 3 and 4, on which the browser reads commands and answers.
    to_child, to_browser = map(_high, os.pipe())
    from_browser, from_child = map(_high, os.pipe())
    with tempfile.TemporaryDirectory(prefix="edgesnn-chromium-", ignore_cleanup_errors=True) as profile:
        arguments = (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
            "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank",
        )  # fmt: skip
        process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{to_child} 4>&{from_child}', find_chromium(), *arguments],
            pass_fds=(to_child, from_child), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_child)
        os.close(from_child)
        try:
            yield Page(process, to_browser, from_browser)
        finally:
            os.close(to_browser)  # the browser ends when its pipe does
            os.close(from_browser)
            try:
                process.wait(patience(10))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
