"""Whom a program speaks to, seen by the system calls that would."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

SWITCHES = {"ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_OFFLINE"}
"""Variables that a user has not set: the program has to see to it itself."""

_ADDRESS = re.compile(r"sa_family=AF_INET6?, .*?sin6?_port=htons\((\d+)\).*?\"([0-9a-f.:]+)\"")
"""Port and address as strace writes them."""


@cache
def misses() -> str | None:
    """Why no program can be watched here, or None."""
    if shutil.which("strace") is None:
        return "strace is not installed: sh tools/system_packages.sh"
    tried = subprocess.run(["strace", "-f", "-e", "trace=connect", "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else "this system does not let strace look at processes"


def watching(trace: Path) -> list[str]:
    """What stands before a command that is watched, children included; it writes to a file."""
    calls = "trace=connect,sendto,sendmsg,sendmmsg"
    return ["strace", "-f", "--seccomp-bpf", "-qq", "-s", "64", "-e", calls, "-o", str(trace)]


def foreign(trace: str) -> set[tuple[int, str]]:
    """Addresses beyond the loopback, and every question for a name, whoever answers it here."""
    found = [(int(port), address) for port, address in _ADDRESS.findall(trace)]
    return {
        (port, address)
        for port, address in found
        if port == 53 or not (address.startswith("127.") or address == "::1")
    }
