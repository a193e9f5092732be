"""The count of instructions is compared with a baseline of the same machine, compiler and flags only."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "engine_instructions.py"

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or shutil.which("valgrind") is None, reason="gcc or valgrind is not installed"
)


def compare(baseline):
    return subprocess.run(
        [sys.executable, SCRIPT, "--baseline", baseline],
        capture_output=True,
        text=True,
        cwd=SCRIPT.parents[1],
    )


@pytest.mark.parametrize("field", ["machine", "compiler", "flags", "program"])
def test_a_baseline_of_another_combination_is_refused(tmp_path, field):
    kept = json.loads(SCRIPT.with_suffix(".json").read_text(encoding="utf-8"))
    kept["comparable"][field] = "another"
    (tmp_path / "kept.json").write_text(json.dumps(kept), encoding="utf-8")
    done = compare(tmp_path / "kept.json")
    assert done.returncode == 2 and "not comparable" in done.stderr


@pytest.mark.slow
def test_no_kernel_needs_more_instructions_than_its_baseline():
    done = compare(SCRIPT.with_suffix(".json"))
    if done.returncode == 2:
        pytest.skip(done.stderr.strip()[:200])
    assert done.returncode == 0, done.stdout
