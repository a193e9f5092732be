"""Networks of Sinabs as NIR, and what its own simulation makes of frames."""

import nir
import numpy as np
from oracle import CLASSES, FRAMES, main
from sinabs.activation import MembraneReset, MultiSpike, SingleSpike
from sinabs.layers import IAF, LIF, ExpLeak, IAFSqueeze, SumPool2d
from sinabs.nir import to_nir
from torch import nn

IN, HIDDEN = 24, 32
MAP = (2, 8, 8)
NEURONS = (LIF, IAF, IAFSqueeze, ExpLeak)


def dense(make):
    return lambda: nn.Sequential(nn.Linear(IN, HIDDEN), make(), nn.Linear(HIDDEN, CLASSES), make())


def membranes():
    return nn.Sequential(nn.Linear(IN, HIDDEN), IAF(), nn.Linear(HIDDEN, CLASSES), ExpLeak(tau_mem=8.0))


def maps():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=False), IAFSqueeze(num_timesteps=FRAMES), SumPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1, bias=False), IAFSqueeze(num_timesteps=FRAMES), SumPool2d(2),
        nn.Flatten(), nn.Linear(32, CLASSES, bias=False), IAFSqueeze(num_timesteps=FRAMES),
    )  # fmt: skip


def run(model, frames):
    neurons = [module for module in model if isinstance(module, NEURONS)]
    made = []
    hooks = [module.register_forward_hook(lambda module, given, out: made.append(out)) for module in neurons]
    for module in neurons:
        module.reset_states()
    flat = any(isinstance(module, IAFSqueeze) for module in neurons)
    model(frames.flatten(0, 1) if flat else frames)
    for hook in hooks:
        hook.remove()
    return [out.unflatten(0, frames.shape[:2]) if flat else out for out in made]


def export(model, frames):
    for module in model:
        if isinstance(module, NEURONS):
            module.reset_states()
    graph = to_nir(model, frames.flatten(0, 1) if frames.ndim > 3 else frames)
    for node in graph.nodes.values():  # shapes that it leaves open cannot be written
        if isinstance(node, nir.Conv2d):
            node.input_shape = (8, 8) if node.weight.shape[1] == MAP[0] else (4, 4)
        if isinstance(node, nir.Flatten):
            node.input_type = {"input": np.array([8, 2, 2])}
    return graph


CASES = {
    "sinabs-lif": (dense(lambda: LIF(tau_mem=6.0, spike_threshold=0.3)), run, export, (IN,), False),
    "sinabs-single": (
        dense(lambda: LIF(tau_mem=6.0, spike_fn=SingleSpike, norm_input=False)), run, export, (IN,), False,
    ),
    "sinabs-zero": (
        dense(lambda: LIF(tau_mem=6.0, spike_fn=SingleSpike, reset_fn=MembraneReset(), norm_input=False)),
        run, export, (IN,), False,
    ),
    "sinabs-iaf": (dense(lambda: IAF(spike_fn=MultiSpike)), run, export, (IN,), False),
    "sinabs-membranes": (membranes, run, export, (IN,), False),
    "sinabs-maps": (maps, run, export, MAP, False),
}  # fmt: skip

if __name__ == "__main__":
    main(CASES)
