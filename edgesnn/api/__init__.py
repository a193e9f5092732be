"""The few functions that join the rooms; the command line is a thin layer over them.

A function's room is imported when the function is first asked for, so importing this package is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesnn.api.all_targets import profile_all
    from edgesnn.api.bundles import bundle_of, open_bundle
    from edgesnn.api.comparing import compare_paths, update_baselines
    from edgesnn.api.generation import generate_text
    from edgesnn.api.hardware import SNNHardwareProfiler
    from edgesnn.api.interleaving import profile_interleaved
    from edgesnn.api.mapping import map_bundle
    from edgesnn.api.profiling import forget_session, profile_bundle
    from edgesnn.api.students import compile_student, export_student, format_reasons, read_student
    from edgesnn.api.verification import parity_targets, verify_bundle

__all__ = [
    "SNNHardwareProfiler",
    "bundle_of",
    "compare_paths",
    "compile_student",
    "export_student",
    "forget_session",
    "format_reasons",
    "generate_text",
    "map_bundle",
    "open_bundle",
    "parity_targets",
    "profile_all",
    "profile_bundle",
    "profile_interleaved",
    "read_student",
    "update_baselines",
    "verify_bundle",
]

_ROOMS = {
    "SNNHardwareProfiler": "hardware",
    "bundle_of": "bundles",
    "compare_paths": "comparing",
    "compile_student": "students",
    "export_student": "students",
    "forget_session": "profiling",
    "format_reasons": "students",
    "generate_text": "generation",
    "map_bundle": "mapping",
    "open_bundle": "bundles",
    "parity_targets": "verification",
    "profile_all": "all_targets",
    "profile_bundle": "profiling",
    "profile_interleaved": "interleaving",
    "read_student": "students",
    "update_baselines": "comparing",
    "verify_bundle": "verification",
}


def __getattr__(name: str) -> Any:
    """Import a function from its module."""
    if name not in _ROOMS:
        raise AttributeError(f"module 'edgesnn.api' has no attribute '{name}'")
    return getattr(import_module(f"edgesnn.api.{_ROOMS[name]}"), name)
