"""``edgesnn export``: compile a student artifact and write the bundle that devices run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesnn.cli.output import CommandOutput, JsonFlag, session
from edgesnn.errors import UsageError

if TYPE_CHECKING:
    from edgesnn.api.nir.writing import NirExport
    from edgesnn.bundle.bundle import Bundle

_V1 = "Students of version 1.0"


def export(
    artifact: Annotated[
        Path | None,
        typer.Argument(
            help="Student artifact: the folder that edgesnn train wrote, or reference. For nir also a bundle "
            "or a .snn file."
        ),
    ] = None,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the bundle to make.")
    ] = None,
    output_path: Annotated[
        Path | None,
        typer.Option(help="Write one file instead, for example student.onnx; its name says the format."),
    ] = None,
    model_path: Annotated[
        Path | None, typer.Option(help="The student by its weights file, in place of ARTIFACT.")
    ] = None,
    metadata_path: Annotated[
        Path | None, typer.Option(help="Its metadata.json, where that lies elsewhere.")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Comma-separated formats; by default all but torchscript and firmware. nir, alone, writes "
            "a folder for other libraries.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model; the artifact's folder by default.")
    ] = None,
    cross: Annotated[
        str | None,
        typer.Option(help="Also build the C export as static binaries: of aarch64, armhf, riscv64."),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="tokenizer.json of the student's teacher.", rich_help_panel=_V1),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(help="Text that the bundle keeps to score and calibrate on.", rich_help_panel=_V1),
    ] = None,
    int8: Annotated[
        str | None,
        typer.Option(
            help="What is int8: weights (small: coarser), or activations too: dynamic, static.",
            show_default="weights",
            rich_help_panel=_V1,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
    json_mode: JsonFlag = False,
) -> None:
    """Compile a student artifact into an integer program and write it in every format.

    The bundle holds the program, the files of each format, the tokenizer, held-out text and a manifest with
    hashes, the proof that nothing overflows, and what the integers cost on text.

    A SpikingStudentLM v1.0 has no integer program: it becomes ONNX in float32 and int8.

    Examples:
        edgesnn export reference -o bundle
        edgesnn export artifacts/mine -o bundle --format c,onnx --force
        edgesnn export artifacts/mine -o bundle --format firmware
        edgesnn export --model-path artifacts/mine/student.pt --output-path student.torchscript.pt
        edgesnn export old/student.pt -o bundle --tokenizer gpt2/tokenizer.json
        edgesnn export wake -o wake-nir --format nir
    """
    with session("export", json_mode) as out:
        from edgesnn.api.background.files import export_file, student_with_metadata
        from edgesnn.api.students import export_student, usual_formats
        from edgesnn.api.v1.exporting import V1ExportOptions

        asked = (tokenizer, text, int8) != (None, None, None)
        v1 = V1ExportOptions(tokenizer=tokenizer, text=text, int8=int8 or "weights") if asked else None

        chosen = None if formats is None else [part.strip() for part in formats.split(",") if part.strip()]
        if chosen == []:
            raise UsageError("--format names no format", remedy="see: edgesnn list exporters")
        model = _one_of("ARTIFACT", artifact, "--model-path", model_path)
        target = _one_of("--output", output, "--output-path", output_path)
        if output_path is not None and (cross is not None or len(chosen or [""]) > 1):
            raise UsageError("--output-path writes one file of one format", remedy="-o writes a bundle")
        with out.progress() as progress:
            task = progress.add_task("reading", total=None, detail="")

            def tell(stage: str, done: int, total: int) -> None:
                progress.update(task, description=stage, completed=done, total=total)

            if "nir" in (chosen or ()):
                if chosen != ["nir"] or output_path is not None:
                    raise UsageError(
                        "nir is a folder of files for other libraries, not a part of a bundle",
                        remedy="edgesnn export SOURCE -o FOLDER --format nir",
                    )
                from edgesnn.api.nir.writing import export_nir

                written = export_nir(model, target, name=name, overwrite=force, on_progress=tell)
                out.document("edgesnn.export_nir/1", written.report())
                render_nir(out, written)
                return
            with student_with_metadata(model, metadata_path) as student:
                if output_path is not None:
                    one = None if chosen is None else chosen[0]
                    name = name or target.name.partition(".")[0]
                    file, bundle = export_file(student, target, one, name=name, v1=v1, on_progress=tell)
                else:
                    file = None
                    bundle = export_student(
                        student,
                        target,
                        chosen,
                        overwrite=force,
                        name=name,
                        cross=cross,
                        v1=v1,
                        on_progress=tell,
                    )
        if file is not None:
            out.document("edgesnn.export/1", {**file_summary(file, bundle), "skipped": {}})
            out.print(f"{file}: {file.stat().st_size:,} bytes")
            render_cost(out, bundle)
            return
        whole = chosen is not None or bundle.without_program is not None
        skipped = {} if whole else {name: why for name, why in usual_formats().items() if why is not None}
        out.document("edgesnn.export/1", {**summary(bundle), "skipped": skipped})
        render(out, bundle)
        for format_name, reason in skipped.items():
            out.print(f"skipped {format_name}: {reason}")


def _one_of(first: str, a: Path | None, second: str, b: Path | None) -> Path:
    """The one of two arguments that was given.

    Raises:
        UsageError: Neither was, or both.
    """
    if a is not None and b is not None:
        raise UsageError(f"{first} and {second} say the same", remedy="give one of them")
    found = a if a is not None else b
    if found is None:
        raise UsageError(f"neither {first} nor {second} is given", remedy="see: edgesnn help export")
    return found


def file_summary(file: Path, bundle: Bundle) -> dict[str, Any]:
    """One exported file as plain data for ``--json``."""
    manifest = bundle.manifest
    return {
        "file": file.name,
        "format": next(iter(manifest.exports)),
        "bytes": file.stat().st_size,
        "name": manifest.name,
        "program_hash": manifest.program_hash,
        "quantisation": manifest.quantisation,
    }


def summary(bundle: Bundle) -> dict[str, Any]:
    """The bundle as plain data for ``--json``."""
    manifest = bundle.manifest
    return {
        "bundle": bundle.path.name,
        "name": manifest.name,
        "program_hash": manifest.program_hash,
        "files": {name: entry.bytes for name, entry in manifest.files.items()},
        "exports": {name: entry.files for name, entry in manifest.exports.items()},
        "sizes": manifest.sizes,
        **({"firmware": fit} if (fit := _fit(bundle)) is not None else {}),
        "quantisation": manifest.quantisation,
    }


def render(out: CommandOutput, bundle: Bundle) -> None:
    """Show what was written and what the integers cost."""
    render_files(out, bundle)
    render_cost(out, bundle)
    render_boards(out, bundle)


def render_files(out: CommandOutput, bundle: Bundle) -> None:
    """Show the files of a bundle."""
    from edgesnn.cli.tables import Sheet, numbers, words

    manifest = bundle.manifest
    files = Sheet(f"bundle {bundle.path}", words("file"), words("format, form", 1), numbers("bytes"))
    roles = {
        file: f"{export}, {role}"
        for export, entry in manifest.exports.items()
        for role, file in entry.files.items()
    }
    for name, entry in manifest.files.items():
        files.add_row(name, roles.get(name, ""), f"{entry.bytes:,}")
    out.print(files)


def render_boards(out: CommandOutput, bundle: Bundle) -> None:
    """Show which boards a firmware export fits, where the bundle has one."""
    from edgesnn.cli.tables import Sheet, words

    if (fit := _fit(bundle)) is not None:
        from edgesnn.exporters.firmware.report import report_rows

        boards = Sheet(
            "boards", words("board"), words("flash, with the model"), words("RAM, without it"), words("fit")
        )
        for row in report_rows(fit):
            boards.add_row(*row)
        out.print(boards)


def render_nir(out: CommandOutput, written: NirExport) -> None:
    """Show the files, and what NIR cannot say."""
    from edgesnn.cli.tables import Sheet, numbers, words

    table = Sheet(
        f"NIR in {written.folder}", words("file"), words("for", 1), numbers("bytes", 2), words("import with")
    )
    for file in written.files:
        table.add_row(file.name, ", ".join(file.readers), f"{len(file.content):,}", file.read_back or "")
    out.print(table)
    for name, why in written.left_out.items():
        out.print(f"left out {name}: {why}")
    for why in dict.fromkeys(why for file in written.files for why in file.approximate):
        out.print(f"approximate: {why}")


def _fit(bundle: Bundle) -> dict[str, Any] | None:
    """The report of flash and RAM of the firmware export, where the bundle has one."""
    entry = bundle.manifest.exports.get("firmware")
    return None if entry is None else entry.signatures["fit"]


def render_cost(out: CommandOutput, bundle: Bundle) -> None:
    """Show which program it is, and what its integers cost."""
    manifest = bundle.manifest
    if bundle.without_program is not None:
        out.print(f"a student of version 1.0, in floats: {manifest.quantisation['runs_as']}")
        for default in manifest.quantisation["assumed"]:
            out.print(f"not in its metadata, taken as: {default}")
        return
    out.print(f"program {manifest.program_hash[:16]}, no overflow possible (proof in manifest.json)")
    cost = manifest.quantisation.get("calibration")
    if cost is None:
        out.print("no held-out text in the artifact: the cost of the integers was not measured")
        return
    out.print(
        f"integers cost {cost['loss_percent']:+.2f} % bits per byte: "
        f"{cost['float_bits_per_byte']:.4f} float32, {cost['integer_bits_per_byte']:.4f} integer "
        f"(MEASURED on {cost['source']}, {cost['tokens']:,} tokens)"
    )
