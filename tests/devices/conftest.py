"""Phones and boards of the tests: a folder behind a small adbd, and this computer behind its own sshd."""

import getpass
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from edgesnn import open_bundle
from edgesnn.runners.remote import adb_client
from edgesnn.runners.remote.ssh_client import CONFIG_VARIABLE
from edgesnn.toolchain import TARGETS, cross_compiler
from tests.support.bundles import shared_bundle
from tests.support.devices.adb_server import adb_server, free_port
from tests.support.devices.adbd import Phone
from tests.support.patience import patience, wait_for

SSHD = Path("/usr/sbin/sshd")
PRIVILEGES = Path("/run/sshd")  # sshd refuses to run as root without it


def why_no_phone():
    """Why the phone of the tests cannot run here, or None."""
    if adb_client.missing() is not None:
        return adb_client.missing()
    if shutil.which("qemu-aarch64-static") is None:
        return "qemu-aarch64-static is not installed"
    return None if cross_compiler(TARGETS["aarch64"]) else "there is no compiler for aarch64"


def why_no_board():
    """Why the board of the tests cannot run here, or None."""
    if not SSHD.is_file() or not shutil.which("ssh") or not shutil.which("ssh-keygen"):
        return "openssh-server or openssh-client is not installed"
    target = TARGETS.get(os.uname().machine)
    return None if target and cross_compiler(target) else "there is no compiler for this computer"


@pytest.fixture(scope="session")
def bundle():
    return open_bundle(shared_bundle())


@pytest.fixture(scope="session")
def adb():
    """Runs the real adb client against a server of the tests' own."""
    if why_no_phone() is not None:
        pytest.skip(why_no_phone())
    with adb_server() as run:
        yield run


@pytest.fixture
def make_phone(adb, tmp_path):
    """Makes phones; every one is disconnected and ended after the test."""
    made = []

    def nobody():
        """Whether no phone is listed; one that went away may come back once, as offline."""
        listed = [line.split()[0] for line in adb("devices").stdout.splitlines()[1:] if line.strip()]
        for serial in listed:
            adb("disconnect", serial)
        return not listed

    wait_for(nobody)

    def make(*, connect=True, **options):
        phone = Phone(tmp_path / f"phone{len(made)}", **options)
        made.append(phone)
        if connect:
            adb("connect", phone.serial)
        return phone

    yield make
    for phone in made:
        adb("disconnect", phone.serial)
        phone.close()


@pytest.fixture
def phone(make_phone):
    """One phone, ready."""
    return make_phone()


class Board:
    """This computer behind its own sshd.

    Args:
        folder: Where its keys and its sessions lie.
        shell: A program that runs in place of the user's shell, with the command in SSH_ORIGINAL_COMMAND.
    """

    def __init__(self, folder, shell=None):
        self.folder, self.port = folder, free_port()
        self.sessions = folder / "sessions"
        self.sessions.mkdir()
        for name in ("host", "user", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        (folder / "authorized").write_text((folder / "user.pub").read_text())
        key = " ".join((folder / "host.pub").read_text().split()[:2])
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {key}\n")
        (folder / "sshd").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\n"
            f"SetEnv HOME={folder}\n"  # without the start-up files of whoever runs the tests
            + (f"ForceCommand {shell}\n" if shell else "")
        )
        self.process = subprocess.Popen(
            [SSHD, "-D", "-f", folder / "sshd", "-E", folder / "log"], stdin=subprocess.DEVNULL
        )
        wait_for(self._listens)

    def target(self, user="user", known="known", **options):
        """The address of a target; ssh's configuration leads to it with the key of one user."""
        config = self.folder / f"config-{user}-{known}"
        config.write_text(
            f"Host board\nHostName 127.0.0.1\nPort {self.port}\nUser {getpass.getuser()}\n"
            f"IdentityFile {self.folder}/{user}\nIdentitiesOnly yes\nIdentityAgent none\n"
            f"UserKnownHostsFile {self.folder}/{known}\nGlobalKnownHostsFile /dev/null\n"
        )
        os.environ[CONFIG_VARIABLE] = str(config)
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"board?folder={self.sessions}{more}"

    def left(self):
        return sorted(path.name for path in self.sessions.iterdir())

    def close(self):
        self.process.terminate()
        self.process.wait(patience())

    def _listens(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


@pytest.fixture(scope="session")
def make_board(tmp_path_factory):
    """Makes boards; every one is ended after the tests."""
    if why_no_board() is not None:
        pytest.skip(why_no_board())
    needed = os.geteuid() == 0 and not PRIVILEGES.exists()
    if needed:
        PRIVILEGES.mkdir(mode=0o755)
    made = []

    def make(shell=None):
        made.append(Board(tmp_path_factory.mktemp("board"), shell))
        return made[-1]

    yield make
    for one in made:
        one.close()
    os.environ.pop(CONFIG_VARIABLE, None)
    if needed:
        PRIVILEGES.rmdir()


@pytest.fixture(scope="session")
def board(make_board):
    """A board, ready."""
    return make_board()
