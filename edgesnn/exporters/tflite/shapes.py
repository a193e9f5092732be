"""Operators that move values without changing them, and the batched matrix product.

A shape holds at most one unknown per operator here that must be inferred, so every runtime can compute all
shapes before it runs: no tensor of an exported model is dynamic in TFLite's sense, which would keep XNNPACK
away from it.
"""

from __future__ import annotations

import numpy as np

from edgesnn.exporters.tflite.graph import Tensor, TfliteGraph


def split(graph: TfliteGraph, value: Tensor, parts: int, axis: int) -> list[Tensor]:
    """Equal parts of a value along an axis."""
    if parts == 1:
        return [value]
    axis %= len(value.shape)
    size = value.shape[axis]
    width = -(-size // parts) if size < 0 else size // parts
    shape = (*value.shape[:axis], width, *value.shape[axis + 1 :])
    number = graph.constant(axis, np.int32)
    return graph.ops(
        "SPLIT", [number, value], [shape] * parts, value.dtype, table="SplitOptions", numSplits=parts
    )


def concat(graph: TfliteGraph, values: list[Tensor], axis: int) -> Tensor:
    """Values side by side along an axis."""
    if len(values) == 1:
        return values[0]
    first = values[0].shape
    axis %= len(first)
    shape = (*first[:axis], sum(value.shape[axis] for value in values), *first[axis + 1 :])
    return graph.op("CONCATENATION", values, shape, values[0].dtype, table="ConcatenationOptions", axis=axis)


def reshape(graph: TfliteGraph, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same elements in another shape with at most one dimension that is not known yet."""
    target = graph.constant(np.array([max(size, -1) for size in shape], np.int32))
    return graph.op("RESHAPE", [value, target], shape, value.dtype)


def transpose(graph: TfliteGraph, value: Tensor, order: tuple[int, ...]) -> Tensor:
    """A value with its axes in another order."""
    shape = tuple(value.shape[axis] for axis in order)
    permutation = graph.constant(np.array(order, np.int32))
    return graph.op("TRANSPOSE", [value, permutation], shape, value.dtype, table="TransposeOptions")


def cut(graph: TfliteGraph, value: Tensor, axis: int, span: tuple[int, int | None], size: int) -> Tensor:
    """A range along one axis; negative numbers count from its end, as in Python.

    Args:
        graph: The graph.
        value: The value.
        axis: The axis.
        span: First index, and the index after the last, or None for the end.
        size: The length of the result, for its shape.
    """
    rank = len(value.shape)
    start, stop = span
    begin, end = np.zeros(rank, np.int32), np.zeros(rank, np.int32)
    begin[axis], end[axis] = start, stop or 0
    others = sum(1 << i for i in range(rank) if i != axis)
    shape = (*value.shape[:axis], size, *value.shape[axis + 1 :])
    strides = graph.constant(np.ones(rank, np.int32))
    return graph.op(
        "STRIDED_SLICE",
        [value, graph.constant(begin), graph.constant(end), strides],
        shape,
        value.dtype,
        table="StridedSliceOptions",
        beginMask=others,
        endMask=others | (1 << axis if stop is None else 0),
        ellipsisMask=0,
        newAxisMask=0,
        shrinkAxisMask=0,
    )


def pad_front(graph: TfliteGraph, value: Tensor, axis: int, count: int) -> Tensor:
    """A value with zeros in front along one axis."""
    pads = np.zeros((len(value.shape), 2), np.int32)
    pads[axis, 0] = count
    size = value.shape[axis]
    shape = (*value.shape[:axis], size - count if size < 0 else size + count, *value.shape[axis + 1 :])
    return graph.op("PAD", [value, graph.constant(pads)], shape, value.dtype, table="PadOptions")


def matmul(graph: TfliteGraph, left: Tensor, right: Tensor, *, transposed: bool = False) -> Tensor:
    """The matrix product over the last two axes; with ``transposed`` the right side is taken transposed."""
    width = right.shape[-2] if transposed else right.shape[-1]
    shape = (*left.shape[:-1], width)
    return graph.op(
        "BATCH_MATMUL", [left, right], shape, table="BatchMatMulOptions", adjX=False, adjY=transposed
    )


def split_sizes(graph: TfliteGraph, value: Tensor, sizes: list[int], axis: int) -> list[Tensor]:
    """Parts of a value with given sizes along an axis.

    Unequal parts are one STRIDED_SLICE each: XNNPACK executes no SPLIT_V, and LiteRT knows the sizes that
    SLICE makes only once it runs, so that nothing behind it has memory before.
    """
    if len(set(sizes)) == 1:
        return split(graph, value, len(sizes), axis)
    axis %= len(value.shape)
    parts, start = [], 0
    for size in sizes:
        parts.append(cut(graph, value, axis, (start, start + size), size))
        start += size
    return parts
