"""Importing a network that another library wrote as NIR."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import plugins
from edgesnn.api.options import Progress, silent
from edgesnn.bundle.bundle import Bundle
from edgesnn.bundle.eval_frames import EvalFrames
from edgesnn.bundle.frames import FramesBundleSource, write_frames_bundle
from edgesnn.errors import EdgesnnError, OutputError, UsageError
from edgesnn.exporters.base import Exporter
from edgesnn.nir.agreement import ImportAgreement, compare, float_decisions
from edgesnn.nir.calibration import (
    CalibrationFrames,
    clipped_share,
    read_calibration,
    samples_for,
    to_samples,
)
from edgesnn.nir.fold import Folded, Readout, Samples, fold
from edgesnn.nir.graph import Graph, read_graph
from edgesnn.nir.probe import probe
from edgesnn.nir.sources import Rules, rules_for
from edgesnn.program.program import Program
from edgesnn.program.snn_format import program_hash, to_bytes
from edgesnn.whole_files import write_whole

#: Ending of a file that is a program alone.
PROGRAM_SUFFIX = ".snn"


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a NIR file does not say.

    Attributes:
        source: The library that wrote it: ``snntorch``, ``norse``, ``sinabs`` or ``spikingjelly``.
        dt: Time step in seconds; None for the one with which the source writes files.
        reset: What a spike does to the membrane: ``zero``, ``subtract`` or ``none``; None for the source's
            default.
        spikes: Spikes of a neuron in a frame: ``one`` or ``many``; None for the source's default.
        norm_input: Sinabs only: whether leaky neurons scale their input with ``1 - beta``; None for its
            default.
        input_shape: Shape of one frame, where it is not what the file says.
        input_scale: What a sample is worth, ``real = sample * input_scale``; None for spikes, or what the
            calibration set shows.
        readout: What comes out where the last layer fires: ``counts`` since the reset, or ``spikes`` of
            every frame.

    Examples:
        >>> edgesnn.ImportOptions("snntorch", reset="zero")
        ImportOptions(source='snntorch', dt=None, reset='zero', ...)
    """

    source: str
    dt: float | None = None
    reset: str | None = None
    spikes: str | None = None
    norm_input: bool | None = None
    input_shape: tuple[int, ...] | None = None
    input_scale: float | None = None
    readout: Readout = "counts"


@dataclass(frozen=True, slots=True, eq=False)
class ImportedNetwork:
    """An imported network.

    Attributes:
        name: Name of the network: its file's, without the ending.
        graph: The network as the file holds it.
        rules: What its neurons do.
        samples: What a frame of the program holds.
        folded: The integer program, its proof, and what rounding did.
        agreement: The float network against the program on the calibration set; None without one.
        clipped: Share of the calibration set's values that samples cannot say, 0..1; None without one.
        held_out: The windows that travel in the bundle, with what the float network decided; None without.

    Examples:
        >>> network = edgesnn.import_network("wake.nir", edgesnn.ImportOptions("snntorch", reset="zero"))
        >>> [layer.node for layer in network.folded.layers]
        ['1', '3']
    """

    name: str
    graph: Graph
    rules: Rules
    samples: Samples
    folded: Folded
    agreement: ImportAgreement | None
    clipped: float | None
    held_out: EvalFrames | None = None

    @property
    def program(self) -> Program:
        """The integer program."""
        return self.folded.program

    def to_samples(self, frames: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
        """Real frames as the program reads them.

        Args:
            frames: ``[n, frames, *shape]``, what the network was trained on.

        Returns:
            int8 ``[n, frames, channels]``.
        """
        return to_samples(frames, self.samples)

    def report(self) -> dict[str, Any]:
        """What was imported and what it cost, as plain data."""
        agreement = self.agreement
        return {
            "name": self.name,
            "program_hash": program_hash(self.program),
            "nir_version": self.graph.version,
            "rules": {**asdict(self.rules), "source": self.rules.source.name},
            "input": {"shape": list(self.graph.shapes[self.graph.input]), **asdict(self.samples)},
            "outputs": self.program.outputs,
            "layers": [asdict(layer) for layer in self.folded.layers],
            "agreement": None
            if agreement is None
            else {**asdict(agreement), "differ_share": agreement.differ_share, "clipped": self.clipped},
        }

    def write(
        self,
        path: str | os.PathLike[str],
        formats: str | Sequence[str] = (),
        *,
        overwrite: bool = False,
        on_progress: Progress = silent,
    ) -> Path | Bundle:
        """Write the bundle that devices run, or the program alone.

        Args:
            path: The folder to make, or a file that ends in ``.snn``.
            formats: Names of formats that the bundle holds beside ``program.snn``, or one of them
                (`frames_formats` lists them).
            overwrite: Whether what is there is replaced.
            on_progress: Told what happens.

        Returns:
            The bundle, verified, or the path of the file.

        Raises:
            UsageError: There is no such format, it carries no network that reads frames, or formats are asked
                for in a file.
            ExportError: A format cannot carry this network.
            OutputError: It exists already, or cannot be written.
        """
        target = Path(path)
        names = [formats] if isinstance(formats, str) else list(formats)
        exporters = {name: _frames_exporter(name)() for name in names}
        if exporters and target.suffix == PROGRAM_SUFFIX:
            raise UsageError(
                f"'{target.name}' holds the program alone, no formats", remedy="name a folder for the bundle"
            )
        if target.exists() and not overwrite:
            raise OutputError(f"'{target}' exists already", remedy="name another or give --force")
        if target.suffix == PROGRAM_SUFFIX:
            write_whole(target, to_bytes(self.program))
            return target
        report = self.report()
        facts = {key: report[key] for key in ("nir_version", "rules")}
        cost = {key: report[key] for key in ("layers", "agreement")}
        return write_frames_bundle(
            FramesBundleSource(self.name, self.program, facts, cost, self.held_out),
            target,
            exporters,
            overwrite=overwrite,
            on_format=lambda name: on_progress(f"writing {name}", 0, 1),
        )


def frames_formats() -> dict[str, str | None]:
    """The formats that carry networks that read frames, with the reason why one cannot be written here.

    Examples:
        >>> edgesnn.frames_formats()["c"] is None
        True
    """
    found = {}
    for name in plugins.names(plugins.EXPORTERS):
        try:
            carries = getattr(plugins.load_exporter(name), "frames", False)
        except EdgesnnError:
            continue
        if carries:
            found[name] = plugins.exporter_misses(name)
    return found


def _frames_exporter(name: str) -> type[Exporter]:
    exporter = plugins.load_exporter(name)
    if not getattr(exporter, "frames", False):
        raise UsageError(
            f"format '{name}' carries no network that reads frames",
            limit=", ".join(sorted(frames_formats())),
            remedy="name one of these",
        )
    return exporter


def import_network(
    path: str | os.PathLike[str],
    options: ImportOptions,
    *,
    calibration: str | os.PathLike[str] | None = None,
    held_out: str | os.PathLike[str] | None = None,
    on_progress: Progress = silent,
) -> ImportedNetwork:
    """Make an integer program of a network that another library wrote as NIR.

    Args:
        path: The NIR file.
        options: What it does not say.
        calibration: An ``.npz`` with ``frames`` ``[n, frames, *shape]`` and, for the task's accuracy,
            ``labels`` ``[n]``. The float network and the program are compared on it.
        held_out: Another such file, whose windows travel in the bundle; those of ``calibration`` where it is
            None. `profile_bundle` times them and scores them against what the float network decided.
        on_progress: Told what happens.

    Returns:
        The network, its program and what rounding cost.

    Raises:
        MissingExtraError: h5py is not installed.
        NetworkError: The file cannot become an integer program; every reason at once.
        FramesError: A set of frames is unusable.
        UsageError: The options contradict each other or the source.

    Examples:
        >>> options = edgesnn.ImportOptions("snntorch", reset="zero")
        >>> network = edgesnn.import_network("wake.nir", options, calibration="wake.npz")
        >>> network.agreement.same_top1
        1.0
        >>> network.write("wake").path.name
        'wake'
    """
    source = Path(path)
    rules = rules_for(options.source, options.dt, options.reset, options.spikes, options.norm_input)
    if options.readout not in ("counts", "spikes"):
        raise UsageError(f"a readout is counts or spikes, not '{options.readout}'")
    if options.input_scale is not None and not 0 < options.input_scale < np.inf:
        raise UsageError("what a sample is worth is a positive number", actual=options.input_scale)
    on_progress("reading", 0, 1)
    if source.is_file():
        probe(source)
    graph = read_graph(source, options.input_shape)
    frames: CalibrationFrames | None = None
    if calibration is not None:
        frames = read_calibration(Path(calibration), graph.shapes[graph.input])
    samples = samples_for(frames, options.input_scale)
    on_progress("folding", 0, 1)
    folded = fold(graph, rules, samples, options.readout)
    agreement, decided, kept = None, None, frames
    if frames is not None:
        agreement, decided = compare(graph, rules, folded, samples, frames, on_progress=on_progress)
    if held_out is not None:
        kept = read_calibration(Path(held_out), graph.shapes[graph.input])
        decided = float_decisions(graph, rules, kept, on_progress=on_progress)
    return ImportedNetwork(
        source.name.removesuffix(".nir"),
        graph,
        rules,
        samples,
        folded,
        agreement,
        None if frames is None else clipped_share(frames.frames, samples),
        None if kept is None else EvalFrames(to_samples(kept.frames, samples), kept.labels, decided).drawn(),
    )
