"""``edgesnn import``: make an integer program of a network that another library wrote as NIR."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesnn.cli.output import CommandOutput, JsonFlag, session
from edgesnn.errors import UsageError

if TYPE_CHECKING:
    from edgesnn.api.nir.importing import ImportedNetwork

SCHEMA = "edgesnn.import/1"
_FILE, _INPUT = "What the file does not say", "Frames"


def import_(
    file: Annotated[Path, typer.Argument(help="NIR file, as the library's exporter and nir.write made it.")],
    *,
    source: Annotated[
        str,
        typer.Option(
            help="Library that wrote it: snntorch, norse, sinabs, spikingjelly.", rich_help_panel=_FILE
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle to make, or a .snn file.")],
    dt: Annotated[
        float | None,
        typer.Option(
            help="Time step in seconds.",
            show_default="the source's",
            rich_help_panel=_FILE,
        ),
    ] = None,
    reset: Annotated[
        str | None,
        typer.Option(
            help="What a spike does to the membrane: zero, subtract, none.",
            show_default="the source's",
            rich_help_panel=_FILE,
        ),
    ] = None,
    spikes: Annotated[
        str | None,
        typer.Option(
            help="Spikes of a neuron in a frame: one, or many as Sinabs has them.",
            show_default="the source's",
            rich_help_panel=_FILE,
        ),
    ] = None,
    norm_input: Annotated[
        bool | None,
        typer.Option(
            "--norm-input/--no-norm-input",
            help="Sinabs: whether LIF scales its input with 1 - beta.",
            show_default="norm-input",
            rich_help_panel=_FILE,
        ),
    ] = None,
    input_shape: Annotated[
        str | None,
        typer.Option(
            help="Shape of one frame, as in 2,32,32.", show_default="the file's", rich_help_panel=_INPUT
        ),
    ] = None,
    input_scale: Annotated[
        float | None,
        typer.Option(
            help="What an int8 sample is worth.",
            show_default="spikes, or what calibration shows",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="An .npz with frames [n, frames, *shape] and, if there are classes, labels [n].",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option(
            help="Another such .npz, whose windows travel in the bundle to be timed and scored.",
            show_default="the calibration set",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    readout: Annotated[
        str,
        typer.Option(help="What comes out of the last spikes: counts or spikes.", rich_help_panel=_INPUT),
    ] = "counts",
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Comma-separated formats beside program.snn: c, firmware, onnx, tflite, lava.",
            show_default="none",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle or file.")] = False,
    json_mode: JsonFlag = False,
) -> None:
    """Make the bundle of a network of snnTorch, Norse, Sinabs or SpikingJelly.

    With a calibration set every layer's spikes are compared, float against integer, and, with labels, the
    accuracy of both. What does not reduce to an integer program is refused, all of it at once.

    Examples:
        edgesnn import wake.nir --source snntorch --reset zero --calibration wake.npz -o wake
        edgesnn import wake.nir --source norse --format c,onnx,tflite -o wake
        edgesnn import gesture.nir --source spikingjelly --input-shape 2,32,32 -o gesture.snn
    """
    with session("import", json_mode) as out:
        from edgesnn.api.nir.importing import ImportOptions, import_network
        from edgesnn.bundle.bundle import PROGRAM_NAME

        if readout not in ("counts", "spikes"):
            raise UsageError(f"a readout is counts or spikes, not '{readout}'")
        options = ImportOptions(
            source, dt, reset, spikes, norm_input, _shape(input_shape), input_scale,
            "counts" if readout == "counts" else "spikes",
        )  # fmt: skip
        with out.progress() as progress:
            task = progress.add_task("reading", total=None, detail="")

            def tell(stage: str, done: int, total: int) -> None:
                progress.update(task, description=stage, completed=done, total=total)

            network = import_network(
                file, options, calibration=calibration, held_out=held_out, on_progress=tell
            )
            chosen = [] if formats is None else [part.strip() for part in formats.split(",") if part.strip()]
            if formats is not None and not chosen:
                raise UsageError("--format names no format", remedy="see: edgesnn list exporters")
            made = network.write(output, chosen, overwrite=force, on_progress=tell)
        program = made if isinstance(made, Path) else made.file(PROGRAM_NAME)
        size = program.stat().st_size
        bundle = None if isinstance(made, Path) else made
        out.document(
            SCHEMA,
            {
                "output": output.name,
                "program_bytes": size,
                "exports": {} if bundle is None else {n: e.files for n, e in bundle.manifest.exports.items()},
                **network.report(),
            },
        )
        render(out, network)
        if bundle is not None and bundle.manifest.exports:
            from edgesnn.cli.export import render_boards, render_files

            render_files(out, bundle)
            render_boards(out, bundle)
        out.print(f"{output}: a program of {size:,} bytes, no overflow possible")


def _shape(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not 1 <= len(parts) <= 3 or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise UsageError(
            "a shape is one to three positive whole numbers", actual=text, remedy="--input-shape 2,32,32"
        )
    return tuple(int(part) for part in parts)


def render(out: CommandOutput, network: ImportedNetwork) -> None:
    """Show what came in, what rounding did, and what it cost."""
    from edgesnn.cli.tables import Sheet, names, numbers, words

    agreement = network.agreement
    compared = {} if agreement is None else {layer.node: layer for layer in agreement.layers}
    table = Sheet(
        f"{network.name}: layers of neurons",
        words("node"),
        names("type"),
        numbers("neurons"),
        numbers("weights", 1),
        numbers("rounding", 2),
        numbers("float spikes", 4),
        numbers("integer spikes", 3),
        numbers("differ"),
    )
    for layer in network.folded.layers:
        seen = compared.get(layer.node)
        figures = ("", "", "")
        if seen is not None:
            share = seen.differ / max(seen.slots, 1)
            figures = (f"{seen.float_spikes:,}", f"{seen.integer_spikes:,}", f"{share:.3%}")
        sizes = (f"{layer.neurons:,}", f"{layer.weights:,}", f"{layer.weight_error:.2%}")
        table.add_row(layer.node, layer.kind, *sizes, *figures)
    out.print(table)
    for layer in network.folded.layers:
        if layer.dead or layer.floored:
            out.print(
                f"{layer.node}: {layer.dead:,} neurons whose threshold no membrane reaches, "
                f"{layer.floored:,} whose threshold was raised to the smallest there is"
            )
    if agreement is None:
        out.print("no calibration set: what the integers cost was not measured")
    else:
        out.print(
            f"{agreement.windows:,} windows of {agreement.frames:,} frames of {agreement.source} (MEASURED): "
            f"{agreement.differ_share:.3%} of all neurons and frames differ, "
            f"{agreement.same_top1:.2%} of decisions are the same"
        )
        if agreement.float_accuracy is not None and agreement.integer_accuracy is not None:
            out.print(
                f"accuracy {agreement.float_accuracy:.2%} float, {agreement.integer_accuracy:.2%} integer"
            )
        if network.clipped:
            out.print(f"{network.clipped:.3%} of the set's values lie outside of what samples can say")
