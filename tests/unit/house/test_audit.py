"""The question for known weaknesses: a finding fails, an unreachable database is said and does not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

CLEAN = {"name": "numpy", "version": "2.0", "vulns": []}
WEAK = {
    "name": "old",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": ""}],
}
SKIPPED = {"name": "numpy", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([CLEAN], 0, "1 packages audited, 0 not found, 0 weak"),
        ([CLEAN, WEAK], 1, "old 1.0: PYSEC-1, mended in 1.1"),
        ([CLEAN, SKIPPED], 0, "1 packages audited, 1 not found, 0 weak"),
        ([SKIPPED], 0, "warning: nothing was audited"),
        (None, 0, "warning: nothing was audited: no route"),
    ],
)
def test_what_is_said_and_how_it_ends(packages, code, said, tmp_path):
    answer = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    answering = f"import sys\nprint({answer!r})\nprint('no route', file=sys.stderr)\n"
    (tmp_path / "pip_audit.py").write_text(answering)
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "audit.py"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code and said in done.stdout
