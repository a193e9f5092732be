"""What every process of a test run needs and one of them makes: exports, teachers, built programs."""

import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

#: Names the folder of this run; tests/conftest.py makes it, and its workers inherit it.
VARIABLE = "EDGESNN_TESTS_SHARED"


def shared(name: str, make: Callable[[Path], object]) -> Path:
    """A folder that is made once in a run and read by all of its processes.

    Args:
        name: What it holds; the same name is the same folder.
        make: Makes it at the place that it is given, which is not there yet.
    """
    folder = Path(os.environ[VARIABLE]) / name
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            work = folder.with_suffix(".part")  # a maker that fails leaves no half of it under the name
            make(work)
            work.rename(folder)
    return folder
