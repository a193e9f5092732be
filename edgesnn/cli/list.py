"""``edgesnn list``: what is there, and what is missing of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from edgesnn import plugins, targets
from edgesnn.cli.output import CommandOutput, JsonFlag, session
from edgesnn.config import load_toml
from edgesnn.errors import EdgesnnError
from edgesnn.resources import files

SCHEMA = "edgesnn.list/1"
NONE = "-"
REASONS = ("missing", "error")
STYLES = {"ready": "", "missing": "yellow", "failed": "red"}

Item = dict[str, Any]


class Listing(StrEnum):
    """What can be listed."""

    TARGETS = "targets"
    RUNNERS = "runners"
    EXPORTERS = "exporters"
    PROFILES = "profiles"
    DEVICES = "devices"
    METERS = "meters"
    CHIPS = "chips"


def list_(
    what: Annotated[Listing, typer.Argument(help="What to list.", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """List targets, runners, exporters, profiles, devices, meters or chips.

    A target is what `--target` takes: a device or a runner. A runner, an exporter or a meter that cannot be
    used here is listed with the reason. Devices are those that ship with edgesnn and the phones that adb
    sees, with their state. Meters that are attached stand first, by serial number; nothing is opened. The
    status of a driver says how far it was checked: on the instrument (HARDWARE), by an independent program
    that accepts its twin (FOREIGN CLIENT), or by our twin alone (TWIN ONLY).
    """
    with session("list", as_json) as output:
        items = {
            Listing.TARGETS: _targets,
            Listing.RUNNERS: _runners,
            Listing.EXPORTERS: _exporters,
            Listing.PROFILES: _profiles,
            Listing.DEVICES: _devices,
            Listing.METERS: _meters,
            Listing.CHIPS: _chips,
        }[what]()
        output.document(SCHEMA, {"what": what.value, "items": items})
        _show(items, output)
        for item in items:
            if item.get("error"):
                output.warn(
                    f"{what.value.removesuffix('s')} '{item['name']}' failed to load: {item['error']}"
                )


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
    return items + _phones()


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


def _show(items: list[Item], output: CommandOutput) -> None:
    """A table with one column per key, those left out in which nothing stands, then the reasons below it."""
    from rich.table import Table
    from rich.text import Text

    if not items:
        output.print("nothing")
        return
    columns = [key for key in items[0] if key not in REASONS and any(item.get(key) for item in items)]
    troubled = any(item.get(reason) for item in items for reason in REASONS)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in [*columns, *(["state"] if troubled else [])]:
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "state"))
    for item in items:
        state = "failed" if item.get("error") else "missing" if item.get("missing") else "ready"
        cells = [*(_cell(item.get(column)) for column in columns), *([state] if troubled else [])]
        table.add_row(*(Text(cell, style=STYLES[state]) for cell in cells))
    output.print(table)
    for item in items:
        if item.get("missing"):
            output.print(Text(f"{item['name']}: {item['missing']}", style=STYLES["missing"]))


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items()) or NONE
    if isinstance(value, list):
        return ", ".join(value) or NONE
    return NONE if value is None else str(value)
