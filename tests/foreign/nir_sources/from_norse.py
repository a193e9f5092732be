"""Networks of Norse as NIR, and what its own simulation makes of frames."""

import nir
import norse.torch as norse
import numpy as np
import torch
from norse.torch.functional.reset import reset_subtract
from norse.torch.module.iaf import IAFCell
from oracle import CLASSES, main
from torch import nn

IN, HIDDEN = 24, 32
MAP = (2, 8, 8)
CELLS = (norse.LIFBoxCell, IAFCell, norse.LIBoxCell)


def parameters(**options):
    given = {"tau_mem_inv": torch.as_tensor(150.0), "v_th": torch.as_tensor(0.25), **options}
    return norse.LIFBoxParameters(**given)


def dense(**options):
    return lambda: norse.SequentialState(
        nn.Linear(IN, HIDDEN),
        norse.LIFBoxCell(parameters(**options)),
        nn.Linear(HIDDEN, CLASSES, bias=False),
        norse.LIFBoxCell(parameters(**options)),
    )


def integrate():
    return norse.SequentialState(nn.Linear(IN, HIDDEN), IAFCell(), nn.Linear(HIDDEN, CLASSES), IAFCell())


def membranes():
    return norse.SequentialState(
        nn.Linear(IN, HIDDEN), norse.LIFBoxCell(parameters()), nn.Linear(HIDDEN, CLASSES), norse.LIBoxCell()
    )


def maps():
    """No pool and no flattening: its exporter knows neither, so the last map is one neuron high and wide."""
    return norse.SequentialState(
        nn.Conv2d(2, 6, 3, stride=2, padding=1), norse.LIFBoxCell(parameters()), nn.Conv2d(6, CLASSES, 4),
        norse.LIFBoxCell(parameters()),
    )  # fmt: skip


def run(model, frames):
    neurons = [module for module in model.children() if isinstance(module, CELLS)]
    made = [[] for _ in neurons]
    hooks = [
        module.register_forward_hook(lambda module, given, out, into=into: into.append(out[0]))
        for module, into in zip(neurons, made, strict=True)
    ]
    state = None
    for frame in frames.unbind(1):
        _, state = model(frame, state)
    for hook in hooks:
        hook.remove()
    return [torch.stack(layer, 1) for layer in made]


def export(model, frames):
    graph = norse.to_nir(model, frames[:1, 0])
    for node in graph.nodes.values():  # shapes that it leaves open cannot be written
        if isinstance(node, nir.Conv2d):
            node.input_shape = (8, 8) if node.weight.shape[1] == MAP[0] else (4, 4)
        if isinstance(node, nir.Output):
            node.output_type = {"output": np.array([CLASSES, 1, 1] if len(frames.shape) > 3 else [CLASSES])}
    return graph


CASES = {
    "norse-value": (dense(), run, export, (IN,), False),
    "norse-subtract": (dense(reset_method=reset_subtract), run, export, (IN,), False),
    "norse-iaf": (integrate, run, export, (IN,), False),
    "norse-membranes": (membranes, run, export, (IN,), False),
    "norse-maps": (maps, run, export, MAP, False),
}

if __name__ == "__main__":
    main(CASES)
