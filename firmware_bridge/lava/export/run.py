"""Run the exported network in Lava and check it against the integer program.

    python run.py [--form graph] [--ids 17 5 99]

Of a network that reads frames there is the graph alone, and the example is what runs.

Needs Python 3.10 and lava-nc 0.10.0 (which brings numpy).
"""

import argparse
import hashlib
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the processes of Lava already fill the cores

import numpy as np
from snn_lava.build import Simulation, make_files, read_folder


def main() -> None:
    """Run, print, compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--form", choices=("single", "graph"), default="single")
    parser.add_argument(
        "--ids", type=int, nargs="+", help="token ids; the example of the manifest by default"
    )
    arguments = parser.parse_args()

    here = Path(__file__).resolve().parent
    manifest, _ = read_folder(here)
    example = manifest["example"]
    if "inputs" in manifest:
        raise SystemExit(run_frames(here, manifest))
    ids = arguments.ids or example["ids"]
    with tempfile.TemporaryDirectory() as folder:
        tokens, logits = make_files(Path(folder), len(ids), manifest["vocab"])
        simulation = Simulation(here, arguments.form, tokens, logits)
        simulation.start()
        try:
            simulation.warm_up()
            started = time.perf_counter()
            found = simulation.run(ids)
            seconds = time.perf_counter() - started
        finally:
            simulation.stop()

    scale = 2.0 ** -manifest["logit_exponent"]
    for token, row in zip(ids, found, strict=True):
        print(f"token {token:6}  next {row.argmax():6}  logit {row.max() * scale:.4f}")
    print(
        f"{len(simulation.processes)} processes, {len(ids)} tokens in {seconds:.2f} s (simulated on the CPU)"
    )
    if ids == example["ids"]:
        equal = hashlib.sha256(found.tobytes()).hexdigest() == example["logits_sha256"]
        print(f"equal to the integer program: {'yes' if equal else 'NO'}")
        raise SystemExit(0 if equal else 3)


def run_frames(here: Path, manifest: dict) -> int:
    """Run the frames of the example; 0 where the outputs are those of the integer program."""
    example = manifest["example"]
    frames = np.zeros((len(example["frames"]), manifest["inputs"]), np.int32)
    for frame, channels in zip(frames, example["frames"], strict=True):
        frame[channels] = 1
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder), len(frames), manifest["outputs"], manifest["inputs"])
        simulation = Simulation(here, "graph", *files)
        simulation.start()
        try:
            simulation.warm_up()
            found = simulation.run(frames)
        finally:
            simulation.stop()
    for frame, row in zip(frames, found, strict=True):
        print(f"{int(frame.sum()):6} spikes in  outputs {' '.join(map(str, row))}")
    equal = hashlib.sha256(found.tobytes()).hexdigest() == example["outputs_sha256"]
    print(f"equal to the integer program: {'yes' if equal else 'NO'}")
    return 0 if equal else 3


if __name__ == "__main__":
    main()
