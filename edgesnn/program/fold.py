"""Folding: a student artifact becomes a list of float ops without any normalisation left.

Every BatchNorm ``a * y + c`` with gain a > 0 that stands before a LIF divides into its threshold and bias:
``V >= theta`` over ``a * I + c`` is ``V >= theta / a`` over ``I + c / a``. One that stands after Wo or W2
scales the rows of that matrix, and its offset moves into the bias of every later LIF that reads the residual
stream.

One function per architecture, found by the ``architecture.name`` of the metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ArtifactError, CompileError
from edgesnn.program.artifact import METADATA_NAME, StudentArtifact
from edgesnn.program.float_program import (
    Float32Array,
    FloatEmbed,
    FloatLIF,
    FloatLinear,
    FloatOp,
    FloatProgram,
    FloatReadout,
)
from edgesnn.program.ops import (
    CURRENT_LIMIT,
    DECAY_DENOMINATOR,
    HEAD_DIM_MAX,
    TIMESTEPS_MAX,
    Add,
    Attend,
    Count,
    Shift,
)
from edgesnn.v1_rule import refuse_v1

_SIZE_MAX = 2**20
_Float64Array = npt.NDArray[np.float64]


def fold(artifact: StudentArtifact) -> FloatProgram:
    """Fold a student into float ops.

    Args:
        artifact: The student.

    Returns:
        The folded student.

    Raises:
        CompileError: Its architecture has no integer program; the operations in the way are named.
        ArtifactError: Metadata or tensors do not fit the architecture.
    """
    return folder_for(artifact.path, artifact.metadata)(artifact)


def folder_for(path: Path, metadata: Mapping[str, Any]) -> Callable[[StudentArtifact], FloatProgram]:
    """The folding function of a student, before any tensor is read.

    Args:
        path: The artifact, for the error.
        metadata: Content of its ``metadata.json``.

    Raises:
        CompileError: Its architecture has no integer program; the operations in the way are named.
    """
    refuse_v1(metadata, path)
    model_type = metadata.get("model_type")
    architecture = metadata.get("architecture")
    name = architecture.get("name") if isinstance(architecture, dict) else None
    if model_type != "SpikingTransformerLM" or not isinstance(name, str) or name not in FOLDERS:
        raise CompileError(
            f"student '{path}' has an unknown architecture",
            actual=f"model_type {model_type!r}, architecture {name!r}",
            limit=f"SpikingTransformerLM with one of {sorted(FOLDERS)}",
        )
    version = metadata.get("architecture_version")
    if not isinstance(version, str) or not version.startswith("v2."):
        raise CompileError(
            f"{METADATA_NAME} of '{path}' has an unknown architecture_version",
            actual=repr(version),
            limit="v2.x",
        )
    return FOLDERS[name]


@dataclass(frozen=True, slots=True)
class _Affine:
    """``gain * y + offset``, float64 ``[c]`` each."""

    gain: _Float64Array
    offset: _Float64Array


class _TransformerFolder:
    """Folds one spiking transformer; reads every tensor of the artifact exactly once."""

    def __init__(self, artifact: StudentArtifact) -> None:
        self.artifact = artifact
        size = artifact.integer
        self.vocab = self._vocab()
        self.dim = size("architecture", "dim", 1, _SIZE_MAX)
        self.depth = size("architecture", "depth", 1, 1024)
        self.heads = size("architecture", "num_heads", 1, 1024)
        self.mlp = size("architecture", "mlp_dim", 1, _SIZE_MAX)
        self.rank = size("architecture", "rank", 1, _SIZE_MAX)
        self.shifted = size("architecture", "shift_channels", 0, self.dim)
        self.eps = artifact.number("architecture", "norm_eps")
        self.timesteps = size("snn_config", "num_timesteps", 1, TIMESTEPS_MAX)
        self.decay = size("snn_config", "decay_numerator", 1, DECAY_DENOMINATOR)
        self.threshold = artifact.number("snn_config", "spike_threshold")
        self.windows = self._windows()
        self.ops: list[FloatOp] = []
        self.used: set[str] = set()
        self.offset = np.zeros(self.dim)

    def _vocab(self) -> int:
        vocab = self.artifact.metadata.get("vocab_size")
        if isinstance(vocab, bool) or not isinstance(vocab, int) or vocab < 2:
            raise ArtifactError(
                f"'vocab_size' in {METADATA_NAME} of '{self.artifact.path}' is unusable", actual=repr(vocab)
            )
        return vocab

    def _windows(self) -> tuple[int, ...]:
        windows: Any = self.artifact.section("architecture").get("windows")
        if self.dim % self.heads:
            raise ArtifactError(
                f"dim of '{self.artifact.path}' is no multiple of num_heads",
                actual=self.dim,
                limit=f"multiple of {self.heads}",
            )
        head_dim = self.dim // self.heads
        fits = (
            isinstance(windows, list)
            and len(windows) == self.heads
            and all(type(w) is int and w >= 1 and w * head_dim < CURRENT_LIMIT for w in windows)
        )
        if not fits or head_dim > HEAD_DIM_MAX:
            raise ArtifactError(
                f"attention windows of '{self.artifact.path}' are unusable",
                actual=f"{windows}, head width {head_dim}",
                limit=f"{self.heads} windows of at least 1, head width at most {HEAD_DIM_MAX}, "
                f"their product below {CURRENT_LIMIT}",
            )
        return tuple(windows)

    def tensor(self, name: str, *shape: int) -> _Float64Array:
        self.used.add(name)
        return self.artifact.tensor(name, shape).astype(np.float64)

    def norm(self, name: str, channels: int, *, positive: bool = True) -> _Affine:
        variance = self.tensor(f"{name}.running_var", channels)
        weight = self.tensor(f"{name}.weight", channels)
        if (variance < 0).any():
            raise ArtifactError(f"'{name}.running_var' of '{self.artifact.path}' is negative")
        if positive and (weight <= 0).any():
            raise CompileError(
                f"'{name}.weight' of '{self.artifact.path}' must be positive to fold into a threshold",
                actual=float(weight.min()),
                limit="> 0 (training keeps it >= 0.05)",
            )
        gain = weight / np.sqrt(variance + self.eps)
        return _Affine(
            gain, self.tensor(f"{name}.bias", channels) - gain * self.tensor(f"{name}.running_mean", channels)
        )

    def lif(self, name: str, source: str, norm: _Affine, offset: _Float64Array | float = 0.0) -> str:
        threshold = self.finite(name, "threshold", self.threshold / norm.gain)
        bias = self.finite(name, "bias", norm.offset / norm.gain + offset)
        self.ops.append(FloatLIF(name, source, name, self.decay, threshold, bias))
        return name

    def linear(self, name: str, source: str, weight: _Float64Array) -> str:
        """A linear from ``weight [out, in]``."""
        self.ops.append(FloatLinear(name, source, name, self.finite(name, "weight", weight.T)))
        return name

    def finite(self, name: str, what: str, array: _Float64Array) -> Float32Array:
        """A folded array as float32.

        Raises:
            CompileError: It leaves the range of float32.
        """
        if not (np.abs(array) <= np.finfo(np.float32).max).all():
            raise CompileError(
                f"the folded {what} of '{name}' of '{self.artifact.path}' leaves the range of float32",
                remedy="a norm's gain or variance is extreme: train again with another seed or learning rate",
            )
        return np.ascontiguousarray(array, np.float32)

    def shift(self, name: str, source: str) -> str:
        if self.shifted == 0:
            return source
        self.ops.append(Shift(name, source, name, np.arange(self.shifted, dtype=np.int32)))
        return name

    def branch(self, name: str, weight: _Float64Array, source: str, norm: _Affine, stream: str) -> str:
        """``stream + norm(weight @ source)``: the gain scales rows, the offset waits for the LIFs."""
        current = self.linear(name, source, weight * norm.gain[:, None])
        self.offset = self.offset + norm.offset
        self.ops.append(Add(f"{name}.add", stream, current, f"{name}.add"))
        return f"{name}.add"

    def block(self, index: int, stream: str) -> str:
        d, name = self.dim, f"blocks.{index}"
        attn, mlp = f"{name}.attn", f"{name}.mlp"
        spikes = self.lif(f"{attn}.lif_in", stream, self.norm(f"{attn}.norm_in", d), self.offset)
        spikes = self.shift(f"{attn}.shift", spikes)
        qkv = self.linear(f"{attn}.qkv", spikes, self.tensor(f"{attn}.qkv.weight", 3 * d, d))
        fired = self.lif(f"{attn}.lif_qkv", qkv, self.norm(f"{attn}.norm_qkv", 3 * d))
        self.ops.append(Attend(f"{attn}.attend", fired, f"{attn}.attend", d // self.heads, self.windows))
        spikes = self.lif(f"{attn}.lif_out", f"{attn}.attend", self.norm(f"{attn}.norm_out", d))
        norm = self.norm(f"{attn}.norm_res", d, positive=False)
        stream = self.branch(f"{attn}.out", self.tensor(f"{attn}.out.weight", d, d), spikes, norm, stream)
        spikes = self.lif(f"{mlp}.lif_in", stream, self.norm(f"{mlp}.norm_in", d), self.offset)
        spikes = self.shift(f"{mlp}.shift", spikes)
        up = self.linear(f"{mlp}.up", spikes, self.tensor(f"{mlp}.up.weight", self.mlp, d))
        hidden = self.lif(f"{mlp}.lif_up", up, self.norm(f"{mlp}.norm_up", self.mlp))
        norm = self.norm(f"{mlp}.norm_res", d, positive=False)
        return self.branch(
            f"{mlp}.down", self.tensor(f"{mlp}.down.weight", d, self.mlp), hidden, norm, stream
        )

    def run(self) -> FloatProgram:
        table = self.tensor("embed.weight", self.vocab, self.rank).astype(np.float32)
        projection = self.tensor("embed.project.weight", self.dim, self.rank)
        self.ops.append(FloatEmbed("embed", "embed", table, np.ascontiguousarray(projection.T, np.float32)))
        stream = "embed"
        for index in range(self.depth):
            stream = self.block(index, stream)
        spikes = self.lif("readout.lif", stream, self.norm("readout.norm", self.dim), self.offset)
        self.ops.append(Count("readout.count", spikes, "readout.count"))
        weight = np.ascontiguousarray(self.tensor("readout.weight", self.rank, self.dim).T, np.float32)
        bias = self.tensor("readout.bias", self.rank).astype(np.float32)
        self.ops.append(FloatReadout("readout", "readout.count", "readout", weight, bias, table))
        self.artifact.expect_only(self.used)
        return FloatProgram(self.timesteps, tuple(self.ops))


def fold_spiking_transformer(artifact: StudentArtifact) -> FloatProgram:
    """Fold a ``spiking_transformer``.

    Raises:
        ArtifactError: Metadata or tensors do not fit.
        CompileError: A gain before a LIF is not positive.
    """
    return _TransformerFolder(artifact).run()


#: Folding function by architecture name.
FOLDERS: dict[str, Callable[[StudentArtifact], FloatProgram]] = {
    "spiking_transformer": fold_spiking_transformer,
}
