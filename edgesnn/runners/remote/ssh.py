"""Runner ``ssh``: the C engine on a Linux board: ``ssh:user@host``."""

from __future__ import annotations

from typing import ClassVar

from edgesnn.errors import UsageError
from edgesnn.runners.remote import build as remote_build
from edgesnn.runners.remote import ssh_client
from edgesnn.runners.remote.address import Address
from edgesnn.runners.remote.link import DeviceLink
from edgesnn.runners.remote.runner import Identity, RemoteRunner
from edgesnn.runners.remote.ssh_client import BASE, SshLink

#: Where a board says what it is: the device tree's model, a PC's product name, the processor.
_MODEL = (
    "tr -d '\\0' < /proc/device-tree/model 2>/dev/null || cat /sys/class/dmi/id/product_name 2>/dev/null "
    "|| grep -m 1 'model name' /proc/cpuinfo | cut -d: -f2"
)


class SshRunner(RemoteRunner):
    """Pushes the engine and the program to a board and runs them by ``ssh``."""

    name: ClassVar[str] = "ssh"
    summary: ClassVar[str] = "the C engine on a Linux board over ssh, exact: ssh:user@host?cpus=big"
    extra_options: ClassVar[tuple[str, ...]] = ("port",)

    @classmethod
    def missing(cls) -> str | None:
        return ssh_client.missing() or remote_build.missing()

    def connect(self, address: Address) -> DeviceLink:
        """Connect to the host.

        Raises:
            UsageError: No host was named.
            RunnerError: It cannot be reached, or does not let us in.
        """
        if address.device is None:
            raise UsageError("which board?", limit="ssh:user@host", remedy="name it: --target ssh:user@host")
        link = SshLink(address.device, address.folder or BASE, port=address.option("port"))
        try:
            link.connect()
        except BaseException:
            link.close()
            raise
        return link

    def identify(self, link: DeviceLink) -> Identity:
        machine = link.shell("uname -m").out.strip()
        model = " ".join(link.shell(_MODEL).out.split()) or machine
        system = link.shell('. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME"').out.strip()
        return Identity(model, machine, None, {"board": {"model": model, "distribution": system or None}})
