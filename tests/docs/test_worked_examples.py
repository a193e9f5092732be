"""The worked examples: every command of their pages runs, in order, with the exit code that the page says."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.fences import fences
from tests.docs.small import make_small
from tests.support.patience import patience

ROOT = Path(__file__).parents[2]
THIS = Path(__file__).relative_to(ROOT).as_posix()
pytestmark = pytest.mark.slow


def commands(page: str) -> list[tuple[list[str], set[int]]]:
    """Command lines of the blocks that name this test, and the exit codes that they may have."""
    found = []
    for fence in fences(page):
        if fence.not_run != ("elsewhere", THIS):
            continue
        for line in fence.text.splitlines():
            command, _, said = line.removeprefix("$ ").partition("#")
            codes = {int(one) for one in re.findall(r"\d+", said)}
            found.append((shlex.split(command), codes or {0}))
    return found


@pytest.mark.parametrize("page", ["docs/examples/tones.md", "docs/examples/gesture.md"])
def test_every_command_of_the_page_ends_as_the_page_says(page, tmp_path, edgesnn_here, monkeypatch):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "build").mkdir()
    make_small(tmp_path / "small", monkeypatch.setattr)
    emulated = shutil.which("qemu-system-arm") is not None and shutil.which("arm-none-eabi-gcc") is not None
    lines = commands(page)
    assert sum("compare" in words for words, _ in lines) == 1, "the page has lost its gate"
    for words, codes in lines:
        if not emulated and any(word.startswith("qemu:") for word in words):
            continue
        if words[0] == "python":
            subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, check=True, timeout=patience())
            continue
        done = edgesnn_here(*words[1:])
        assert done.exit_code in codes, f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
