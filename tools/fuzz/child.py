"""The process in which inputs are read; what happens to it is what happens to the parser.

    python -m tools.fuzz.child NAME SEED FROM TO PLACE FOLDER

PLACE is a file of 8 bytes that holds the number of the input at work, so that whoever watches knows which one
it was when this process dies or hangs. FOLDER is for files; whoever watches removes it. A line of JSON goes
to stdout for every finding, and one at the end.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import Any

from edgesnn.errors import EdgesnnError, InternalError
from tools.fuzz.harness import Subject, harness
from tools.fuzz.mutate import mutated

#: Memory that one input may cost, bytes.
MEMORY_MAX = 1 << 30
_ROOT = str(Path(__file__).parents[2])


def peak_bytes() -> int:
    """Largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def tried(subject: Subject, data: bytes) -> tuple[str, dict[str, str] | None]:
    """How an input ended (``taken``, ``refused``, ``finding``), and what was found."""
    try:
        subject.run(data)
    except InternalError as error:
        return "finding", found(error)
    except EdgesnnError:
        return "refused", None
    except subject.allowed:
        return "refused", None
    except RecursionError as error:
        return "finding", {"key": "RecursionError", "what": str(error)[:300], "trace": ""}
    except Exception as error:
        return "finding", found(error)
    return "taken", None


def found(error: BaseException) -> dict[str, str]:
    """A finding by the kind of the error and the innermost line of ours, by which doubles are known."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [one for one in frames if one.filename.startswith(_ROOT) and "/tools/" not in one.filename]
    last = (ours or list(frames))[-1]
    where = f"{Path(last.filename).name}:{last.lineno}"
    lines = "".join(traceback.format_exception(error))
    return {
        "key": f"{type(error).__name__}-{where}",
        "what": f"{type(error).__name__}: {str(error)[:300]}",
        "trace": lines[-2000:],
    }


def main() -> int:
    """The process."""
    name, seed, first, last = sys.argv[1], *map(int, sys.argv[2:5])
    place, folder = sys.argv[5:7]
    said = os.fdopen(os.dup(1), "w")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # what libraries print is not for whoever watches
    with open(place, "r+b") as file:
        at = mmap.mmap(file.fileno(), 8)
    subject = harness(name).open(Path(folder))
    for seed_input in subject.seeds:  # what is right must be read, or all that follows says nothing
        outcome, what = tried(subject, seed_input)
        if outcome != "taken":
            raise SystemExit(f"the harness '{name}' refuses its own seed: {what}")
    gc.collect()
    start = peak_bytes()
    counts = {"taken": 0, "refused": 0, "finding": 0}
    for number in range(first, last):
        at[:] = number.to_bytes(8, "little")
        outcome, what = tried(subject, mutated(subject.seeds, seed, number, subject.fix))
        counts[outcome] += 1
        if what is None and peak_bytes() - start > MEMORY_MAX:
            what = {"key": "memory", "what": f"more than {MEMORY_MAX >> 20} MB", "trace": ""}
        if what is not None:
            _say(said, {"finding": what, "number": number})
        if peak_bytes() - start > MEMORY_MAX:
            counts["stopped"] = number + 1
            break
    _say(said, {"result": counts, "memory": peak_bytes() - start})
    return 0


def fast_folder() -> str | None:
    """Where to write a file anew a thousand times: ext4 puts one that was cut to nothing on the disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # nosec B108 - names are random there


def _say(stream: Any, message: dict[str, Any]) -> None:
    stream.write(json.dumps(message) + "\n")
    stream.flush()


if __name__ == "__main__":
    raise SystemExit(main())
