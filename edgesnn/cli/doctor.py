"""``edgesnn doctor``: what is missing for each runner, exporter, meter and training, one remedy per line."""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict
from importlib import metadata
from importlib.util import find_spec
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

#: The packages that edgesnn cannot do without, by import name.
CORE_PACKAGES = ("numpy", "onnx", "onnxruntime", "safetensors", "tokenizers", "psutil", "scipy")
REINSTALL = "pip install --force-reinstall edgesnn"
TRAIN_EXTRA = "pip install 'edgesnn[train]'"


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
    the device under test, only with `--ask-meters`. The exit code is 0 whatever is missing: not everyone
    needs everything. With `--json`, the field `missing` counts what is.
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
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column()
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for check in checks:
            mark = Text("ok", style="green") if check.ok else Text("missing", style="yellow")
            table.add_row(mark, Text(f"{check.area} {check.name}"), Text(check.found))
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
        *(_package("package", name, REINSTALL) for name in CORE_PACKAGES),
        *(_data(kind) for kind in resources.KINDS),
        _cache(),
        _locks(),
        *(_plugin("runner", plugin) for plugin in plugins.available(plugins.RUNNERS)),
        *(_plugin("exporter", plugin) for plugin in plugins.available(plugins.EXPORTERS)),
        *meter_checks(ask_meters),
        _package("training", "torch", TRAIN_EXTRA),
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


def _package(area: str, name: str, remedy: str) -> Check:
    if find_spec(name) is None:
        return Check(area, name, False, "not installed", remedy)
    try:
        return Check(area, name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(area, name, True, "version unknown")


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
