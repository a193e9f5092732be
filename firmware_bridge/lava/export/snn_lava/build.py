"""Puts the processes together and runs token ids through them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import Dense
from lava.proc.lif.process import LIFReset
from lava.utils.weightutils import SignMode

from snn_lava.currents import CurrentDelay, TokenSource
from snn_lava.frames import FrameSink, FrameSource, PersistentLIF
from snn_lava.mailbox import HEADER, Mapped, write_job
from snn_lava.network import Network
from snn_lava.neurons import ResidualLIF, ThresholdLIF
from snn_lava.sink import CountSink
from snn_lava.spikes import SpikingAttention, TokenShift

CUSTOM = {
    kind.__name__: kind
    for kind in (
        TokenSource,
        ThresholdLIF,
        ResidualLIF,
        TokenShift,
        SpikingAttention,
        CurrentDelay,
        CountSink,
        FrameSource,
        PersistentLIF,
        FrameSink,
    )
}


def read_folder(folder: Path) -> tuple:
    """Manifest and arrays of an exported folder."""
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    with np.load(folder / "weights.npz", allow_pickle=False) as stored:
        return manifest, dict(stored)


def dense(weight: np.ndarray, name: str) -> Dense:
    """A stock ``Dense`` that multiplies by an int8 matrix exactly.

    Signed weights of 8 bits hold even numbers only on Loihi (the sign takes a bit), so W itself would lose
    its last bit: 2 W with an exponent of -1 is W.

    Args:
        weight: int8 ``[in, out]``.
        name: Name of the process.
    """
    return Dense(
        weights=2 * weight.T.astype(np.int32),
        weight_exp=-1,
        num_weight_bits=8,
        sign_mode=SignMode.MIXED,
        num_message_bits=0,
        name=name,
    )


def make_process(entry: dict, arrays: dict, files: dict) -> object:
    """One process of the manifest.

    Args:
        entry: Its entry.
        arrays: Content of ``weights.npz``.
        files: Paths by name, for processes that read or write a file.
    """
    own = {role: arrays[name] for role, name in entry["tensors"].items()}
    settings = {**entry["parameters"], "name": entry["name"]}
    if entry["class"] == "Dense":
        return dense(own["weight"], entry["name"])
    if entry["class"] == "LIFReset":
        return LIFReset(**{**settings, "shape": tuple(settings["shape"])}, **own)
    if "shape" in settings:
        settings["shape"] = tuple(settings["shape"])
    wanted = {name: files[name] for name in entry["files"]}
    return CUSTOM[entry["class"]](**settings, **own, **wanted)


class Simulation:
    """A network that runs in Lava: make it, `start` it, `warm_up`, `run` any number of texts, `stop`.

    Args:
        folder: The exported folder.
        form: ``single`` or ``graph``.
        tokens: Path of the file that token ids are put into.
        logits: Path of the file that logits are taken from.

    Attributes:
        processes: The processes by name.
    """

    def __init__(self, folder: Path, form: str, tokens: str, logits: str) -> None:
        self._manifest, arrays = read_folder(folder)
        files = {"tokens": tokens, "logits": logits}
        self._graph = form == "graph"
        self._tokens, self._logits = Mapped(tokens), Mapped(logits)
        self._elapsed = 0
        if self._graph:
            entries = self._manifest["processes"]
            self.processes = {entry["name"]: make_process(entry, arrays, files) for entry in entries}
            for source, target in self._manifest["connections"]:
                self._port(source).connect(self._port(target))
        else:
            self.processes = {"network": Network(manifest=self._manifest, arrays=arrays, **files)}
        self._any = next(iter(self.processes.values()))

    def start(self) -> None:
        """Compile and start the processes; none of them has computed yet."""
        self._any.create_runtime(run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))

    def warm_up(self) -> None:
        """Run one token's time of nothing: values of processes can be set in a running Lava only."""
        self._steps(self._manifest["timesteps"] if self._graph else 1)

    def run(self, ids: np.ndarray) -> np.ndarray:
        """Logits of every token of one text, or outputs of every frame, from an empty context.

        Args:
            ids: Token ids ``[length]``, or frames ``[length, inputs]``.

        Returns:
            Integer logits, int32 ``[length, vocab]``, or outputs ``[length, outputs]``.
        """
        given = np.asarray(ids)
        write_job(self._tokens.words(), given if "inputs" in self._manifest else given[None, :])
        self.advance(len(ids))
        vocab = self._manifest.get("outputs") or self._manifest["vocab"]
        return np.array(self._logits.words()[: len(ids) * vocab]).reshape(len(ids), vocab)

    def advance(self, length: int) -> None:
        """Do the job in the file of tokens.

        The graph takes T timesteps per token, and as many more as the last token needs to reach the sink;
        they are filled up to whole tokens, so that every process begins the next text at the same phase.

        Args:
            length: Tokens of the job.
        """
        if not self._graph:
            self._steps(1)
            return
        timesteps = self._manifest["timesteps"]
        for entry in self._manifest["processes"]:
            if "first" in entry["parameters"]:
                begin = self._elapsed + entry["parameters"]["first"]
                self.processes[entry["name"]].first.set(np.array([begin]))
        drain = -(-self._manifest["latency"] // timesteps)
        self._steps((length + drain) * timesteps)

    def stop(self) -> None:
        """Stop Lava."""
        self._any.stop()

    def _steps(self, count: int) -> None:
        self._any.run(condition=RunSteps(count))
        self._elapsed += count

    def _port(self, name: str) -> object:
        process, port = name.rsplit(".", 1)
        return getattr(self.processes[process], port)


def make_files(folder: Path, length: int, vocab: int, inputs: int = 1) -> tuple:
    """Empty files of tokens and logits for texts of up to ``length`` tokens or frames; their paths."""
    tokens, logits = folder / "tokens.bin", folder / "logits.bin"
    np.zeros(HEADER + length * inputs, np.int32).tofile(tokens)
    np.zeros(length * vocab, np.int32).tofile(logits)
    return str(tokens), str(logits)
