"""A bar that moves in one of eight directions, as the events of an artificial camera.

    python examples/gesture/data.py build/gesture

writes ``calibration.npz`` and ``test.npz``: ``frames`` uint8 ``[n, FRAMES, 2, SIDE, SIDE]`` in {0, 1}
(events of pixels that got brighter, and darker) and ``labels`` ``[n]``. Everything follows from a seed.
"""

import sys
from pathlib import Path

import numpy as np

SIDE, FRAMES = 32, 16
#: The classes: right, down-right, down, ...
DIRECTIONS = 8
#: Chance of an event of a pixel in which nothing moves.
NOISE = 0.004


def bar(direction, rng):
    """Events ``[FRAMES, 2, SIDE, SIDE]`` of one gesture: a bar at right angles to where it goes."""
    angle = direction * np.pi / 4 + rng.normal(0, 0.12)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    middle = SIDE / 2 + rng.uniform(-3, 3, 2)
    half, thick, speed = rng.uniform(6, 12), rng.uniform(1.0, 2.5), rng.uniform(0.8, 1.6)
    y, x = np.mgrid[:SIDE, :SIDE]
    before, frames = None, np.zeros((FRAMES, 2, SIDE, SIDE), bool)
    for frame in range(-1, FRAMES):
        centre = middle + along * speed * (frame - FRAMES / 2)
        dx, dy = x - centre[0], y - centre[1]
        near = np.abs(dx * along[0] + dy * along[1]) < thick
        lit = near & (np.abs(dx * across[0] + dy * across[1]) < half)
        if before is not None:
            frames[frame] = lit & ~before, before & ~lit
        before = lit
    return (frames & (rng.random(frames.shape) < 0.8)) | (rng.random(frames.shape) < NOISE)


def windows(count, seed):
    """Frames and labels of so many gestures."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, DIRECTIONS, count)
    return np.stack([bar(one, rng) for one in labels]).astype(np.uint8), labels


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, count, seed in (("calibration", 200, 2), ("test", 1000, 3)):
        frames, labels = windows(count, seed)
        np.savez_compressed(folder / f"{name}.npz", frames=frames, labels=labels)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
