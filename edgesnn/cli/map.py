"""``edgesnn map``: does a student fit a neuromorphic chip, and which limits does it break?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesnn.cli.output import CommandOutput, JsonFlag, session
from edgesnn.errors import FitError

if TYPE_CHECKING:
    from rich.table import Table

    from edgesnn.api.mapping import Mapping
    from edgesnn.chips.fit import Fit

SCHEMA = "edgesnn.map/1"


def map(
    bundle: Annotated[Path, typer.Argument(help="Bundle: the folder that edgesnn export made.")],
    chip: Annotated[
        str,
        typer.Option("--chip", help="A chip (see: edgesnn list chips) or a TOML file that describes one."),
    ],
    tokens: Annotated[
        int,
        typer.Option(
            "--tokens", min=0, max=100_000, help="Tokens over which spikes are counted; 0 leaves them out."
        ),
    ] = 64,
    json_mode: JsonFlag = False,
) -> None:
    """Set a student against a chip: populations, synapses, memory and axons against its limits.

    Exit code 3 when it does not fit; every limit that it breaks is named at once. What is ESTIMATED or
    ASSUMED of the chip is shown as such.
    """
    with session("map", json_mode) as out:
        from edgesnn.api.bundles import open_bundle
        from edgesnn.api.mapping import map_bundle

        opened = open_bundle(bundle)
        mapping = map_bundle(opened, chip, tokens=tokens)
        head = {"bundle": opened.path.name, "program_hash": opened.manifest.program_hash}
        out.document(SCHEMA, {**head, **mapping_document(mapping)})
        render(out, opened.name, mapping)
        raise_on_violation(opened.name, mapping.fit)


def mapping_document(mapping: Mapping) -> dict[str, Any]:
    """A mapping as JSON-like data."""
    from dataclasses import asdict

    work = mapping.work
    energy = None
    if mapping.energy_uj is not None and mapping.energy_high_uj is not None:
        energy = {
            "kind": "ESTIMATED",
            "total_uj": sum(mapping.energy_uj.values()),
            "parts_uj": mapping.energy_uj,
            "total_high_uj": sum(mapping.energy_high_uj.values()),
            "parts_high_uj": mapping.energy_high_uj,
        }
    return {
        "chip": {
            "name": mapping.chip.name,
            "description": mapping.chip.description,
            "numbers": {key: number.model_dump() for key, number in mapping.chip.numbers().items()},
        },
        "fits": mapping.fit.fits,
        **{key: value for key, value in asdict(mapping.fit).items() if key != "chip"},
        "activity": None if work is None else {"text": mapping.text, "work": asdict(work)},
        "energy": energy,
        "energy_reason": mapping.energy_reason,
    }


def raise_on_violation(name: str, found: Fit) -> None:
    """Fail when a limit is broken.

    Raises:
        FitError: Says how many, and names the first; the report names them all.
    """
    if found.violations:
        first, count = found.violations[0], len(found.violations)
        raise FitError(
            f"'{name}' does not fit {found.chip}: {count} limit{'s' if count > 1 else ''} broken, first "
            f"{first.where}: {first.what}",
            actual=first.actual,
            limit=first.limit,
            remedy="train a smaller student, or take another chip: edgesnn list chips",
        )


def render(out: CommandOutput, name: str, mapping: Mapping) -> None:
    """Show a mapping: the verdict, the fullest core, every part, and what the chip file is unsure of.

    Args:
        out: The streams of the command.
        name: Name of the student.
        mapping: The mapping.
    """
    found, chip = mapping.fit, mapping.chip
    verdict = ("fits", "green") if found.fits else ("does not fit", "bold red")
    together = found.cores + found.attention_cores
    out.print(
        (name, "bold"), " ", verdict, f" {chip.name} ({chip.description})\n"
        f"{found.neurons:,} neurons, {found.synapses:,} synapses on {found.cores:,} cores "
        f"({found.placement}) and {found.attention_cores:,} for attention ", ("ESTIMATED", "yellow"), ": "
        f"{together:,} of {found.cores_available:,}", _status(mapping, "limits.cores_per_chip"), "\n",
    )  # fmt: skip
    out.print(_usage_table(mapping))
    out.print(_populations_table(found))
    if found.attentions:
        out.print(_attention_table(found))
        out.print(
            "attention has no static synapses: it needs programmable neurons, or fast weights S += k v^T "
            "less the product that leaves the window"
        )
    for task in found.host:
        out.print(f"host: {task}")
    _render_traffic(out, mapping)
    unsure = chip.unsure()
    if unsure:
        out.print(("\nwhat this chip file is not sure of", "bold"))
        for key, number in unsure.items():
            out.print("  ", (number.status, "yellow"), f" {key} = {number.value}: {number.source}")
    if found.violations:
        out.print(("\nlimits that are broken", "bold red"))
        for violation in found.violations:
            out.print(f"  {violation.sentence()}")


def _render_traffic(out: CommandOutput, mapping: Mapping) -> None:
    work = mapping.work
    if work is not None:
        text = mapping.text or "no text"
        rate = (
            f"{work.spikes / work.tokens:,.1f} spikes of {work.neurons:,} LIF neurons ({work.spike_rate:.1%})"
        )
        out.print(
            f"\nper token (counted on golden over {work.tokens} tokens, {text}): {rate} in {work.timesteps} "
            f"timesteps, {work.linear_effective / work.tokens:,.0f} synaptic operations of linear layers, "
            f"{work.attend_effective / work.tokens:,.0f} of attention"
        )
    if mapping.energy_uj is not None and mapping.energy_high_uj is not None:
        low, high = mapping.energy_uj, mapping.energy_high_uj
        parts = ", ".join(f"{part} {_range(value, high[part])}" for part, value in low.items())
        out.print(
            f"energy per token: {_range(sum(low.values()), sum(high.values()))} uJ ",
            ("ESTIMATED", "yellow"),
            f" ({parts}), as placed: a matrix that several populations hear is charged for each; "
            "without attention, what the host does, hops between tiles and leakage",
        )
    elif mapping.energy_reason is not None:
        out.print(f"energy per token: absent, {mapping.energy_reason}")


def _range(low: float, high: float) -> str:
    """One number, or two where sources differ."""
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"


def _status(mapping: Mapping, key: str) -> tuple[str, str]:
    number = mapping.chip.unsure().get(key)
    return "" if number is None else f" {number.status}", "yellow"


def _usage_table(mapping: Mapping) -> Table:
    from rich.table import Table
    from rich.text import Text

    keys = {
        "neurons": "neurons_per_core",
        "synapse bytes": "synapse_bytes_per_core",
        "axons in": "axons_in_per_core",
        "axons out": "axons_out_per_core",
    }
    table = Table(title="the fullest core", title_justify="left")
    for column in ("", "largest", "limit", "all cores"):
        table.add_column(column, justify="left" if column == "" else "right")
    for use in mapping.fit.usage:
        limit = Text.assemble(f"{use.limit:,}", _status(mapping, f"limits.{keys[use.what]}"))
        table.add_row(use.what, f"{use.largest:,}", limit, f"{use.total:,}")
    return table


def _populations_table(found: Fit) -> Table:
    from rich.table import Table
    from rich.text import Text

    columns = (
        "population",
        "kind",
        "neurons",
        "fan-in",
        "synapses",
        "bytes",
        "cores",
        "delayed",
        "stock LIF",
    )
    table = Table(title="populations", title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in ("population", "kind") else "right")
    for part in found.populations:
        stock = "-" if part.stock is None else "yes" if part.stock else "no"
        numbers = (part.neurons, part.fan_in, part.synapses, part.synapse_bytes, part.cores, part.delayed)
        table.add_row(Text(part.name), part.kind, *(f"{number:,}" for number in numbers), stock)
    return table


def _attention_table(found: Fit) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="attention, apart (cores ESTIMATED from memory)", title_justify="left")
    for column in ("attention", "fast weights", "bytes with rings", "cores"):
        table.add_column(column, justify="left" if column == "attention" else "right")
    for part in found.attentions:
        table.add_row(Text(part.name), f"{part.states:,}", f"{part.state_bytes:,}", f"{part.cores:,}")
    return table
