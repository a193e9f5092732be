"""The engine for browsers: built here, kept in the repository, compared with its sources.

    python tools/build_wasm.py [--check]

writes ``firmware_bridge/web/engine.wasm`` (SIMD), ``engine-scalar.wasm`` and ``engine.json``, which holds
the compiler, the flags and the SHA-256 of sources and modules. It needs zig of the version that `ZIG` names:
``pip install ziglang``. ``--check`` builds again and fails where a byte differs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from edgesnn.exporters.c.sources import PARTS  # noqa: E402 - the one list of the engine's files

ENGINE, WEB = ROOT / "firmware_bridge/engine", ROOT / "firmware_bridge/web"
ZIG = "0.17.1"
SOURCES = (*(ENGINE / name for name in PARTS if name.endswith(".c")), WEB / "engine.c")
HEADERS = (
    ENGINE / "snn.h",
    *(ENGINE / name for name in PARTS if name.endswith(".h")),
    WEB / "include/string.h",
)
FLAGS = (
    "-target", "wasm32-freestanding", "-std=gnu99", "-O3", "-nostdlib", "-Wall", "-Wextra", "-Werror",
    "-fno-sanitize=undefined", "-Wl,--no-entry", "-Wl,--strip-all",
)  # fmt: skip
MODULES = {"engine.wasm": ("-msimd128", "-mbulk-memory"), "engine-scalar.wasm": ("-mcpu=mvp",)}


def digest(paths: tuple[Path, ...]) -> str:
    """SHA-256 of some files, their names included."""
    found = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def build(folder: Path) -> None:
    """Build both modules into a folder.

    Raises:
        SystemExit: zig is not the one that is wanted, or fails.
    """
    found = importlib.metadata.version("ziglang") if importlib.util.find_spec("ziglang") else "none"
    if found != ZIG:
        raise SystemExit(f"zig {ZIG} is needed, found {found}: pip install ziglang=={ZIG}")
    for name, flags in MODULES.items():
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, *flags]
        command += [f"-I{WEB.relative_to(ROOT) / 'include'}", f"-I{ENGINE.relative_to(ROOT)}"]
        command += [str(path.relative_to(ROOT)) for path in SOURCES]
        if subprocess.run([*command, "-o", str(folder / name)], cwd=ROOT, check=False).returncode:
            raise SystemExit(f"zig did not build {name}")
        (folder / name).chmod(0o644)


def description(folder: Path) -> str:
    """What ``engine.json`` says of the modules of a folder."""
    content = {
        "compiler": f"zig {ZIG}",
        "flags": [*FLAGS],
        "modules": {
            name: {"flags": [*flags], "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}
            for name, flags in MODULES.items()
        },
        "sources": digest((*SOURCES, *HEADERS)),
    }
    return json.dumps(content, indent=1) + "\n"


def main() -> int:
    """Build, or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="build elsewhere and compare")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        build(folder)
        (folder / "engine.json").write_text(description(folder), encoding="utf-8")
        names = (*MODULES, "engine.json")
        differing = [
            name
            for name in names
            if not (WEB / name).is_file() or (WEB / name).read_bytes() != (folder / name).read_bytes()
        ]
        if given.check:
            print("differs: " + ", ".join(differing) if differing else "the modules are those of the sources")
            return bool(differing)
        for name in names:
            (WEB / name).write_bytes((folder / name).read_bytes())
        print("written: " + ", ".join(f"{name} {(WEB / name).stat().st_size:,} bytes" for name in names))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
