"""Networks of snnTorch as NIR, and what its own simulation makes of frames."""

import snntorch
import torch
from oracle import CLASSES, main
from snntorch.export_nir import export_to_nir
from torch import nn

IN, HIDDEN = 24, 32
MAP = (2, 8, 8)


def leaky(neurons, **options):
    """Betas differ from neuron to neuron; neither a scalar beta nor a scalar threshold can be exported."""
    given = {"threshold": torch.ones(neurons), **options}
    return snntorch.Leaky(beta=torch.linspace(0.75, 0.95, neurons), init_hidden=True, **given)


def dense(**options):
    def build():
        return nn.Sequential(
            nn.Linear(IN, HIDDEN), leaky(HIDDEN, **options), nn.Linear(HIDDEN, CLASSES, bias=False),
            leaky(CLASSES, **options),
        )  # fmt: skip

    return build


def thresholds():
    return nn.Sequential(
        nn.Linear(IN, HIDDEN),
        leaky(HIDDEN, reset_mechanism="zero", threshold=torch.linspace(0.6, 1.4, HIDDEN)),
        nn.Linear(HIDDEN, CLASSES),
        leaky(CLASSES, reset_mechanism="zero"),
    )


def maps():
    one = {"init_hidden": True, "reset_mechanism": "zero"}
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        snntorch.Leaky(beta=torch.full((6, 8, 8), 0.85), threshold=torch.ones(6, 8, 8), **one),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
        snntorch.Leaky(beta=torch.full((8, 2, 2), 0.9), threshold=torch.ones(8, 2, 2), **one),
        nn.Flatten(),
        nn.Linear(32, CLASSES),
        leaky(CLASSES, reset_mechanism="zero"),
    )


def run(model, frames):
    neurons = [module for module in model if isinstance(module, snntorch.Leaky)]
    made = [[] for _ in neurons]
    hooks = [
        module.register_forward_hook(lambda module, given, out, into=into: into.append(out))
        for module, into in zip(neurons, made, strict=True)
    ]
    for module in neurons:
        module.mem = torch.zeros(0)
    for frame in frames.unbind(1):
        model(frame)
    for hook in hooks:
        hook.remove()
    return [torch.stack(layer, 1) for layer in made]


def export(model, frames):
    for module in model:
        if isinstance(module, snntorch.Leaky):
            module.mem = torch.zeros(0)
    return export_to_nir(model, frames[:1, 0], ignore_dims=[0])


CASES = {
    "snntorch-zero": (dense(reset_mechanism="zero"), run, export, (IN,), False),
    "snntorch-subtract": (dense(), run, export, (IN,), False),
    "snntorch-none": (dense(reset_mechanism="none"), run, export, (IN,), False),
    "snntorch-samples": (dense(reset_mechanism="zero"), run, export, (IN,), True),
    "snntorch-thresholds": (thresholds, run, export, (IN,), False),
    "snntorch-maps": (maps, run, export, MAP, False),
}

if __name__ == "__main__":
    main(CASES)
