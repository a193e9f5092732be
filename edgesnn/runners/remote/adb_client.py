"""The ``adb`` program as a subprocess: which phones are there, and the way to one of them.

Every call names the phone (``-s SERIAL``) and has a deadline. adb's exit code alone proves nothing (version
29 answers 0 when the transport drops), so what matters is proven by hashes and marks (`DeviceLink`).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from edgesnn.errors import RunnerError, UsageError
from edgesnn.runners.remote.link import SHELL_S, DeviceLink, Finished, printable, reading

#: Names another adb.
ADB_VARIABLE = "EDGESNN_ADB"
#: Where adb's own server listens, and what changes that (adb's manual).
SERVER_PORT, SERVER_PORT_VARIABLE = 5037, "ANDROID_ADB_SERVER_PORT"
SERVER_S, DEVICES_S = 30.0, 15.0
BASE = "/data/local/tmp"
INSTALL = f"install it (apt install adb, or Android's platform tools), or name it by {ADB_VARIABLE}"
#: The words for a state (AOSP, ``adb.cpp``, `to_string(ConnectionState)`), and those of older versions.
STATES = frozenset(
    ("device", "offline", "unauthorized", "authorizing", "connecting", "detached", "bootloader", "fastbootd")
    + ("host", "recovery", "rescue", "sideload", "unknown")
)
#: The facts that follow a state, as ``key:value`` (AOSP, ``transport.cpp``, `append_transport`).
_FACTS = re.compile(r"\s(?=(?:usb|product|model|device|features|transport_id):)")
_DENIED = "no permissions"
#: A phone without a serial number says so.
NO_SERIAL = "(no serial number)"
#: What adb says of itself, on stdout in some versions, above and below the header.
_OWN_WORDS = re.compile(
    r"\s*(?:\*|-\s|List of devices|adb:|(?:adb )?error:|warning:|adb server )", re.IGNORECASE
)
_REMEDIES = {
    "unauthorized": "unlock the phone and accept this computer's key, then try again",
    "authorizing": "unlock the phone and accept this computer's key, then try again",
    "offline": "unplug it and plug it in again, or: adb reconnect",
    _DENIED: "add udev rules for it (apt install android-sdk-platform-tools-common)",
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
        transport: adb's number for this connection, or None where adb does not tell.
        alone: Whether no other phone has the same serial number.
    """

    serial: str
    state: str
    model: str | None
    transport: str | None = None
    alone: bool = True

    @property
    def name(self) -> str:
        """What a target calls it: its serial number, and its transport where that is not enough."""
        unclear = self.transport is not None and (not self.alone or self.serial == NO_SERIAL)
        return f"{self.serial}?transport={self.transport}" if unclear else self.serial

    @property
    def selection(self) -> tuple[str, ...]:
        """How adb is told that it is meant."""
        return ("-s", self.serial) if self.name == self.serial else ("-t", self.transport or "")

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
    found = [phone for phone in map(read_line, listed.out.splitlines()) if phone is not None]
    serials = Counter(phone.serial for phone in found)
    return [replace(phone, alone=serials[phone.serial] == 1) for phone in found]


def read_line(line: str) -> AdbDevice | None:
    """The phone of one line of ``adb devices -l``; None for what adb says besides.

    A serial number is everything before the last known word for a state: names of wireless debugging hold
    spaces. A word that is not known counts as a state only before facts.
    """
    if _OWN_WORDS.match(line):
        return None
    head, *facts = _FACTS.split(line.strip())
    found = re.match(rf"(.*\S)\s+({_DENIED})\b", head) or re.match(r"(.*\S)\s+(\S+)$", head)
    if found is None or not (facts or found[2] in (*STATES, _DENIED)):
        return None
    known = dict(fact.split(":", 1) for fact in facts)
    return AdbDevice(found[1], found[2], known.get("model"), known.get("transport_id"))


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


def choose_phone(serial: str | None, transport: str | None = None) -> AdbDevice:
    """The phone that was named, or the only one that is there.

    Args:
        serial: Its serial number, or None.
        transport: adb's number for its connection, or None.

    Raises:
        UsageError: Several are there and none was named, or several have the name.
        RunnerError: None is there, or it is unauthorized, offline, or otherwise not ready.
    """
    found = phones()
    named = [
        phone for phone in found if serial in (None, phone.serial) and transport in (None, phone.transport)
    ]
    unnamed = serial is None and transport is None
    if not found and unnamed:
        raise RunnerError(
            "no phone is attached",
            remedy="enable USB debugging on the phone and plug it in, or: adb connect HOST:PORT",
        )
    if not named:
        wanted = f"phone '{serial}'" if transport is None else f"phone '{serial or ''}?transport={transport}'"
        raise RunnerError(
            f"{wanted} is not attached",
            actual=", ".join(p.name for p in found) or "no phone",
            remedy=f"adb connect {serial}" if serial and ":" in serial else "see: edgesnn list devices",
        )
    if len(named) > 1:
        raise UsageError(
            "several phones are attached and none was named"
            if unnamed
            else f"{len(named)} phones have the serial number '{serial}'",
            actual=", ".join(f"{p.name} ({p.state})" for p in named),
            remedy=f"name one: --target {shlex.quote(f'adb:{named[0].name}')}",
        )
    chosen = named[0]
    if chosen.trouble is not None:
        state, _, remedy = chosen.trouble.partition(": ")
        raise RunnerError(f"phone '{chosen.name}' is {state}", remedy=remedy)
    return chosen


class AdbLink(DeviceLink):
    """The way to one phone.

    Args:
        phone: The phone.
        base: Folder on it in which sessions make theirs.
    """

    def __init__(self, phone: AdbDevice, base: str = BASE) -> None:
        self.phone = phone
        self.who = f"phone '{phone.name}'"
        self.base = base

    def exchange(self, line: str, *, seconds: float, stdin: int | bytes | None = None) -> Finished:
        return run([*self.phone.selection, "shell", "-T", line], seconds=seconds, stdin=stdin)

    def push(self, local: Path, remote: str, *, seconds: float) -> None:
        done = run([*self.phone.selection, "push", str(local), remote], seconds=seconds)
        if done.code == 0:
            return
        said = printable((done.err + done.out).replace(str(local), local.name))
        if "No space left" in said:
            raise RunnerError(
                f"{self.who} is full",
                actual=f"{local.stat().st_size} bytes to push",
                remedy=f"free space in {BASE}",
            )
        raise self.gone() or RunnerError(f"cannot push '{local.name}' to {self.who}", actual=said)

    def open_stream(self, line: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [_adb(), *self.phone.selection, "shell", "-T", line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us: the phone is told in order
        )

    def trouble(self, whole: Finished) -> RunnerError | None:
        """What adb itself says begins with its name, or with ``error``."""
        said = next((line for line in whole.err.splitlines() if line.startswith(("error: ", "adb: "))), None)
        if said is None:
            return None
        return self.gone() or RunnerError(
            f"{self.who} cannot be reached", actual=said.partition(": ")[2].strip()
        )

    def gone(self) -> RunnerError | None:
        try:
            choose_phone(self.phone.serial, None if self.phone.alone else self.phone.transport)
        except (RunnerError, UsageError) as error:
            return RunnerError(
                f"{self.who} went away in the middle",
                actual=error.what,
                remedy="look at the cable or the network; what is left on it is removed by the next run",
            )
        return None

    def close(self) -> None:
        """Nothing is held."""


def properties(link: DeviceLink) -> dict[str, str]:
    """Android's properties of a phone by name; their lines have a form of their own, which needs no marks.

    Raises:
        RunnerError: The phone cannot be reached, or its shell does not list them.
    """
    whole = link.exchange("getprop", seconds=SHELL_S)
    found = dict(re.findall(r"^\[([^\]]+)\]: \[([^\]]*)\]", whole.out, re.MULTILINE))
    if not found:
        raise link.unanswered(whole)
    return found


def run(arguments: list[str], *, seconds: float, stdin: int | bytes | None = None) -> Finished:
    """Run adb to its end.

    Args:
        arguments: What follows its name.
        seconds: Deadline.
        stdin: What it reads: bytes, or an open file; None for nothing.

    Raises:
        RunnerError: It is missing, or the deadline passed.
    """
    try:
        done = subprocess.run(
            [_adb(), *arguments], **reading(stdin), capture_output=True, timeout=seconds, check=False
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
