"""The exported folder as a Lava user meets it: copied elsewhere, run by Lava's Python, without edgesnn."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from edgesnn.program.golden import Golden
from edgesnn.runners.lava import environment as lava_environment
from tests.parity.lava.conftest import ids_of, needs_lava
from tests.support.patience import patience

PATCHED = lava_environment.missing() is None and lava_environment.find().patched
pytestmark = [
    needs_lava,
    pytest.mark.skipif(PATCHED, reason="run.py is for Python 3.10, which was not found here"),
]


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory):
    return shutil.copytree(bundle.path / "lava", tmp_path_factory.mktemp("user") / "network")


def run(folder, *arguments):
    python = str(lava_environment.find().python)
    return subprocess.run(
        [python, "-B", "run.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=patience(),
        env={},
    )


@pytest.mark.parametrize(("form", "processes"), [("single", 1), ("graph", 23)])
def test_run_py_runs_the_example_and_finds_golden(folder, form, processes):
    finished = run(folder, "--form", form)
    assert finished.returncode == 0, finished.stderr
    assert f"{processes} processes, 12 tokens" in finished.stdout
    assert "equal to the integer program: yes" in finished.stdout
    assert "Traceback" not in finished.stderr


def test_run_py_prints_goldens_best_tokens_for_ids_of_ones_own(folder, program):
    ids = ids_of(program, 5, seed=9)
    finished = run(folder, "--ids", *map(str, ids))
    logits = Golden(program).sequence(ids[None])[0]
    rows = [line.split() for line in finished.stdout.splitlines() if line.startswith("token")]
    assert [int(row[1]) for row in rows] == ids.tolist()
    assert [int(row[3]) for row in rows] == logits.argmax(axis=1).tolist()


def test_run_py_says_when_the_numbers_are_not_the_programs(folder, tmp_path):
    changed = shutil.copytree(folder, tmp_path / "changed")
    document = json.loads((changed / "manifest.json").read_text())
    with np.load(changed / "weights.npz") as stored:
        arrays = dict(stored)
    name = document["ops"][-1]["tensors"]["bias"]
    arrays[name] = arrays[name] + 1000
    np.savez(changed / "weights.npz", **arrays)
    finished = run(changed)
    assert finished.returncode == 3
    assert "equal to the integer program: NO" in finished.stdout


def test_every_process_and_class_of_the_manifest_is_explained_in_the_readme(folder):
    readme = (folder / "README.md").read_text()
    document = json.loads((folder / "manifest.json").read_text())
    for entry in document["processes"]:
        assert f"| `{entry['class']}`" in readme
