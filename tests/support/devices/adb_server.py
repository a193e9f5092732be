"""adb's own server for tests: its port and its home are ours, and it ends with them."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile

from tests.support.patience import patience

#: Ports on which adb looks for emulators by itself (adb's manual).
EMULATOR_PORTS = range(5554, 5586)


def free_port():
    while True:
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        if port not in EMULATOR_PORTS:
            return port


@contextlib.contextmanager
def adb_server():
    """Run a server; while it runs, the environment leads every adb to it. Gives a function that runs adb."""
    home = tempfile.mkdtemp(prefix="edgesnn-adb-home-")
    kept = {name: os.environ.get(name) for name in ("HOME", "ANDROID_ADB_SERVER_PORT", "XDG_CACHE_HOME")}
    cache = kept["XDG_CACHE_HOME"] or os.path.expanduser("~/.cache")  # the built engine is looked for there
    os.environ.update(HOME=home, ANDROID_ADB_SERVER_PORT=str(free_port()), XDG_CACHE_HOME=cache)

    def adb(*arguments):
        null, words = subprocess.DEVNULL, ["adb", *arguments]
        return subprocess.run(words, stdin=null, capture_output=True, text=True, timeout=patience())

    try:
        null = subprocess.DEVNULL  # the server would hold a pipe open
        subprocess.run(
            ["adb", "start-server"], stdin=null, stdout=null, stderr=null, timeout=patience(), check=True
        )
        yield adb
    finally:
        adb("kill-server")
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(home, ignore_errors=True)
