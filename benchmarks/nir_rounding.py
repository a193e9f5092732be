"""Which rounding of an import makes which spikes differ: one thing is rounded at a time, in floats.

    PYTHON=.foreign/snntorch/bin/python
    $PYTHON tests/foreign/nir_sources/from_snntorch.py build/nir480 --inputs 1000 --steps 480
    python benchmarks/nir_rounding.py build/nir480/snntorch-maps.nir build/nir480/snntorch-samples.nir

Rounded are: samples to int8, weights to 1/127 of the largest of their row, beta to 1/256, beta to 1/65536. Of
snnTorch's files, whose tau is 1e-4 / (1 - beta).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgesnn.nir.calibration import read_calibration, samples_for
from edgesnn.nir.graph import Graph, read_graph
from edgesnn.nir.nodes import FIRING, Node
from edgesnn.nir.simulate import simulate
from edgesnn.nir.sources import rules_for
from tests.support.nir_files import options_for

DT = 1e-4


def rounded(graph: Graph, weights: bool, beta: int | None) -> Graph:
    def one(node: Node) -> Node:
        given = dict(node.parameters)
        if weights and "weight" in given:
            weight = node.real("weight")
            step = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True) / 127
            given["weight"] = np.rint(weight / step) * step
        if beta and "tau" in given:
            decay = np.rint((1 - DT / node.real("tau")) * beta) / beta
            given["tau"] = DT / (1 - decay)
            given["r"] = 1 / (1 - decay)
        return replace(node, parameters=given)

    return replace(graph, nodes=tuple(one(node) for node in graph.nodes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", type=Path, nargs="+")
    print("| network | rounded | same decision | differ, all | differ, last |")
    print("|---|---|---|---|---|")
    for path in parser.parse_args().files:
        graph, options = read_graph(path), options_for(path.stem)
        rules = rules_for(options.source, reset=options.reset)
        frames = read_calibration(path.with_suffix(".npz"), graph.shapes[graph.input])
        samples = samples_for(frames, None)
        codes = np.rint(frames.frames / samples.scale) * samples.scale
        firing = [node.name for node in graph.nodes if node.kind in FIRING]

        def spikes(network: Graph, given: np.ndarray) -> list[np.ndarray]:
            seen: dict[str, np.ndarray] = {}

            def keep(name: str, value: np.ndarray) -> None:
                if name in firing:  # noqa: B023 - called before the loop goes on
                    seen[name] = value.reshape(*value.shape[:2], -1).astype(np.int8)

            simulate(network, rules, given, keep)  # noqa: B023
            return [seen[name] for name in firing]  # noqa: B023

        base = spikes(graph, frames.frames)
        for what, network, given in (
            ("samples", graph, codes),
            ("weights", rounded(graph, True, None), frames.frames),
            ("beta to 1/256", rounded(graph, False, 256), frames.frames),
            ("beta to 1/65536", rounded(graph, False, 65536), frames.frames),
            ("samples, weights, beta to 1/256", rounded(graph, True, 256), codes),
            ("samples, weights, beta to 1/65536", rounded(graph, True, 65536), codes),
        ):
            made = spikes(network, given)
            same = (made[-1].sum(1).argmax(-1) == base[-1].sum(1).argmax(-1)).mean()
            wrong = [(a != b).sum() for a, b in zip(made, base, strict=True)]
            everything = sum(wrong) / sum(one.size for one in base)
            print(
                f"| {path.stem} | {what} | {same:.1%} | {everything:.2%} | {wrong[-1] / base[-1].size:.2%} |"
            )


if __name__ == "__main__":
    main()
