"""The wheels of a release: with the engine compiled for Linux on x86-64 and aarch64, and one without it.

    python tools/build_wheels.py --out dist           # needs zig: pip install ziglang
    python tools/build_wheels.py --out dist --here    # one wheel, for this computer, by its own compiler

zig compiles for glibc 2.17, which is what the tag ``manylinux2014`` promises (PEP 599): such a wheel runs on
any Linux since 2014. A wheel of ``--here`` is tagged ``linux_...``, which no package index takes.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from edgesnn import resources  # noqa: E402 - of this checkout
from edgesnn.errors import RunnerError  # noqa: E402
from edgesnn.runners.native import build as native_build  # noqa: E402
from edgesnn.toolchain import Compiler, host_compiler, zig  # noqa: E402

#: Platform tags by kind of processor, and what zig calls the system that they promise.
MANYLINUX = {
    machine: (f"manylinux2014_{machine}", ("-target", f"{machine}-linux-gnu.2.17"))
    for machine in ("x86_64", "aarch64")
}


def compiled(machine: str, tag: str, compiler: Compiler, folder: Path) -> Path:
    """The engine for a kind of processor, stripped, in a folder named after its tag.

    Raises:
        RunnerError: The compiler fails.
    """
    (target := folder / tag).mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        stripping = Compiler(compiler.name, (*compiler.command, "-Wl,--strip-all"), compiler.identity)
        made = native_build.build(
            resources.folder("engine"), native_build.units(machine), stripping, Path(work)
        )
        return Path(shutil.move(made, target / native_build.prebuilt_name(machine)))


def wheel(prebuilt: Path | None, out: Path) -> None:
    """Build one wheel from the sources of this checkout."""
    environment = {**os.environ, **({"EDGESNN_PREBUILT": str(prebuilt)} if prebuilt else {})}
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def main() -> None:
    """Build them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the wheels")
    parser.add_argument("--here", action="store_true", help="one wheel, by this computer's compiler")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if arguments.here:
            own, machine = host_compiler(native_build.COMPILERS), platform.machine()
            if own is None:
                raise SystemExit("no C compiler is here: apt install gcc")
            wheel(compiled(machine, f"linux_{machine}", own, folder), arguments.out)
        else:
            for machine, (tag, flags) in MANYLINUX.items():
                if (compiler := zig(*flags)) is None:
                    raise SystemExit("zig is needed: pip install ziglang")
                wheel(compiled(machine, tag, compiler, folder), arguments.out)
            wheel(None, arguments.out)
    for path in sorted(arguments.out.glob("*.whl")):
        print(f"{path} {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    try:
        main()
    except RunnerError as error:
        raise SystemExit(str(error)) from None
