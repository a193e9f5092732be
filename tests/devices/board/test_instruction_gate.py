"""Counts of emulated boards are compared with a baseline of the same compiler, flags and emulator only."""

import json
import subprocess
import sys

import pytest

from edgesnn.runners.board.qemu import QemuRunner
from tests.support.sources import ROOT

SCRIPT = ROOT / "benchmarks" / "microcontroller.py"

pytestmark = pytest.mark.skipif(QemuRunner.missing() is not None, reason=str(QemuRunner.missing()))


def compare(tmp_path, change):
    kept = json.loads(SCRIPT.with_suffix(".json").read_text(encoding="utf-8"))
    change(kept)
    (tmp_path / "kept.json").write_text(json.dumps(kept), encoding="utf-8")
    return subprocess.run(
        [sys.executable, SCRIPT, "--gate", "--baseline", tmp_path / "kept.json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.parametrize("field", ["compiler", "flags", "emulator", "program"])
def test_a_baseline_of_another_combination_is_refused(tmp_path, field):
    done = compare(tmp_path, lambda kept: kept["comparable"].update({field: "another"}))
    assert done.returncode == 2 and f"not comparable: {field}" in done.stderr


def test_counts_repeat_and_one_that_grew_by_more_than_a_hundredth_fails(tmp_path):
    done = compare(tmp_path, lambda kept: None)
    if done.returncode == 2:
        pytest.skip(done.stderr.strip()[:200])
    assert done.returncode == 0 and done.stdout.count(": ok") == 3, done.stdout

    def less(kept):
        counts = kept["instructions_per_token"]
        counts[next(iter(counts))] = int(counts[next(iter(counts))] / 1.02)

    done = compare(tmp_path, less)
    assert done.returncode == 1 and done.stdout.count("WORSE") == 1
