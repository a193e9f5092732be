"""Run commands as if on another operating system: ``python other_system.py win32|darwin COMMAND...``.

What that system lacks is taken away from this process before edgesnn is loaded; everything that others wrote
is loaded first, as their own code for that system cannot be had here. That is no proof that edgesnn runs
there; it is one that its own code asks for nothing that is not there.
"""

import importlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

#: What is loaded before anything is taken away.
OTHERS = """
asyncio concurrent.futures ctypes filelock importlib.metadata matplotlib.pyplot multiprocessing numpy onnx
onnxruntime psutil pydantic rich.console rich.live rich.progress safetensors.numpy scipy.optimize scipy.stats
serial serial.tools.list_ports tempfile tokenizers typer
"""
MODULES = {
    "win32": ("fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"),
    "darwin": (),
}
#: Of ``os`` and ``signal``, as Python's library reference has them ("Availability: Unix"). O_NONBLOCK, fchmod
#: and SIGKILL stay: filelock and subprocess have brought what they do on this system.
OF_OS = """
O_DIRECTORY O_NOFOLLOW fchown fork geteuid getgid getgroups getuid killpg mkfifo openpty pread
sched_getaffinity setsid statvfs ttyname uname
"""
OF_SIGNAL = "SIGALRM SIGHUP SIGUSR1 pthread_sigmask setitimer"
LINUX_ONLY = {"win32": OF_OS, "darwin": "sched_getaffinity"}


def take_away(name):
    """Make this process look like one of another system."""
    for module in OTHERS.split():
        try:
            importlib.import_module(module)
        except ImportError:  # an extra that is not installed
            continue
    from edgesnn import system

    system.name = lambda: name
    system.PROC = Path("/nowhere")
    shutil._use_fd_functions = False  # how the standard library removes folders where there is no O_NOFOLLOW
    subprocess._USE_POSIX_SPAWN = False
    for module in MODULES[name]:
        sys.modules[module] = None
    for attribute in LINUX_ONLY[name].split():
        vars(os).pop(attribute, None)
    if name == "win32":
        system.fcntl = None
        for attribute in OF_SIGNAL.split():
            vars(signal).pop(attribute, None)


if __name__ == "__main__":
    take_away(sys.argv[1])
    from edgesnn.cli.main import run

    for command in sys.argv[2:]:
        if code := run(shlex.split(command)):
            sys.exit(code)
