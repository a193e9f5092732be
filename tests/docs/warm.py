"""``edgesnn`` with its imports behind it: a server that forks for every command line of the pages.

python -m tests.docs.warm SOCKET FOLDER     serves
edgesnn ...                                 the shim that `write_programs` writes asks it
"""

import array
import json
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from functools import cache
from importlib import import_module, metadata
from pathlib import Path

from tests.docs.small import make_small

ROOT = Path(__file__).parents[2]
#: Sends streams, folder, environment and words; ends with the code that comes back.
CLIENT = """
import array, json, os, socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect(os.environ["EDGESNN_WARM"])
words = json.dumps({"words": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}).encode()
streams = array.array("i", [0, 1, 2])
link.sendmsg([len(words).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
link.sendall(words)
answer = link.recv(1)
sys.exit(answer[0] if answer else 70)
"""
#: What needs torch, or another program's interpreter.
APART = ("edgesnn.student", "edgesnn.integrations.llm_plugin", "edgesnn.integrations.pytest_plugin")
#: A program that looks at what is asked of it and does nothing: environments and targets are others' tests.
CHECKED = {
    "pip": "tests.docs.checked",
    "make": "tests.docs.checked",
}


def write_programs(folder: Path) -> None:
    """Write the programs that a page may name into a folder for PATH."""
    folder.mkdir()
    (folder / "client.py").write_text(CLIENT)
    python = sys.executable
    programs = {
        "edgesnn": f'exec "{python}" -ISs "{folder / "client.py"}" "$@"',
        "python": f'exec "{python}" "$@"',
        "python3": f'exec "{python}" "$@"',
        **{name: f'exec "{python}" -m {module} {name} "$@"' for name, module in CHECKED.items()},
    }
    for name, line in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)


def serve(path: str, folder: Path) -> None:
    """Answer until killed, or until who started it is gone."""
    _import_all()
    metadata.entry_points = cache(metadata.entry_points)  # what is installed does not change meanwhile
    make_small(folder)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children: they answer by themselves
    door = socket.socket(socket.AF_UNIX)
    door.bind(path)
    door.listen()
    door.settimeout(1.0)
    parent = os.getppid()
    while os.getppid() == parent:  # a test run that was killed leaves no server
        try:
            link, _ = door.accept()
        except TimeoutError:
            continue
        if os.fork() == 0:
            door.close()
            _answer(link)
        link.close()


def _import_all() -> None:
    """Import every module of edgesnn that needs no torch, so that no command line has to."""
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401

    for path in sorted((ROOT / "edgesnn").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if not name.startswith(APART) and path.stem != "__main__":
            with suppress(ImportError):  # an extra that is not installed
                import_module(name)


def _answer(link: socket.socket) -> None:
    """Be the command, in a child that never returns."""
    code = 70
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        size, ancillary, _, _ = link.recvmsg(4, socket.CMSG_LEN(3 * 4))
        asked = b""
        while len(asked) < int.from_bytes(size, "big"):
            asked += link.recv(1 << 16)
        words = json.loads(asked)
        for number, stream in enumerate(array.array("i", ancillary[0][2])):
            os.dup2(stream, number)
        os.chdir(words["folder"])
        os.environ.clear()
        os.environ.update(words["environment"])
        sys.stdin, sys.stdout, sys.stderr = map(os.fdopen, range(3), "rww")
        sys.argv = ["edgesnn", *words["words"]]
        from edgesnn.cli.main import run

        code = run(words["words"])
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        link.sendall(bytes([code]))
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
