"""The ``adb`` program as a subprocess: which phones are there, and the way to one of them.

Every call names the phone (``-s SERIAL``) and has a deadline. adb's exit code alone proves nothing (version
29 answers 0 when the transport drops), so what matters is proven by hashes and end markers.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgesnn.errors import RunnerError, UsageError
from edgesnn.runners.remote.session import SHELL_S, DeviceLink, Finished

#: Names another adb.
ADB_VARIABLE = "EDGESNN_ADB"
#: Where adb's own server listens, and what changes that (adb's manual).
SERVER_PORT, SERVER_PORT_VARIABLE = 5037, "ANDROID_ADB_SERVER_PORT"
SERVER_S, DEVICES_S = 30.0, 15.0
BASE = "/data/local/tmp"
INSTALL = f"install it (apt install adb, or Android's platform tools), or name it by {ADB_VARIABLE}"
_LINE = re.compile(r"^(\S+)\s+(no permissions|\S+)(?:\s+(.*))?$")
_REMEDIES = {
    "unauthorized": "unlock the phone and accept this computer's key, then try again",
    "authorizing": "unlock the phone and accept this computer's key, then try again",
    "offline": "unplug it and plug it in again, or: adb reconnect",
    "no permissions": "add udev rules for it (apt install android-sdk-platform-tools-common)",
    "recovery": "start the phone normally",
    "sideload": "start the phone normally",
    "bootloader": "start the phone normally",
}


@dataclass(frozen=True, slots=True)
class AdbDevice:
    """One line of ``adb devices -l``.

    Attributes:
        serial: Its serial number, or address for wireless adb.
        state: adb's word; ``device`` is ready.
        model: Its model, or None where adb does not tell.
    """

    serial: str
    state: str
    model: str | None

    @property
    def trouble(self) -> str | None:
        """Why it cannot be used, with what to do; None when it is ready."""
        if self.state == "device":
            return None
        return f"{self.state}: {_REMEDIES.get(self.state, 'adb does not offer it')}"


def find_adb() -> str | None:
    """Path of adb, or None."""
    return shutil.which(os.environ.get(ADB_VARIABLE) or "adb")


def missing() -> str | None:
    """Why adb cannot be used here, or None."""
    if find_adb() is not None:
        return None
    wanted = os.environ.get(ADB_VARIABLE)
    what = f"'{wanted}' of {ADB_VARIABLE} is not there" if wanted else "adb is not installed"
    return f"{what}; remedy: {INSTALL}"


def server_runs() -> bool:
    """Whether adb's server listens on this computer."""
    try:
        port = int(os.environ.get(SERVER_PORT_VARIABLE, SERVER_PORT))
        with socket.create_connection(("127.0.0.1", port), 1.0):
            return True
    except (OSError, ValueError, OverflowError):
        return False


def phones() -> list[AdbDevice]:
    """Every phone that adb knows, ready or not; adb starts its server where none runs.

    Raises:
        RunnerError: adb is missing, failed, or did not answer in time.
    """
    _start_server()
    listed = run(["devices", "-l"], seconds=DEVICES_S)
    if listed.code != 0:
        raise RunnerError("adb cannot list its devices", actual=(listed.err or listed.out).strip()[-300:])
    found = []
    for line in listed.out.splitlines():
        match = _LINE.match(line.strip())
        if match is None or line.startswith(("List of", "*")):
            continue
        facts = dict(pair.split(":", 1) for pair in (match[3] or "").split() if ":" in pair)
        found.append(AdbDevice(match[1], match[2], facts.get("model")))
    return found


def list_phones() -> list[AdbDevice]:
    """`phones`, leaving no server behind that was started only to find nothing.

    Raises:
        RunnerError: adb is missing, failed, or did not answer in time.
    """
    ran = server_runs()
    found = phones()
    if not ran and not found:
        run(["kill-server"], seconds=SERVER_S)
    return found


def choose_phone(serial: str | None) -> AdbDevice:
    """The phone that was named, or the only one that is there.

    Raises:
        UsageError: Several are there and none was named.
        RunnerError: None is there, or it is unauthorized, offline, or otherwise not ready.
    """
    found = phones()
    if serial is None:
        if not found:
            raise RunnerError(
                "no phone is attached",
                remedy="enable USB debugging on the phone and plug it in, or: adb connect HOST:PORT",
            )
        if len(found) > 1:
            raise UsageError(
                "several phones are attached and none was named",
                actual=", ".join(f"{p.serial} ({p.state})" for p in found),
                remedy=f"name one: --target adb:{found[0].serial}",
            )
        chosen = found[0]
    else:
        named = [phone for phone in found if phone.serial == serial]
        if not named:
            raise RunnerError(
                f"phone '{serial}' is not attached",
                actual=", ".join(p.serial for p in found) or "no phone",
                remedy=f"adb connect {serial}" if ":" in serial else "see: edgesnn list devices",
            )
        chosen = named[0]
    if chosen.trouble is not None:
        state, _, remedy = chosen.trouble.partition(": ")
        raise RunnerError(f"phone '{chosen.serial}' is {state}", remedy=remedy)
    return chosen


class AdbLink(DeviceLink):
    """The way to one phone.

    Args:
        serial: The phone.
        base: Folder on it in which sessions make theirs.
    """

    def __init__(self, serial: str, base: str = BASE) -> None:
        self.serial = serial
        self.who = f"phone '{serial}'"
        self.base = base

    def shell(self, command: str, *, seconds: float = SHELL_S) -> Finished:
        done = run(["-s", self.serial, "shell", "-T", command], seconds=seconds)
        trouble = _transport_trouble(done.err)
        if trouble is not None:
            raise self.gone() or RunnerError(f"{self.who} cannot be reached", actual=trouble)
        return done

    def push(self, local: Path, remote: str, *, seconds: float) -> None:
        done = run(["-s", self.serial, "push", str(local), remote], seconds=seconds)
        if done.code == 0:
            return
        said = (done.err + done.out).strip().replace(str(local), local.name)[-300:]
        if "No space left" in said:
            raise RunnerError(
                f"{self.who} is full",
                actual=f"{local.stat().st_size} bytes to push",
                remedy=f"free space in {BASE}",
            )
        raise self.gone() or RunnerError(f"cannot push '{local.name}' to {self.who}", actual=said)

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start a command on the phone with a clean stream in both directions."""
        return subprocess.Popen(
            [_adb(), "-s", self.serial, "shell", "-T", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us: the phone is told in order
        )

    def gone(self) -> RunnerError | None:
        try:
            choose_phone(self.serial)
        except RunnerError as error:
            return RunnerError(
                f"{self.who} went away in the middle",
                actual=error.what,
                remedy="look at the cable or the network; what is left on it is removed by the next run",
            )
        return None

    def close(self) -> None:
        """Nothing is held."""


def properties(link: DeviceLink) -> dict[str, str]:
    """Android's properties of a phone by name."""
    listed = link.shell("getprop").out
    return dict(re.findall(r"^\[([^\]]+)\]: \[([^\]]*)\]", listed, re.MULTILINE))


def run(arguments: list[str], *, seconds: float) -> Finished:
    """Run adb to its end.

    Raises:
        RunnerError: It is missing, or the deadline passed.
    """
    try:
        done = subprocess.run(
            [_adb(), *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise RunnerError(
            f"adb did not answer: {' '.join(arguments)[:80]}",
            limit=f"{seconds:g} s",
            remedy="look whether the phone is awake; adb kill-server helps where adb itself hangs",
        ) from None
    except OSError as error:
        raise RunnerError("adb cannot be started", actual=error.strerror, remedy=INSTALL) from None
    return Finished(
        done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    )


def _adb() -> str:
    found = find_adb()
    if found is None:
        raise RunnerError((missing() or "").partition("; remedy: ")[0], remedy=INSTALL)
    return found


def _start_server() -> None:
    """Start adb's server where none runs; its output must be no pipe of ours, which it would hold open."""
    if server_runs():
        return
    try:
        subprocess.run(
            [_adb(), "start-server"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SERVER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RunnerError("adb's server does not start", limit=f"{SERVER_S:g} s") from None
    except OSError as error:
        raise RunnerError("adb cannot be started", actual=error.strerror, remedy=INSTALL) from None


def _transport_trouble(stderr: str) -> str | None:
    """What adb itself complained of; None when the words are the command's."""
    for line in stderr.splitlines():
        if line.startswith(("error: ", "adb: ")):
            return line.partition(": ")[2].strip()
    return None
