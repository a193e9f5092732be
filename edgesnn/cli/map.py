"""``edgesnn map``: does a student fit a neuromorphic chip, and which limits does it break?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesnn.cli.output import CommandOutput, JsonFlag, session
from edgesnn.errors import FitError

if TYPE_CHECKING:
    from edgesnn.api.mapping import Mapping
    from edgesnn.chips.fit import Fit
    from edgesnn.cli.tables import Sheet

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
            "--tokens",
            min=0,
            max=100_000,
            help="Tokens or frames over which spikes are counted; 0 leaves them out.",
        ),
    ] = 64,
    json_mode: JsonFlag = False,
) -> None:
    """Set a student against a chip: populations, synapses, memory and axons against its limits.

    Exit code 3 when it does not fit; every limit that it breaks is named at once. What is ESTIMATED or
    ASSUMED of the chip is shown as such.

    Examples:
        edgesnn map bundle --chip loihi2
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
    step = "frame" if work is not None and work.stateful else "token"
    if work is not None:
        text = mapping.text or "no text"
        rate = (
            f"{work.spikes / work.tokens:,.1f} spikes of {work.neurons:,} LIF neurons ({work.spike_rate:.1%})"
        )
        counted = f"\nper {step} (counted on golden over {work.tokens} {step}s, {text}): {rate}"
        operations = (work.linear_effective + work.multiply_effective) / work.tokens
        if work.stateful:
            out.print(f"{counted}, {operations:,.0f} synaptic operations")
        else:
            out.print(
                f"{counted} in {work.timesteps} timesteps, "
                f"{work.linear_effective / work.tokens:,.0f} synaptic operations of linear layers, "
                f"{work.attend_effective / work.tokens:,.0f} of attention"
            )
    if mapping.energy_uj is not None and mapping.energy_high_uj is not None:
        low, high = mapping.energy_uj, mapping.energy_high_uj
        parts = ", ".join(f"{part} {_range(value, high[part])}" for part, value in low.items())
        out.print(
            f"energy per {step}: {_range(sum(low.values()), sum(high.values()))} uJ ",
            ("ESTIMATED", "yellow"),
            f" ({parts}), as placed: a matrix that several populations hear is charged for each; without "
            f"{'' if step == 'frame' else 'attention, '}what the host does, hops between tiles and leakage",
        )
    elif mapping.energy_reason is not None:
        out.print(f"energy per {step}: absent, {mapping.energy_reason}")


def _range(low: float, high: float) -> str:
    """One number, or two where sources differ."""
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"


def _status(mapping: Mapping, key: str) -> tuple[str, str]:
    number = mapping.chip.unsure().get(key)
    return "" if number is None else f" {number.status}", "yellow"


def _usage_table(mapping: Mapping) -> Sheet:
    from rich.text import Text

    from edgesnn.cli.tables import Sheet, numbers, words

    keys = {
        "neurons": "neurons_per_core",
        "synapse bytes": "synapse_bytes_per_core",
        "axons in": "axons_in_per_core",
        "axons out": "axons_out_per_core",
    }
    columns = (words(""), numbers("largest"), numbers("limit"), numbers("all cores", 1))
    table = Sheet("the fullest core", *columns)
    for use in mapping.fit.usage:
        limit = Text.assemble(f"{use.limit:,}", _status(mapping, f"limits.{keys[use.what]}"))
        table.add_row(use.what, f"{use.largest:,}", limit, f"{use.total:,}")
    return table


def _populations_table(found: Fit) -> Sheet:
    from edgesnn.cli.tables import Sheet, names, numbers, words

    table = Sheet(
        "populations",
        words("population"),
        names("kind", 5),
        numbers("neurons"),
        numbers("fan-in", 4),
        numbers("synapses", 1),
        numbers("bytes", 2),
        numbers("cores"),
        numbers("delayed", 6),
        numbers("stock LIF", 3),
    )
    for part in found.populations:
        stock = "-" if part.stock is None else "yes" if part.stock else "no"
        figures = (part.neurons, part.fan_in, part.synapses, part.synapse_bytes, part.cores, part.delayed)
        table.add_row(part.name, part.kind, *(f"{number:,}" for number in figures), stock)
    return table


def _attention_table(found: Fit) -> Sheet:
    from edgesnn.cli.tables import Sheet, numbers, words

    columns = (
        words("attention"),
        numbers("fast weights", 2),
        numbers("bytes with rings", 1),
        numbers("cores"),
    )
    table = Sheet("attention, apart (cores ESTIMATED from memory)", *columns)
    for part in found.attentions:
        table.add_row(part.name, f"{part.states:,}", f"{part.state_bytes:,}", f"{part.cores:,}")
    return table
