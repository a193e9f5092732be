"""Train the network of the tones in snnTorch and write it as NIR.

    .foreign/snntorch/bin/python examples/tones/train.py build/tones/tones.nir

It runs in the environment of snnTorch and never imports edgesnn.
"""

import argparse

import nir
import numpy as np
import snntorch
import torch
from data import BANDS, FRAMES, WORDS, windows
from torch import nn

BATCH, BETA = 64, 0.9
#: snnTorch's exporter of NIR takes 1e-4 s for a frame.
DT = 1e-4


def leaky(*shape):
    return snntorch.Leaky(beta=BETA, reset_mechanism="zero", init_hidden=True), shape


def network():
    """Two convolutions over the bands, and one neuron for each word."""
    layers = [
        (nn.Conv1d(2, 12, 5, padding=2), None), leaky(12, BANDS),
        (nn.Conv1d(12, 16, 5, stride=2, padding=2), None), leaky(16, BANDS // 2),
        (nn.Flatten(), None), (nn.Linear(16 * BANDS // 2, len(WORDS)), None), leaky(len(WORDS)),
    ]  # fmt: skip
    return nn.Sequential(*[layer for layer, _ in layers]), [shape for _, shape in layers]


def spikes(model, frames):
    """How often each of the last neurons fires in windows ``[n, FRAMES, 2, BANDS]``."""
    for module in model:
        if isinstance(module, snntorch.Leaky):
            module.mem = torch.zeros(0)
    return sum(model(frames[:, frame]) for frame in range(FRAMES))


def train(model, steps):
    frames, labels = windows(4000, 1)
    frames, labels = torch.from_numpy(frames).float(), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for step in range(steps):
        batch = torch.randint(0, len(frames), (BATCH,))
        loss = nn.functional.cross_entropy(spikes(model, frames[batch]) * 0.6, labels[batch])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)


def as_nir(model, shapes):
    """The graph, node by node: snnTorch's exporter knows no Conv1d."""
    nodes, length = {"input": nir.Input(np.array([2, BANDS]))}, BANDS
    for number, (module, shape) in enumerate(zip(model, shapes)):
        if isinstance(module, nn.Conv1d):
            weight, bias = module.weight.detach().numpy(), module.bias.detach().numpy()
            node = nir.Conv1d(length, weight, module.stride[0], module.padding[0], 1, 1, bias)
            length //= module.stride[0]
        elif isinstance(module, nn.Linear):
            node = nir.Affine(module.weight.detach().numpy(), module.bias.detach().numpy())
        elif isinstance(module, nn.Flatten):
            node = nir.Flatten({"input": np.array([16, length])}, 0, -1)
        else:
            one = np.ones(shape, np.float32)
            tau = one * DT / (1 - BETA)
            node = nir.LIF(tau=tau, r=tau / DT, v_leak=0 * one, v_threshold=one, v_reset=0 * one)
        nodes[str(number)] = node
    nodes["output"] = nir.Output(np.array([len(WORDS)]))
    names = list(nodes)
    return nir.NIRGraph(nodes, list(zip(names, names[1:])))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file")
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    torch.set_num_threads(1)  # so small a network gains nothing by more
    torch.manual_seed(1)
    model, shapes = network()
    train(model, options.steps)
    frames, labels = windows(500, 3)
    with torch.no_grad():
        right = (spikes(model, torch.from_numpy(frames).float()).argmax(1).numpy() == labels).mean()
    nir.write(options.file, as_nir(model, shapes))
    print(f"{options.file}: {100 * right:.1f} % of {len(labels)} words right in snnTorch")


if __name__ == "__main__":
    main()
