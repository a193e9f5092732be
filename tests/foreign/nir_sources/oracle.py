"""What the scripts beside it share: a small task, training on it, and the record of what a library did.

A script runs in the environment of its library and never imports edgesnn:

    .foreign/snntorch/bin/python tests/foreign/nir_sources/from_snntorch.py FOLDER [--inputs N] [--only CASE]

For every case it writes ``CASE.nir``, as the library exports it, and ``CASE.npz``: ``frames``
``[n, frames, *shape]``, ``labels`` ``[n]``, and ``neurons0``, ``neurons1``, ...: what each layer of neurons
made, ``[n, frames, *shape]``, in the order of the layers.
"""

import argparse
from pathlib import Path

import nir
import numpy as np
import torch

CLASSES, FRAMES, STEPS, BATCH = 6, 24, 120, 48
#: Seeds of the task, and of the inputs that are recorded, which no training sees.
TASK, RECORDED = 11, 977


def task(count, shape, seed, samples=False):
    """Frames ``[count, FRAMES, *shape]`` and labels: every class has a pattern of rates, in noise.

    Spikes are uint8 in {0, 1}; samples are float32 between -1 and 1.
    """
    rates = np.random.default_rng(TASK).choice([0.04, 0.3], (CLASSES, *shape), p=[0.6, 0.4])
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    chance = 0.75 * rates[labels] + 0.25 * rates[rng.integers(0, CLASSES, count)]
    fired = rng.random((count, FRAMES, *shape)) < chance[:, None]
    if samples:
        noise = rng.normal(0, 0.25, fired.shape)
        return np.clip(0.5 * fired + noise, -1, 1).astype(np.float32), labels
    return fired.astype(np.uint8), labels


def train(model, run, shape, samples, steps):
    """Train on the counts of the last layer's spikes, or on its mean membrane."""
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for step in range(steps):
        frames, labels = task(BATCH, shape, 10_000 + step, samples)
        out = run(model, torch.from_numpy(frames).float())[-1]
        loss = torch.nn.functional.cross_entropy(out.flatten(2).mean(1) * 8, torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def record(path, model, run, graph, shape, *, count, samples):
    """Write the file and what the library made of inputs that it was not trained on."""
    frames, labels = task(count, shape, RECORDED, samples)
    with torch.no_grad():
        parts = [
            run(model, torch.from_numpy(part).float()) for part in np.array_split(frames, -(-count // 100))
        ]
    layers = [torch.cat(layer).numpy() for layer in zip(*parts, strict=True)]
    try:
        nir.write(path, graph)
    except TypeError:  # parameters without a dimension cannot be compressed
        nir.write(path, graph, compression=None)
    whole = {f"neurons{i}": _small(layer) for i, layer in enumerate(layers)}
    np.savez_compressed(path.with_suffix(".npz"), frames=frames, labels=labels.astype(np.int16), **whole)
    right = float((layers[-1].reshape(count, FRAMES, -1).sum(1).argmax(-1) == labels).mean())
    rates = ", ".join(f"{layer.mean():.3f}" for layer in layers)
    print(f"{path.stem}: {100 * right:.1f} % of {count} right, mean of each layer {rates}")


def _small(layer):
    whole = (layer == np.rint(layer)).all() and np.abs(layer).max() < 128
    return layer.astype(np.int8 if whole else np.float32)


def main(cases):
    """Make the cases that the command line names.

    Args:
        cases: By name: build(), which returns the model; run(model, frames), which returns what every layer
            of neurons makes; export(model, frames), which returns the graph; the shape of a frame; whether
            frames are samples.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--inputs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    Path(options.folder).mkdir(parents=True, exist_ok=True)
    for name, (build, run, export, shape, samples) in cases.items():
        if options.only in (None, name):
            torch.manual_seed(3)
            model = build()
            train(model, run, shape, samples, options.steps)
            frames, _ = task(2, shape, 1, samples)
            graph = export(model, torch.from_numpy(frames).float())
            path = Path(options.folder) / f"{name}.nir"
            record(path, model, run, graph, shape, count=options.inputs, samples=samples)
