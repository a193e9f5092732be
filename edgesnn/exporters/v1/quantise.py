"""Quantised activations by ONNX Runtime's own quantiser: dynamic, and static with a calibration text."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ExportError


def quantise_dynamic(source: Path, target: Path) -> None:
    """Int8 matrices, one scale a channel, and activations whose scale is found while they are computed.

    Args:
        source: The float32 file.
        target: The file to write.

    Raises:
        ExportError: The quantiser does not load, or refuses the file.
    """
    with _quantiser() as package:
        package.quantize_dynamic(source, target, per_channel=True, weight_type=package.QuantType.QInt8)


def quantise_static(source: Path, target: Path, batches: Sequence[npt.NDArray[np.int64]]) -> None:
    """Int8 matrices and activations, QuantizeLinear and DequantizeLinear around every operator.

    Args:
        source: The float32 file.
        target: The file to write.
        batches: Token ids ``[1, length]``: the text on which the scales of the activations are measured.

    Raises:
        ExportError: The quantiser does not load, or refuses the file.
    """
    with _quantiser() as package:

        class CalibrationBatches(package.CalibrationDataReader):  # type: ignore[name-defined,misc]
            """Gives the batches one after another."""

            def __init__(self) -> None:
                self._rest = iter(batches)

            def get_next(self) -> dict[str, npt.NDArray[np.int64]] | None:
                """The next input, or None at the end."""
                ids = next(self._rest, None)
                return None if ids is None else {"input_ids": ids}

        package.quantize_static(
            source,
            target,
            CalibrationBatches(),
            quant_format=package.QuantFormat.QDQ,
            per_channel=True,
            weight_type=package.QuantType.QInt8,
            activation_type=package.QuantType.QUInt8,
        )


@contextmanager
def _quantiser() -> Iterator[Any]:
    """The quantiser, its advice about preparing files left unsaid: the graph has nothing to prepare."""
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise ExportError("onnxruntime, which quantises activations, does not load", actual=error) from None
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield quantization
    except Exception as error:  # what the quantiser raises has no common base
        raise ExportError(
            "ONNX Runtime's quantiser failed", actual=f"{type(error).__name__}: {str(error)[:200]}"
        ) from error
    finally:
        logging.disable(before)
