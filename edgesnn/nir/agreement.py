"""What an import cost: the float network and its integer program on the same frames, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.nir.calibration import CalibrationFrames, to_samples
from edgesnn.nir.fold import Folded, Samples
from edgesnn.nir.graph import Graph
from edgesnn.nir.nodes import FIRING
from edgesnn.nir.simulate import simulate, windows_at_once
from edgesnn.nir.sources import Rules
from edgesnn.program.golden import Golden
from edgesnn.program.ops_frames import FrameOutput


@dataclass(frozen=True, slots=True)
class LayerAgreement:
    """One layer of neurons that fire, float against integer.

    Attributes:
        node: Name of the node.
        slots: Neurons times frames compared.
        differ: Slots with another number of spikes.
        float_spikes: Spikes of the float network.
        integer_spikes: Spikes of the integer program.
    """

    node: str
    slots: int
    differ: int
    float_spikes: int
    integer_spikes: int


@dataclass(frozen=True, slots=True)
class ImportAgreement:
    """Float network against integer program on a calibration set.

    Attributes:
        source: Name of the calibration set.
        windows: Windows of frames, each from a reset.
        frames: Frames of each window.
        layers: Every layer that fires.
        same_top1: Share of windows for which both decide the same.
        float_accuracy: Share of windows that the float network decides right; None without labels.
        integer_accuracy: The same of the integer program.
    """

    source: str
    windows: int
    frames: int
    layers: tuple[LayerAgreement, ...]
    same_top1: float
    float_accuracy: float | None
    integer_accuracy: float | None

    @property
    def differ_share(self) -> float:
        """Share of all slots, over all layers, that have another number of spikes; 0 without slots."""
        slots = sum(layer.slots for layer in self.layers)
        return sum(layer.differ for layer in self.layers) / slots if slots else 0.0


def compare(
    graph: Graph,
    rules: Rules,
    folded: Folded,
    samples: Samples,
    calibration: CalibrationFrames,
    *,
    on_progress: Callable[[str, int, int], None],
) -> tuple[ImportAgreement, npt.NDArray[np.intp]]:
    """Run both on a set of frames.

    A decision is the output with the largest sum over the frames of a window.

    Args:
        graph: The float network.
        rules: What its neurons do.
        folded: Its integer program.
        samples: What the program's frames hold.
        calibration: The frames.
        on_progress: Told how many windows were run.

    Returns:
        How they agree, and what the float network decided, ``[windows]``.
    """
    firing = {node.name: node.name for node in graph.nodes if node.kind in FIRING}
    values = {value: node for node, value in folded.values.items() if node in firing}
    last = folded.program.ops[-1]
    summed = isinstance(last, FrameOutput) and last.summed
    counted = {name: np.zeros(4, np.int64) for name in firing}
    golden = Golden(folded.program)
    windows = len(calibration.frames)
    decided: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]] = []
    step = windows_at_once(graph, calibration.frames.shape[1])
    for start in range(0, windows, step):
        frames = calibration.frames[start : start + step]
        real: dict[str, npt.NDArray[np.int16]] = {}
        whole: dict[str, npt.NDArray[np.int16]] = {}
        out = simulate(graph, rules, frames, partial(_keep, firing, real))
        result = golden.sequence(to_samples(frames, samples), partial(_keep, values, whole))
        for name in firing:
            a, b = real[name].astype(np.int64), whole[name].astype(np.int64)
            counted[name] += (a.size, int((a != b).sum()), int(a.sum()), int(b.sum()))
        scores = result[:, -1] if summed else result.sum(axis=1, dtype=np.int64)
        decided.append((_decisions(out), scores.argmax(axis=-1)))
        on_progress("comparing with the float network", min(start + step, windows), windows)
    float_top, integer_top = (np.concatenate(part) for part in zip(*decided, strict=True))
    labels = calibration.labels
    found = ImportAgreement(
        source=calibration.name,
        windows=windows,
        frames=int(calibration.frames.shape[1]),
        layers=tuple(LayerAgreement(name, *(int(number) for number in counted[name])) for name in firing),
        same_top1=float((float_top == integer_top).mean()),
        float_accuracy=None if labels is None else float((float_top == labels).mean()),
        integer_accuracy=None if labels is None else float((integer_top == labels).mean()),
    )
    return found, float_top


def float_decisions(
    graph: Graph,
    rules: Rules,
    calibration: CalibrationFrames,
    *,
    on_progress: Callable[[str, int, int], None],
) -> npt.NDArray[np.intp]:
    """What the float network decides on a set of frames, ``[windows]``; `compare` says what a decision is.

    Args:
        graph: The float network.
        rules: What its neurons do.
        calibration: The frames.
        on_progress: Told how many windows were run.
    """
    windows = len(calibration.frames)
    decided = []
    step = windows_at_once(graph, calibration.frames.shape[1])
    for start in range(0, windows, step):
        decided.append(_decisions(simulate(graph, rules, calibration.frames[start : start + step])))
        on_progress("asking the float network", min(start + step, windows), windows)
    return np.concatenate(decided)


def _decisions(out: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """The output with the largest sum of each window of ``[n, frames, *shape]``."""
    return np.asarray(out.reshape(*out.shape[:2], -1).sum(axis=1).argmax(axis=-1))


def _keep(
    wanted: Mapping[str, str], into: dict[str, npt.NDArray[np.int16]], name: str, value: npt.NDArray[Any]
) -> None:
    """Spikes of the values that are wanted, by node, ``[n, frames, c]``."""
    if name in wanted:
        into[wanted[name]] = value.reshape(*value.shape[:2], -1).astype(np.int16)
