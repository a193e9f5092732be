"""NIR files for tests: those that libraries wrote, and graphs written here node by node."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from edgesnn.api.nir.importing import ImportOptions

RECORDED = Path(__file__).parents[1] / "foreign" / "nir_sources" / "recorded.zip"
#: What has to be said of each recorded network beside its source, which its name begins with.
SAID = {
    "norse-iaf": {},
    "norse-maps": {},
    "norse-membranes": {},
    "norse-subtract": {"reset": "subtract"},
    "norse-value": {},
    "sinabs-iaf": {},
    "sinabs-lif": {},
    "sinabs-maps": {},
    "sinabs-membranes": {},
    "sinabs-single": {"spikes": "one", "norm_input": False},
    "sinabs-zero": {"spikes": "one", "norm_input": False, "reset": "zero"},
    "snntorch-maps": {"reset": "zero"},
    "snntorch-none": {"reset": "none"},
    "snntorch-samples": {"reset": "zero"},
    "snntorch-subtract": {},
    "snntorch-thresholds": {"reset": "zero"},
    "snntorch-zero": {"reset": "zero"},
    "spikingjelly-if": {},
    "spikingjelly-lif": {},
    "spikingjelly-line": {},
    "spikingjelly-maps": {},
    "spikingjelly-plif": {},
    "spikingjelly-reset": {},
    "spikingjelly-undecayed": {},
}
#: Networks that each library loads again from the file that we write for it.
READ_BACK = {
    "snntorch": ("snntorch-zero", "snntorch-maps", "spikingjelly-maps"),
    "spikingjelly": ("spikingjelly-lif", "spikingjelly-line", "spikingjelly-maps"),
    "norse": ("norse-value", "norse-maps", "norse-iaf"),
    "sinabs": ("sinabs-lif", "sinabs-iaf", "sinabs-maps"),
}


def options_for(case: str) -> ImportOptions:
    """What the file of a recorded network does not say."""
    return ImportOptions(case.partition("-")[0], **SAID[case])


def recorded(case: str, folder: Path) -> Path:
    """The file of a recorded network; beside it, as ``.npz``, frames and what the library made of them."""
    with zipfile.ZipFile(RECORDED) as archive:
        for name in (f"{case}.nir", f"{case}.npz"):
            archive.extract(name, folder)
    return folder / f"{case}.nir"


def write_graph(path: Path, nodes: dict, edges: list[tuple[str, str]], version: str = "1.0.8") -> Path:
    """Write a graph as ``nir.write`` does.

    Args:
        path: The file.
        nodes: Parameters by name; ``type`` among them. One with ``nodes`` and ``edges`` is a graph inside.
        edges: Pairs of names.
        version: What the file says that it was written by.
    """
    import h5py

    text = h5py.string_dtype()

    def graph(group, nodes, edges):
        group.create_dataset("type", data="NIRGraph", dtype=text)
        if edges is not None:
            group.create_dataset("edges", data=np.array(edges, dtype=object).reshape(-1, 2), dtype=text)
        inside = group.create_group("nodes")
        for name, parameters in nodes.items():
            one = inside.create_group(name)
            if "nodes" in parameters:
                graph(one, parameters["nodes"], parameters["edges"])
                continue
            for key, value in parameters.items():
                if isinstance(value, str):
                    one.create_dataset(key, data=value, dtype=text)
                else:
                    one.create_dataset(key, data=value)

    with h5py.File(path, "w") as file:
        file.create_dataset("version", data=version, dtype=text)
        graph(file.create_group("node"), nodes, edges)
    return path


def chain(path: Path, *nodes: tuple[str, dict], shape=(4,), outputs=(2,)) -> Path:
    """Write nodes one behind the other, an input before and an output behind them."""
    named = {"input": {"type": "Input", "shape": np.array(shape)}, **dict(nodes)}
    named["output"] = {"type": "Output", "shape": np.array(outputs)}
    names = list(named)
    return write_graph(path, named, list(zip(names, names[1:], strict=False)))


def linear(out: int, inside: int, seed: int = 0) -> dict:
    """A Linear whose weights are whole 64ths, the largest of each row 127/64: exact as int8."""
    codes = np.random.default_rng(seed).integers(-90, 127, (out, inside))
    codes[:, 0] = 127
    return {"type": "Linear", "weight": (codes / 64).astype(np.float32)}


def neurons(count: int | tuple[int, ...], kind: str = "IF", **more) -> dict:
    """Neurons of SpikingJelly, dt 1e-4."""
    shape = np.ones(count)
    if kind == "IF":
        return {"type": "IF", "r": shape * 1e4, "v_threshold": shape * 2.5, "v_reset": shape * 0, **more}
    tau = {"tau": shape * 4e-4, "r": shape * 4, "v_leak": shape * 0}
    return {"type": "LIF", **tau, "v_threshold": shape * 2.5, "v_reset": shape * 0, **more}
