"""Instructions of one token on emulated microcontrollers, the memory that they need, and what the line costs.

    python benchmarks/microcontroller.py [BUNDLE ...] [--json]
    python benchmarks/microcontroller.py --gate      compares the small preset with microcontroller.json
    python benchmarks/microcontroller.py --write     makes that file anew

Every board that QEMU can be and every kernel set runs the same random tokens, the attention windows full.
Without bundles: a small preset (d 64, N 2, V 1,024, T 4; random weights at a spike rate of 15 %). SIMULATED:
instructions under ``-icount shift=5``, to 31 of them; no time, no cycles, no energy of any hardware.

A count hangs on compiler, flags and emulator, so they are recorded with it and another combination is refused
as not comparable (exit code 2). One that grew by more than 1 % fails (exit code 1).

The line is measured on the Cortex-M7: how fast a model arrives (MEASURED on this computer, over the emulated
line), and which share of a window of 10 s of the emulated clock is not the steps themselves (SIMULATED).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn import open_bundle
from edgesnn.bundle.bundle import PROGRAM_NAME
from edgesnn.firmware import EMULATED, FLAGS, find_firmware
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.board.address import KERNELS
from edgesnn.runners.board.board import Board
from edgesnn.runners.board.emulator import INSTRUCTION_NS, EmulatorLine, emulator_version, missing_emulator
from edgesnn.runners.board.lines import SerialLine
from edgesnn.runners.board.session import BoardSession
from edgesnn.toolchain import BARE_METAL, cross_compiler
from tests.support.devices.loopback import TerminalBoard
from tests.support.random_program import RandomShape, random_program
from tests.support.shared import VARIABLE

SMALL = RandomShape(1024, 64, 2, (8, 16, 32, 32), 128, 32, 4, shifted=32, clip=False)
TOKENS, SECONDS = 64, 3600.0
WINDOW_S = 10.0
BASELINE = Path(__file__).with_suffix(".json")
TOLERATED = 0.01
LINE_BOARD = "mps2-an500"


def measure(name: str, data: bytes, sets: tuple[str, ...] = KERNELS) -> list[dict[str, Any]]:
    rows = []
    for kind in EMULATED.values():
        with BoardSession(EmulatorLine(kind, find_firmware(kind), data)) as session:
            board, hello = Board(session), session.hello
            for kernels in sets:
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


def upload_rates(data: bytes) -> dict[str, float]:
    """Bytes a second, opening included: over the emulated UART, and to the same C on this computer's pty."""
    kind, rates = EMULATED[LINE_BOARD], {}

    def load(session: BoardSession) -> float:
        begun = time.perf_counter()
        sent = Board(session).load(data).sent
        assert sent == len(data)
        return sent / (time.perf_counter() - begun)

    with BoardSession(EmulatorLine(kind, find_firmware(kind))) as session:
        rates[f"the UART of {kind.name} in QEMU"] = load(session)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault(VARIABLE, folder)
        with TerminalBoard(1 << 24) as board, BoardSession(SerialLine(board.port, 115_200)) as session:
            rates["a pseudo-terminal"] = load(session)
    return rates


def line_share(name: str, data: bytes) -> dict[str, Any]:
    """What of a window of the emulated clock is not its steps, and how often the host asked meanwhile."""
    kind = EMULATED[LINE_BOARD]
    with BoardSession(EmulatorLine(kind, find_firmware(kind), data)) as session:
        board, hz = Board(session), session.hello.tick_hz
        model = board.load(data)
        ids = np.random.default_rng(0).integers(0, model.vocab, model.window + TOKENS)
        step_s = np.mean(board.ticks(board.run(ids, repeat=1, seconds=SECONDS).steps)) / hz
        before = board.statistics()["busy_replies"]
        ids = np.random.default_rng(0).integers(0, model.vocab, int(WINDOW_S / step_s) + 1)
        run = board.run(ids, repeat=1, seconds=SECONDS)
        steps = int(board.ticks(run.steps).sum())
        return {
            "model": name,
            "window_s": (run.end - run.start) / hz,
            "busy_replies": board.statistics()["busy_replies"] - before,
            "share": 1 - steps / (run.end - run.start),
        }


def combination() -> dict[str, str]:
    """What a count hangs on."""
    compiler = cross_compiler(BARE_METAL["cortex-m7"])
    version = None
    if compiler is not None:
        asked = [compiler.command[0], "-dumpfullversion"]
        version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return {
        "compiler": "none" if compiler is None else f"{compiler.name} {version}",
        "flags": " ".join(FLAGS),
        "emulator": emulator_version().partition(" (")[0],
        "program": f"random program {SMALL}, windows full",
    }


def gate(baseline: Path, *, write: bool) -> int:
    """Compare the counts of the default kernels with a baseline, or make it; the exit code."""
    now = combination()
    kept = {} if write else json.loads(baseline.read_text(encoding="utf-8"))
    different = [name for name in now if not write and kept["comparable"].get(name) != now[name]]
    if different or missing_emulator() is not None:
        for name in different:
            print(
                f"not comparable: {name} is {now[name]}, was {kept['comparable'].get(name)}", file=sys.stderr
            )
        if missing_emulator() is not None:
            print(f"not comparable: {missing_emulator()}", file=sys.stderr)
        return 2
    rows = measure("small preset", to_bytes(random_program(SMALL)), KERNELS[:1])
    counts = {row["board"]: round(row["instructions"]) for row in rows}
    if write:
        document = {"comparable": now, "instructions_per_token": counts}
        baseline.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        return 0
    worse = 0
    for board, count in counts.items():
        was = kept["instructions_per_token"][board]
        verdict = "WORSE" if count > was * (1 + TOLERATED) else "ok"
        worse += verdict == "WORSE"
        print(f"{board:24} {count:>10,} instructions/token, was {was:,} (SIMULATED): {verdict}")
    return 1 if worse else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="*", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--gate", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    options = parser.parse_args()
    if options.gate or options.write:
        sys.exit(gate(options.baseline, write=options.write))
    models = {"small preset": to_bytes(random_program(SMALL))} if not options.bundles else {}
    for path in options.bundles:
        bundle = open_bundle(path)
        models[bundle.name] = bundle.file(PROGRAM_NAME).read_bytes()
    rows = [row for name, data in models.items() for row in measure(name, data)]
    lines = [line_share(name, data) for name, data in models.items()]
    rates = upload_rates(min(models.values(), key=len))
    if options.json:
        print(json.dumps({"instructions": rows, "line": lines, "upload": rates}, indent=2))
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
    for line in lines:
        said = f"{line['busy_replies']} replies in {line['window_s']:.1f} s of window (SIMULATED)"
        print(f"{line['model']}: the line takes {line['share']:.2%}, {said}")
    for name, rate in rates.items():
        print(f"upload over {name}: {rate / 1000:,.0f} kB/s (MEASURED on this computer)")


if __name__ == "__main__":
    main()
