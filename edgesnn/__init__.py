"""edgesnn: one integer program for a spiking language model, the same bits on every device.

The functions of `edgesnn.api`, distillation (with the extra ``train``) and the base of all errors can be
imported from here; each is loaded when it is first asked for.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Libraries that report home read these when they are imported: ONNX Runtime from 1.31 on looks up its maker's
# event server and keeps a database of events. Every process of ours begins here, and children inherit it.
for _switch in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ.setdefault(_switch, "1")

if TYPE_CHECKING:
    from edgesnn.api import (
        SNNHardwareProfiler,
        compile_student,
        export_student,
        generate_text,
        map_bundle,
        open_bundle,
        profile_all,
        profile_bundle,
        profile_interleaved,
        verify_bundle,
    )
    from edgesnn.errors import EdgesnnError
    from edgesnn.student import (
        SNNDistillationConfig,
        SNNDistillationTrainer,
        create_default_config,
    )

__all__ = [
    "EdgesnnError",
    "SNNDistillationConfig",
    "SNNDistillationTrainer",
    "SNNHardwareProfiler",
    "__version__",
    "compile_student",
    "create_default_config",
    "export_student",
    "generate_text",
    "map_bundle",
    "open_bundle",
    "profile_all",
    "profile_bundle",
    "profile_interleaved",
    "verify_bundle",
]

_ROOMS = {
    "EdgesnnError": "edgesnn.errors",
    "SNNDistillationConfig": "edgesnn.student",
    "SNNDistillationTrainer": "edgesnn.student",
    "create_default_config": "edgesnn.student",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in __all__:
        raise AttributeError(f"module 'edgesnn' has no attribute '{name}'")
    return getattr(import_module(_ROOMS.get(name, "edgesnn.api")), name)
