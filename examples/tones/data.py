"""Words of three tones in noise, as the spikes of an artificial ear.

    python examples/tones/data.py build/tones

writes ``calibration.npz`` and ``test.npz``: ``frames`` uint8 ``[n, FRAMES, 2, BANDS]`` in {0, 1} and
``labels`` ``[n]``. Everything follows from a seed.
"""

import sys
from pathlib import Path

import numpy as np

#: Samples a second, samples from frame to frame (10 ms), samples that a frame looks at.
RATE, HOP, LOOK = 8000, 80, 256
#: Bands of the ear, frames of a word (0.4 s).
BANDS, FRAMES = 32, 40
#: Tones in Hz, and the words made of them; the first word is silence: only noise.
TONES = (420.0, 900.0, 1900.0)
WORDS = ((), (0, 1, 2), (2, 1, 0), (0, 2, 0), (1, 0, 2), (2, 0, 1))
#: Change of a band's log energy that makes a spike.
STEP = 1.1


def sound(word, rng):
    """One word as samples: three tones of 70 to 110 ms, each a little off, in noise."""
    time = np.arange(FRAMES * HOP + LOOK) / RATE
    wave = rng.normal(0, 1, time.size) * rng.uniform(0.15, 0.45)
    start = rng.uniform(0.03, 0.09)
    for tone in WORDS[word]:
        end = start + rng.uniform(0.07, 0.11)
        on = (time >= start) & (time < end)
        pitch = TONES[tone] * 2 ** rng.uniform(-0.15, 0.15)
        wave += on * rng.uniform(0.35, 0.8) * np.sin(2 * np.pi * pitch * time + rng.uniform(0, 6))
        start = end + rng.uniform(0, 0.02)
    return wave


def ear(wave):
    """Spikes ``[FRAMES, 2, BANDS]``: a band got louder by a step, or quieter by one."""
    edges = np.geomspace(200, 3600, BANDS + 1)
    frequencies = np.fft.rfftfreq(LOOK, 1 / RATE)[:, None]
    band = (frequencies >= edges[:-1] * 0.92) & (frequencies < edges[1:] * 1.08)
    seen = np.lib.stride_tricks.sliding_window_view(wave, LOOK)[::HOP][:FRAMES] * np.hanning(LOOK)
    loud = np.log(np.abs(np.fft.rfft(seen)) ** 2 @ (band / band.sum(axis=0)) + 1e-3)
    spikes, heard = np.zeros((FRAMES, 2, BANDS), np.uint8), loud[0]
    for frame in range(FRAMES):
        up, down = loud[frame] > heard + STEP, loud[frame] < heard - STEP
        spikes[frame] = up, down
        heard = heard + STEP * up - STEP * down
    return spikes


def windows(count, seed):
    """Frames and labels of so many words."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(WORDS), count)
    return np.stack([ear(sound(word, rng)) for word in labels]), labels


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, count, seed in (("calibration", 200, 2), ("test", 1000, 3)):
        frames, labels = windows(count, seed)
        np.savez_compressed(folder / f"{name}.npz", frames=frames, labels=labels)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
