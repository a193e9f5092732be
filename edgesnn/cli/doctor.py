"""``edgesnn doctor``: what is missing for each runner, exporter, meter and training, one remedy per line."""

from __future__ import annotations

import platform
import re
import sys
import tomllib
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from edgesnn import plugins, resources, targets
from edgesnn.cli.meter.doctor import Check, meter_checks
from edgesnn.cli.output import JsonFlag, session
from edgesnn.errors import EdgesnnError, UsageError
from edgesnn.locks import lock_path, locked
from edgesnn.scratch import ScratchFolder

SCHEMA = "edgesnn.doctor/1"
MINIMUM_PYTHON = (3, 11)

REINSTALL = "pip install --force-reinstall edgesnn"
#: Who uses edgesnn does without the tools with which it is made.
DEVELOPMENT = "dev"
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:.*;.*\bextra *== *['\"]([^'\"]+)['\"])?")


def doctor(
    *,
    install: Annotated[
        str | None, typer.Option(help="First set up what a runner needs in an environment of its own: lava.")
    ] = None,
    ask_meters: Annotated[
        bool,
        typer.Option("--ask-meters", help="Open attached meters too whose device could lose its supply."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Say what is missing for each runner, exporter, meter and training, one remedy per line.

    Meters that are attached and permitted are asked for their firmware; where asking could cut the supply of
    the device under test, only with `--ask-meters`. What a machine need not have, such as a battery, is not
    missing but not present. The exit code is 0 whatever is missing: not everyone needs everything. With
    `--json`, the field `missing` counts what is.

    Examples:
        edgesnn doctor
        edgesnn doctor --install lava
    """
    with session("doctor", as_json) as output:
        if install is not None:
            output.note(f"setting up what the runner {install} needs; this takes a while")
            set_up(install)
        checks = examine(ask_meters)
        missing = sum(not check.ok for check in checks)
        output.document(SCHEMA, {"missing": missing, "checks": [asdict(check) for check in checks]})
        if as_json:
            return
        from rich.text import Text

        from edgesnn.cli.tables import Sheet, names, words

        table = Sheet("", names(""), words(""), words(""), ruled=False, header=False)
        for check in checks:
            table.add_row(Text(*_mark(check)), f"{check.area} {check.name}", check.found)
        output.print(table)
        output.print("")
        for check in checks:
            if check.remedy is not None:
                output.print(Text(f"{check.area} {check.name}: {check.remedy}"))
        output.print("nothing is missing" if missing == 0 else f"missing: {missing} of {len(checks)}")


def examine(ask_meters: bool = False) -> list[Check]:
    """Look at everything; never raises for what it finds.

    Args:
        ask_meters: Whether to open instruments too that could cut their device's supply by that.
    """
    return [
        _python(),
        *_packages(),
        *(_data(kind) for kind in resources.KINDS),
        _cache(),
        _locks(),
        *(_plugin("runner", plugin) for plugin in plugins.available(plugins.RUNNERS)),
        *(_plugin("exporter", plugin) for plugin in plugins.available(plugins.EXPORTERS)),
        *meter_checks(ask_meters),
    ]


def set_up(name: str) -> None:
    """Make the environment of a runner.

    Raises:
        UsageError: There is no such runner, or it needs none.
        DeviceError: It cannot be made.
    """
    make = getattr(plugins.load_runner(name), "install", None)
    if make is None:
        raise UsageError(
            f"runner '{name}' needs no environment of its own", remedy="'edgesnn doctor' says what is missing"
        )
    make()


def _python() -> Check:
    ok = sys.version_info >= MINIMUM_PYTHON
    needed = ".".join(map(str, MINIMUM_PYTHON))
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check("python", "version", ok, found, None if ok else f"install Python {needed} or newer")


def _mark(check: Check) -> tuple[str, str]:
    """The state of a check in a word, and its colour."""
    if not check.ok:
        return "missing", "yellow"
    return ("ok", "green") if check.present else ("not present", "dim")


def requirements() -> dict[str, list[str]]:
    """Every package that edgesnn names, with the extras that bring it: none for one that is always there.

    A checkout is asked itself: what was installed may be older.
    """
    project = Path(__file__).parents[2] / "pyproject.toml"
    if project.is_file():
        table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        extras = table.get("optional-dependencies", {})
        lines = [(line, None) for line in table["dependencies"]]
        lines += [(line, extra) for extra, named in extras.items() for line in named]
    else:
        lines = [(line, None) for line in metadata.requires(plugins.DISTRIBUTION) or ()]
    found: dict[str, list[str]] = {}
    for line, given in lines:
        if match := _REQUIREMENT.match(line):
            extra = given or match[2]
            found.setdefault(match[1], []).extend([extra] if extra else [])
    return found


def _packages() -> list[Check]:
    """One line for each package, those first that are always needed, the tools of development last."""
    named = requirements().items()
    ordered = sorted(named, key=lambda one: (bool(one[1]), one[1] == [DEVELOPMENT]))
    return [_package(name, extras) for name, extras in ordered]


def _package(name: str, extras: list[str]) -> Check:
    area = "extra" if extras else "package"
    brought = f" ({', '.join(extras)})" if extras else ""
    try:
        return Check(area, name, True, f"{metadata.version(name)}{brought}")
    except metadata.PackageNotFoundError:
        remedy = f"pip install '{plugins.DISTRIBUTION}[{extras[0]}]'" if extras else REINSTALL
    found = f"not installed ({remedy})"
    if extras == [DEVELOPMENT]:
        return Check(area, name, True, found, present=False)
    return Check(area, name, False, found, remedy)


def _data(kind: resources.Kind) -> Check:
    try:
        folder = resources.folder(kind)
    except EdgesnnError as error:
        return Check("data", kind, False, error.what, error.remedy)
    count = sum(path.is_file() for path in folder.rglob("*"))
    if count == 0:
        return Check("data", kind, False, "the folder is empty", REINSTALL)
    return Check("data", kind, True, f"{count} files")


def _cache() -> Check:
    """Whether what is built on this computer can be kept for the next time."""
    remedy = f"set {resources.CACHE_VARIABLE} to a folder that can be written"
    try:
        folder = resources.cache_folder("engine")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ScratchFolder("doctor", folder):
            return Check("folder", "cache", True, str(folder.parent))
    except OSError as error:
        return Check("folder", "cache", False, f"'{folder}' cannot be written: {error.strerror}", remedy)
    except EdgesnnError as error:
        return Check("folder", "cache", False, error.actual or error.what, remedy)


def _locks() -> Check:
    """Whether this user can keep others of this machine from a device that is in use."""
    try:
        with locked("doctor", "the lock of doctor", wait_s=5.0):
            return Check("folder", "locks", True, f"{lock_path('doctor').parent}, for all users")
    except EdgesnnError as error:
        return Check("folder", "locks", False, error.actual or error.what, error.remedy or error.what)


def _plugin(area: str, plugin: plugins.Plugin) -> Check:
    if plugin.error is not None:
        what, _, remedy = plugin.error.partition("; remedy: ")
        return Check(
            area, plugin.name, False, what, remedy or f"reinstall the package '{plugin.distribution}'"
        )
    if area in ("runner", "exporter"):
        load = targets.why_not if area == "runner" else plugins.exporter_misses
        reason = load(plugin.name)
        if reason is not None:
            what, _, remedy = reason.partition("; remedy: ")
            return Check(area, plugin.name, False, what, remedy or what)
    present = getattr(plugins.load_runner(plugin.name), "present", None) if area == "runner" else None
    try:
        return Check(area, plugin.name, True, "ready" if present is None else f"ready: {present()}")
    except EdgesnnError as error:
        return Check(area, plugin.name, False, error.what, error.remedy or error.what)
