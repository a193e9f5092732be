"""Pack what the scripts wrote, cut to a few windows, into the file that tests without the libraries read.

.venv/bin/python tests/foreign/nir_sources/collect.py FOLDER
"""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np

WINDOWS = 4


def main(folder):
    with zipfile.ZipFile(Path(__file__).with_name("recorded.zip"), "w") as archive:

        def add(name, content):
            member = zipfile.ZipInfo(name)  # no time of day in it
            archive.writestr(member, content, zipfile.ZIP_DEFLATED, 9)

        for path in sorted(Path(folder).glob("*.nir")):
            add(path.name, path.read_bytes())
            arrays = np.load(path.with_suffix(".npz"))
            packed = io.BytesIO()
            np.savez(packed, **{name: arrays[name][:WINDOWS] for name in arrays.files})
            add(f"{path.stem}.npz", packed.getvalue())


if __name__ == "__main__":
    main(sys.argv[1])
