"""The nodes of a NIR graph: which there are, what each must hold, and what shape comes out of it.

Source: the Neuromorphic Intermediate Representation (J. E. Pedersen et al., Nature Communications 15, 2024)
as package ``nir`` 1.0.8 writes it. Parameters are checked here by their own; `edgesnn.nir.graph` checks what
stands between nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgesnn.names import nearest
from edgesnn.nir.hdf5 import Tree

Shape: TypeAlias = tuple[int, ...]
Float64Array: TypeAlias = npt.NDArray[np.float64]
Value: TypeAlias = "Float64Array | tuple[int, ...] | str"

#: Values of one frame or map; far above a network for which the integer program is meant.
VALUES_MAX = 2**20

#: Nodes that pass on what comes in.
PASSING = frozenset({"Input", "Output", "Identity"})
#: Nodes with a membrane, and those of them that fire.
NEURONS, FIRING = frozenset({"LIF", "IF", "LI", "I"}), frozenset({"LIF", "IF"})
WEIGHTS = frozenset({"Affine", "Linear", "Conv1d", "Conv2d"})
POOLS = frozenset({"SumPool2d", "AvgPool2d"})

_REAL, _WHOLE, _PADDING = "real", "whole", "padding"


@dataclass(frozen=True, slots=True)
class _Spec:
    """Parameters of one type of node by name, and those that may be missing."""

    needed: dict[str, str]
    optional: dict[str, str]


def _real(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, _REAL)


_CONV = {"weight": _REAL, "stride": _WHOLE, "padding": _PADDING, "dilation": _WHOLE, "groups": _WHOLE}
_POOL = dict.fromkeys(("kernel_size", "stride", "padding"), _WHOLE)
_SPECS: dict[str, _Spec] = {
    "Input": _Spec({"shape": _WHOLE}, {}),
    "Output": _Spec({}, {"shape": _WHOLE}),
    "Identity": _Spec({}, {"shape": _WHOLE, "input_type": _WHOLE}),
    "Affine": _Spec(_real("weight", "bias"), {}),
    "Linear": _Spec(_real("weight"), {}),
    "Scale": _Spec(_real("scale"), {}),
    "Conv1d": _Spec({**_CONV, "bias": _REAL}, {"input_shape": _WHOLE}),
    "Conv2d": _Spec({**_CONV, "bias": _REAL}, {"input_shape": _WHOLE}),
    "SumPool2d": _Spec(_POOL, {}),
    "AvgPool2d": _Spec(_POOL, {}),
    "Flatten": _Spec({"start_dim": _WHOLE, "end_dim": _WHOLE}, {"input_type": _WHOLE}),
    "Delay": _Spec(_real("delay"), {}),
    "I": _Spec(_real("r"), {}),
    "IF": _Spec(_real("r", "v_threshold"), _real("v_reset")),
    "LI": _Spec(_real("tau", "r", "v_leak"), {}),
    "LIF": _Spec(_real("tau", "r", "v_leak", "v_threshold"), _real("v_reset")),
}
#: Types that NIR knows and an integer program cannot be.
_REFUSED = {
    "CubaLI": "its synapses decay, a second state that does not reduce to one membrane",
    "CubaLIF": "its synapses decay, a second state that does not reduce to one membrane: train with "
    "snntorch.Leaky, norse.LIFBoxCell, sinabs LIF without tau_syn or spikingjelly LIFNode",
    "Threshold": "a threshold without a membrane; no library that was tried writes it",
}


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One node.

    Attributes:
        name: Its name in the file; nodes of a graph inside have ``OUTER.INNER``.
        kind: Its type in NIR.
        parameters: Real ones as float64 arrays, whole ones as tuples, ``same`` and ``valid`` as they are.
    """

    name: str
    kind: str
    parameters: dict[str, Value]

    def real(self, name: str) -> Float64Array:
        """A parameter of real numbers; 0 where an optional one is missing."""
        value = self.parameters.get(name, np.zeros(()))
        assert isinstance(value, np.ndarray)
        return value

    def whole(self, name: str) -> tuple[int, ...]:
        """A parameter of whole numbers."""
        value = self.parameters[name]
        assert isinstance(value, tuple)
        return value

    def pair(self, name: str) -> tuple[int, int]:
        """A parameter of whole numbers for height and width; a single one stands for both."""
        value = self.whole(name)
        return (value[0], value[-1])

    def spread(self, name: str, shape: Shape) -> Float64Array:
        """A parameter with one element for every neuron.

        Args:
            name: A real parameter: a single element, or of as many dimensions as the shape.
            shape: Shape of what the node reads.

        Returns:
            float64, flat ``[prod(shape)]``.

        Raises:
            ValueError: It fits the shape in no way that is not a guess.
        """
        array = self.real(name)
        if array.size == 1:
            return np.full(math.prod(shape), float(array.reshape(())))
        while array.ndim > len(shape) and array.shape[0] == 1:  # a batch of one, which some libraries keep
            array = array[0]
        if array.ndim != len(shape) or any(a not in (1, b) for a, b in zip(array.shape, shape, strict=True)):
            raise ValueError(
                f"{name} of shape {list(self.real(name).shape)} for values of shape {list(shape)}"
            )
        return np.broadcast_to(array, shape).reshape(-1).copy()


def parse_node(name: str, tree: Tree, problems: list[str]) -> Node | None:
    """A node from its group in the file.

    Args:
        name: Name of the node.
        tree: The group.
        problems: Gets every reason why it is none.

    Returns:
        The node, or None.
    """
    kind = tree.get("type")
    if not isinstance(kind, str):
        problems.append(f"node '{name}': it has no type")
        return None
    where = f"node '{name}' ({kind})"
    if kind in _REFUSED:
        problems.append(f"{where}: {_REFUSED[kind]}")
        return None
    spec = _SPECS.get(kind)
    if spec is None:
        problems.append(f"{where}: an unknown type of node{_meant(kind)}")
        return None
    before = len(problems)
    parameters: dict[str, Value] = {}
    given = {key: value for key, value in tree.items() if key not in ("type", "metadata")}
    known = {**spec.needed, **spec.optional}
    for key, value in given.items():
        if key not in known:
            problems.append(f"{where}: an unknown parameter '{key}'")
            continue
        try:
            parameters[key] = _parameter(value, known[key])
        except ValueError as error:
            problems.append(f"{where}: {key} {error}")
    missing = sorted(set(spec.needed) - set(given))
    if missing:
        problems.append(f"{where}: without {', '.join(missing)}")
    return Node(name, kind, parameters) if len(problems) == before else None


def _meant(kind: str) -> str:
    near = nearest(kind, [*_SPECS, *_REFUSED])
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _parameter(value: object, sort: str) -> Value:
    """A parameter as plain numbers.

    Raises:
        ValueError: It is none; the rest of a sentence that begins with its name.
    """
    if sort == _PADDING and isinstance(value, str):
        if value not in ("same", "valid"):
            raise ValueError(f"is '{value}', neither a number nor same or valid")
        return value
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise ValueError("is no array of numbers")
    if not value.size:
        raise ValueError(f"is empty, of shape {list(value.shape)}")
    numbers = value.astype(np.float64)
    if not np.isfinite(numbers).all():
        bad = int((~np.isfinite(numbers)).sum())
        raise ValueError(f"holds {bad} NaN or infinite of {numbers.size} numbers")
    if sort == _REAL:
        return numbers
    if value.ndim > 1 or (numbers != np.rint(numbers)).any() or np.abs(numbers).max() > VALUES_MAX:
        raise ValueError(f"is {numbers.tolist()}, not a list of whole numbers within {VALUES_MAX:,}")
    return tuple(int(one) for one in numbers.reshape(-1))


def shape_after(node: Node, shape: Shape) -> Shape:
    """Shape of what a node makes of values of one shape.

    Args:
        node: The node.
        shape: ``(c,)``, ``(c, length)`` or ``(c, height, width)``.

    Raises:
        ValueError: The values do not fit the node; what is wrong, as the rest of a sentence.
    """
    if math.prod(shape) > VALUES_MAX:
        raise ValueError(f"reads {math.prod(shape):,} values, more than {VALUES_MAX:,}")
    handler = _SHAPES.get(node.kind)
    if handler is not None:
        return handler(node, shape)
    for name, value in node.parameters.items():  # neurons, Scale, Delay: one element for each value
        if isinstance(value, np.ndarray):
            node.spread(name, shape)
    return shape


def _dense(node: Node, shape: Shape) -> Shape:
    weight = node.real("weight")
    if weight.ndim != 2:
        raise ValueError(f"weight has shape {list(weight.shape)}, not [out, in]")
    if shape != (weight.shape[1],):
        raise ValueError(
            f"its weight {list(weight.shape)} reads [{weight.shape[1]}], what comes in is {list(shape)}"
        )
    out = int(weight.shape[0])
    if node.kind == "Affine" and node.real("bias").shape not in ((out,), (), (1,)):
        raise ValueError(f"bias of shape {list(node.real('bias').shape)} for {out} outputs")
    return (out,)


@dataclass(frozen=True, slots=True)
class KernelWalk:
    """How a convolution or a pool walks over its map; one dimension is a map of height 1.

    Attributes:
        kernel: Height and width.
        stride: Height and width.
        padding: Zeros above and left; the same number below and right.
        dilation: Height and width.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def over(self, extents: tuple[int, int]) -> tuple[int, int]:
        """Height and width of what comes out of a map of this height and width; may be below 1."""
        high, wide = (
            (extents[i] + 2 * self.padding[i] - self.dilation[i] * (self.kernel[i] - 1) - 1) // self.stride[i]
            + 1
            for i in range(2)
        )
        return high, wide


def conv_window(node: Node) -> KernelWalk:
    """How a convolution walks.

    Raises:
        ValueError: Its parameters do not fit together.
    """
    flat = node.kind == "Conv1d"
    weight = node.real("weight")
    if weight.ndim != (3 if flat else 4):
        raise ValueError(f"weight has shape {list(weight.shape)}, not [out, in/groups, kernel]")
    kernel = (1, int(weight.shape[2])) if flat else (int(weight.shape[2]), int(weight.shape[3]))
    stride, dilation = _walk(node, "stride", flat, 1), _walk(node, "dilation", flat, 1)
    given = node.parameters["padding"]
    if given == "valid":
        padding = (0, 0)
    elif given == "same":
        reach = [dilation[i] * (kernel[i] - 1) for i in range(2)]
        if stride != (1, 1) or any(one % 2 for one in reach):
            raise ValueError(
                "padding 'same' with a stride, or with a kernel that has no middle, pads one side more"
            )
        padding = (reach[0] // 2, reach[1] // 2)
    else:
        padding = _walk(node, "padding", flat, 0)
    return KernelWalk(kernel, stride, padding, dilation)


def pool_window(node: Node) -> KernelWalk:
    """How a pool walks.

    Raises:
        ValueError: Its parameters do not fit together.
    """
    kernel = _walk(node, "kernel_size", False, 1)
    padding = _walk(node, "padding", False, 0)
    if any(padding[i] >= kernel[i] for i in range(2)):
        raise ValueError(f"padding {list(padding)} is not smaller than its kernel {list(kernel)}")
    return KernelWalk(kernel, _walk(node, "stride", False, 1), padding, (1, 1))


def _walk(node: Node, name: str, flat: bool, least: int) -> tuple[int, int]:
    values = node.whole(name)
    if len(values) > (1 if flat else 2) or min(values) < least:
        raise ValueError(f"{name} is {list(values)}")
    return (least, values[0]) if flat else node.pair(name)


def _conv(node: Node, shape: Shape) -> Shape:
    flat = node.kind == "Conv1d"
    window = conv_window(node)
    weight, groups = node.real("weight"), node.whole("groups")
    out, inside = int(weight.shape[0]), int(weight.shape[1])
    if len(groups) != 1 or groups[0] < 1 or out % groups[0]:
        raise ValueError(f"groups is {list(groups)} with {out} outputs")
    if len(shape) != (2 if flat else 3) or shape[0] != inside * groups[0]:
        wanted = [inside * groups[0], "length"] if flat else [inside * groups[0], "height", "width"]
        raise ValueError(f"it reads [{', '.join(map(str, wanted))}], what comes in is {list(shape)}")
    if node.real("bias").shape not in ((out,), (), (1,)):
        raise ValueError(f"bias of shape {list(node.real('bias').shape)} for {out} maps")
    high, wide = window.over((1, shape[1]) if flat else (shape[1], shape[2]))
    if high < 1 or wide < 1:
        raise ValueError(f"its kernel {list(weight.shape[2:])} is larger than what comes in, {list(shape)}")
    return (out, wide) if flat else (out, high, wide)


def _pool(node: Node, shape: Shape) -> Shape:
    if len(shape) != 3:
        raise ValueError(f"it reads [channels, height, width], what comes in is {list(shape)}")
    window = pool_window(node)
    high, wide = window.over((shape[1], shape[2]))
    if high < 1 or wide < 1:
        raise ValueError(f"its kernel {list(window.kernel)} is larger than what comes in, {list(shape)}")
    return (shape[0], high, wide)


def _flatten(node: Node, shape: Shape) -> Shape:
    rank = len(shape)
    first, last = (
        one + rank if one < 0 else one for one in (node.whole("start_dim")[0], node.whole("end_dim")[0])
    )
    if not 0 <= first <= last < rank:
        raise ValueError(f"flattens dimensions {first} to {last} of values of shape {list(shape)}")
    return (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])


_SHAPES: dict[str, Callable[[Node, Shape], Shape]] = {
    "Input": lambda node, shape: shape,
    "Output": lambda node, shape: shape,
    "Affine": _dense,
    "Linear": _dense,
    "Conv1d": _conv,
    "Conv2d": _conv,
    "SumPool2d": _pool,
    "AvgPool2d": _pool,
    "Flatten": _flatten,
}
