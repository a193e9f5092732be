"""ONNX files before an engine opens them: those that reach outside themselves are refused, outputs are added.

A file that names external data would make the engine read other files of this computer. Only the wire format
of protocol buffers and a few field numbers of ``onnx.proto`` are needed, so no onnx package is loaded beside
the engine whose memory is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgesnn.errors import BundleError

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_DEPTH_MAX = 16

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 8, 20, 25
_OPSET_DOMAIN = 1
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_OUTPUT, _GRAPH_SPARSE = 1, 5, 12, 15
_NODE_ATTRIBUTE, _NODE_DOMAIN = 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_SPARSE_TENSORS = (1, 2)
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_VALUE_NAME = 1


def check_onnx(data: bytes, name: str) -> None:
    """Refuse an ONNX file that reaches outside itself.

    Args:
        data: Content of the file.
        name: Its name, for the error.

    Raises:
        BundleError: It is no protocol buffer, names external data, or uses operators of another domain.
    """
    try:
        graphs = 0
        for field, value in _fields(memoryview(data)):
            if field == _MODEL_GRAPH and isinstance(value, memoryview):
                graphs += 1
                _check_graph(value, name, 0)
            elif field in (_MODEL_FUNCTIONS, _MODEL_TRAINING):
                what = "functions of its own" if field == _MODEL_FUNCTIONS else "how to train it"
                raise BundleError(f"'{name}' defines {what}", remedy="export the student again")
            elif field == _MODEL_OPSET and isinstance(value, memoryview):
                _check_domain(value, _OPSET_DOMAIN, name)
    except (IndexError, ValueError):
        raise BundleError(f"'{name}' is no ONNX file", remedy="export the student again") from None
    if graphs != 1:
        raise BundleError(f"'{name}' is no ONNX file", actual=f"{graphs} graphs", limit="one graph")


def with_outputs(model: bytes, names: Iterable[str]) -> bytes:
    """A model that also outputs some of its values.

    Protocol buffers that stand one after another are merged, and repeated fields are appended: a few bytes
    behind a model declare more of its values as outputs.

    Args:
        model: Content of an ONNX file.
        names: Names of values inside its graph.

    Returns:
        Content of the extended model.
    """
    graph = b"".join(_field(_GRAPH_OUTPUT, _field(_VALUE_NAME, name.encode())) for name in names)
    return model + _field(_MODEL_GRAPH, graph)


def _check_graph(graph: memoryview, name: str, depth: int) -> None:
    if depth > _DEPTH_MAX:
        raise BundleError(f"graphs of '{name}' are nested too deeply", limit=_DEPTH_MAX)
    for field, value in _fields(graph):
        if not isinstance(value, memoryview):
            continue
        if field == _GRAPH_INITIALIZER:
            _check_tensor(value, name)
        elif field == _GRAPH_SPARSE:
            _check_sparse(value, name)
        elif field == _GRAPH_NODE:
            _check_domain(value, _NODE_DOMAIN, name)
            for number, attribute in _fields(value):
                if number == _NODE_ATTRIBUTE and isinstance(attribute, memoryview):
                    _check_attribute(attribute, name, depth)


def _check_attribute(attribute: memoryview, name: str, depth: int) -> None:
    for field, value in _fields(attribute):
        if not isinstance(value, memoryview):
            continue
        if field in _ATTRIBUTE_TENSORS:
            _check_tensor(value, name)
        elif field in _ATTRIBUTE_GRAPHS:
            _check_graph(value, name, depth + 1)
        elif field in _ATTRIBUTE_SPARSE:
            _check_sparse(value, name)


def _check_sparse(sparse: memoryview, name: str) -> None:
    for field, value in _fields(sparse):
        if field in _SPARSE_TENSORS and isinstance(value, memoryview):
            _check_tensor(value, name)


def _check_tensor(tensor: memoryview, name: str) -> None:
    for field, value in _fields(tensor):
        if field == _TENSOR_EXTERNAL or (field == _TENSOR_LOCATION and value != 0):
            raise BundleError(
                f"'{name}' keeps data outside the file",
                actual="external data",
                limit="all tensors inside",
                remedy="export the student again",
            )


def _check_domain(message: memoryview, field_number: int, name: str) -> None:
    for field, value in _fields(message):
        if field == field_number and isinstance(value, memoryview) and bytes(value) not in (b"", b"ai.onnx"):
            raise BundleError(
                f"'{name}' uses operators of another domain",
                actual=bytes(value).decode("utf-8", "replace"),
                limit="ai.onnx",
            )


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Fields of a message: number, and its bytes or its integer.

    Raises:
        ValueError: A size lies or a wire type is unknown.
        IndexError: The message is truncated.
    """
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire = key >> 3, key & 7
        if key >> 32 or number == 0:  # C++ readers drop the upper bits and would see another field
            raise ValueError("a field number is out of range")
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire == _LENGTH:
            size, position = _varint(message, position)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError("unknown wire type")
        if size > len(message) - position:
            raise ValueError("a size lies")
        yield number, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return _encoded(number << 3 | 2) + _encoded(len(content)) + content


def _encoded(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(encoded) + bytes([value])
