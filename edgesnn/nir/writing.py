"""NIR files of a program: one graph of a network that reads frames, one a segment of a language model."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesnn.errors import missing_extra
from edgesnn.nir.dialects import DIALECTS, Dialect
from edgesnn.nir.unfold import UnfoldedGraph, metadata, segments, unfold
from edgesnn.program.ops_frames import Reset
from edgesnn.program.program import Program

#: Numbers that are not worth packing: HDF5 keeps an index of what is packed.
_SMALL = 1024
#: The version of NIR whose nodes are written.
NIR_VERSION = "1.0.8"


@dataclass(frozen=True, slots=True)
class NirFile:
    """One file of an export.

    Attributes:
        name: Its name: that of the network, of the segment if there are several, of whom it is for.
        readers: Libraries that it is for.
        ops: Names of the ops that it says.
        approximate: Why it does not do exactly what the program does.
        read_back: Options of ``edgesnn import`` with which it reads as it was meant; None where no source
            of the importer reads it so.
        content: Its bytes.
    """

    name: str
    readers: tuple[str, ...]
    ops: tuple[str, ...]
    approximate: tuple[str, ...]
    read_back: str | None
    content: bytes


def nir_files(name: str, program: Program) -> tuple[list[NirFile], dict[str, str]]:
    """What NIR can say of a program.

    Args:
        name: Name of the network.
        program: The program.

    Returns:
        The files, and why each op that is in none of them is left out, by its name.

    Raises:
        MissingExtraError: h5py is not installed.
        ExportError: NIR has no word for how the network's values lie.
    """
    left: dict[str, str] = {}
    if program.frames is not None:
        parts = [("", program.ops)]
    else:
        chains, left = segments(program)
        parts = [(f".{chain[0].name}", chain) for chain in chains]
    files = []
    for segment, ops in parts:
        for dialect in DIALECTS:
            graph = unfold(program, ops, dialect)
            files.append(
                NirFile(
                    f"{name}{segment}.{dialect.name}.approximate.nir",
                    dialect.readers,
                    graph.ops,
                    graph.approximate,
                    read_back(graph, dialect),
                    _hdf5(graph, metadata(graph, dialect, left)),
                )
            )
    return files, left


def read_back(graph: UnfoldedGraph, dialect: Dialect) -> str | None:
    """Options of ``edgesnn import`` for a file, or None."""
    resets = graph.resets or frozenset({Reset.ZERO})
    return dialect.read_back.get((min(resets), graph.inclusive)) if len(resets) == 1 else None


def _hdf5(graph: UnfoldedGraph, said: dict[str, str]) -> bytes:
    try:
        import h5py
    except ImportError:
        raise missing_extra("h5py", "nir", "writing NIR files") from None
    text = h5py.string_dtype()
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("version", data=NIR_VERSION, dtype=text)
        root = file.create_group("node")
        root.create_dataset("type", data="NIRGraph", dtype=text)
        root.create_dataset("edges", data=np.array(graph.edges, dtype=object), dtype=text)
        for key, value in said.items():
            root.require_group("metadata").create_dataset(key, data=value, dtype=text)
        for name, parameters in graph.nodes.items():
            node = root.require_group("nodes").create_group(name)
            for key, parameter in parameters.items():
                _put(node, key, parameter, text)
    return content.getvalue()


def _put(group: Any, key: str, value: Any, text: Any) -> None:
    if isinstance(value, str):
        group.create_dataset(key, data=value, dtype=text)
    elif value.dtype.kind == "f":
        packed = {"compression": "gzip"} if value.size > _SMALL else {}
        group.create_dataset(key, data=value.astype(np.float32), **packed)
    else:
        group.create_dataset(key, data=value)
