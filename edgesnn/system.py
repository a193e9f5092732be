"""What differs between operating systems, each question asked here and nowhere else.

edgesnn is run and tested on Linux. Nobody has run it on macOS or Windows: what is written here for them
follows their documentation, and tests run the commands with what those systems lack taken away
(``tests/systems/test_other_systems.py``). What only Linux can do says so when it is asked for: Lava, emulated
boards, simulated instruments where there are no pseudo-terminals, the native engine on Windows.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Where Linux tells about processes and the processor; nothing is there on other systems.
PROC = Path("/proc")
#: Groups whose users may open serial ports, by distribution: Debian's first.
SERIAL_GROUPS = ("dialout", "uucp")
_CACHES = {"darwin": "Library/Caches", "win32": "AppData/Local"}


def name() -> str:
    """``linux``, ``darwin`` (macOS), ``win32`` (Windows), or another name of ``sys.platform``."""
    return sys.platform


def is_linux() -> bool:
    """Whether this is Linux."""
    return name() == "linux"


def is_windows() -> bool:
    """Whether this is Windows: no users by number, no modes of files, no pseudo-terminals."""
    return name() == "win32"


def boot() -> str:
    """Which start of the machine this is, as Linux names it; empty where nobody says."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def user_id() -> int | None:
    """Number of the user whose rights this process has; None where users have none."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def users_caches(home: Path | None) -> Path | None:
    """Where the system keeps caches of this user; None where it knows no home.

    Args:
        home: The user's home.
    """
    if is_windows() and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local)
    return None if home is None or not home.is_absolute() else home / _CACHES.get(name(), ".cache")


def meeting_place() -> Path:
    """A folder that is the same for all users of this machine, whatever their TMPDIR says."""
    return Path(tempfile.gettempdir() if is_windows() else "/tmp")  # nosec B108


def lock(path: Path, *, shared: bool) -> int | None:
    """Hold a file or folder until the process ends or the descriptor is closed (``flock``).

    Args:
        path: What is held; a link is not followed.
        shared: Whether others may hold it beside this process.

    Returns:
        An open descriptor with a lock on it; None: it is gone, a link, or takes no lock, as on Windows.

    Raises:
        BlockingIOError: It is held otherwise.
    """
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:
        os.close(handle)
        return None
    return handle


def has_pseudo_terminals() -> bool:
    """Whether a program can offer a serial port here."""
    return hasattr(os, "openpty")


def port_trouble(device: str) -> str | None:
    """Why this user may not open a serial port, or None; Windows has no such rights."""
    if is_windows() or os.access(device, os.R_OK | os.W_OK):
        return None
    return f"this user may not open it (add the user to the group '{SERIAL_GROUPS[0]}', or a udev rule)"


def serial_group() -> str | None:
    """The group that lets this user open serial ports, ``root`` for root; None where there is none."""
    if user_id() == 0:
        return "root"
    import grp

    ours = set(os.getgroups())
    for group in SERIAL_GROUPS:
        try:
            if grp.getgrnam(group).gr_gid in ours:
                return group
        except KeyError:
            continue
    return None


def peak_memory() -> tuple[int, str]:
    """Peak resident set of this process in bytes, and how it was read.

    Linux: ``VmHWM`` of its status, because ``ru_maxrss`` would carry over the parent's peak through exec.
    """
    status = PROC / "self/status"
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024, "VmHWM of the process status"
    if is_windows():
        import psutil

        facts = psutil.Process().memory_info()._asdict()  # only Windows has this one
        return int(facts["peak_wset"]), "peak working set (psutil)"
    import resource

    unit = 1 if name() == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "ru_maxrss of getrusage"


def limit_process(more_bytes: int, cpu_s: int) -> None:
    """Let this process take so much memory beyond what it has, and so many seconds of processor time.

    Linux ends or refuses it where it takes more; on other systems nothing is limited.
    """
    if not is_linux():
        return
    import resource

    pages = int((PROC / "self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
