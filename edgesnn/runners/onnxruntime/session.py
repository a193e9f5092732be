"""Opening a bundle's ONNX files in ONNX Runtime, and what its exceptions become."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgesnn.errors import RunnerError
from edgesnn.runners.onnxruntime.guard import check_onnx, with_outputs


def engine_failed(error: Exception) -> RunnerError:
    """The error for whatever ONNX Runtime raised while it ran."""
    return RunnerError(f"ONNX Runtime failed: {str(error)[:300]}")


def open_session(path: Path, threads: int, taps: Sequence[str] = ()) -> Any:
    """Open a file that keeps to itself.

    Args:
        path: The file.
        threads: Threads inside one operator.
        taps: Names of values that it shall give as outputs, too.

    Returns:
        The ``InferenceSession``.

    Raises:
        BundleError: The file reaches outside itself.
        RunnerError: ONNX Runtime refused it.
    """
    import onnxruntime

    data = path.read_bytes()
    check_onnx(data, path.name)
    if taps:
        data = with_outputs(data, taps)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise RunnerError(
            f"ONNX Runtime refused '{path.name}': {str(error)[:300]}", remedy="export the student again"
        ) from error
