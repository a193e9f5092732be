"""Feeds every parser of edgesnn damaged inputs and keeps what breaks it.

    python -m tools.fuzz --inputs 100000 [--only NAME ...] [--seed 1] [--folder build/fuzz] [--json]
    python -m tools.fuzz --replay build/fuzz/findings/csv/ValueError-csv_rows.py-41.bin

Every parser runs in a process of its own, which may die, hang (more than 2 s of processor time for one input)
or take too much memory (1 GB): each is a finding, as is every error that is none of edgesnn. What was done is
written down: the same command goes on where it stopped. Exit code 3 where something was found.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edgesnn.children import ending
from edgesnn.whole_files import replace_file
from tools.fuzz.child import fast_folder, tried
from tools.fuzz.harness import all_harnesses, harness
from tools.fuzz.mutate import mutated

#: One input may take so long: of the processor, and by the clock for what only waits.
CPU_S, WALL_S = 2.0, 120.0
#: Stands in the place while the first input is not at work yet; that may take so long.
LOADING, LOADING_S = 2**64 - 1, 900.0
#: What was done is written down after so many inputs.
BATCH = 5000
_TICKS = os.sysconf("SC_CLK_TCK")


class Watched:
    """One child, its place and its clock."""

    def __init__(self, name: str, seed: int, first: int, last: int) -> None:
        self._place = tempfile.NamedTemporaryFile(prefix="edgesnn-fuzz-")  # noqa: SIM115 - lives as long as this
        self._place.write(LOADING.to_bytes(8, "little"))
        self._place.flush()
        self._at = mmap.mmap(self._place.fileno(), 8)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._folder = tempfile.TemporaryDirectory(prefix="edgesnn-fuzz-", dir=fast_folder())
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tools.fuzz.child", name, str(seed), str(first), str(last)]
            + [self._place.name, self._folder.name],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()},
        )

    @property
    def number(self) -> int:
        """The input at work."""
        return int.from_bytes(self._at[:8], "little")

    def run(self) -> tuple[list[dict[str, Any]], str | None]:
        """What it said, and how it ended where that was not by itself: died, or hung."""
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        said, hung = b"", None
        began = (self.number, self._cpu_s(), time.monotonic())
        while self.process.poll() is None:
            time.sleep(0.02)
            said += self.process.stdout.read() or b""
            now = (self.number, self._cpu_s(), time.monotonic())
            if now[0] != began[0]:
                began = now
            elif now[1] - began[1] > CPU_S or now[2] - began[2] > WALL_S:
                if now[0] == LOADING and now[2] - began[2] < LOADING_S:
                    continue  # it imports its libraries, or compiles what it feeds
                hung = "hang"
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        said += self.process.stdout.read() or b""
        self._folder.cleanup()
        messages = [json.loads(line) for line in said.splitlines()]
        ended = hung or (None if messages and "result" in messages[-1] else ending(self.process.returncode))
        return messages, ended

    def stderr(self) -> str:
        """The end of what it wrote there."""
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace")[-3000:]

    def _cpu_s(self) -> float:
        """Processor time of the child."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return sum(map(int, fields[11:13])) / _TICKS


class Run:
    """All inputs of one harness, as far as they were run."""

    def __init__(self, name: str, seed: int, folder: Path) -> None:
        self._name, self._seed, self._folder = name, seed, folder
        self._path = folder / f"seed-{seed}" / f"{name}.json"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.state: dict[str, Any] = {
            "inputs": 0,
            "taken": 0,
            "refused": 0,
            "findings": {},
            "seconds": 0.0,
            "memory_mb": 0,
        }
        if self._path.exists():
            self.state = json.loads(self._path.read_text("utf-8"))

    def go(self, inputs: int) -> None:
        """Run inputs until there were so many."""
        state = self.state
        while state["inputs"] < inputs:
            began, first = time.monotonic(), state["inputs"]
            last = min(inputs, first + BATCH)
            child = Watched(self._name, self._seed, first, last)
            messages, ended = child.run()
            for message in messages:
                if "finding" in message:
                    self._keep(message["number"], message["finding"])
            result = messages[-1] if messages and "result" in messages[-1] else None
            if result is None:
                if child.number == LOADING:
                    raise SystemExit(f"'{self._name}' cannot be fed: {child.stderr() or ended}")
                done = child.number + 1 - first
                what = {"key": "hang" if ended == "hang" else "crash", "what": str(ended)}
                self._keep(child.number, {**what, "trace": child.stderr()})
                state["refused"] += done  # not told apart where the child could not say it
            else:
                counts = result["result"]
                done = counts.get("stopped", last) - first
                state["taken"] += counts["taken"]
                state["refused"] += counts["refused"]
                state["memory_mb"] = max(state["memory_mb"], result["memory"] >> 20)
            state["inputs"] = first + done
            state["seconds"] = round(state["seconds"] + time.monotonic() - began, 2)
            replace_file(self._path, (json.dumps(state, indent=1) + "\n").encode(), to_disk=False)

    def _keep(self, number: int, what: dict[str, str]) -> None:
        """Count a finding; the first of its kind is kept as a file that replays."""
        known = self.state["findings"]
        key = what["key"].replace("/", "_").replace(":", "-")
        known[key] = known.get(key, 0) + 1
        if known[key] > 1:
            return
        base = self._folder / "findings" / self._name / key
        base.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="edgesnn-fuzz-") as scratch:
            subject = harness(self._name).open(Path(scratch))
            data = mutated(subject.seeds, self._seed, number, subject.fix)
        base.with_name(f"{key}.bin").write_bytes(data)
        again = f"python -m tools.fuzz --replay {base}.bin"
        facts = {**what, "harness": self._name, "seed": self._seed, "number": number, "replay": again}
        base.with_name(f"{key}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        print(f"{self._name}: {what['what']}\n  {again}", file=sys.stderr)


def replay(path: Path) -> int:
    """Feed a kept input to its parser again."""
    with tempfile.TemporaryDirectory(prefix="edgesnn-fuzz-") as scratch:
        subject = harness(path.parent.name).open(Path(scratch))
        outcome, what = tried(subject, path.read_bytes())
    print(outcome if what is None else what["trace"])
    return 3 if outcome == "finding" else 0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=100_000, help="of every parser")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these parsers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="feed a kept input again")
    given = parser.parse_args()
    if given.replay:
        return replay(given.replay)
    names = given.only or sorted(all_harnesses())
    for name in names:
        try:
            harness(name)
        except (StopIteration, KeyError, ImportError):
            parser.error(f"no such parser: {name}; there are: {', '.join(sorted(all_harnesses()))}")
    if not given.json:
        print(f"seed {given.seed}\n| parser | inputs | taken | refused | findings | seconds | memory, MB |")
        print("|---|---|---|---|---|---|---|")
    states = {}
    for name in names:
        run = Run(name, given.seed, given.folder)
        run.go(max(1, given.inputs * harness(name).share // 100))
        states[name] = state = run.state
        if not given.json:
            kinds = ", ".join(state["findings"]) or "0"
            row = (state["inputs"], state["taken"], state["refused"], kinds)
            print(f"| {name} | {' | '.join(map(str, row))} | {state['seconds']:.0f} | {state['memory_mb']} |")
    if given.json:
        print(json.dumps({"seed": given.seed, "parsers": states}))
    return 3 if any(state["findings"] for state in states.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
