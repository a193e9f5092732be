"""The gesture network of examples/gesture, one frame at a time: the C engine against what else runs it.

    python benchmarks/nir_speed.py [--library .foreign/spikingjelly/bin/python]

One thread each, the same frames at their real activity, in turns: the C engine (every kernel set that this
processor has), ONNX Runtime with the same network as a float32 graph whose membranes go out and in, and the
library that trained it, frame by frame and whole windows at once. Medians over frames. Aims: a tenth of ONNX
Runtime's time, a fiftieth of the library's. Last, the import of a network of 5 million weights: under 10 s.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgesnn.api.nir.importing import ImportOptions, import_network
from edgesnn.nir.graph import Graph, read_graph
from edgesnn.nir.nodes import conv_window, pool_window
from edgesnn.nir.simulate import simulate
from edgesnn.nir.sources import dynamics, rules_for
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.native.engine import Engine, kernel_sets
from tests.support.nir_files import chain

ROOT = Path(__file__).parents[1]
GESTURE = ROOT / "examples" / "gesture"
ROUNDS, WINDOWS = 5, 40


class FloatNetwork:
    """A chain of NIR nodes as a float32 graph of ONNX, its membranes as inputs and outputs.

    Args:
        graph: Convolutions, average pools, weights and neurons that are reset to zero, one behind the other.
        source: The library that wrote it.
    """

    def __init__(self, graph: Graph, source: str) -> None:
        self._nodes, self._constants, self._states = [], [], {}
        value = "frame"
        for node in graph.nodes[1:]:
            value = getattr(self, f"_{node.kind.lower()}")(node, graph, value, rules_for(source))
        shape = [1, *graph.shapes[graph.input]]
        io = [
            helper.make_tensor_value_info(f"{name}_in", TensorProto.FLOAT, s)
            for name, s in self._states.items()
        ]
        outs = [
            helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, s)
            for name, s in self._states.items()
        ]
        last = [1, *graph.shapes[graph.output]]
        made = helper.make_graph(
            self._nodes, "float",
            [helper.make_tensor_value_info("frame", TensorProto.FLOAT, shape), *io],
            [helper.make_tensor_value_info(value, TensorProto.FLOAT, last), *outs],
            self._constants,
        )  # fmt: skip
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def window(self, frames: np.ndarray) -> tuple[np.ndarray, list[float]]:
        """Outputs ``[frames, c]`` of a window, and seconds of each frame."""
        states = {f"{name}_in": np.zeros(shape, np.float32) for name, shape in self._states.items()}
        rows, times = [], []
        for frame in frames.astype(np.float32)[:, None]:
            started = time.perf_counter()
            out, *after = self._session.run(None, {"frame": frame, **states})
            states = dict(zip(states, after, strict=True))
            times.append(time.perf_counter() - started)
            rows.append(out.reshape(-1))
        return np.array(rows), times

    def _put(self, kind: str, inputs: list[str], **attributes: object) -> str:
        out = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    def _constant(self, array: np.ndarray) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def _conv2d(self, node, graph, value, rules) -> str:
        walk = conv_window(node)
        weights = [self._constant(node.real("weight")), self._constant(node.real("bias"))]
        return self._put(
            "Conv", [value, *weights], kernel_shape=walk.kernel, strides=walk.stride,
            pads=[*walk.padding, *walk.padding], dilations=walk.dilation, group=node.whole("groups")[0],
        )  # fmt: skip

    def _avgpool2d(self, node, graph, value, rules) -> str:
        walk = pool_window(node)
        return self._put(
            "AveragePool", [value], kernel_shape=walk.kernel, strides=walk.stride, count_include_pad=1,
            pads=[*walk.padding, *walk.padding],
        )  # fmt: skip

    def _flatten(self, node, graph, value, rules) -> str:
        return self._put("Flatten", [value])

    def _affine(self, node, graph, value, rules) -> str:
        weights = [self._constant(node.real("weight")), self._constant(node.real("bias"))]
        return self._put("Gemm", [value, *weights], transB=1)

    _linear = _affine

    def _lif(self, node, graph, value, rules) -> str:
        shape = graph.shapes[node.name]
        made, problems = dynamics(node, shape, rules)
        assert made is not None and made.reset == "zero" and made.inclusive, problems
        assert (made.gain == 1).all() and not made.drive.any() and not made.reset_to.any()
        name = f"m{len(self._states)}"
        self._states[name] = [1, *shape]
        beta, theta = (self._constant(one[:1]) for one in (made.beta, made.theta))
        kept = self._put("Mul", [f"{name}_in", beta])
        membrane = self._put("Add", [kept, value])
        fired = self._put("GreaterOrEqual", [membrane, theta])
        zero = self._constant(np.zeros(1))
        self._nodes.append(helper.make_node("Where", [fired, zero, membrane], [f"{name}_out"]))
        return self._put("Cast", [fired], to=TensorProto.FLOAT)

    def _output(self, node, graph, value, rules) -> str:
        return value


def import_of_five_million(folder: Path) -> float:
    """Seconds that the import of a network of 5 million weights takes."""
    rng = np.random.default_rng(0)

    def layer(out: int, inside: int) -> list[tuple[str, dict]]:
        ones = np.ones(out, np.float32)
        weight = rng.normal(0, inside**-0.5, (out, inside)).astype(np.float32)
        lif = {
            "tau": ones * 4e-4,
            "r": ones * 4,
            "v_leak": ones * 0,
            "v_threshold": ones,
            "v_reset": ones * 0,
        }
        return [(f"w{out}", {"type": "Linear", "weight": weight}), (f"n{out}", {"type": "LIF", **lif})]

    path = chain(
        folder / "large.nir",
        *layer(2000, 1000),
        *layer(1500, 2000),
        *layer(10, 1500),
        shape=(1000,),
        outputs=(10,),
    )
    started = time.perf_counter()
    import_network(path, ImportOptions("spikingjelly"))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--library", type=Path, default=ROOT / ".foreign/spikingjelly/bin/python")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        subprocess.run(["python3", GESTURE / "data.py", folder], check=True, capture_output=True)
        frames = np.load(folder / "test.npz")["frames"][:WINDOWS]
        file = GESTURE / "gesture.nir"
        network, graph = (
            import_network(file, ImportOptions("spikingjelly", readout="spikes")),
            read_graph(file),
        )
        samples, content = network.to_samples(frames), to_bytes(network.program)
        float_network = FloatNetwork(graph, "spikingjelly")
        expected = simulate(graph, rules_for("spikingjelly"), frames[:4])
        seen = np.stack([float_network.window(window)[0] for window in frames[:4]])
        wrong = (seen != expected.reshape(seen.shape)).mean()
        assert wrong < 1e-3, f"the float32 graph fires otherwise in {wrong:.2%}"
        np.save(folder / "frames.npy", frames)
        child = [arguments.library, ROOT / "benchmarks" / "nir_speed_library.py", file, folder / "frames.npy"]
        times: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for kernels in kernel_sets():
                engine = Engine(content, kernels)
                for window in samples:
                    engine.reset()
                    stamps, _ = engine.frames_window(np.ascontiguousarray(window), 1, 0)
                    times.setdefault(kernels, []).extend((stamps[:, 1] - stamps[:, 0]) * 1e-9)
                engine.close()
            for window in frames:
                times.setdefault("onnxruntime", []).extend(float_network.window(window)[1])
            if arguments.library.is_file():
                answer = json.loads(subprocess.run(child, check=True, capture_output=True).stdout)
                for name, taken in answer.items():
                    times.setdefault(name, []).extend(taken)
        medians = {name: float(np.median(taken)) for name, taken in times.items()}
        best = min(medians[name] for name in kernel_sets())
        weights = sum(layer.weights for layer in network.folded.layers)
        print(f"{frames.mean():.1%} of inputs fire; {weights:,} weights")
        print("| what runs it | a frame, us | times the engine |")
        print("|---|---|---|")
        for name, taken in sorted(medians.items(), key=lambda pair: pair[1]):
            print(f"| {name} | {1e6 * taken:.1f} | {taken / best:.1f} |")
        print(f"import of 5.0 million weights: {import_of_five_million(folder):.1f} s (aim: under 10)")


if __name__ == "__main__":
    main()
