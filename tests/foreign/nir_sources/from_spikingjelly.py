"""Networks of SpikingJelly as NIR, and what its own simulation makes of frames."""

import torch
from oracle import CLASSES, main
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.nir_exchange.to_nir import export_to_nir
from torch import nn

IN, HIDDEN = 24, 32
LINE, MAP = (3, 16), (2, 8, 8)
NODES = (neuron.LIFNode, neuron.IFNode, neuron.ParametricLIFNode)


def lif(**options):
    return neuron.LIFNode(tau=5.0, surrogate_function=surrogate.ATan(), **options)


def dense(make):
    return lambda: nn.Sequential(
        layer.Linear(IN, HIDDEN), make(), layer.Linear(HIDDEN, CLASSES, bias=False), make()
    )


def line():
    return nn.Sequential(
        layer.Conv1d(3, 8, 3, stride=2, padding=1), lif(v_threshold=0.12), layer.Conv1d(8, 8, 3, dilation=2),
        lif(v_threshold=0.12), layer.Flatten(), layer.Linear(32, CLASSES), lif(v_threshold=0.12),
    )  # fmt: skip


def maps():
    return nn.Sequential(
        layer.Conv2d(2, 6, 3, padding=1, bias=False), lif(v_threshold=0.1), layer.AvgPool2d(2),
        layer.Conv2d(6, 8, 3, padding="same"), lif(v_threshold=0.03), layer.AvgPool2d(2), layer.Flatten(),
        layer.Linear(32, CLASSES), lif(v_threshold=0.03),
    )  # fmt: skip


def run(model, frames):
    nodes = [module for module in model if isinstance(module, NODES)]
    made = [[] for _ in nodes]
    hooks = [
        module.register_forward_hook(lambda module, given, out, into=into: into.append(out))
        for module, into in zip(nodes, made, strict=True)
    ]
    functional.reset_net(model)
    for frame in frames.unbind(1):
        model(frame)
    functional.reset_net(model)
    for hook in hooks:
        hook.remove()
    return [torch.stack(steps, 1) for steps in made]


def export(model, frames):
    functional.reset_net(model)
    return export_to_nir(model, frames[:1, 0])


CASES = {
    "spikingjelly-lif": (dense(lambda: lif(v_threshold=0.3)), run, export, (IN,), False),
    "spikingjelly-undecayed": (dense(lambda: lif(decay_input=False)), run, export, (IN,), False),
    "spikingjelly-reset": (dense(lambda: lif(v_threshold=0.2, v_reset=-0.1)), run, export, (IN,), False),
    "spikingjelly-if": (dense(neuron.IFNode), run, export, (IN,), False),
    "spikingjelly-plif": (
        dense(lambda: neuron.ParametricLIFNode(init_tau=4.0, v_threshold=0.3)), run, export, (IN,), False,
    ),
    "spikingjelly-line": (line, run, export, LINE, False),
    "spikingjelly-maps": (maps, run, export, MAP, False),
}  # fmt: skip

if __name__ == "__main__":
    main(CASES)
