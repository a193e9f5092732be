"""``edgesnn list``: what is there, and what is missing of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from edgesnn.cli.output import CommandOutput, JsonFlag, session

SCHEMA = "edgesnn.list/1"
NONE = "-"
#: Keys that stand in the column of the state and below the table.
REASONS = ("missing", "present", "error")
STYLES = {"ready": "", "missing": "yellow", "not present": "dim", "failed": "red"}


class Listing(StrEnum):
    """What can be listed."""

    TARGETS = "targets"
    RUNNERS = "runners"
    EXPORTERS = "exporters"
    PROFILES = "profiles"
    DEVICES = "devices"
    METERS = "meters"
    CHIPS = "chips"


#: What each kind is, for who does not know the words yet.
KINDS = {
    Listing.TARGETS: "what --target takes: devices and runners",
    Listing.RUNNERS: "ways to execute a bundle",
    Listing.EXPORTERS: "formats that edgesnn export writes",
    Listing.PROFILES: "what is measured, and the limits",
    Listing.DEVICES: "devices that ship with edgesnn, phones, boards",
    Listing.METERS: "power meters that are attached, and their drivers",
    Listing.CHIPS: "neuromorphic chips for edgesnn map",
}


def list_(
    what: Annotated[
        Listing | None, typer.Argument(help="What to list; without it, what can be listed.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List targets, runners, exporters, profiles, devices, meters or chips.

    A target is what `--target` takes: a device or a runner. A runner, an exporter or a meter that cannot be
    used here is listed with the reason. Devices are those that ship with edgesnn, the phones that adb sees,
    with their state, the boards that QEMU can be, and the serial ports at which a board may be. Meters that
    are attached stand first, by serial number; nothing is opened. The status of a driver says how far it was
    checked: on the instrument (HARDWARE), by an independent program that accepts its twin (FOREIGN CLIENT),
    or by our twin alone (TWIN ONLY).

    Examples:
        edgesnn list targets
        edgesnn list meters --json
    """
    with session("list", as_json) as output:
        if what is None:
            items = [{"name": kind.value, "description": text} for kind, text in KINDS.items()]
            output.document(SCHEMA, {"what": None, "items": items})
            _show(items, output)
            output.print("\nsee: edgesnn list NAME")
            return
        from edgesnn.api.listing import list_available

        items = list_available(what.value)
        output.document(SCHEMA, {"what": what.value, "items": items})
        _show(items, output)
        for item in items:
            if item.get("error"):
                output.warn(
                    f"{what.value.removesuffix('s')} '{item['name']}' failed to load: {item['error']}"
                )


def _show(items: list[dict[str, Any]], output: CommandOutput) -> None:
    """A table with one column per key, those left out in which nothing stands, then the reasons below it."""
    from rich.text import Text

    from edgesnn.cli.tables import Sheet, names, words

    if not items:
        output.print("nothing")
        return
    columns = [key for key in items[0] if key not in REASONS and any(item.get(key) for item in items)]
    troubled = any(_state(item) != "ready" for item in items)
    # the first and the last stay: the name, and the state or what it is; the rest goes from the right
    ranked = [words(column, place) for place, column in enumerate(columns[1:], 1)]
    last = [names("state")] if troubled else []
    table = Sheet("", names(columns[0]), *ranked, *last, ruled=False)
    for item in items:
        state = _state(item)
        cells = [*(_cell(item.get(column)) for column in columns), *([state] if troubled else [])]
        table.add_row(*(Text(cell, style=STYLES[state]) for cell in cells))
    output.print(table)
    for item in items:
        if item.get("missing"):
            output.print(Text(f"{item['name']}: {item['missing']}", style=STYLES[_state(item)]))


def _state(item: dict[str, Any]) -> str:
    """Whether an item can be used; a part that this machine does without is not missing."""
    if item.get("error"):
        return "failed"
    if item.get("missing"):
        return "missing" if item.get("present", True) else "not present"
    return "ready"


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items()) or NONE
    if isinstance(value, list):
        return ", ".join(value) or NONE
    return NONE if value is None else str(value)
