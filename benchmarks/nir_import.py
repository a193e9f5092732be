"""What importing networks of other libraries costs: each file of a folder, float against integer.

    .foreign/snntorch/bin/python tests/foreign/nir_sources/from_snntorch.py build/nir --inputs 1000
    python benchmarks/nir_import.py build/nir

The scripts in tests/foreign/nir_sources write the files, and the frames that are compared: no training saw
them. One row a network: decisions that are the same, spikes that differ over all layers and in the last one,
accuracy of both, processor seconds of the import without the comparison.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from edgesnn.api.nir.importing import import_network
from tests.support.nir_files import options_for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    print("| network | windows | same decision | differ, all | differ, last | float | integer | import, s |")
    print("|---|---|---|---|---|---|---|---|")
    for path in sorted(parser.parse_args().folder.glob("*.nir")):
        started = time.process_time()
        import_network(path, options_for(path.stem))
        seconds = time.process_time() - started
        network = import_network(path, options_for(path.stem), calibration=path.with_suffix(".npz"))
        found = network.agreement
        assert found is not None and found.float_accuracy is not None and found.integer_accuracy is not None
        last = found.layers[-1]
        print(
            f"| {path.stem} | {found.windows:,} | {found.same_top1:.1%} | {found.differ_share:.2%} "
            f"| {last.differ / last.slots:.2%} | {found.float_accuracy:.1%} | {found.integer_accuracy:.1%} "
            f"| {seconds:.2f} |"
        )


if __name__ == "__main__":
    main()
