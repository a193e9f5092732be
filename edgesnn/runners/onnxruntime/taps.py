"""Seeing inside an ONNX graph: its named values as outputs, without an ONNX package.

Protocol buffers that stand one after another are merged, and repeated fields are appended: a few bytes behind
a model declare more of its values as outputs.
"""

from __future__ import annotations

from collections.abc import Iterable

# Field numbers of onnx.proto: ModelProto.graph, GraphProto.output, ValueInfoProto.name.
_MODEL_GRAPH, _GRAPH_OUTPUT, _VALUE_NAME = 7, 12, 1


def with_outputs(model: bytes, names: Iterable[str]) -> bytes:
    """A model that also outputs some of its values.

    Args:
        model: Content of an ONNX file.
        names: Names of values inside its graph.

    Returns:
        Content of the extended model.
    """
    graph = b"".join(_field(_GRAPH_OUTPUT, _field(_VALUE_NAME, name.encode())) for name in names)
    return model + _field(_MODEL_GRAPH, graph)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(encoded) + bytes([value])
