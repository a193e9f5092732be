"""Let libraries load the files that we write for them, and pack what they made of the recorded frames.

    .venv/bin/python -m tests.foreign.nir_readers.collect [LIBRARY ...]

``recorded.zip`` gets ``LIBRARY.CASE.nir``, the file, and ``LIBRARY.CASE.npy``, what the library made of it,
``[n, frames, outputs]``. Without names it packs what earlier calls left in ``build/nir_readers``.
"""

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgesnn.api.nir.importing import import_network
from edgesnn.nir.writing import nir_files
from edgesnn.program.program import Program
from tests.support.nir_files import READ_BACK, options_for, recorded

ROOT, HERE = Path(__file__).parents[3], Path(__file__).parent
FOLDER = ROOT / "build" / "nir_readers"


def program_for(case: str, folder: Path) -> tuple[Program, Path]:
    """The program of a recorded network, every frame's spikes as its output, and its frames."""
    path = recorded(case, folder)
    frames = path.with_suffix(".npz")
    return import_network(
        path, replace(options_for(case), readout="spikes"), calibration=frames
    ).program, frames


def file_for(library: str, case: str, program: Program) -> bytes:
    """What is written for one library."""
    return next(file.content for file in nir_files(case, program)[0] if library in file.readers)


def ask(library: str, case: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What a library makes of the file for it, and what golden makes: ``[n, frames, outputs]`` both."""
    from edgesnn.program.golden import Golden

    program, frames = program_for(case, folder)
    file, out = folder / f"{library}.{case}.nir", folder / f"{library}.{case}.npz"
    file.write_bytes(file_for(library, case, program))
    python = ROOT / ".foreign" / library / "bin" / "python"
    subprocess.run(
        [python, HERE / "read_nir.py", library, file, frames, out], check=True, capture_output=True
    )
    given = np.load(frames)["frames"]
    golden = Golden(program).sequence(given.reshape(*given.shape[:2], -1).astype(np.int8))
    return np.load(out)["out"], golden


def main(libraries: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for library in libraries:
        for case in READ_BACK[library]:
            theirs, ours = ask(library, case, FOLDER)
            np.save(FOLDER / f"{library}.{case}.npy", theirs.astype(np.int8))
            print(f"{library} {case}: {(theirs != ours).mean():.2%} of {ours.size:,} differ", flush=True)
    if libraries:
        return
    with zipfile.ZipFile(HERE / "recorded.zip", "w") as archive:
        for path in sorted(FOLDER.glob("*.*.np[y]")):
            for one in (path.with_suffix(".nir"), path):
                archive.writestr(zipfile.ZipInfo(one.name), one.read_bytes(), zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    main(sys.argv[1:])
