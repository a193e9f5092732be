"""Harnesses of the engine's WebAssembly modules, in Node: what a hostile file makes of a page's memory.

A page copies ``program.snn`` into the module's memory and opens it there. Refused is right, and so is any
answer; a trap (an access outside the memory, a division by zero) or more than 1 GB of memory is a finding.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from edgesnn import resources
from edgesnn.errors import ProgramFormatError
from edgesnn.program.snn_format import to_bytes
from tests.support.programs import smallest
from tools.fuzz.harness import Harness, Subject
from tools.fuzz.models import fixed
from tools.fuzz.native import Fed, Finding

MOST_BYTES = 1 << 30


def module(wasm: Path) -> Harness:
    """A module behind the script that pages load it with."""

    def opened(folder: Path) -> Subject:
        # under this name every Node takes it for what it is
        page = shutil.copy(resources.folder("web") / "engine.js", folder / "engine.mjs")
        script = Path(__file__).with_name("wasm_engine.mjs")
        fed = Fed(["node", str(script), str(page), str(wasm)])

        def run(data: bytes) -> None:
            fed.feed(len(data).to_bytes(4, "little") + data)
            said = b""
            while not said.endswith(b"\n"):
                said += fed.answer()
            told = json.loads(said)
            if told.get("trap"):
                raise Finding(f"the module trapped: {told['said'][0]}")
            if told["bytes"] > MOST_BYTES:
                raise Finding(f"{told['bytes']:,} bytes of memory")
            if not told["taken"]:
                raise ProgramFormatError(told["said"][0])

        return Subject([to_bytes(smallest())], run, fixed)

    return Harness(opened)


HARNESSES: dict[str, Harness] = {}
if shutil.which("node"):
    HARNESSES = {
        "wasm": module(resources.folder("web") / "engine.wasm"),
        "wasm-scalar": module(resources.folder("web") / "engine-scalar.wasm"),
    }
