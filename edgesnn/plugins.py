"""Plug-ins by entry points: exporters, runners and meters, the built-in ones through the same door.

A package joins by declaring an entry point in one of `GROUPS`; ``pip install`` is all it takes. Nothing is
imported until it is asked for. A plug-in that does not load is listed with its reason, never left out.

A source checkout on ``PYTHONPATH`` is not an installed distribution; there the table of the
``pyproject.toml`` beside the package takes the place of the installed metadata.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgesnn.errors import EdgesnnError, PluginError
from edgesnn.names import unknown

if TYPE_CHECKING:
    from edgesnn.exporters.base import Exporter
    from edgesnn.meters.base import Meter
    from edgesnn.runners.base import Runner

DISTRIBUTION = "edgesnn"
EXPORTERS = "edgesnn.exporters"
RUNNERS = "edgesnn.runners"
METERS = "edgesnn.meters"

#: What a class must have to count as a plug-in of a group.
GROUPS: dict[str, tuple[str, ...]] = {
    EXPORTERS: ("name", "summary", "missing", "export"),
    RUNNERS: ("name", "summary", "capabilities", "missing", "open", "close"),
    METERS: ("name", "summary", "driver_status", "missing", "discover", "open", "start", "read", "close"),
}


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point of a group.

    Attributes:
        name: Name on the command line.
        value: Where it lives, ``module:Class``.
        distribution: The installed package that declares it.
        error: Why it does not load, or None.
    """

    name: str
    value: str
    distribution: str
    error: str | None = None


def available(group: str) -> list[Plugin]:
    """Every plug-in of a group, each tried, the broken ones with their reason; sorted by name."""
    plugins = []
    for name in names(group):
        for entry, distribution in _entries(group, name):
            error = None
            try:
                load(group, name)
            except EdgesnnError as failure:
                error = failure.sentence()
            plugins.append(Plugin(name, entry.value, distribution, error))
    return plugins


def names(group: str) -> list[str]:
    """Names of a group's plug-ins, sorted, nothing imported."""
    return sorted({entry.name for entry, _ in _entries(group)})


def load_runner(name: str) -> type[Runner]:
    """The runner class of that name.

    Raises:
        UsageError: There is none.
        PluginError: It does not load, or two packages declare the name.
    """
    return cast("type[Runner]", load(RUNNERS, name))


def load_meter(name: str) -> type[Meter]:
    """The meter class of that name.

    Raises:
        UsageError: There is none.
        PluginError: It does not load, or two packages declare the name.
    """
    return cast("type[Meter]", load(METERS, name))


def load_exporter(name: str) -> type[Exporter]:
    """The exporter class of that name.

    Raises:
        UsageError: There is none.
        PluginError: It does not load, or two packages declare the name.
    """
    return cast("type[Exporter]", load(EXPORTERS, name))


def exporter_misses(name: str) -> str | None:
    """Why a format cannot be written here, or None when it can."""
    try:
        return load_exporter(name).missing()
    except EdgesnnError as error:
        return error.sentence()


def load(group: str, name: str) -> type[Any]:
    """Import one plug-in.

    Args:
        group: A key of `GROUPS`.
        name: Name of the plug-in.

    Returns:
        Its class, checked to have the attributes that the group asks for.

    Raises:
        UsageError: No package declares the name.
        PluginError: It does not load, or two packages declare the name.
    """
    kind = group.rpartition(".")[2].removesuffix("s")
    found = list(_entries(group, name))
    if not found:
        raise unknown(kind, name, names(group))
    if len(found) > 1:
        owners = " and ".join(f"'{distribution}' ({entry.value})" for entry, distribution in found)
        raise PluginError(
            f"{kind} '{name}' is declared twice, by {owners}", remedy="uninstall one of the packages"
        )
    entry, distribution = found[0]
    remedy = f"update or uninstall the package '{distribution}'"
    try:
        plugin = entry.load()
    except EdgesnnError:
        raise
    except Exception as error:
        raise PluginError(
            f"{kind} '{name}' of package '{distribution}' does not load ({entry.value})",
            actual=f"{type(error).__name__}: {error}",
            remedy=remedy,
        ) from error
    lacking = [attribute for attribute in GROUPS[group] if not hasattr(plugin, attribute)]
    if not isinstance(plugin, type) or lacking:
        raise PluginError(
            f"{kind} '{name}' of package '{distribution}' is no {kind} ({entry.value})",
            actual=f"lacks {', '.join(lacking)}" if lacking else f"a {type(plugin).__name__}",
            limit=f"a class with {', '.join(GROUPS[group])}",
            remedy=remedy,
        )
    return plugin


def _entries(group: str, name: str | None = None) -> Iterator[tuple[metadata.EntryPoint, str]]:
    """Entry points of a group with the names of their distributions, the same pair once."""
    return (pair for pair in _declared(group, tuple(sys.path)) if name in (None, pair[0].name))


@cache
def _declared(group: str, path: tuple[str, ...]) -> tuple[tuple[metadata.EntryPoint, str], ...]:
    """The same, read once: all of what is installed is opened for it, and a command asks a hundred times.

    Args:
        group: A key of `GROUPS`.
        path: Where packages are looked for: what is found hangs on it.
    """
    found: dict[tuple[str, str, str], tuple[metadata.EntryPoint, str]] = {}
    for entry in (*metadata.entry_points(group=group), *_checkout(group)):
        distribution = entry.dist.name if entry.dist else DISTRIBUTION
        found.setdefault((entry.name, entry.value, distribution), (entry, distribution))
    return tuple(found.values())


def _checkout(group: str) -> list[metadata.EntryPoint]:
    """The built-in entry points when edgesnn runs from a checkout that was never installed."""
    try:
        metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        project = Path(__file__).parents[1] / "pyproject.toml"
        if not project.is_file():
            return []
        table = tomllib.loads(project.read_text(encoding="utf-8"))["project"].get("entry-points", {})
        return [metadata.EntryPoint(name, value, group) for name, value in table.get(group, {}).items()]
    return []
