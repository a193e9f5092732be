"""Every exact engine against golden on a random program of the flagship's size (V = 49,152), bit for bit.

    python benchmarks/verify_flagship.py [--tokens 10000]

Takes about three minutes; exit code 3 when one logit differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn import plugins, resources
from edgesnn.api.verification import verify_bundle
from edgesnn.bundle.bundle import TOKENIZER_NAME
from edgesnn.bundle.export import BundleSource, write_bundle
from edgesnn.program.bounds import prove
from edgesnn.program.compile import Compiled
from edgesnn.program.float_program import FloatProgram
from tests.support.random_program import FLAGSHIP, random_program

SEED = 3


def main() -> int:
    """Compare and print; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=10_000)
    tokens = parser.parse_args().tokens
    program = random_program(FLAGSHIP, SEED)
    compiled = Compiled(program, prove(program), (), (), {}, None)
    # A random program has no float student; only formats of the integer program are written.
    source = BundleSource(
        name="random-flagship",
        compiled=compiled,
        folded=FloatProgram(program.timesteps, ()),
        tokenizer=resources.folder("reference") / TOKENIZER_NAME,
        eval_slice=None,
        student={},
        text={},
    )
    formats = [name for name in ("onnx", "tflite") if plugins.exporter_misses(name) is None]
    exporters = {name: plugins.load_exporter(name)() for name in formats}
    with TemporaryDirectory(prefix="edgesnn-") as folder:
        bundle = write_bundle(source, exporters, Path(folder) / "bundle", overwrite=False)
        results = verify_bundle(bundle, tokens=tokens)
    for result in results:
        print(
            f"{result.target:12} {result.mismatches:,} of {result.logits_compared:,} logits differ, "
            f"{result.tokens:,} tokens, {', '.join(result.forms)}"
        )
    return 3 if any(result.mismatches for result in results) else 0


if __name__ == "__main__":
    raise SystemExit(main())
