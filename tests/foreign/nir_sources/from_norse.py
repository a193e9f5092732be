"""Networks of Norse as NIR, and what its own simulation makes of frames."""

import norse.torch as norse
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
        nn.Linear(IN, HIDDEN), norse.LIFBoxCell(parameters(**options)), nn.Linear(HIDDEN, CLASSES, bias=False),
        norse.LIFBoxCell(parameters(**options)),
    )  # fmt: skip


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
    return norse.to_nir(model, frames[:1, 0])


CASES = {
    "norse-value": (dense(), run, export, (IN,), False),
    "norse-subtract": (dense(reset_method=reset_subtract), run, export, (IN,), False),
    "norse-leak": (dense(v_leak=torch.as_tensor(0.03), v_reset=torch.as_tensor(0.0)), run, export, (IN,), False),
    "norse-iaf": (integrate, run, export, (IN,), False),
    "norse-membranes": (membranes, run, export, (IN,), False),
    "norse-maps": (maps, run, export, MAP, False),
}

if __name__ == "__main__":
    main(CASES)
