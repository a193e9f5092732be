"""Sessions of `adb` side by side on test phones: none may fail, and none may leave a file or a process.

    python benchmarks/phone_sessions.py --sessions 200 --side-by-side 8 --phones 3

The phones are folders behind a small adbd, the adb client is the real one, and the engine runs under
user-mode QEMU: what is measured is the conduct of sessions, never the speed of a phone. Exit code 1 on any
failure.
"""

import argparse
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn import open_bundle
from edgesnn.errors import EdgesnnError
from edgesnn.program.golden import Golden
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.remote.adb import AdbRunner
from tests.support.bundles import shared_bundle
from tests.support.devices.adb_server import adb_server
from tests.support.devices.adbd import Phone


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--side-by-side", type=int, default=8)
    parser.add_argument("--phones", type=int, default=3)
    options = parser.parse_args()
    bundle = open_bundle(shared_bundle())
    ids = np.random.default_rng(0).integers(0, 280, (1, 40))
    want = Golden(bundle.program()).sequence(ids)

    with tempfile.TemporaryDirectory(prefix="edgesnn-phones-") as name, adb_server() as adb:
        phones = [Phone(Path(name) / str(i)) for i in range(options.phones)]
        for phone in phones:
            adb("connect", phone.serial)

        def session(number):
            started, wrong = time.perf_counter(), None
            try:
                with AdbRunner() as runner:
                    runner.open(bundle, RunnerOptions(address=phones[number % len(phones)].serial))
                    cut = 1 + number % 39
                    same = np.array_equal(runner.sequence(ids).logits, want)
                    same &= np.array_equal(runner.prefill(ids[:, :cut]).logits, want[:, cut - 1])
                    runner.window(ids[0], 3, 5)
                    wrong = None if same else "logits differ"
            except EdgesnnError as error:
                wrong = error.sentence()
            return time.perf_counter() - started, wrong

        began = time.perf_counter()
        with ThreadPoolExecutor(options.side_by_side) as pool:
            results = list(pool.map(session, range(options.sessions)))
        seconds = time.perf_counter() - began
        left = [file for phone in phones for file in phone.left()]
        running = sum(len(phone.running) for phone in phones)
        for phone in phones:
            phone.close()
    failures = [wrong for _, wrong in results if wrong is not None]
    times = sorted(taken for taken, _ in results)
    print(
        f"{len(results)} sessions, {options.side_by_side} side by side on {options.phones} phones: "
        f"{len(failures)} failures, {len(left)} files left, {running} processes left; {seconds:.1f} s, "
        f"session median {statistics.median(times):.2f} s, longest {times[-1]:.2f} s"
    )
    for failure in failures[:5]:
        print(f"  {failure}")
    return 1 if failures or left or running else 0


if __name__ == "__main__":
    raise SystemExit(main())
