"""What a node of an ONNX graph costs in ONNX Runtime when it does next to nothing: microseconds a node.

    python benchmarks/onnx_floor.py [--nodes 608] [--rounds 200]

A chain of negations of one number, graph optimisation off, one thread; least times, less those of one node.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from onnx_step import machine


def least_us(nodes: int, rounds: int) -> float:
    """Least time of a chain, microseconds."""
    number = [TensorProto.FLOAT, [1]]
    graph = helper.make_graph(
        [helper.make_node("Neg", [f"x{i}"], [f"x{i + 1}"]) for i in range(nodes)],
        "chain",
        [helper.make_tensor_value_info("x0", *number)],
        [helper.make_tensor_value_info(f"x{nodes}", *number)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    feed, best = {"x0": np.ones(1, np.float32)}, float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        session.run(None, feed)
        best = min(best, time.perf_counter() - started)
    return 1e6 * best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nodes", type=int, default=608)
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    one, many = least_us(1, given.rounds), least_us(given.nodes, given.rounds)
    each = (many - one) / (given.nodes - 1)
    print(f"{machine()['cpu']}: {given.nodes} nodes {many:.1f} us, 1 node {one:.1f} us, {each:.3f} us a node")


if __name__ == "__main__":
    main()
