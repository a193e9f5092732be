"""The one rule for students of version 1.0: how they are known, and what keeps them from an integer program.

Export, bundles, runners, the loader and the fold ask here, so that every refusal is the same sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgesnn.errors import ArtifactError, CompileError

#: ``model_type`` of their metadata.
V1_MODEL_TYPE = "SpikingStudentLM"
#: What has no counterpart among the operations of an integer program.
OBSTACLES = (
    "softmax attention without a causal mask",
    "LayerNorm",
    "GELU",
    "a dense float embedding",
    "a float head",
)
#: How such a student runs, in the words of records and manifests.
V1_FORM = (
    "whole sequences only: attention is not causal and there are no positions, so there is no step and no "
    "state, and every token runs its whole context again"
)
_REMEDY = (
    "run it in floats (edgesnn export ARTIFACT -o BUNDLE --format onnx, target cpu), or distil it into a "
    "student that has one (edgesnn upgrade ARTIFACT)"
)


def is_v1(metadata: Mapping[str, Any]) -> bool:
    """Whether a ``metadata.json`` describes a student of version 1.0.

    Two dialects are in use. The newer one names its ``model_type``. The older one has ``config`` with
    ``steps`` and ``avg_loss`` beside it and says nothing of the model.
    """
    model_type = metadata.get("model_type")
    if model_type is not None:
        return bool(model_type == V1_MODEL_TYPE)
    older = isinstance(metadata.get("config"), dict) and {"steps", "avg_loss"} <= metadata.keys()
    return older and not {"architecture", "architecture_version", "snn_config"} & metadata.keys()


def why_no_program(metadata: Mapping[str, Any]) -> str | None:
    """Why a student has no integer program; None where the rule does not concern it.

    Args:
        metadata: Its ``metadata.json``, or the facts of the student in a manifest.
    """
    if not is_v1(metadata):
        return None
    return f"a {V1_MODEL_TYPE} v1.0 has no integer program: {', '.join(OBSTACLES)} stand in the way"


def refuse_v1(metadata: Mapping[str, Any], name: object) -> None:
    """Refuse a student of version 1.0 where an integer program is needed.

    Args:
        metadata: Its ``metadata.json``, or the facts of the student in a manifest.
        name: What the error calls the student.

    Raises:
        CompileError: It is one; the operations in the way are named.
        ArtifactError: It names this model and another version.
    """
    reason = why_no_program(metadata)
    if reason is None:
        return
    version = metadata.get("architecture_version")
    if version is not None and (not isinstance(version, str) or not version.startswith("v1.")):
        raise ArtifactError(
            f"'{name}' is a {V1_MODEL_TYPE} of an unknown version", actual=repr(version), limit="v1.x"
        )
    raise CompileError(f"student '{name}': {reason}", remedy=_REMEDY)
