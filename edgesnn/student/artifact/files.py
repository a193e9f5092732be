"""The artifact directory: what training writes and every later room reads."""

from __future__ import annotations

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from edgesnn.errors import ArtifactError, ConfigError, OutputError
from edgesnn.resources import model_folder
from edgesnn.scratch import ScratchFolder
from edgesnn.student.artifact.evaluate import EvalDocuments
from edgesnn.student.artifact.storage import restored_state
from edgesnn.student.config import SnnConfig
from edgesnn.student.model import registry
from edgesnn.text.tokenizer import TextTokenizer
from edgesnn.v1_rule import refuse_v1

METADATA_FILE = "metadata.json"
SAFETENSORS_FILE = "student.safetensors"
TORCH_FILE = "student.pt"
TOKENIZER_FILE = "tokenizer.json"
EVAL_FILE = "eval.npz"
TRIMMING_FILE = "trimming.npz"


def write_artifact(
    directory: Path,
    state: dict[str, Tensor],
    metadata: dict[str, Any],
    tokenizer: TextTokenizer,
    held_out: EvalDocuments,
    *,
    trimming: bytes | None = None,
) -> None:
    """Write an artifact so that a reader never meets a mixture of two.

    All files are first written beside the old ones. Then metadata.json goes, the files change places, and the
    new metadata.json comes last: without it a directory is no artifact.

    Args:
        directory: Where; it exists.
        state: The weights as they are stored (`stored_state`).
        metadata: Content of ``metadata.json``.
        tokenizer: The student's.
        held_out: What it is scored on.
        trimming: The map from the teacher's vocabulary (`TrimmedVocabulary.to_bytes`), where there is one.

    Raises:
        OutputError: The files cannot be written; an artifact that was there is intact.
    """
    import safetensors.torch

    weights, arrays = io.BytesIO(), io.BytesIO()
    torch.save(state, weights)
    np.savez(arrays, allow_pickle=False, **held_out.arrays())
    contents = {
        TORCH_FILE: weights.getvalue(),
        SAFETENSORS_FILE: safetensors.torch.save(state),
        TOKENIZER_FILE: tokenizer.to_json().encode("utf-8"),
        EVAL_FILE: arrays.getvalue(),
        **({} if trimming is None else {TRIMMING_FILE: trimming}),
        METADATA_FILE: (json.dumps(metadata, indent=2, allow_nan=False) + "\n").encode("utf-8"),
    }
    try:
        with ScratchFolder("artifact", directory) as scratch:
            for name, content in contents.items():
                with (scratch.path / name).open("wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
            (directory / METADATA_FILE).unlink(missing_ok=True)
            (directory / TRIMMING_FILE).unlink(missing_ok=True)
            for name in contents:
                os.replace(scratch.path / name, directory / name)
    except OSError as error:
        raise OutputError(
            f"cannot write the artifact to '{directory}'", actual=error.strerror or str(error)
        ) from None


def read_metadata(directory: Path) -> dict[str, Any]:
    """Read metadata.json.

    Raises:
        ArtifactError: It is missing or no JSON object.
    """
    path = directory / METADATA_FILE
    if not path.is_file():
        raise ArtifactError(
            f"'{directory}' is no student artifact", actual=f"no {METADATA_FILE}", remedy="edgesnn train"
        )
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{METADATA_FILE} is no JSON", actual=str(error)) from None
    if not isinstance(metadata, dict):
        raise ArtifactError(f"{METADATA_FILE} is no JSON object", actual=type(metadata).__name__)
    return metadata


def read_state(directory: Path) -> dict[str, Tensor]:
    """Read the weights: student.safetensors, or student.pt where there is none.

    Raises:
        ArtifactError: Both are missing, or the file is damaged, or student.pt holds more than tensors, or
            int8 codes have no scales.
    """
    import safetensors
    import safetensors.torch

    path = directory / SAFETENSORS_FILE
    if path.is_file():
        try:
            return restored_state(safetensors.torch.load(path.read_bytes()))
        except (safetensors.SafetensorError, ValueError, KeyError) as error:
            raise ArtifactError(f"{path.name} is damaged", actual=str(error)) from None
    path = directory / TORCH_FILE
    if not path.is_file():
        raise ArtifactError(f"'{directory}' holds no weights", limit=f"{SAFETENSORS_FILE} or {TORCH_FILE}")
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError:
        raise ArtifactError(
            f"{path.name} is refused: it is no plain state dict",
            limit="tensors only; code in a pickle is never run",
        ) from None
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise ArtifactError(f"{path.name} is damaged", actual=str(error).split("\n", 1)[0]) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ArtifactError(f"{path.name} is no state dict of tensors", actual=type(state).__name__)
    return restored_state(state)


def read_state_arrays(directory: Path) -> dict[str, NDArray[np.float32]]:
    """The weights as arrays, for a student that no model of this package is built from.

    Raises:
        ArtifactError: As `read_state`; or a tensor holds no floats.
    """
    state = read_state(directory)
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            raise ArtifactError(
                f"tensor '{name}' of '{directory}' has the wrong dtype", actual=tensor.dtype, limit="floats"
            )
    return {str(name): tensor.float().contiguous().numpy() for name, tensor in state.items()}


def _check_state(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Compare names, shapes, dtypes and values with what the model needs; upcast to float32."""
    expected = model.state_dict()
    for label, names in (
        ("missing", expected.keys() - state.keys()),
        ("unexpected", state.keys() - expected.keys()),
    ):
        if names:
            shown = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
            raise ArtifactError(f"{len(names)} {label} tensors in the weights", actual=shown)
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise ArtifactError(
                f"tensor '{name}' has the wrong shape",
                actual=list(tensor.shape),
                limit=list(expected[name].shape),
            )
        if tensor.dtype not in (torch.float32, torch.float16):
            raise ArtifactError(
                f"tensor '{name}' has the wrong dtype", actual=tensor.dtype, limit="float32, float16"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(f"tensor '{name}' holds NaN or infinity")
    return {name: tensor.float() for name, tensor in state.items()}


def load_student(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load a student for inference.

    Args:
        path: Artifact directory, or a weights file in it.

    Returns:
        The model in evaluation mode, float32, and its metadata.

    Raises:
        ArtifactError: A file is missing, damaged or inconsistent, or the architecture is unknown.
        CompileError: It is of version 1.0, which has no integer program; `edgesnn.student.v1` runs it.
    """
    directory = model_folder(path)
    metadata = read_metadata(directory)
    refuse_v1(metadata, directory)
    try:
        options = dict(metadata["architecture"])
        neuron = dict(metadata["snn_config"])
        vocab_size = int(metadata["vocab_size"])
        name = options.pop("name")
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{METADATA_FILE} lacks what a v2.0 student needs", actual=f"{type(error).__name__}: {error}"
        ) from None
    try:
        model = registry.build(name, options, SnnConfig.from_metadata(neuron), vocab_size)
    except ConfigError as error:
        raise ArtifactError(error.what, actual=error.actual, limit=error.limit) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["snn_config", *map(str, first["loc"])])
        raise ArtifactError(f"{METADATA_FILE}, {where}: {first['msg']}") from None
    model.load_state_dict(_check_state(read_state(directory), model))
    return model.eval(), metadata
