"""The firmware's parser and commands under damaged frames, with sanitizers.

A hundred thousand frames by one command:
``EDGESNN_BOARD_FRAMES=100000 pytest tests/fuzz/test_board_frames.py``.
"""

import os
import re
import subprocess

import pytest

from edgesnn.program.snn_format import to_bytes
from tests.support.devices.loopback import build_host, why_no_compiler
from tests.support.frame_programs import smallest_frames
from tests.support.patience import patience
from tests.support.programs import smallest

FRAMES = int(os.environ.get("EDGESNN_BOARD_FRAMES") or 8000)

pytestmark = pytest.mark.skipif(why_no_compiler() is not None, reason=str(why_no_compiler()))


@pytest.mark.parametrize("made", [smallest, smallest_frames])
@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_frames_find_nothing_and_the_firmware_goes_on_answering(tmp_path, seed, made):
    program = build_host("fuzz_frames", main="fuzz_frames.c", flavour="sanitized")
    model = tmp_path / "model.snn"
    model.write_bytes(to_bytes(made()))
    done = subprocess.run(
        [program, str(seed), str(FRAMES // 4), model], capture_output=True, text=True, timeout=patience()
    )
    assert done.returncode == 0, done.stderr[-2000:]
    frames, answers, runs = map(int, re.findall(r"\d+", done.stdout))
    assert frames == FRAMES // 4
    assert answers > frames / 2 and runs > frames / 50  # most reach a command, and some run tokens
