"""Instructions of one token on emulated microcontrollers, and the memory that they need.

    python benchmarks/microcontroller.py [BUNDLE ...] [--json]

Every board that QEMU can be and every kernel set runs the same random tokens, the attention windows full.
Without bundles: a small preset (d 64, N 2, V 1,024, T 4; random weights at a spike rate of 15 %). SIMULATED:
instructions under ``-icount shift=5``, to 31 of them; no time, no cycles, no energy of any hardware.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn import open_bundle
from edgesnn.bundle.bundle import PROGRAM_NAME
from edgesnn.firmware import EMULATED, find_firmware
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.board.address import KERNELS
from edgesnn.runners.board.board import Board
from edgesnn.runners.board.emulator import INSTRUCTION_NS, EmulatorLine
from edgesnn.runners.board.session import BoardSession
from tests.support.random_program import RandomShape, random_program

SMALL = RandomShape(1024, 64, 2, (8, 16, 32, 32), 128, 32, 4, shifted=32, clip=False)
TOKENS, SECONDS = 64, 3600.0


def measure(name: str, data: bytes) -> list[dict[str, Any]]:
    rows = []
    for kind in EMULATED.values():
        with BoardSession(EmulatorLine(kind, find_firmware(kind), data)) as session:
            board, hello = Board(session), session.hello
            for kernels in KERNELS:
                model = board.load(data, kernels)
                ids = np.random.default_rng(0).integers(0, model.vocab, model.window + TOKENS)
                run = board.run(ids, repeat=1, seconds=SECONDS)
                ticks = board.ticks(run.steps)[model.window :]
                per_tick = 1e9 / hello.tick_hz / INSTRUCTION_NS
                rows.append(
                    {
                        "model": name,
                        "board": hello.name,
                        "kernels": kernels,
                        "instructions": float(np.median(ticks)) * per_tick,
                        "model_bytes": len(data),
                        "firmware_bytes": hello.flash_bytes,
                        "static_bytes": hello.static_bytes,
                        "index_bytes": model.index_bytes,
                        "context_bytes": model.context_bytes,
                        "stack_bytes": board.statistics()["stack_bytes"],
                    }
                )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="*", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    models = {"small preset": to_bytes(random_program(SMALL))} if not options.bundles else {}
    for path in options.bundles:
        bundle = open_bundle(path)
        models[bundle.name] = bundle.file(PROGRAM_NAME).read_bytes()
    rows = [row for name, data in models.items() for row in measure(name, data)]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'model':14} {'board':24} {'kernels':10} {'instructions/token (SIMULATED)':>31}")
    for row in rows:
        print(f"{row['model']:14} {row['board']:24} {row['kernels']:10} {row['instructions']:31,.0f}")
    for name, data in models.items():
        one = next(row for row in rows if row["model"] == name)
        ram = one["static_bytes"] + one["index_bytes"] + one["context_bytes"]
        parts = ("static", "index", "context")
        said = ", ".join(f"{part} {one[f'{part}_bytes']:,}" for part in parts)
        print(f"{name}: model {len(data):,} bytes, firmware {one['firmware_bytes']:,} bytes")
        print(f"{name}: RAM without the model {ram:,} bytes ({said})")


if __name__ == "__main__":
    main()
