"""Memory that a training process keeps."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="needs the `train` extra")

CHILD = """
import resource
from edgesnn.student.training.memory import keep_freed_memory
import numpy as np

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(8 * 2**20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if keep_freed_memory():
    faults()
    print(faults())
"""


def test_memory_that_was_freed_is_taken_again_without_page_faults():
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    if not done.stdout:
        pytest.skip("not glibc")
    # 20 times 2,048 pages without
    assert int(done.stdout) < 1000
