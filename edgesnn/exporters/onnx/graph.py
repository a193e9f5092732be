"""A small builder of ONNX graphs: nodes in order, constants stored once, checked models.

Opset 17 and IR version 8, so that onnxruntime mobile 1.12 and later load the files.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from edgesnn.errors import ExportError, OutputError

#: Version of the default operator set.
OPSET = 17
#: Version of the file format.
IR_VERSION = 8
#: Written into every file.
PRODUCER = "edgesnn"

#: A dimension: a number, or the name of one that is only known when the model runs.
Dim = int | str


class OnnxGraph:
    """One graph under construction. Values are named by strings, as in ONNX itself.

    Args:
        name: Name of the graph.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[TensorProto] = []
        self._inputs: dict[str, Any] = {}
        self._outputs: dict[str, Any] = {}
        self._renamed: dict[str, str] = {}
        self._numbers = itertools.count()
        self._known: dict[tuple[Any, ...], list[str]] = {}

    def constant(self, array: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> str:
        """Name of a constant; equal constants share one initializer.

        Args:
            array: The value.
            dtype: Its dtype; the array's own by default.
        """
        value = np.ascontiguousarray(np.asarray(array, dtype))
        value = value.reshape(np.shape(array))
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._constants:
            name = f"c{len(self._constants)}"
            self._constants[key] = name
            self._initializers.append(numpy_helper.from_array(value, name))
        return self._constants[key]

    def ints(self, *values: int) -> str:
        """Name of an int64 vector constant: a shape, axes, or the sizes of a split."""
        return self.constant(np.array(values, np.int64))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output.

        Args:
            kind: Operator of the default domain.
            inputs: Names of its inputs.
            attributes: Its attributes.

        Returns:
            Name of its output.
        """
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Append a node with several outputs and return their names; an equal node is not repeated."""
        key = (kind, outputs, inputs, repr(sorted(attributes.items())))
        if key in self._known:
            return self._known[key]
        names = self._known[key] = [f"v{next(self._numbers)}" for _ in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def cast(self, value: str, dtype: npt.DTypeLike) -> str:
        """Append a ``Cast`` to a numpy dtype."""
        return self.op("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def input(self, name: str, dtype: npt.DTypeLike, shape: Sequence[Dim]) -> str:
        """Declare an input and return its name."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._inputs[name] = helper.make_tensor_value_info(name, kind, list(shape))
        return name

    def output(self, name: str, value: str, dtype: npt.DTypeLike, shape: Sequence[Dim]) -> None:
        """Declare that a value is an output under a name of its own."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._outputs[name] = helper.make_tensor_value_info(name, kind, list(shape))
        if value in self._renamed or value in self._inputs:
            value = self.op("Identity", self._renamed.get(value, value))
        self._renamed[value] = name

    def label(self, value: str, name: str) -> None:
        """Give a value that is no output a name that a reader of the file can find."""
        self._renamed.setdefault(value, name)

    def signature(self) -> dict[str, list[dict[str, Any]]]:
        """Names, dtypes and shapes of inputs and outputs as plain data."""
        return {"inputs": _plain(self._inputs), "outputs": _plain(self._outputs)}

    def model(self, metadata: Mapping[str, str]) -> ModelProto:
        """The finished, checked model.

        Args:
            metadata: Key-value pairs for ``metadata_props``.

        Raises:
            ExportError: The checker refuses the graph.
        """
        for node in self._nodes:
            node.input[:] = [self._renamed.get(name, name) for name in node.input]
            node.output[:] = [self._renamed.get(name, name) for name in node.output]
        graph = helper.make_graph(
            self._nodes,
            self.name,
            list(self._inputs.values()),
            list(self._outputs.values()),
            initializer=self._initializers,
        )
        model = helper.make_model(
            graph,
            producer_name=PRODUCER,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        helper.set_model_props(model, dict(metadata))
        try:
            checker.check_model(model, full_check=True)
        except checker.ValidationError as error:
            raise ExportError(f"the ONNX checker refuses the graph '{self.name}'", actual=error) from error
        return model


def save(model: ModelProto, path: Path) -> None:
    """Write a model to a file.

    Args:
        model: The model.
        path: The file.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        path.write_bytes(model.SerializeToString(deterministic=True))
    except OSError as error:
        raise OutputError(f"cannot write '{path}'", actual=error.strerror) from error


def _plain(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    described = []
    for name, info in values.items():
        tensor = info.type.tensor_type
        shape: list[Dim] = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
        described.append({"name": name, "dtype": dtype, "shape": shape})
    return described
