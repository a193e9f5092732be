"""Instructions per token of the C engine's portable kernels, counted by callgrind, against a baseline.

    python benchmarks/engine_instructions.py                 compares with engine_instructions.json
    python benchmarks/engine_instructions.py --write         makes that file anew

A count hangs on processor family, compiler and flags, so they are recorded with it and another combination is
refused as not comparable (exit code 2). A kernel that got more than 2 % slower fails (exit code 1). valgrind
executes no AVX-512, so that kernel set has no count.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn import resources
from edgesnn.exporters.c.sources import amalgam
from edgesnn.program.snn_format import to_bytes
from tests.support.random_program import FLAGSHIP, random_program

BASELINE = Path(__file__).with_suffix(".json")
KERNELS_COUNTED = ("reference", "swar", "vector")
CALLGRIND_FLAGS = ("-std=c99", "-O2")
COMPILER = "gcc"
VOCAB = 8192
TOLERATED = 0.02
#: Tokens that fill the windows, of which the flagship's widest is full after 255, and those that are counted.
FILLING, COUNTED = 256, 8
#: What is compiled with the engine: its windows are filled at full speed, and only what follows is counted.
STEPS = Path(__file__).with_suffix(".c")


def combination() -> dict[str, Any]:
    """What a count hangs on."""
    version = subprocess.run([COMPILER, "-dumpfullversion"], capture_output=True, text=True, check=True)
    return {
        "machine": platform.machine(),
        "compiler": f"{COMPILER} {version.stdout.strip()}",
        "flags": " ".join(CALLGRIND_FLAGS),
        "program": f"random program of the flagship's shape, V = {VOCAB}, seed 0, windows full",
    }


def count_instructions() -> dict[str, int]:
    """Instructions per token under callgrind, with every window full."""
    ids = [str(i) for i in np.random.default_rng(0).integers(0, VOCAB, FILLING + COUNTED)]
    with tempfile.TemporaryDirectory() as name:
        folder, engine = Path(name), resources.folder("engine")
        (folder / "snn.c").write_text(amalgam(engine), encoding="utf-8")
        program, state = folder / "program.snn", folder / "state"
        program.write_bytes(to_bytes(random_program(replace(FLAGSHIP, vocab=VOCAB))))
        sources = [str(folder / "snn.c"), str(STEPS)]
        run = str(folder / "run")
        subprocess.run([COMPILER, *CALLGRIND_FLAGS, f"-I{engine}", *sources, "-o", run], check=True)
        subprocess.run([run, "fill", program, "vector", state, *ids[:FILLING]], check=True)
        return {
            kernels: _instructions([run, "count", program, kernels, state, *ids[FILLING:]]) // COUNTED
            for kernels in KERNELS_COUNTED
        }


def _instructions(command: list[str | Path]) -> int:
    """Instructions of all counted steps of a run."""
    out = Path(command[0]).with_name("callgrind.out")
    words = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--toggle-collect=counted_step"]
    subprocess.run([*words, *command], capture_output=True, check=True)
    lines = out.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(("summary:", "totals:")))


def compare(counts: dict[str, int], baseline: dict[str, int]) -> bool:
    """Print the change of every kernel set; whether none got slower."""
    good = True
    for name, count in counts.items():
        change = count / baseline[name] - 1
        good = good and change <= TOLERATED
        print(f"{name:10} {count:12,} instructions per token, {100 * change:+.2f} %")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    for tool in (COMPILER, "valgrind"):
        if shutil.which(tool) is None:
            print(f"{tool} is not installed", file=sys.stderr)
            return 2
    here = combination()
    if arguments.write:
        found = {"comparable": here, "instructions_per_token": count_instructions()}
        arguments.baseline.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        return 0
    kept = json.loads(arguments.baseline.read_text(encoding="utf-8"))
    if kept["comparable"] != here:
        print(f"not comparable: baseline {kept['comparable']}, here {here}", file=sys.stderr)
        return 2
    return 0 if compare(count_instructions(), kept["instructions_per_token"]) else 1


if __name__ == "__main__":
    sys.exit(main())
