"""Runner ``adb``: the C engine on an Android phone, without an app: ``adb:SERIAL``."""

from __future__ import annotations

from typing import ClassVar

from edgesnn.errors import RunnerError
from edgesnn.runners.base import Sighting
from edgesnn.runners.remote import adb_client
from edgesnn.runners.remote import build as remote_build
from edgesnn.runners.remote.adb_client import BASE, AdbLink
from edgesnn.runners.remote.address import Address
from edgesnn.runners.remote.link import DeviceLink
from edgesnn.runners.remote.runner import Identity, RemoteRunner

#: Android's words for its thermal status (``PowerManager.THERMAL_STATUS_*``).
THERMAL_WORDS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
#: Property by name in the record.
_PROPERTIES = {
    "maker": "ro.product.manufacturer",
    "model": "ro.product.model",
    "android": "ro.build.version.release",
    "api_level": "ro.build.version.sdk",
    "soc_maker": "ro.soc.manufacturer",
    "soc": "ro.soc.model",
    "platform": "ro.board.platform",
    "hardware": "ro.hardware",
    "abi": "ro.product.cpu.abi",
    "build": "ro.build.fingerprint",
}
#: What Android's own emulator says of its hardware.
_EMULATOR_HARDWARE = ("ranchu", "goldfish")


class AdbRunner(RemoteRunner):
    """Pushes the engine and the program to a phone and runs them by ``adb shell``."""

    name: ClassVar[str] = "adb"
    summary: ClassVar[str] = "the C engine on an Android phone over adb, exact: adb:SERIAL?cpus=big"
    extra_options: ClassVar[tuple[str, ...]] = ("transport",)

    @classmethod
    def missing(cls) -> str | None:
        return adb_client.missing() or remote_build.missing()

    def connect(self, address: Address) -> DeviceLink:
        """The phone that was named, or the only one.

        Raises:
            UsageError: Several phones are attached and none was named.
            RunnerError: There is none, or it is not ready.
        """
        phone = adb_client.choose_phone(address.device, address.option("transport"))
        return AdbLink(phone, address.folder or BASE)

    def identify(self, link: DeviceLink) -> Identity:
        """Ask the phone for its properties.

        Raises:
            RunnerError: It does not say what processor it has.
        """
        found = adb_client.properties(link)
        abi = found.get("ro.product.cpu.abi", "")
        if not abi:
            raise RunnerError(
                f"{link.who} does not say what processor it has", remedy="is it an Android phone?"
            )
        details = {name: found.get(key) or None for name, key in _PROPERTIES.items()}
        hardware = found.get("ro.hardware", "")
        told = "1" in (found.get("ro.kernel.qemu"), found.get("ro.boot.qemu"))
        emulated = "the Android emulator" if told or hardware in _EMULATOR_HARDWARE else None
        name = " ".join(str(details[key]) for key in ("maker", "model") if details[key])
        version = f", Android {details['android']}" if details["android"] else ""
        return Identity((name or "Android phone") + version, abi, emulated, {"phone": details})

    def watch(self) -> None:
        """As for every device, and Android's own thermal status."""
        super().watch()
        self._thermal_status()

    def seen(self) -> Sighting:
        """As for every device, and Android's own thermal status."""
        self._thermal_status()
        return super().seen()

    def _thermal_status(self) -> None:
        if self._link is None or self._watch is None:
            return
        said = self._link.shell("dumpsys thermalservice 2>/dev/null | grep -m 1 'Thermal Status'").out
        level = said.partition(":")[2].strip()
        if not level.isdigit():
            return
        word = THERMAL_WORDS[min(int(level), len(THERMAL_WORDS) - 1)]
        self._details.setdefault("thermal_status", []).append(word)
        if int(level) > 0:
            self._watch.throttled.append(f"Android's thermal status is '{word}'")
