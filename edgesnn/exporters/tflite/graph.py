"""A small builder of TFLite models: operators in order, constants stored once, signatures and metadata.

Written with the schema objects that ai-edge-litert ships; no converter and no TensorFlow is involved. A
dimension that is only known when the model runs is a negative number ``-k``: k times one unknown. Its
placeholder in the file is ``k`` and its entry in the shape signature -1, so a runtime resizes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import OutputError, missing_extra

try:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
except ImportError:
    raise missing_extra("ai-edge-litert", "tflite", "the TFLite exporter") from None

#: Version of the TFLite schema, and the file identifier that belongs to it.
SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
#: Value of a fused activation.
RELU = int(schema.ActivationFunctionType.RELU)
#: Padding of a convolution that has none.
VALID = int(schema.Padding.VALID)
#: Name of the metadata entry with the facts of the model, JSON.
METADATA_NAME = "edgesnn"
#: The oldest tflite-runtime that has every operator version in use; read by tools, ignored by runtimes.
MIN_RUNTIME_VERSION = "2.14.0"

_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int8): schema.TensorType.INT8,
}
#: Operators whose int8 form came with version 2.
_INT8_VERSION_2 = frozenset(
    {"CONCATENATION", "GATHER", "PAD", "SLICE", "SPLIT", "STRIDED_SLICE", "TRANSPOSE"}
)

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a graph.

    Attributes:
        index: Its number.
        shape: Its dimensions; a negative one is only known when the model runs.
        dtype: float32, int32, int16 or int8 (quantised with scale 1 and zero point 0).
    """

    index: int
    shape: Shape
    dtype: np.dtype[Any]


class TfliteGraph:
    """One model with one subgraph under construction.

    Args:
        name: Key of its signature.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]
        self._operators: list[Any] = []
        self._codes: dict[tuple[int, int], int] = {}
        self._constants: dict[tuple[str, Shape, bytes], Tensor] = {}
        self._known: dict[tuple[Any, ...], list[Tensor]] = {}
        self._inputs: dict[str, Tensor] = {}
        self._outputs: dict[str, Tensor] = {}

    def constant(self, array: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> Tensor:
        """A constant; equal constants share one buffer.

        Args:
            array: The value.
            dtype: Its dtype; the array's own by default.
        """
        shape = np.shape(array)
        value = np.ascontiguousarray(np.asarray(array, dtype))
        key = (value.dtype.str, shape, value.tobytes())
        if key not in self._constants:
            buffer = self._buffer(value.tobytes())
            self._constants[key] = self._tensor(shape, value.dtype, f"c{len(self._constants)}", buffer)
        return self._constants[key]

    def op(
        self,
        kind: str,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        dtype: npt.DTypeLike = np.float32,
        *,
        version: int | None = None,
        **options: Any,
    ) -> Tensor:
        """Append an operator with one output.

        Args:
            kind: Name of the builtin operator.
            inputs: Its inputs; None for an optional one that is left out.
            shape: Shape of its output.
            dtype: Dtype of its output.
            version: Version of the operator; the oldest that serves, by default.
            options: Its options; ``table`` names the option table where the schema needs one.

        Returns:
            Its output.
        """
        return self.ops(kind, inputs, [shape], dtype, version=version, **options)[0]

    def ops(
        self,
        kind: str,
        inputs: Sequence[Tensor | None],
        shapes: Sequence[Sequence[int]],
        dtype: npt.DTypeLike = np.float32,
        *,
        version: int | None = None,
        table: str | None = None,
        **options: Any,
    ) -> list[Tensor]:
        """Append an operator with several outputs; an equal operator is not repeated."""
        indices = [-1 if tensor is None else tensor.index for tensor in inputs]
        made = [tuple(int(size) for size in shape) for shape in shapes]
        key = (kind, tuple(indices), tuple(made), np.dtype(dtype).str, repr(sorted(options.items())))
        if key in self._known:
            return self._known[key]
        code = (getattr(schema.BuiltinOperator, kind), version or _version(kind, np.dtype(dtype)))
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault(code, len(self._codes))
        operator.inputs = indices
        outputs = [
            self._tensor(shape, np.dtype(dtype), f"v{len(self._tensors) + i}") for i, shape in enumerate(made)
        ]
        operator.outputs = [tensor.index for tensor in outputs]
        if table is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            operator.builtinOptions = getattr(schema, f"{table}T")()
            for name, value in options.items():
                setattr(operator.builtinOptions, name, value)
        self._operators.append(operator)
        self._known[key] = outputs
        return outputs

    def input(self, name: str, dtype: npt.DTypeLike, shape: Sequence[int]) -> Tensor:
        """Declare an input."""
        self._inputs[name] = self._tensor(tuple(shape), np.dtype(dtype), name)
        return self._inputs[name]

    def output(self, name: str, tensor: Tensor) -> None:
        """Declare that a tensor is an output under a name of its own; one that has a name is copied."""
        if tensor.index in {other.index for other in (*self._inputs.values(), *self._outputs.values())}:
            target = self.constant(np.array([max(size, -1) for size in tensor.shape], np.int32))
            self._known.clear()
            tensor = self.op("RESHAPE", [tensor, target], tensor.shape, tensor.dtype)
        self._tensors[tensor.index].name = name
        self._outputs[name] = tensor

    def signature(self, names: Mapping[str, Sequence[int | str]]) -> dict[str, list[dict[str, Any]]]:
        """Names, dtypes and shapes of inputs and outputs as plain data.

        Args:
            names: Shape by name with named dimensions, for those that have any.
        """
        return {
            "inputs": [_plain(name, tensor, names) for name, tensor in self._inputs.items()],
            "outputs": [_plain(name, tensor, names) for name, tensor in self._outputs.items()],
        }

    def serialise(self, metadata: Mapping[str, Any], description: str) -> bytes:
        """The finished model.

        Args:
            metadata: Facts for the metadata entry `METADATA_NAME`, stored as JSON.
            description: One line about the model.
        """
        subgraph = schema.SubGraphT()
        subgraph.name = self.name
        subgraph.tensors, subgraph.operators = self._tensors, self._operators
        subgraph.inputs = [tensor.index for tensor in self._inputs.values()]
        subgraph.outputs = [tensor.index for tensor in self._outputs.values()]
        model = schema.ModelT()
        model.version, model.description = SCHEMA_VERSION, description
        model.subgraphs = [subgraph]
        model.signatureDefs = [self._signature_def()]
        facts = json.dumps(dict(metadata), sort_keys=True).encode()
        model.metadata = [
            self._metadata(METADATA_NAME, facts),
            self._metadata("min_runtime_version", MIN_RUNTIME_VERSION.encode().ljust(16, b"\0")),
        ]
        model.buffers = self._buffers
        model.operatorCodes = [_operator_code(*code) for code in self._codes]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _tensor(self, shape: Shape, dtype: np.dtype[Any], name: str, buffer: int = 0) -> Tensor:
        tensor = schema.TensorT()
        tensor.shape = [abs(size) for size in shape]
        if any(size < 0 for size in shape):
            tensor.shapeSignature = [max(size, -1) for size in shape]
        tensor.type, tensor.buffer, tensor.name = _TYPES[dtype], buffer, name
        if dtype == np.int8:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.ones(1, np.float32)
            tensor.quantization.zeroPoint = np.zeros(1, np.int64)
        self._tensors.append(tensor)
        return Tensor(len(self._tensors) - 1, shape, dtype)

    def _buffer(self, content: bytes) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        self._buffers.append(buffer)
        return len(self._buffers) - 1

    def _metadata(self, name: str, content: bytes) -> Any:
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, self._buffer(content)
        return entry

    def _signature_def(self) -> Any:
        definition = schema.SignatureDefT()
        definition.signatureKey, definition.subgraphIndex = self.name, 0
        definition.inputs = [_tensor_map(name, tensor) for name, tensor in self._inputs.items()]
        definition.outputs = [_tensor_map(name, tensor) for name, tensor in self._outputs.items()]
        return definition


def save(content: bytes, path: Path) -> None:
    """Write a model to a file.

    Args:
        content: The model.
        path: The file.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise OutputError(f"cannot write '{path}'", actual=error.strerror) from error


def _version(kind: str, made: np.dtype[Any]) -> int:
    """The oldest version of an operator that reads int8 (DEQUANTIZE) or makes it."""
    return 2 if kind == "DEQUANTIZE" or (made == np.int8 and kind in _INT8_VERSION_2) else 1


def _tensor_map(name: str, tensor: Tensor) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, tensor.index
    return entry


def _operator_code(builtin: int, version: int) -> Any:
    code = schema.OperatorCodeT()
    placeholder = schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES
    code.builtinCode, code.deprecatedBuiltinCode = builtin, min(builtin, placeholder)
    code.version = version
    return code


def _plain(name: str, tensor: Tensor, names: Mapping[str, Sequence[int | str]]) -> dict[str, Any]:
    return {"name": name, "dtype": tensor.dtype.name, "shape": list(names.get(name, tensor.shape))}
