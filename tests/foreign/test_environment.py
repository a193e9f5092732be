"""The script that makes environments for foreign clients refuses what it cannot make."""

import subprocess
from pathlib import Path

import pytest

from tests.support.patience import patience

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("arguments", [(), ("name",), ("../outside", "x"), ("--on-venv", "Name", "x")])
def test_a_wrong_call_is_a_usage_error_and_makes_nothing(arguments):
    done = subprocess.run(
        ["bash", "tools/foreign_env.sh", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_what_cannot_be_installed_is_a_note_and_leaves_no_folder(tmp_path):
    name = "test-nowhere"
    done = subprocess.run(
        ["bash", "tools/foreign_env.sh", name, str(tmp_path / "no-such-package")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert done.returncode == 0
    assert "the tests that need it will be skipped" in done.stdout
    assert not (ROOT / ".foreign" / name).exists()
