"""Load a file that edgesnn wrote into a library and record what it makes of frames.

    .foreign/LIBRARY/bin/python tests/foreign/nir_readers/read_nir.py LIBRARY FILE.nir FRAMES.npz OUT.npz

It runs in the environment of the library and never imports edgesnn. ``FRAMES.npz`` holds ``frames``
``[n, frames, *shape]``; ``OUT.npz`` gets ``out`` ``[n, frames, outputs]``: what came out of every frame.
"""

import sys

import nir
import numpy as np
import torch


def snntorch(graph, frames):
    """A graph of Sequential modules; its Flatten flattens all dimensions, so windows go one by one."""
    from snntorch.import_nir import import_from_nir

    made = []
    for window in frames:
        net, state, rows = import_from_nir(graph), None, []
        for frame in window:
            out, state = net(frame, state)
            rows.append(out.reshape(-1))
        made.append(torch.stack(rows))
    return torch.stack(made)


def spikingjelly(graph, frames):
    from spikingjelly.activation_based.nir_exchange.from_nir import import_from_nir

    net, state, rows = import_from_nir(graph), None, []
    for frame in frames.unbind(1):
        out, state = net(frame, state)
        rows.append(out.flatten(1))
    return torch.stack(rows, 1)


def norse(graph, frames):
    from norse.torch import from_nir

    made = []
    for window in frames:  # its Flatten flattens all dimensions too
        net, state, rows = from_nir(graph), None, []
        for frame in window:
            out, state = net(frame, state)
            rows.append(out.reshape(-1))
        made.append(torch.stack(rows))
    return torch.stack(made)


def sinabs(graph, frames):
    from sinabs.nir import from_nir

    net = from_nir(graph, batch_size=len(frames))
    out = net(frames.flatten(0, 1))
    out = out[0] if isinstance(out, tuple) else out
    return out.reshape(*frames.shape[:2], -1)


def main(library, file, given, out):
    torch.set_num_threads(1)
    frames = torch.from_numpy(np.load(given)["frames"]).float()
    with torch.no_grad():
        made = globals()[library](nir.read(file), frames)
    np.savez_compressed(out, out=made.numpy().astype(np.float32))


if __name__ == "__main__":
    main(*sys.argv[1:])
