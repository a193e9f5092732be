"""The soak: random programs on the exact targets, and what becomes of one on which a target differs."""

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from edgesnn import resources
from edgesnn.program.ops import LIF, Linear
from edgesnn.program.ops_frames import StatefulLIF
from edgesnn.runners.native import build as native_build
from edgesnn.runners.native import engine as native_engine
from tests.support.patience import patience
from tests.support.sources import ROOT
from tools.soak.cases import Case, draw, is_sound, kinds
from tools.soak.shrink import shrink
from tools.soak.targets import native

BROKEN = ("((uint32_t)membrane * n) / 256)", "((uint32_t)membrane * n) >> 8)")
pytestmark = pytest.mark.skipif(native_build.missing() is not None, reason=str(native_build.missing()))


def test_a_few_rounds_find_no_difference_and_the_next_run_goes_on(tmp_path):
    command = [sys.executable, "-m", "tools.soak", "--json", "--seed", "5", "--folder", tmp_path]
    states = []
    for tokens in ("1", "400"):
        done = subprocess.run(
            [*command, "--tokens", tokens], cwd=ROOT, capture_output=True, text=True, timeout=patience()
        )
        assert done.returncode == 0, done.stderr
        states.append(json.loads(done.stdout))
    assert [state["mismatches"] for state in states] == [0, 0]
    assert states[0]["rounds"] == 1 < states[1]["rounds"]
    assert all(count > 0 for name, count in states[1]["targets"].items() if name.startswith("native"))


def test_the_cases_hold_every_op_and_neurons_at_their_limits():
    cases = [draw(1, number) for number in range(40)]
    assert all(is_sound(case.program) for case in cases)
    assert len(set().union(*(kinds(case.program) for case in cases))) == 15
    thetas = [op.threshold for case in cases for op in case.program.ops if isinstance(op, LIF | StatefulLIF)]
    assert {1, 2**23 - 2} <= set(np.concatenate(thetas).tolist())


def test_a_case_that_is_kept_is_the_same_when_it_is_read(tmp_path):
    for number in (0, 1):
        case = draw(2, number)
        case.save(tmp_path)
        again = Case.load(tmp_path)
        assert np.array_equal(again.inputs, case.inputs) and again.inputs.dtype == case.inputs.dtype
        assert np.array_equal(again.wanted, case.wanted)


@pytest.mark.parametrize("number", [0, 2])
def test_a_failure_shrinks_to_what_it_is_about(number):
    """The fault: a Linear that has a weight of 127, where any token but 0 comes in."""

    def fails(case):
        heavy = any((op.weight == 127).any() for op in case.program.all(Linear))
        return heavy and bool(case.inputs.any())

    drawn = draw(1, number)
    ops = [
        replace(op, weight=np.where(op.weight == op.weight.max(), 127, op.weight).astype(np.int8))
        if isinstance(op, Linear)
        else op
        for op in drawn.program.ops
    ]
    drawn = Case(replace(drawn.program, ops=tuple(ops)), drawn.inputs)
    assert fails(drawn) and is_sound(drawn.program)
    small = shrink(drawn, fails)
    assert fails(small) and is_sound(small.program)
    assert small.tokens == 1 and small.program.timesteps == 1
    linears = list(small.program.all(Linear))
    assert len(small.program.ops) < len(drawn.program.ops) / 2
    assert sum(int((op.weight != 0).sum()) for op in linears) <= 2


@pytest.mark.slow
def test_a_broken_kernel_is_found_and_its_program_made_small(tmp_path, monkeypatch):
    """The reference kernels with one sign changed: what decays is rounded down, not towards zero."""
    sources = tmp_path / "engine"
    shutil.copytree(resources.folder("engine"), sources)
    kernel = sources / "snn_reference.c"
    whole = kernel.read_text()
    broken = whole.replace(BROKEN[0], BROKEN[1], 1)
    assert broken != whole
    kernel.write_text(broken)
    _, compiler = native_engine.library()
    (tmp_path / "built").mkdir()
    made = native_build.build(sources, native_build.units(platform.machine()), compiler, tmp_path / "built")
    compare = native("reference")
    assert not any(compare(draw(1, number))[1] for number in range(4))
    native_engine._load.cache_clear()
    monkeypatch.setattr(native_engine, "library", lambda: (made, compiler))
    failing = next(case for case in map(lambda n: draw(1, 2 * n), range(20)) if compare(case)[1])
    small = shrink(failing, lambda case: compare(case)[1], budget=400)
    assert compare(small)[1] and is_sound(small.program)
    assert len(small.program.ops) <= len(failing.program.ops) / 2
    assert small.tokens < failing.tokens / 10
    native_engine._load.cache_clear()
