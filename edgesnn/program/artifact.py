"""Reading a student artifact with numpy alone: ``metadata.json`` and ``student.safetensors``.

No torch is needed. A folder that holds only ``student.pt`` is converted by `edgesnn.student` first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesnn.errors import ArtifactError
from edgesnn.program.float_program import Float32Array

METADATA_NAME = "metadata.json"
TENSORS_NAME = "student.safetensors"
_METADATA_MAX_BYTES = 64 * 2**20
_NUMBER_MAX = float(np.finfo(np.float32).max)
_NUMPY = {"F32": "<f4", "F16": "<f2", "I8": "i1"}
_FLOATS = {"F32", "F16", "BF16"}
#: Dtype of codes, and what follows a matrix's name in the name of their scales.
_CODES, _SCALE = "I8", "_scale"


@dataclass(frozen=True, slots=True, eq=False)
class StudentArtifact:
    """A trained student as it lies on disk.

    Attributes:
        path: The folder.
        metadata: Content of ``metadata.json``.
        tensors: The state dict, float32, by name.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Float32Array]

    def section(self, name: str) -> dict[str, Any]:
        """A section of the metadata.

        Raises:
            ArtifactError: It is missing or no object.
        """
        section = self.metadata.get(name)
        if not isinstance(section, dict):
            raise ArtifactError(f"{METADATA_NAME} of '{self.path}' has no section '{name}'")
        return section

    def integer(self, section: str, key: str, low: int, high: int) -> int:
        """An integer of the metadata within limits.

        Raises:
            ArtifactError: It is missing, no integer or out of range.
        """
        value = self.section(section).get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ArtifactError(
                f"'{section}.{key}' in {METADATA_NAME} of '{self.path}' is unusable",
                actual=repr(value),
                limit=f"an integer in {low}..{high}",
            )
        return value

    def number(self, section: str, key: str) -> float:
        """A positive finite number of the metadata.

        Raises:
            ArtifactError: It is missing, no number or not positive.
        """
        value = self.section(section).get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _NUMBER_MAX:
            raise ArtifactError(
                f"'{section}.{key}' in {METADATA_NAME} of '{self.path}' is unusable",
                actual=repr(value),
                limit="a positive number",
            )
        return float(value)

    def tensor(self, name: str, shape: tuple[int, ...]) -> Float32Array:
        """A tensor of the state dict.

        Raises:
            ArtifactError: It is missing or has another shape.
        """
        if name not in self.tensors:
            raise ArtifactError(f"student '{self.path}' lacks the tensor '{name}'")
        array = self.tensors[name]
        if array.shape != shape:
            raise ArtifactError(
                f"tensor '{name}' of student '{self.path}' has the wrong shape",
                actual=list(array.shape),
                limit=list(shape),
            )
        return array

    def expect_only(self, names: Iterable[str]) -> None:
        """Refuse tensors that the architecture does not know.

        Raises:
            ArtifactError: There is such a tensor.
        """
        strange = sorted(set(self.tensors) - set(names))
        if strange:
            raise ArtifactError(
                f"student '{self.path}' holds tensors that its architecture does not know",
                actual=", ".join(strange[:5]),
            )


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read ``metadata.json`` of an artifact.

    Raises:
        ArtifactError: The folder or the file is missing or unreadable.
    """
    path = folder / METADATA_NAME
    if not folder.is_dir():
        raise ArtifactError(
            f"student artifact '{folder}' does not exist", remedy="edgesnn train --output-dir makes one"
        )
    if not path.is_file():
        raise ArtifactError(
            f"'{folder}' is not a student artifact: it has no {METADATA_NAME}",
            remedy="edgesnn train --output-dir makes one",
        )
    try:
        if path.stat().st_size > _METADATA_MAX_BYTES:
            raise ArtifactError(
                f"'{path}' is too large", actual=path.stat().st_size, limit=_METADATA_MAX_BYTES
            )
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise ArtifactError(f"'{path}' is not JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise ArtifactError(f"'{path}' holds no JSON object", actual=type(metadata).__name__)
    return metadata


def read_artifact(folder: Path) -> StudentArtifact:
    """Read a student artifact.

    Args:
        folder: The folder that ``edgesnn train`` wrote.

    Returns:
        Metadata and tensors.

    Raises:
        ArtifactError: A file is missing, truncated or damaged, a tensor is no float or holds NaN.
    """
    metadata = read_metadata(folder)
    path = folder / TENSORS_NAME
    if not path.is_file():
        raise ArtifactError(f"student '{folder}' has no {TENSORS_NAME}")
    return StudentArtifact(folder, metadata, read_tensors(path))


def tensor_bytes(tensors: Mapping[str, Float32Array]) -> bytes:
    """Tensors as the content of a ``student.safetensors``."""
    from safetensors.numpy import save

    return save(dict(tensors))


def read_tensors(path: Path) -> dict[str, Float32Array]:
    """The tensors of a ``student.safetensors``, float32.

    Raises:
        ArtifactError: The file is damaged, or a tensor is no float or holds NaN.
    """
    from safetensors import SafetensorError, deserialize

    tensors: dict[str, Float32Array] = {}
    codes: set[str] = set()
    try:
        for name, stored in deserialize(path.read_bytes()):  # type: ignore[no-untyped-call]
            dtype = stored["dtype"]
            if dtype not in _FLOATS | {_CODES}:
                raise ArtifactError(
                    f"tensor '{name}' in '{path}' has the wrong dtype",
                    actual=dtype,
                    limit=f"F32, F16, BF16, or {_CODES} with scales",
                )
            if dtype == _CODES:
                codes.add(name)
            tensors[name] = _floats(dtype, stored["data"]).reshape(stored["shape"])
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtifactError(
            f"'{path}' is damaged or truncated: {error}", remedy="copy it again or train again"
        ) from None
    for name in sorted(codes):
        tensors[name] = _times_scales(name, tensors, path)
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise ArtifactError(
                f"tensor '{name}' in '{path}' holds NaN or infinity",
                remedy="the training diverged: resume from an earlier checkpoint",
            )
    return tensors


def _floats(dtype: str, data: bytes) -> Float32Array:
    """Little-endian numbers as float32; a bfloat16 is the upper half of a float32."""
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, _NUMPY[dtype]).astype(np.float32)


def _times_scales(name: str, tensors: dict[str, Float32Array], path: Path) -> Float32Array:
    """A matrix that is stored as int8 codes, and its scales taken out of the tensors.

    Raises:
        ArtifactError: The scales are missing or do not fit.
    """
    codes, scales = tensors[name], tensors.pop(name + _SCALE, None)
    shapes = [tuple(n if i == axis else 1 for i, n in enumerate(codes.shape)) for axis in range(codes.ndim)]
    if scales is None or scales.shape not in shapes:
        raise ArtifactError(
            f"tensor '{name}' in '{path}' is int8 without scales that fit it",
            actual=None if scales is None else list(scales.shape),
            limit=f"'{name}{_SCALE}', one number a row or a column",
        )
    return codes * scales
