"""Build hook of the wheel: carries the engine where it was compiled for one system.

``EDGESNN_PREBUILT`` names the library, in a folder named after the platform tag of the wheel
(``manylinux2014_x86_64/snn-....so``). Without it the wheel is for every system, and compiles the engine when
it is first used. ``tools/build_wheels.py`` makes both.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "EDGESNN_PREBUILT"


class PrebuiltEngine(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the library that `VARIABLE` names."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds a wheel."""
        if not (named := os.environ.get(VARIABLE)):
            return
        path = Path(named)
        if not path.is_file():
            raise SystemExit(f"{VARIABLE} names '{path}', which is no file")
        build_data["tag"] = f"py3-none-{path.parent.name}"
        build_data["force_include"][str(path)] = f"edgesnn/_data/prebuilt/{path.name}"
