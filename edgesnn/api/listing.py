"""What is there, and what is missing of it: targets, runners, exporters, profiles, devices, meters, chips."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgesnn import plugins, targets
from edgesnn.config import load_toml
from edgesnn.errors import EdgesnnError
from edgesnn.names import unknown
from edgesnn.resources import files

Item = dict[str, Any]


def list_available(what: str) -> list[Item]:
    """List what is there, and why some of it cannot be used here.

    Args:
        what: ``targets``, ``runners``, ``exporters``, ``profiles``, ``devices``, ``meters`` or ``chips``.

    Returns:
        One mapping each: its ``name``, what is known of it, and as ``missing`` or ``error`` why it cannot be
        used, or None.

    Raises:
        UsageError: There is no such kind.

    Examples:
        >>> [one["name"] for one in edgesnn.list_available("chips")]
        ['loihi1', 'loihi2']
        >>> usable = [one["name"] for one in edgesnn.list_available("targets") if not one["missing"]]
        >>> "cpu" in usable
        True
    """
    if what not in _LISTED:
        raise unknown("kind of thing to list", what, _LISTED)
    return _LISTED[what]()


def _targets() -> list[Item]:
    """Devices first, then the runners that can be named themselves."""
    items = []
    for device in targets.devices():
        reasons = {runner: targets.why_not(runner) for runner in device.runners}
        present = [runner for runner, reason in reasons.items() if reason is None]
        items.append(
            {
                "name": device.name,
                "kind": "device",
                "description": device.description,
                "runner": present[0] if present else None,
                "missing": None if present else "; ".join(f"{name}: {why}" for name, why in reasons.items()),
            }
        )
    for runner in _runners():
        missing = runner["error"] or runner["missing"]
        items.append(
            {
                "name": runner["name"],
                "kind": "runner",
                "description": runner["summary"],
                "runner": None if missing else runner["name"],
                "missing": missing,
            }
        )
    return items


def _runners() -> list[Item]:
    items = []
    for plugin in plugins.available(plugins.RUNNERS):
        item: Item = {"name": plugin.name, "summary": None, "capabilities": [], "missing": None}
        if plugin.error is None:
            runner = plugins.load_runner(plugin.name)
            item["summary"] = runner.summary
            item["capabilities"] = sorted(capability.value for capability in runner.capabilities)
            item["missing"] = targets.why_not(plugin.name)
        items.append(item | {"package": plugin.distribution, "error": plugin.error})
    return items


def _exporters() -> list[Item]:
    return [
        {
            "name": plugin.name,
            "summary": None if plugin.error else plugins.load_exporter(plugin.name).summary,
            "missing": None if plugin.error else plugins.exporter_misses(plugin.name),
            "package": plugin.distribution,
            "error": plugin.error,
        }
        for plugin in plugins.available(plugins.EXPORTERS)
    ]


def _profiles() -> list[Item]:
    from edgesnn.profiler.budgets.profile import load_profile

    items: list[Item] = []
    for name in files("profiles"):
        try:
            profile = load_profile(name)
        except EdgesnnError as error:
            items.append({"name": name, "windows": None, "gates": {}, "error": error.sentence()})
            continue
        budgets = profile.budgets.model_dump()
        gates = {budget: one["limit"] for budget, one in budgets.items() if one["required"]}
        items.append({"name": name, "windows": profile.workload.windows, "gates": gates, "error": None})
    return items


def _devices() -> list[Item]:
    items: list[Item] = []
    for name, path in files("targets", "devices").items():
        try:
            target = load_toml(path, targets.Target)
        except EdgesnnError as error:
            items.append(_device(name, error=error.sentence()))
            continue
        limits = {key: value for key, value in target.limits.model_dump().items() if value is not None}
        items.append(
            _device(target.name, target.description, target.runners) | {"limits": limits},
        )
    return [*items, *_phones(), *_boards()]


def _boards() -> list[Item]:
    """Boards that QEMU can be, and serial ports of USB devices that no meter claims."""
    from edgesnn.firmware import EMULATED
    from edgesnn.meters.opening import attached
    from edgesnn.runners.board.serial_port import serial_ports

    missing = targets.why_not("qemu")
    emulated = [
        _device(f"qemu:{board.name}", f"emulated: {board.description}", ["qemu"], missing=missing)
        for board in EMULATED.values()
    ]
    claimed = {found.port for found in attached()}
    ports = [port for port in serial_ports() if port.port not in claimed]
    return emulated + [_device(f"serial:{port.port}", port.description, ["serial"]) for port in ports]


def _phones() -> list[Item]:
    """What adb knows: ready phones, and those that want something first."""
    from edgesnn.runners.remote import adb_client

    if adb_client.missing() is not None:
        return []
    try:
        found = adb_client.list_phones()
    except EdgesnnError as error:
        return [_device("adb", error=error.sentence())]
    return [
        _device(f"adb:{phone.name}", phone.model or "a phone that adb knows", ["adb"], missing=phone.trouble)
        for phone in found
    ]


def _device(
    name: str,
    description: str | None = None,
    runners: list[str] | None = None,
    *,
    missing: str | None = None,
    error: str | None = None,
) -> Item:
    return {
        "name": name,
        "description": description,
        "runners": runners or [],
        "limits": {},
        "missing": missing,
        "error": error,
    }


def _meters() -> list[Item]:
    """Instruments that are attached first, then the drivers."""
    from edgesnn.meters.opening import attached, drivers

    known = drivers()
    statuses = {driver.name: driver.status for driver in known}
    items: list[Item] = [
        {
            "name": found.address,
            "kind": "instrument",
            "status": statuses[found.name],
            "description": f"{found.description} on {found.port}",
            "missing": found.trouble,
            "present": True,
            "package": None,
            "error": None,
        }
        for found in attached()
    ]
    return items + [
        {
            "name": driver.name,
            "kind": "driver",
            "status": driver.status,
            "description": driver.summary,
            "missing": driver.missing,
            "present": not (driver.built_in and driver.missing),
            "package": driver.package,
            "error": driver.error,
        }
        for driver in known
    ]


def _chips() -> list[Item]:
    from edgesnn.chips.description import load_chip

    items: list[Item] = []
    for name, path in files("targets", "chips").items():
        try:
            chip = load_chip(str(path))
        except EdgesnnError as error:
            items.append(
                {"name": name, "description": None, "limits": {}, "unsure": [], "error": error.sentence()}
            )
            continue
        limits = {
            "cores": chip.limits.cores_per_chip.value,
            "neurons per core": chip.limits.neurons_per_core.value,
        }
        items.append(
            {
                "name": chip.name,
                "description": chip.description,
                "limits": limits,
                "unsure": sorted(chip.unsure()),
                "error": None,
            }
        )
    return items


_LISTED: dict[str, Callable[[], list[Item]]] = {
    "targets": _targets,
    "runners": _runners,
    "exporters": _exporters,
    "profiles": _profiles,
    "devices": _devices,
    "meters": _meters,
    "chips": _chips,
}
