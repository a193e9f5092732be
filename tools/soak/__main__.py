"""Random programs on every exact target against golden: how many outputs differ.

    python -m tools.soak [--tokens 1000000] [--minutes 60] [--seed 1] [--folder build/soak]
    python -m tools.soak --replay build/soak/failures/native-swar-12

A round is one random program: text in even rounds, frames in odd ones. Every kernel set of the C engine runs
each of them, targets that take long to open every sixth or less often, in all forms that they have. What was
counted is written down after every round: the same command goes on where it stopped, until so many tokens and
frames have been run. A program on which a target differs is made small, and lies with its replay command in
FOLDER/failures. Exit code 3 where one differs.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from edgesnn.whole_files import replace_file
from tools.soak.cases import Case, describe, draw, kinds
from tools.soak.shrink import shrink
from tools.soak.targets import EVERY, Comparison, targets


def differs(compare: Comparison, case: Case) -> bool:
    """Whether a target gives other bits than golden."""
    return compare(case)[1]


def write_failure(folder: Path, name: str, drawn: Case, compare: Comparison) -> Path:
    """Make a failing case small and keep it, with the command that runs it again."""
    small = shrink(drawn, lambda case: differs(compare, case))
    folder.mkdir(parents=True, exist_ok=True)
    small.save(folder)
    again = shlex.join(["python", "-m", "tools.soak", "--replay", str(folder)])
    facts = {"target": name, "drawn": describe(drawn), "small": describe(small), "replay": again}
    replace_file(folder / "failure.json", (json.dumps(facts, indent=1) + "\n").encode())
    return folder


def replay(folder: Path) -> int:
    """Run a kept failure again."""
    name = json.loads((folder / "failure.json").read_text("utf-8"))["target"]
    case = Case.load(folder)
    bad = differs(targets()[name], case)
    print(f"{name} {'differs from' if bad else 'gives the bits of'} golden: {describe(case)}")
    return 3 if bad else 0


def soak(state: dict[str, Any], path: Path, tokens: int, until: float) -> None:
    """Rounds until so many tokens are run, or the time is over."""
    found = targets()
    while state["tokens"] + state["frames"] < tokens and time.monotonic() < until:
        began, number = time.monotonic(), state["rounds"]
        case = draw(state["seed"], number)
        for name, compare in found.items():
            if number // 2 % EVERY.get(name, 1):
                continue
            compared, bad = compare(case)
            state["targets"][name] = state["targets"].get(name, 0) + compared
            if bad:
                state["mismatches"] += 1
                label = f"{name.replace(' ', '-')}-{number}"
                kept = write_failure(path.parent / "failures" / label, name, case, compare)
                print(f"{name} differs from golden in round {number}: {kept}", file=sys.stderr)
        state["frames" if case.program.frames else "tokens"] += case.tokens
        state["ops"] = sorted({*state["ops"], *kinds(case.program)})
        state["rounds"] = number + 1
        state["seconds"] = round(state["seconds"] + time.monotonic() - began, 1)
        replace_file(path, (json.dumps(state, indent=1) + "\n").encode(), to_disk=False)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=1_000_000, help="tokens and frames in all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/soak"))
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="run a kept failure again")
    given = parser.parse_args()
    if given.replay:
        return replay(given.replay)
    path = given.folder / f"seed-{given.seed}.json"
    given.folder.mkdir(parents=True, exist_ok=True)
    state: dict[str, Any] = {
        "seed": given.seed,
        "machine": platform.processor() or platform.machine(),
        "rounds": 0,
        "tokens": 0,
        "frames": 0,
        "seconds": 0.0,
        "mismatches": 0,
        "targets": {},
        "ops": [],
    }
    if path.exists():
        state = json.loads(path.read_text("utf-8"))
    if not given.json:
        print(f"python -m tools.soak --seed {given.seed} --tokens {given.tokens} --folder {given.folder}")
    soak(state, path, given.tokens, time.monotonic() + 60 * given.minutes)
    print(json.dumps(state, indent=None if given.json else 1))
    return 3 if state["mismatches"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
