"""Lose a third of a network's weights, to see whether a gate notices.

python examples/worsen.py examples/tones/tones.nir build/worse/tones.nir
"""

import shutil
import sys
from pathlib import Path

import h5py
import numpy as np


def main(source, target):
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    rng = np.random.default_rng(0)
    with h5py.File(target, "r+") as file:
        for node in file["node/nodes"].values():
            if "weight" in node:
                weight = node["weight"][()]
                node["weight"][...] = weight * (rng.random(weight.shape) > 1 / 3)


if __name__ == "__main__":
    main(*sys.argv[1:])
