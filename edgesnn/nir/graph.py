"""A NIR file as a checked graph: nodes in an order in which they can run, every value with its shape."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesnn.errors import NetworkError
from edgesnn.nir.hdf5 import Tree, read_tree
from edgesnn.nir.nodes import PASSING, Node, Shape, parse_node, shape_after

#: Most edges, far above a network for which the integer program is meant.
EDGES_MAX = 20_000
#: Nodes of a graph inside a graph inside ..., at most.
_NESTED_MAX = 8


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A graph without cycles, from one input to one output.

    Attributes:
        path: The file that it was read from.
        version: Version of NIR that wrote it, or None where the file does not say.
        input: Name of the input node.
        output: Name of the output node.
        nodes: Every node but graphs inside, in an order in which they can run.
        sources: Names of the nodes whose values a node reads (their sum), by its name.
        shapes: Shape of what a node makes, by its name.
    """

    path: Path
    version: str | None
    input: str
    output: str
    nodes: tuple[Node, ...]
    sources: dict[str, tuple[str, ...]]
    shapes: dict[str, Shape]


@dataclass(slots=True)
class _Flat:
    """What stands in a file, graphs inside unfolded, nothing checked between nodes."""

    nodes: dict[str, Node]
    edges: list[tuple[str, str]]
    refused: set[str]


def read_graph(path: Path, input_shape: Shape | None = None) -> Graph:
    """Read a NIR file.

    Args:
        path: The file.
        input_shape: Shape of one frame, where it is not what the file says.

    Returns:
        The graph.

    Raises:
        MissingExtraError: h5py is not installed.
        NetworkError: The file holds no graph that can run; every reason at once.
    """
    problems: list[str] = []
    tree = read_tree(path, problems)
    root, version = tree.get("node"), tree.get("version")
    if not isinstance(root, dict) or root.get("type") != "NIRGraph":
        raise NetworkError(
            path,
            [*problems, "it is HDF5 but no NIR: it has no group 'node' of type NIRGraph"],
            remedy="write the graph with nir.write(FILE, graph)",
        )
    flat = _Flat({}, [], set())
    _collect(root, "", flat, problems, 0)
    order = _order(flat, problems)
    inputs, outputs = (_ends(flat, kind, problems) for kind in ("Input", "Output"))
    if order is not None:
        _check_reach(flat, inputs, outputs, problems)
    if problems or order is None:
        raise NetworkError(path, problems, remedy="see docs/nir.md for what can enter")
    before: dict[str, list[str]] = {name: [] for name in order}
    for a, b in flat.edges:
        before[b].append(a)
    sources = {name: tuple(names) for name, names in before.items()}
    nodes = tuple(flat.nodes[name] for name in order)
    said = flat.nodes[inputs[0]].whole("shape")
    shapes = _shapes(path, nodes, sources, [input_shape] if input_shape else _frames(said))
    return Graph(
        path, version if isinstance(version, str) else None, inputs[0], outputs[0], nodes, sources, shapes
    )


def _collect(tree: Tree, prefix: str, flat: _Flat, problems: list[str], depth: int) -> None:
    """Nodes and edges of a graph, and of the graphs inside it."""
    named = f"graph '{prefix.rstrip('.')}'" if prefix else "the graph"
    nodes, edges = tree.get("nodes"), tree.get("edges")
    if not isinstance(nodes, dict) or not nodes:
        problems.append(f"{named}: without nodes")
        return
    inner: dict[str, Tree] = {}
    for name, node in nodes.items():
        full = prefix + name
        if not isinstance(node, dict):
            problems.append(f"node '{full}': it is an array, not a group")
            flat.refused.add(full)
        elif node.get("type") == "NIRGraph" and depth < _NESTED_MAX:
            inner[full] = node
            _collect(node, f"{full}.", flat, problems, depth + 1)
        elif (parsed := parse_node(full, node, problems)) is not None:
            if prefix and parsed.kind in ("Input", "Output"):
                parsed = Node(full, "Identity", {})
            flat.nodes[full] = parsed
        else:
            flat.refused.add(full)
    doors = {full: _doors(full, graph, problems) for full, graph in inner.items()}
    for source, target in _edges(edges, named, problems):
        a, b = prefix + source, prefix + target
        flat.edges.append((doors[a][1] if a in doors else a, doors[b][0] if b in doors else b))


def _doors(full: str, tree: Tree, problems: list[str]) -> tuple[str, str]:
    """Full names of the one input and the one output of a graph inside."""
    nodes = tree.get("nodes")
    found: list[str] = []
    for kind in ("Input", "Output"):
        of_kind = [
            name
            for name, node in (nodes.items() if isinstance(nodes, dict) else ())
            if isinstance(node, dict) and node.get("type") == kind
        ]
        if len(of_kind) != 1:
            problems.append(f"graph '{full}': {len(of_kind)} nodes of type {kind}, not 1")
        found.append(f"{full}.{of_kind[0] if of_kind else kind}")
    return found[0], found[1]


def _edges(edges: object, named: str, problems: list[str]) -> list[tuple[str, str]]:
    if not isinstance(edges, np.ndarray) or edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype != object:
        problems.append(f"{named}: without edges, pairs of names of nodes")
        return []
    if len(edges) > EDGES_MAX:
        problems.append(f"{named}: {len(edges):,} edges, more than {EDGES_MAX:,}")
        return []
    pairs = Counter((str(a), str(b)) for a, b in edges)
    problems.extend(
        f"{named}: the edge from '{a}' to '{b}' stands there {count} times"
        for (a, b), count in pairs.items()
        if count > 1
    )
    return list(pairs)


def _ends(flat: _Flat, kind: str, problems: list[str]) -> list[str]:
    found = [name for name, node in flat.nodes.items() if node.kind == kind]
    if len(found) != 1:
        names = f": {', '.join(found)}" if found else ""
        problems.append(f"the graph: {len(found)} nodes of type {kind}, not 1{names}")
    return found


def _order(flat: _Flat, problems: list[str]) -> list[str] | None:
    """Names in an order in which every node comes after those that it reads; None where edges are wrong."""
    known = set(flat.nodes) | flat.refused
    lost = sorted({end for edge in flat.edges for end in edge} - known)
    problems.extend(f"node '{name}': edges name it, but there is no such node" for name in lost)
    if lost:
        return None
    waiting: dict[str, set[str]] = {name: set() for name in known}
    readers: dict[str, list[str]] = {name: [] for name in known}
    for a, b in flat.edges:
        waiting[b].add(a)
        readers[a].append(b)
    order: list[str] = []
    ready = deque(sorted(name for name in known if not waiting[name]))
    while ready:
        name = ready.popleft()
        order.append(name)
        for reader in readers[name]:
            waiting[reader].discard(name)
            if not waiting[reader]:
                ready.append(reader)
    if len(order) < len(known):
        circle = _circle({name: waiting[name] for name in known if waiting[name]})
        problems.append(
            f"node '{circle[0]}': it reads itself through {' -> '.join([*circle, circle[0]])}; a recurrent "
            "connection has no integer program"
        )
        return None
    return [name for name in order if name in flat.nodes]


def _circle(waiting: dict[str, set[str]]) -> list[str]:
    """One cycle among nodes that wait for each other, in the direction of its edges."""
    name = min(waiting)
    seen: list[str] = []
    while name not in seen:
        seen.append(name)
        name = min(one for one in waiting[name] if one in waiting)
    return seen[seen.index(name) :][::-1]


def _check_reach(flat: _Flat, inputs: list[str], outputs: list[str], problems: list[str]) -> None:
    """Every node stands between input and output."""
    for starts, edges, reason in (
        (inputs, flat.edges, "nothing comes to it from the input"),
        (outputs, [(b, a) for a, b in flat.edges], "what it makes does not reach the output"),
    ):
        reached = set(starts)
        following: dict[str, list[str]] = {}
        for a, b in edges:
            following.setdefault(a, []).append(b)
        front = list(starts)
        while front:
            for one in following.get(front.pop(), ()):
                if one not in reached:
                    reached.add(one)
                    front.append(one)
        if starts:
            problems.extend(
                f"node '{name}' ({node.kind}): {reason}"
                for name, node in sorted(flat.nodes.items())
                if name not in reached and node.kind not in PASSING
            )
    problems.extend(f"node '{a}': an edge ends at the input" for a, b in flat.edges if b in inputs)
    problems.extend(f"node '{b}': an edge begins at the output" for a, b in flat.edges if a in outputs)


def _frames(said: Shape) -> list[Shape]:
    """What an input shape may mean: some libraries leave dimensions of batch and time in front."""
    return [said[skip:] for skip in range(min(3, len(said)))]


def _shapes(
    path: Path, nodes: tuple[Node, ...], sources: dict[str, tuple[str, ...]], frames: list[Shape]
) -> dict[str, Shape]:
    """Shapes of all values for the first shape of a frame that fits.

    Raises:
        NetworkError: None does; the reasons against the first.
    """
    first: list[str] = []
    for number, frame in enumerate(frames):
        problems: list[str] = []
        shapes = _walk(nodes, sources, frame, problems)
        if not problems:
            return shapes
        if not number:
            first = problems
    raise NetworkError(
        path, first, remedy="--input-shape says the shape of one frame where the file does not, as in 2,32,32"
    )


def _walk(
    nodes: tuple[Node, ...], sources: dict[str, tuple[str, ...]], frame: Shape, problems: list[str]
) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    if not 1 <= len(frame) <= 3 or min(frame) < 1:
        problems.append(f"a frame of shape {list(frame)} has not 1 to 3 dimensions of at least 1")
        return shapes
    for node in nodes:
        coming = [shapes[name] for name in sources[node.name] if name in shapes]
        if node.kind == "Input":
            shapes[node.name] = frame
            continue
        if len(coming) < len(sources[node.name]) or not coming:
            continue  # one of those that it reads was refused
        where = f"node '{node.name}' ({node.kind})"
        if len(set(coming)) > 1:
            problems.append(
                f"{where}: it sums values of shapes {', '.join(str(list(one)) for one in coming)}"
            )
            continue
        try:
            shapes[node.name] = shape_after(node, coming[0])
        except ValueError as error:
            problems.append(f"{where}: {error}")
    return shapes
