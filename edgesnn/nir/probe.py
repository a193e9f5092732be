"""A NIR file is read in a child process first: HDF5's own library can be made to run or to grow without end.

Its loops lie in C, so nothing in the process that runs them can stop them; the child has limits instead.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

from edgesnn import system
from edgesnn.children import Child
from edgesnn.errors import EdgesnnError, NetworkError, UserError
from edgesnn.nir.hdf5 import BYTES_MAX, REMEDY, read_tree

#: What reading the largest file that is taken may cost: seconds of processor time, and of the clock.
CPU_S, WALL_S = 20, 120.0
#: Memory that it may take beyond what it has when it begins, bytes.
_MEMORY = BYTES_MAX + (64 << 20)


def probe(path: Path) -> None:
    """Read a file once in a process of its own.

    Args:
        path: The file.

    Raises:
        NetworkError: That process did not come through it, or it refuses it: what it met at its limits this
            process, which has none, does not meet.
    """
    what = f"the process that reads '{path.name}'"
    try:
        with Child(["-m", __name__, str(path)], what, died=UserError, late=UserError) as child:
            problems = child.expect("result", WALL_S)
    except UserError as error:
        raise NetworkError(
            path,
            [f"it is no HDF5 file that can be read: {error.what}"],
            limit=f"{CPU_S} s and {_MEMORY >> 20} MB",
            remedy=REMEDY,
        ) from None
    if problems:
        raise NetworkError(path, problems, remedy=REMEDY)


def _limit() -> None:
    """Set the limits of this process, where the system has such."""
    import h5py  # noqa: F401 - what it takes is not the file's
    import numpy  # noqa: F401, ICN001

    with suppress(OSError, ValueError):
        system.limit_process(_MEMORY, CPU_S)


if __name__ == "__main__":
    refused: list[str] = []
    try:
        _limit()
        read_tree(Path(sys.argv[1]), refused)
    except NetworkError as error:
        refused.extend(error.problems)
    except (EdgesnnError, ImportError):
        pass  # whoever asked meets it, too, and says it
    print(json.dumps({"result": refused}))
