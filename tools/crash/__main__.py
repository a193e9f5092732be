"""Kills commands at random moments and looks at what they leave.

    python -m tools.crash --kills 100 [--only NAME ...] [--seed 1] [--folder build/crash] [--json]

Each command runs to its end once, which says how long it takes. Then it is killed (SIGKILL) at moments spread
over that time, half of them on top of what a finished run made. After every kill: what was finished is whole;
the same command runs to its end and what it makes is whole; and nothing of either is left, no process,
temporary file or folder, shared memory, or a port that is taken. What was done is written down: the same
command goes on where it stopped. Exit code 3 where something was found.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from edgesnn.errors import EdgesnnError
from edgesnn.whole_files import replace_file
from tools.crash.scenarios import EDGESNN, PORT, SCENARIOS, Scenario

#: A command may take so many times as long as it did undisturbed, and this much more.
PATIENCE, PATIENCE_S = 20.0, 120.0
#: How long processes of a killed command may take to notice it.
NOTICE_S = 30.0
_MARK = "EDGESNN_CRASH_MARK"


class Place:
    """A folder in which a command works, with temporary files, locks and settings of its own."""

    def __init__(self, folder: Path) -> None:
        self.work, self.temporary = folder / "work", folder / "tmp"
        self.mark = uuid.uuid4().hex
        for one in (self.work, self.temporary, folder / "locks"):
            shutil.rmtree(one, ignore_errors=True)
            one.mkdir(parents=True)
        self._environment = {
            **os.environ,
            _MARK: self.mark,
            "TMPDIR": str(self.temporary),
            "EDGESNN_LOCKS": str(folder / "locks"),
            "EDGESNN_CONFIG_DIR": str(folder / "settings"),
            "PYTHONPATH": os.getcwd(),
            "HF_HUB_OFFLINE": "1",
        }
        self._shared = set(os.listdir("/dev/shm"))  # nosec B108 - looked at, not written

    def start(self, scenario: Scenario) -> subprocess.Popen[bytes]:
        """Start the command."""
        return subprocess.Popen(
            [*EDGESNN, *scenario.command],
            cwd=self.work,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def processes(self) -> list[int]:
        """Living processes that the commands here started, however they went off."""
        found, mark = [], f"{_MARK}={self.mark}".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state not in "ZX" and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def left(self, made: str) -> list[str]:
        """What should not be here, once nothing runs any more."""
        until = time.monotonic() + NOTICE_S
        while (alive := self.processes()) and time.monotonic() < until:
            time.sleep(0.05)
        found = [f"process {pid}" for pid in alive]
        found += [f"temporary {name}" for name in sorted(os.listdir(self.temporary))]
        found += [f"hidden {path.name}" for path in self.work.glob(".*")]
        found += [f"hidden {path.name}" for path in self.work.glob(f"{made}/**/.*edgesnn-*")]
        shared = sorted(set(os.listdir("/dev/shm")) - self._shared)  # nosec B108
        own = [name for name in shared if "edgesnn" in name and "edgesnn-fuzz" not in name]
        return found + [f"shared memory {name}" for name in own]


def finish(scenario: Scenario, process: subprocess.Popen[bytes], seconds: float) -> str | None:
    """Let a command run to its end, or until it did its work and is told to stop; why it did not."""
    assert process.stderr is not None
    until = time.monotonic() + seconds
    while scenario.done is not None and not scenario.done(process):
        if process.poll() is not None or time.monotonic() > until:
            break
    if scenario.done is not None and process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        _, said = process.communicate(timeout=max(1.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"it did not end within {seconds:.0f} s"
    ends = (0, -signal.SIGTERM, 143) if scenario.done is not None else (0, 3, 6)  # a verdict is an end
    return None if process.returncode in ends else f"exit code {process.returncode}: {said.decode()[-600:]}"


def whole(scenario: Scenario, path: Path) -> str | None:
    """Why what was made is not whole; None when it is."""
    try:
        scenario.read(path)
    except (EdgesnnError, AssertionError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def round_of(scenario: Scenario, place: Place, seconds: float, moment: float) -> list[str]:
    """Kill a command at a moment, run it again, and look; what was found."""
    found: list[str] = []
    target = place.work / scenario.made
    before = target.exists() and whole(scenario, target) is None
    process = place.start(scenario)
    until = time.monotonic() + moment
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    process.kill()
    process.communicate()
    if before and target.exists() and (broken := whole(scenario, target)) is not None:
        found.append(f"what was finished before did not survive: {broken}")
    again = place.start(scenario)
    trouble = finish(scenario, again, PATIENCE * seconds + PATIENCE_S)
    if trouble is not None:
        found.append(f"the next run failed: {trouble}")
    elif (broken := whole(scenario, target)) is not None:
        found.append(f"the next run made nothing whole: {broken}")
    return found + [f"left: {one}" for one in place.left(scenario.made)]


def crash(name: str, kills: int, seed: int, folder: Path, state: dict[str, Any]) -> dict[str, Any]:
    """All kills of one command, or those that are missing."""
    scenario = SCENARIOS[name]
    place = Place(folder / name)
    scenario.prepare(place.work)
    began = time.monotonic()
    if (trouble := finish(scenario, place.start(scenario), 600.0)) is not None:
        raise SystemExit(f"'{name}' does not run undisturbed: {trouble}")
    seconds = time.monotonic() - began
    usual = {f"left: {one}" for one in place.left(scenario.made)}  # such as torch's own cache
    if any("edgesnn" in one for one in usual):
        raise SystemExit(f"'{name}' leaves something even undisturbed: {usual}")
    path = folder / f"seed-{seed}.json"
    for number in range(state.get("kills", 0), kills):
        rng = random.Random(f"{seed}/{name}/{number}")
        if scenario.done is None and rng.random() < 0.5:  # half of them begin from nothing
            shutil.rmtree(place.work / scenario.made, ignore_errors=True)
            if (place.work / scenario.made).is_file():
                (place.work / scenario.made).unlink()
        began = time.monotonic()
        found = [
            one for one in round_of(scenario, place, seconds, rng.random() * seconds) if one not in usual
        ]
        for what in found:
            print(f"{name}, kill {number}: {what}", file=sys.stderr, flush=True)
        state["kills"] = number + 1
        state["findings"] = [*state.get("findings", []), *found][:50]
        state["seconds"] = round(state.get("seconds", 0.0) + time.monotonic() - began, 1)
        known = json.loads(path.read_text("utf-8")) if path.exists() else {}
        replace_file(path, (json.dumps({**known, name: state}, indent=1) + "\n").encode(), to_disk=False)
    return state


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.crash",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=100, help="of every command")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted(SCENARIOS), help="these commands")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/crash"))
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    given = parser.parse_args()
    folder = given.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"seed-{given.seed}.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    if not given.json:
        print(f"seed {given.seed}, port {PORT}\n| command | kills | findings | seconds |\n|---|---|---|---|")
    states = {}
    for name in given.only or SCENARIOS:
        states[name] = state = crash(name, given.kills, given.seed, folder, known.get(name, {}))
        if not given.json:
            findings, seconds = len(state.get("findings", [])), state.get("seconds", 0.0)
            print(f"| {name} | {state.get('kills', 0)} | {findings} | {seconds:.0f} |", flush=True)
    if given.json:
        print(json.dumps({"seed": given.seed, "commands": states}))
    return 3 if any(state.get("findings") for state in states.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
