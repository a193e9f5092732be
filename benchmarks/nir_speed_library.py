"""What a frame of the gesture network takes in SpikingJelly; `nir_speed.py` runs it in that environment."""

import json
import sys
import time
from pathlib import Path

import nir
import numpy as np
import torch
from spikingjelly.activation_based import functional

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "gesture"))

from train import network  # noqa: E402


def main(file, given):
    torch.set_num_threads(1)
    frames, model = torch.from_numpy(np.load(given)).float(), network()
    graph = nir.read(file)
    weighted = iter([node for _, node in sorted(graph.nodes.items()) if hasattr(node, "weight")])
    for module in model:
        if hasattr(module, "weight"):
            node = next(weighted)
            module.weight.data = torch.from_numpy(np.array(node.weight))
            module.bias.data = torch.from_numpy(np.array(node.bias))
    single, whole = [], []
    with torch.inference_mode():
        for mode, into in (("s", single), ("m", whole)):
            functional.set_step_mode(model, mode)
            for window in frames:
                functional.reset_net(model)
                for part in window[:, None] if mode == "s" else [window[:, None]]:
                    started = time.perf_counter()
                    model(part)
                    into.append((time.perf_counter() - started) / (1 if mode == "s" else len(window)))
    print(json.dumps({"SpikingJelly, frame by frame": single, "SpikingJelly, whole windows": whole}))


if __name__ == "__main__":
    main(*sys.argv[1:])
