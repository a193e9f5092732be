"""The worked examples: every command of their pages runs, in order, with the exit code that the page says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import patience

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "examples"
_BLOCK = re.compile(r"<!-- run( qemu)? -->\n```console\n(.*?)```", re.S)


def commands(page: str, qemu: bool) -> list[tuple[list[str], set[int]]]:
    """Command lines of a page's blocks that are to be run, and the exit codes that it says they may have."""
    found = []
    for needs_board, block in _BLOCK.findall((PAGES / page).read_text()):
        if needs_board and not qemu:
            continue
        for line in block.splitlines():
            command, _, said = line.removeprefix("$ ").partition("#")
            codes = {int(one) for one in re.findall(r"\d+", said)}
            found.append((command.split(), codes or {0}))
    return found


@pytest.mark.parametrize("page", ["tones.md", "gesture.md"])
def test_every_command_of_the_page_ends_as_the_page_says(page, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "build").mkdir()
    qemu = shutil.which("qemu-system-arm") is not None and shutil.which("arm-none-eabi-gcc") is not None
    lines = commands(page, qemu)
    assert sum("compare" in words for words, _ in lines) == 1, "the page has lost its gate"
    for words, codes in lines:
        program = [sys.executable] if words[0] == "python" else [sys.executable, "-m", "edgesnn.cli.main"]
        done = subprocess.run(
            [*program, *words[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=patience() * 4
        )
        assert done.returncode in codes, f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
