"""A browser's WebAssembly against ONNX Runtime on the same processor, one thread each.

    python benchmarks/browser.py [STUDENT] [--turns N] [--phone] [--json]

STUDENT is a student artifact; the reference student by default. In the browser both engines of target
``browser`` run: the C engine, and the int8 ONNX files in onnxruntime-web, where its files are to be had. A
headless Chromium on this computer is the browser, over loopback, where its timer steps by 5 us. All engines
run a few calls of every form in turn, so that a noisy machine disturbs them alike; least and median times
are given, and the ratio of the least ones to ONNX Runtime's. A step of an ONNX engine includes the care for
the state, in JavaScript there and in numpy here. ``--phone`` serves in the network instead and waits for a
phone, whose times then stand beside this computer's: no ratio of engines.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from onnx_step import machine

from edgesnn import export_student
from edgesnn.runners.base import Output, Runner, RunnerOptions
from edgesnn.runners.browser import assets
from edgesnn.runners.browser.runner import BrowserRunner
from edgesnn.runners.onnxruntime.runner import OnnxRuntimeRunner

CALLS = 8
AIMS = {"step": 0.5, "sequence of 1": 0.5}
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


class Chromium(BrowserRunner):
    """The runner whose phone is a headless Chromium of this computer."""

    process: subprocess.Popen[bytes] | None = None

    def _announce(self, url: str, fingerprint: str | None) -> None:
        command = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        arguments = [command, *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={self.folder.name}", url]
        self.process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self) -> None:
        """End the browser too."""
        super().close()
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.folder.cleanup()
            self.process = None


def forms(ids: np.ndarray) -> dict[str, Callable[[Runner], Output]]:
    """What is timed, by name."""
    made: dict[str, Callable[[Runner], Output]] = {"step": lambda runner: runner.step(ids[0, :1])}
    for length in (1, 16, 64):
        made[f"sequence of {length}"] = lambda runner, n=length: runner.sequence(ids[:, :n])
    made["prefill of 64"] = lambda runner: runner.prefill(ids[:, :64])
    return made


@contextmanager
def opened(student: Path, phone: bool) -> Iterator[tuple[dict[str, Runner], Any, np.ndarray]]:
    """All engines with the same bundle, the browser's description, and token ids."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        bundle = export_student(student, Path(folder) / "bundle", ["onnx"])
        ids = np.random.default_rng(0).integers(0, bundle.program().vocab_size, (1, 64))
        runners: dict[str, Runner] = {"native": stack.enter_context(OnnxRuntimeRunner())}
        runners["native"].open(bundle, RunnerOptions())
        place = None if phone else "127.0.0.1"
        addresses = {"browser": place}
        if not phone and assets.missing() is None:
            addresses["browser:onnxruntime"] = f"onnxruntime:{place}"
        for name, address in addresses.items():
            runners[name] = stack.enter_context(BrowserRunner() if phone else Chromium())
            device = runners[name].open(bundle, RunnerOptions(address=address))
        yield runners, device, ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("student", nargs="?", type=Path, default=Path("reference"))
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--phone", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    times: dict[tuple[str, str], list[float]] = {}
    with opened(given.student, given.phone) as (runners, device, ids):
        for turn in range(given.turns):
            for form, call in forms(ids).items():
                for engine, runner in runners.items():
                    runner.reset(1)
                    for _ in range(CALLS):
                        output = call(runner)
                        if turn:  # the first turn warms up
                            times.setdefault((form, engine), []).append(output.elapsed_ns / 1e6)
        names, engines = list(forms(ids)), list(runners)
    rows = [
        {
            "form": form,
            "engine": engine,
            "min_ms": round(min(times[form, engine]), 4),
            "median_ms": round(float(np.median(times[form, engine])), 4),
            "ratio_of_minima": None
            if given.phone
            else round(min(times[form, engine]) / min(times[form, "native"]), 3),
            "aim": AIMS.get(form) if engine == "browser" else None,
        }
        for form in names
        for engine in engines
    ]
    facts = machine() | {"browser": device.device, "timer_step_us": device.details["timer_step_us"]}
    if given.json:
        print(json.dumps({"machine": facts, "rows": rows}, indent=2))
        return
    print(", ".join(f"{key}: {value}" for key, value in facts.items()))
    print(f"{'form':16} {'engine':20} {'min ms':>8} {'median':>8} {'ratio':>6} {'aim':>5}")
    for row in rows:
        ratio = "" if row["ratio_of_minima"] is None else f"{row['ratio_of_minima']:.2f}"
        print(
            f"{row['form']:16} {row['engine']:20} {row['min_ms']:8.3f} {row['median_ms']:8.3f} "
            f"{ratio:>6} {row['aim'] or '':>5}"
        )


if __name__ == "__main__":
    main()
