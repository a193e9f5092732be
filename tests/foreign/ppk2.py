"""An independent program measures through the PPK2 twin; its result is held against the twin's truth.

Run ``bash tools/foreign_env.sh ppk2-api ppk2-api==0.9.2``, then ``python tests/foreign/ppk2.py ppk2-api``; or
``bash tools/foreign_env.sh ppk2lab ppk2lab==0.5.1``, then ``python tests/foreign/ppk2.py ppk2lab``.
Ends with exit code 0 when charge and energy agree to 0.1 %.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgesnn.meters.ppk2.twin import Ppk2Twin
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.load import LoadStep, Shape
from edgesnn.meters.twins.pty import PtyTwin
from tests.support.patience import patience

ROOT = Path(__file__).parents[2]
CLIENTS = {"ppk2-api": "use_ppk2_api.py", "ppk2lab": "use_ppk2lab.py"}
LIMIT = 1e-3
MILLIVOLTS = 3700
#: 13 uA, 0.5 mA, 24 mA and 97 mA at 3.7 V: four of the five ranges.
LOAD = Shape(
    (LoadStep(0.02, 50e-6), LoadStep(0.03, 2e-3), LoadStep(0.04, 90e-3, 1), LoadStep(0.01, 360e-3, 3))
)


def interpreter(client: str) -> Path:
    """The Python of a client's own environment."""
    return ROOT / ".foreign" / client / "bin" / "python"


def measure(client: str, seconds: float) -> dict[str, Any]:
    """Let a client measure, and add the truth of the samples that it got.

    Returns:
        What the client printed, with ``true_charge_c`` and ``true_energy_j``.
    """
    with PtyTwin(Ppk2Twin(Conditions(LOAD, noise_a=2e-6))) as twin:
        script = Path(__file__).with_name("clients") / CLIENTS[client]
        finished = subprocess.run(
            [interpreter(client), script, twin.port, str(MILLIVOLTS), str(seconds)],
            capture_output=True,
            text=True,
            timeout=patience(),
        )
        if finished.returncode:
            raise RuntimeError(f"{client} failed:\n{finished.stdout}{finished.stderr}")
        start = twin.truth().start_s
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    stop = start + (result["samples"] + (result["missing"] or 0)) * 1e-5
    drawn = LOAD.energy_j(np.array([start, stop]))
    result["true_energy_j"] = float(drawn[1] - drawn[0])
    result["true_charge_c"] = result["true_energy_j"] / (MILLIVOLTS / 1000)
    return result


def main() -> int:
    """Run one client and print its agreement."""
    if len(sys.argv) != 2 or sys.argv[1] not in CLIENTS:
        print(f"usage: python tests/foreign/ppk2.py {'|'.join(CLIENTS)}")
        return 2
    client = sys.argv[1]
    if not interpreter(client).exists():
        print(f"there is no environment .foreign/{client}; see tools/foreign_env.sh")
        return 2
    result = measure(client, 2.0)
    worst = 0.0
    for what in ("charge_c", "energy_j"):
        error = result[what] / result[f"true_{what}"] - 1
        worst = max(worst, abs(error))
        print(f"{client} {what}: {result[what]:.7f}, truth {result[f'true_{what}']:.7f}, {error:+.4%}")
    print(
        f"{result['samples']} samples, {result['marker_edges']} marker edges (SIMULATED); limit {LIMIT:.1%}"
    )
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
