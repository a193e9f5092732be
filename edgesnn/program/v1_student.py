"""A student of version 1.0 (``SpikingStudentLM``): its tensors, checked, and what its metadata says of them.

The forward pass, with ``s(x) = 1 where x > threshold, else 0``::

    x = embed[ids]
    every block:  x = s(LayerNorm(x + MultiheadAttention(x, x, x)))      no mask, no positions
                  x = LayerNorm(x + W2 s(GELU(W1 x + b1)) + b2)
    logits = W x + b

A token therefore sees the tokens behind it, and has no place of its own: there is no step and no state, and
whoever generates runs the whole text again for every token.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from edgesnn.errors import ArtifactError
from edgesnn.program.artifact import METADATA_NAME, StudentArtifact
from edgesnn.program.float_program import Float32Array
from edgesnn.v1_rule import V1_MODEL_TYPE, is_v1

#: What the original script takes where its metadata says nothing.
HEADS, THRESHOLD, MAX_LENGTH = 4, 1.0, 64
#: Of every LayerNorm: torch's default, which the original never changes.
NORM_EPS = 1e-5
_BLOCK = re.compile(r"blocks\.(\d+)\.")
_DEPTH_MAX = 1024


@dataclass(frozen=True, slots=True, eq=False)
class V1Student:
    """A student of version 1.0.

    Attributes:
        tensors: The state dict, float32, by name; every tensor has the shape that the sizes below ask for.
        vocab_size: Token ids.
        dim: Width.
        depth: Blocks.
        heads: Attention heads.
        hidden: Width between the two layers of a block's MLP.
        threshold: Of every spike.
        max_length: Longest sequence of its training, tokens.
        teacher: Name of the teacher it learnt from, or None.
        assumed: What the metadata does not say, with the default that was taken.
        facts: Facts of the student for a manifest, in one dialect whichever was read.
    """

    tensors: dict[str, Float32Array]
    vocab_size: int
    dim: int
    depth: int
    heads: int
    hidden: int
    threshold: float
    max_length: int
    teacher: str | None
    assumed: tuple[str, ...]
    facts: dict[str, Any]

    def tensor(self, name: str) -> Float32Array:
        """A tensor of the state dict."""
        return self.tensors[name]


def block_shapes(dim: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of one block, by name within it."""
    return {
        "attn.attn.in_proj_weight": (3 * dim, dim),
        "attn.attn.in_proj_bias": (3 * dim,),
        "attn.attn.out_proj.weight": (dim, dim),
        "attn.attn.out_proj.bias": (dim,),
        "attn.norm.weight": (dim,),
        "attn.norm.bias": (dim,),
        "ff.0.weight": (hidden, dim),
        "ff.0.bias": (hidden,),
        "ff.3.weight": (dim, hidden),
        "ff.3.bias": (dim,),
        "norm.weight": (dim,),
        "norm.bias": (dim,),
    }


def read_v1(artifact: StudentArtifact) -> V1Student:
    """Check a student of version 1.0 and say what it is.

    The sizes are those of the tensors. Metadata that says otherwise describes another student: one error
    names everything that differs.

    Args:
        artifact: Metadata of either dialect, and the state dict.

    Raises:
        ArtifactError: It is none; a tensor is missing, unknown, of the wrong shape or not finite; or the
            metadata does not fit the tensors.
    """
    metadata = artifact.metadata
    if not is_v1(metadata):
        raise ArtifactError(
            f"'{artifact.path}' is no {V1_MODEL_TYPE} v1.0", actual=repr(metadata.get("model_type"))
        )
    vocab, dim = _matrix(artifact, "embed.weight")
    depth = 1 + max((int(m[1]) for name in artifact.tensors if (m := _BLOCK.match(name))), default=-1)
    if not 1 <= depth <= _DEPTH_MAX:
        raise ArtifactError(
            f"student '{artifact.path}' has no blocks", actual=depth, limit=f"1..{_DEPTH_MAX}"
        )
    hidden, _ = _matrix(artifact, "blocks.0.ff.0.weight")
    shapes: dict[str, tuple[int, ...]] = {
        "embed.weight": (vocab, dim),
        "head.weight": (vocab, dim),
        "head.bias": (vocab,),
    }
    for number in range(depth):
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in block_shapes(dim, hidden).items()}
    tensors = {name: np.ascontiguousarray(artifact.tensor(name, shape)) for name, shape in shapes.items()}
    artifact.expect_only(shapes)
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise ArtifactError(
                f"tensor '{name}' of student '{artifact.path}' holds NaN or infinity",
                remedy="its training diverged: take an earlier checkpoint",
            )
    _compare(artifact, {"vocab_size": vocab, "architecture.dim": dim, "architecture.depth": depth})
    assumed: list[str] = []
    heads = _heads(artifact, dim, assumed)
    threshold = _threshold(artifact, assumed)
    training = _object(metadata, "training_config") or _object(metadata, "config")
    given = training.get("max_length")
    max_length = int(given) if isinstance(given, int) and _whole(given) and given > 0 else MAX_LENGTH
    if max_length != given:
        assumed.append(f"max_length {MAX_LENGTH}")
    teacher = training.get("teacher_model")
    facts: dict[str, Any] = {
        "model_type": V1_MODEL_TYPE,
        "architecture_version": metadata.get("architecture_version") or "v1.0",
        "vocab_size": vocab,
        "student_params": int(sum(array.size for array in tensors.values())),
        "architecture": {"dim": dim, "depth": depth, "num_heads": heads, "mlp_dim": hidden},
        "snn_config": {**_object(metadata, "snn_config"), "spike_threshold": threshold},
        "training_config": training,
        "training_results": _object(metadata, "training_results")
        or {key: metadata[key] for key in ("steps", "avg_loss") if key in metadata},
        "metadata": _object(metadata, "metadata"),
        "max_length": max_length,
        "assumed": assumed,
    }
    facts = _portable(facts)
    return V1Student(
        tensors=tensors,
        vocab_size=vocab,
        dim=dim,
        depth=depth,
        heads=heads,
        hidden=hidden,
        threshold=threshold,
        max_length=max_length,
        teacher=teacher if isinstance(teacher, str) else None,
        assumed=tuple(assumed),
        facts=facts,
    )


def _portable(value: Any) -> Any:
    """Plain data without paths of the machine that trained, and without numbers that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _portable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_portable(one) for one in value]
    if isinstance(value, str) and any(kind(value).is_absolute() for kind in (PurePosixPath, PureWindowsPath)):
        return PureWindowsPath(value).name  # which reads both kinds of slashes
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _matrix(artifact: StudentArtifact, name: str) -> tuple[int, int]:
    array = artifact.tensors.get(name)
    if array is None:
        raise ArtifactError(f"student '{artifact.path}' lacks the tensor '{name}'")
    if array.ndim != 2 or array.size == 0:
        raise ArtifactError(
            f"tensor '{name}' of student '{artifact.path}' is no matrix", actual=list(array.shape)
        )
    return int(array.shape[0]), int(array.shape[1])


def _object(metadata: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = metadata.get(key)
    return dict(found) if isinstance(found, dict) else {}


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _compare(artifact: StudentArtifact, sizes: dict[str, int]) -> None:
    """Refuse metadata of another student; what it does not say cannot be wrong."""
    said = {"vocab_size": artifact.metadata.get("vocab_size")}
    architecture = _object(artifact.metadata, "architecture")
    said |= {name: architecture.get(name.partition(".")[2]) for name in sizes if "." in name}
    lies = [name for name, size in sizes.items() if said[name] is not None and said[name] != size]
    if lies:
        raise ArtifactError(
            f"{METADATA_NAME} of '{artifact.path}' describes another student than its tensors",
            actual=", ".join(f"{name} {said[name]!r}" for name in lies),
            limit=", ".join(f"{name} {sizes[name]}" for name in lies) + ", as the tensors have it",
            remedy="put the metadata.json beside the weights that was written with them",
        )


def _heads(artifact: StudentArtifact, dim: int, assumed: list[str]) -> int:
    heads = _object(artifact.metadata, "architecture").get("num_heads")
    if heads is None:
        heads = HEADS
        assumed.append(f"num_heads {HEADS}")
    if not _whole(heads) or heads < 1 or dim % heads:
        raise ArtifactError(
            f"'architecture.num_heads' in {METADATA_NAME} of '{artifact.path}' does not fit its tensors",
            actual=repr(heads),
            limit=f"a divisor of the width {dim}",
        )
    return int(heads)


def _threshold(artifact: StudentArtifact, assumed: list[str]) -> float:
    if _object(artifact.metadata, "snn_config").get("spike_threshold") is None:
        assumed.append(f"spike_threshold {THRESHOLD}")
        return THRESHOLD
    value = artifact.metadata["snn_config"]["spike_threshold"]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not abs(value) <= float(np.finfo(np.float32).max):  # NaN is not, either
        raise ArtifactError(
            f"'snn_config.spike_threshold' in {METADATA_NAME} of '{artifact.path}' is unusable",
            actual=repr(value),
            limit="a number",
        )
    return float(value)
