"""The Lava exporter: a folder that runs the program in Lava, as a graph of processes or as a single one."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgesnn import resources
from edgesnn.errors import OutputError
from edgesnn.exporters.base import Exporter, ExportResult, ExportSource
from edgesnn.exporters.lava.arrays import LavaArrays
from edgesnn.exporters.lava.frames import lower_frames
from edgesnn.exporters.lava.graph import lower
from edgesnn.program.golden import Golden
from edgesnn.program.ops import LIF, Attend, Embed, Linear, Op, Readout, Shift, inputs_of
from edgesnn.program.ops_frames import Frames
from edgesnn.program.program import Program

#: Folder of the export inside a bundle.
FOLDER = "lava"
#: Folder of the shipped files that are copied into it.
SHIPPED = "export"
#: Name and major version of the manifest.
SCHEMA = "edgesnn.lava/1"
_EXAMPLE_TOKENS = 12
_EXAMPLE_SEED = 0
_EXAMPLE_DENSITY = 0.1


class LavaExporter(Exporter):
    """A folder ``lava``: process package, weights, manifest and a ``run.py``; it needs nothing of edgesnn."""

    name: ClassVar[str] = "lava"
    summary: ClassVar[str] = "Lava processes (Loihi 2 fixed point) with weights and a script; exact"
    frames: ClassVar[bool] = True

    def export(self, source: ExportSource, folder: Path) -> ExportResult:
        """Write the folder.

        Args:
            source: The program and its name.
            folder: An existing, writable folder.

        Returns:
            The files by role ``weights``, ``manifest``, ``run``, ``readme``, ``requirements`` and
            ``package.NAME`` for every module of the process package.

        Raises:
            ExportError: The program has an op that no process executes.
            OutputError: A file cannot be written.
        """
        shipped = resources.folder("lava") / SHIPPED
        arrays = LavaArrays()
        document = manifest(source, arrays)
        files = {"weights": f"{FOLDER}/weights.npz", "manifest": f"{FOLDER}/manifest.json"}
        try:
            (folder / FOLDER).mkdir(exist_ok=True)
            for path in package_files(shipped):
                name = path.relative_to(shipped).as_posix()
                target = folder / FOLDER / name
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, target)
                files[_role(name)] = f"{FOLDER}/{name}"
            with (folder / files["weights"]).open("wb") as stream:
                np.savez(stream, **arrays.stored)  # type: ignore[arg-type]
            text = json.dumps(document, indent=1)
            (folder / files["manifest"]).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write the Lava export: {error.strerror or error}") from None
        if source.program.frames is not None:
            graph = {"inputs": ["frames"], "outputs": ["outputs"], "processes": len(document["processes"])}
            signature = {"graph": {**graph, "latency_timesteps": document["latency"]}}
            return ExportResult(
                files, {**signature, "outputs_dtype": "int32", "program_hash": source.program_hash}
            )
        forms = {
            "single": {"inputs": ["tokens"], "outputs": ["logits"], "processes": 1},
            "graph": {
                "inputs": ["tokens"],
                "outputs": ["logits"],
                "processes": len(document["processes"]),
                "latency_timesteps": document["latency"],
            },
        }
        return ExportResult(files, {**forms, "logits_dtype": "int32", "program_hash": source.program_hash})


def package_files(shipped: Path) -> list[Path]:
    """The files that every export gets a copy of, sorted."""
    return sorted(path for path in shipped.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def manifest(source: ExportSource, arrays: LavaArrays) -> dict[str, Any]:
    """The manifest of the folder.

    Args:
        source: The program and its name.
        arrays: Takes the arrays that the manifest names.

    Returns:
        Plain data for JSON.

    Raises:
        ExportError: The program has an op that no process executes.
    """
    program = source.program
    facts = {"schema": SCHEMA, "name": source.name, "program_hash": source.program_hash}
    if program.frames is not None:
        graph = lower_frames(program, arrays)
        return {
            **facts,
            "timesteps": 1,
            "inputs": program.frames.channels,
            "outputs": program.outputs,
            "output_scale": program.output_scale,
            "latency": graph.latency,
            "processes": graph.processes,
            "connections": [list(pair) for pair in graph.connections],
            "example": _frames_example(program, program.frames),
        }
    graph = lower(program, arrays)
    return {
        **facts,
        "timesteps": program.timesteps,
        "vocab": program.vocab_size,
        "logit_exponent": program.readout.exponent,
        "latency": graph.latency,
        "processes": graph.processes,
        "connections": [list(pair) for pair in graph.connections],
        "ops": [_op(op, arrays) for op in program.ops],
        "example": _example(program),
    }


def _op(op: Op, arrays: LavaArrays) -> dict[str, Any]:
    """One op for the single-process form, which executes the program's list as it stands."""
    entry: dict[str, Any] = {"op": type(op).__name__, "name": op.name, "out": op.out}
    entry["inputs"] = list(inputs_of(op))
    tensors: dict[str, str] = {}
    if isinstance(op, Embed):
        entry["shift"] = op.shift
        tensors = arrays.names(op, "table", "projection", "multiplier")
    elif isinstance(op, Linear):
        tensors = arrays.names(op, "weight")
    elif isinstance(op, LIF):
        entry |= {"decay": op.decay, "clip": op.clip}
        tensors = {
            "threshold": arrays.add(f"{op.name}.threshold", op.threshold),
            "bias": arrays.add(f"{op.name}.bias", op.bias),
        }
    elif isinstance(op, Shift):
        tensors = {"channels": arrays.add(f"{op.name}.channels", op.channels)}
    elif isinstance(op, Attend):
        entry |= {"head_dim": op.head_dim, "windows": list(op.windows)}
    elif isinstance(op, Readout):
        entry["shift"] = op.shift
        tensors = arrays.names(op, "weight", "bias", "multiplier", "table")
    return entry | {"tensors": tensors}


def _example(program: Program) -> dict[str, Any]:
    """Token ids, and the hash of the logits that golden gives them: int32, row after row."""
    ids = np.random.default_rng(_EXAMPLE_SEED).integers(0, program.vocab_size, _EXAMPLE_TOKENS)
    logits = Golden(program).sequence(ids[None, :])[0]
    digest = hashlib.sha256(np.ascontiguousarray(logits, np.dtype("<i4")).tobytes()).hexdigest()
    return {"ids": ids.tolist(), "logits_sha256": digest}


def _frames_example(program: Program, frames: Frames) -> dict[str, Any]:
    """Spikes of some frames by channel, and the hash of the outputs that golden gives them, as of logits."""
    rng = np.random.default_rng(_EXAMPLE_SEED)
    shown = (rng.random((_EXAMPLE_TOKENS, frames.channels)) < _EXAMPLE_DENSITY).astype(np.int8)
    outputs = Golden(program).sequence(shown[None])[0]
    digest = hashlib.sha256(np.ascontiguousarray(outputs, np.dtype("<i4")).tobytes()).hexdigest()
    return {"frames": [np.flatnonzero(frame).tolist() for frame in shown], "outputs_sha256": digest}


def _role(name: str) -> str:
    """The role of a shipped file: ``run``, ``readme``, ``requirements``, or ``package.MODULE``."""
    path = Path(name)
    return f"package.{path.stem}" if len(path.parts) > 1 else path.stem.lower()
