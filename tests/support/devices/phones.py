"""Phones for the runner ``browser``: opening it while something else plays the phone, and one in Python."""

import json
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import numpy as np

from edgesnn.bundle.bundle import PROGRAM_NAME
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.browser.runner import BrowserRunner
from tests.support.patience import patience

HELLO = {
    "type": "hello",
    "protocol": 1,
    "user_agent": "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/156.0.0.0 Mobile",
    "model": None,
    "system": None,
    "cores": 8,
    "memory_gb": 8,
    "screen": "412x915@2.625",
    "touch_points": 5,
    "timer_step_us": 100.0,
    "secure_context": False,
    "cross_origin_isolated": False,
    "wake_lock": False,
    "visible": True,
}


class Announcing(BrowserRunner):
    """The runner, which tells its address to a queue instead of stderr."""

    def __init__(self):
        super().__init__()
        self.urls = queue.Queue()

    def _announce(self, url, fingerprint):
        self.fingerprint = fingerprint
        self.urls.put(url)


@contextmanager
def opening(bundle, address="127.0.0.1", threads=1, wait_s=None):
    """A runner that waits for its phone: yields runner, the page's address, and the future device."""
    with ThreadPoolExecutor(1) as pool, Announcing() as runner:
        runner.wait_s = wait_s or patience()
        device = pool.submit(runner.open, bundle, RunnerOptions(threads=threads, address=address))
        while True:
            try:
                url = runner.urls.get(timeout=0.1)
                break
            except queue.Empty:
                if device.done():
                    device.result()
        try:
            yield runner, url, device
        finally:
            runner.close()


class PythonPhone:
    """A page in Python. It answers like an honest one, except where it is told otherwise.

    Args:
        url: The page's address.
        bundle: What an honest page would have loaded.
        hello: Fields of the greeting that differ.
        lies: By command: a dict of fields that differ, bytes to send instead of the numbers, or a function
            of socket and command that answers instead.
    """

    def __init__(self, url, bundle, hello=None, **lies):
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import connect

        self.bundle, self.lies, self.heard = bundle, lies, []
        address = url.replace("http", "ws", 1) + "socket"
        self.socket = connect(address, compression=None, max_size=None).__enter__()
        greeting = hello if isinstance(hello, str | bytes) else json.dumps(HELLO | (hello or {}))
        with suppress(ConnectionClosed):  # a busy computer does not wait for greetings
            self.socket.send(greeting)
        self.thread = threading.Thread(target=self._obey, daemon=True)
        self.thread.start()

    def _obey(self):
        from websockets.exceptions import ConnectionClosed

        try:
            for frame in self.socket:
                command = json.loads(frame)
                self.heard.append(command)
                if "id" in command:
                    self._answer(command)
        except ConnectionClosed:
            return

    def _answer(self, command):
        lie = self.lies.get(command["type"])
        if callable(lie):
            lie(self.socket, command)
            return
        fields, numbers = self._honest(command)
        if isinstance(lie, bytes):
            numbers = lie
        reply = {"type": "reply", "id": command["id"], "bytes": len(numbers), **fields}
        self.socket.send(json.dumps(reply | (lie if isinstance(lie, dict) else {})))
        if numbers:
            self.socket.send(numbers)

    def _honest(self, command):
        vocab = self.bundle.program().vocab_size
        match command["type"]:
            case "load":
                entry = self.bundle.manifest.files[PROGRAM_NAME]
                loaded = {"load_ms": 20.0, "download_ms": 5.0, "wasm_bytes": 27_253, "threads": 1}
                loaded["kernels"] = "vector"
                return {"model_sha256": entry.sha256, **loaded}, b""
            case "now":
                return {"now_ms": 1234.5}, b""
            case "page":
                return {"hidden": 0, "visible": True}, b""
            case "calibrate":
                return {"call_ms": 0.9}, b""
            case "step" | "prefill":
                return {"elapsed_ms": 0.9}, np.arange(vocab, dtype="<i4").tobytes()
            case "sequence":
                rows = np.zeros((len(command["ids"]), vocab), "<i4")
                return {"elapsed_ms": 2.0}, rows.tobytes()
            case "window":
                means = np.linspace(1, 2, len(command["sizes"]) * command["repeat"])
                ends = {"started_ms": 1235.0, "ended_ms": 1240.0, "output_sha256": "ab" * 32}
                return ends, means.astype("<f8").tobytes()
        return {}, b""

    def closed(self):
        """The code and the reason with which the computer closed the connection."""
        self.thread.join(patience())
        assert not self.thread.is_alive()
        return self.socket.close_code, self.socket.close_reason

    def close(self):
        self.socket.close()
        self.thread.join(patience())
