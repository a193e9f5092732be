"""Train the network of the gestures in SpikingJelly and write it as NIR.

    .foreign/spikingjelly/bin/python examples/gesture/train.py build/gesture/gesture.nir

It runs in the environment of SpikingJelly and never imports edgesnn.
"""

import argparse

import torch
from data import DIRECTIONS, SIDE, windows
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.nir_exchange.to_nir import export_to_nir
from torch import nn

BATCH = 24


def lif(threshold):
    return neuron.LIFNode(
        tau=4.0, decay_input=False, v_threshold=threshold, detach_reset=True,
        surrogate_function=surrogate.ATan(),
    )  # fmt: skip


def network():
    """Two convolutions with pools behind them, two layers of weights."""
    return nn.Sequential(
        layer.Conv2d(2, 12, 5, stride=2, padding=2), lif(0.4), layer.AvgPool2d(2),
        layer.Conv2d(12, 24, 3, padding=1), lif(0.2), layer.AvgPool2d(2),
        layer.Flatten(), layer.Linear(24 * (SIDE // 8) ** 2, 64), lif(0.2),
        layer.Linear(64, DIRECTIONS), lif(0.4),
    )  # fmt: skip


def spikes(model, frames):
    """How often each of the last neurons fires in windows ``[n, FRAMES, 2, SIDE, SIDE]``."""
    functional.reset_net(model)
    counts = model(frames.transpose(0, 1).contiguous()).sum(0)
    functional.reset_net(model)
    return counts


def train(model, steps):
    frames, labels = windows(3000, 1)
    frames, labels = torch.from_numpy(frames).float(), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        batch = torch.randint(0, len(frames), (BATCH,))
        loss = nn.functional.cross_entropy(spikes(model, frames[batch]) * 0.6, labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 19:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file")
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    torch.set_num_threads(1)  # so small a network gains nothing by more
    torch.manual_seed(1)
    model = network()
    functional.set_step_mode(model, "m")  # a whole window at once
    train(model, options.steps)
    frames, labels = windows(500, 3)
    with torch.no_grad():
        right = (spikes(model, torch.from_numpy(frames).float()).argmax(1).numpy() == labels).mean()
    functional.set_step_mode(model, "s")
    export_to_nir(model, torch.from_numpy(frames[:1, 0]).float(), save_path=options.file)
    print(f"{options.file}: {100 * right:.1f} % of {len(labels)} gestures right in SpikingJelly")


if __name__ == "__main__":
    main()
