"""The bundle of a network that reads frames: the same manifest, no tokenizer and no float student."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgesnn import __version__
from edgesnn.bundle.bundle import MANIFEST_NAME, PROGRAM_NAME, Bundle
from edgesnn.bundle.eval_frames import EVAL_FRAMES_NAME, EvalFrames
from edgesnn.bundle.export import file_entries, form_sizes, refuse_foreign, state_entries, write_formats
from edgesnn.bundle.manifest import SCHEMA, Manifest
from edgesnn.bundle.writer import new_folder
from edgesnn.errors import ProgramFormatError
from edgesnn.exporters.base import Exporter, ExportSource
from edgesnn.program.bounds import prove
from edgesnn.program.program import Program
from edgesnn.program.snn_format import to_bytes


@dataclass(frozen=True, slots=True, eq=False)
class FramesBundleSource:
    """What the bundle of a network that reads frames is made of.

    Attributes:
        name: Name of the network.
        program: Its integer program.
        facts: Where it comes from, for the manifest: plain data.
        quantisation: What rounding did, for the manifest: plain data.
        held_out: Windows of frames that travel with it, to time and to score; None for none.
    """

    name: str
    program: Program
    facts: dict[str, Any]
    quantisation: dict[str, Any]
    held_out: EvalFrames | None = None


def write_frames_bundle(
    source: FramesBundleSource,
    target: Path,
    exporters: Mapping[str, Exporter] | None = None,
    *,
    overwrite: bool,
    on_format: Callable[[str], None] | None = None,
) -> Bundle:
    """Write the bundle and read it back. ``program.snn`` is all that golden, the C engine and boards need.

    Args:
        source: What it is made of.
        target: The folder to make.
        exporters: Formats beside it by name, each with `Exporter.frames`.
        overwrite: Whether an existing bundle is replaced.
        on_format: Called with each format before it is written.

    Returns:
        The bundle, verified.

    Raises:
        ProgramFormatError: The program breaks a rule, or reads text.
        CompileError: An op can overflow.
        ExportError: A format cannot carry the program.
        OutputError: The folder cannot be written, or is no bundle and must not be replaced; nothing is left
            half-written.
    """
    program, frames = source.program, source.program.frames
    if frames is None:
        raise ProgramFormatError(
            "a bundle of frames holds a program that reads them, and this one reads text"
        )
    content, bounds = to_bytes(program), prove(program)
    refuse_foreign(target, overwrite=overwrite)
    with new_folder(target, overwrite=overwrite) as folder:
        (folder / PROGRAM_NAME).write_bytes(content)
        held_out = None
        if source.held_out is not None:
            kept = source.held_out.kept()
            kept.write(folder / EVAL_FRAMES_NAME)
            held_out = {"windows": len(kept), "of": len(source.held_out), "frames": kept.length}
        digest = content[32:64].hex()
        given = ExportSource(program, None, source.name, digest)
        exports = write_formats(given, exporters or {}, folder, on_format)
        files = file_entries(folder)
        facts = {
            "input_shape": list(frames.shape),
            "input_range": [frames.low, frames.high],
            "input_scale": frames.scale,
            "outputs": program.outputs,
            "output_scale": program.output_scale,
            "held_out": held_out,
            **source.facts,
        }
        document = {
            "schema": SCHEMA,
            "producer": f"edgesnn {__version__}",
            "name": source.name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "program_hash": digest,
            "files": files,
            "exports": exports,
            "sizes": form_sizes(PROGRAM_NAME, exports, files),
            "state": state_entries(program),
            "student": json.loads(json.dumps(facts, allow_nan=False)),
            "text": {},
            "bounds": [asdict(bound) for bound in bounds],
            "quantisation": json.loads(json.dumps(source.quantisation, allow_nan=False)),
        }
        text = Manifest.model_validate(document).model_dump_json(by_alias=True, indent=1)
        (folder / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")
    return Bundle(target)
