"""The engine's sources, and the one ``snn.c`` that is made of them.

In the repository the engine is several files of one idea each; a user's project gets one file to add. It
holds the reader, the interpreter and the four portable kernel sets. What needs x86 intrinsics or threads
(``snn_avx2.c``, ``snn_avx512.c``, ``snn_host.c``) stays with the native runner.
"""

from __future__ import annotations

import re
from pathlib import Path

#: Files of the amalgam in order.
PARTS = (
    "snn_internal.h",
    "snn_reader.h",
    "snn_reader.c",
    "snn_ops.c",
    "snn_plan.c",
    "snn_linear.c",
    "snn_run.c",
    "snn_state.c",
    "frames/snn_frames_reader.c",
    "frames/snn_frames.c",
    "snn.c",
    "frames/snn_frames_kernels.h",
    "snn_reference.c",
    "snn_swar.c",
    "snn_vector.c",
    "cortex_m/snn_dsp.h",
    "cortex_m/snn_dsp.c",
    "cortex_m/snn_dsp_attend.c",
)
#: Files of the example that are copied as they are.
EXAMPLE = ("main.c", "Makefile", "CMakeLists.txt", "README.md")
_INCLUDE = re.compile(r'^#include "(?:\.\./)?(?:frames/)?snn_\w+\.h"\n', re.MULTILINE)
_HEADER = """\
/* The edgesnn engine in one file, made of firmware_bridge/engine by `edgesnn export --format c`.
 * Interface and use: snn.h. */
"""


def amalgam(engine: Path) -> str:
    """The text of ``snn.c``: all parts one after another, each named.

    Args:
        engine: The folder of the sources.
    """
    text = _HEADER
    for part in PARTS:
        body = _INCLUDE.sub("", (engine / part).read_text(encoding="utf-8"))
        text += f"\n/* ---- {part} ---- */\n{body}"
    return text
