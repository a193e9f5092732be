"""A meter whose samples are corrected by its calibration, if it has one that is valid."""

from __future__ import annotations

from dataclasses import replace

from edgesnn.meters.base import Block, Meter, MeterInfo
from edgesnn.meters.calibration import points as calibration
from edgesnn.meters.delegate import DelegatingMeter
from edgesnn.meters.samples.accuracy import MeterAccuracy


class CalibratedMeter(DelegatingMeter):
    """Hands every call to an opened meter and corrects what it gives.

    Args:
        meter: The meter.
        apply: Whether its calibration is looked for.

    Attributes:
        meter: The same.
        calibration: The calibration in use, or None.
    """

    def __init__(self, meter: Meter, apply: bool = True) -> None:
        self._meter = meter
        self.calibration: calibration.Calibration | None = None
        self._apply = apply
        self._corrections: dict[int, calibration.Correction] = {}

    @property
    def meter(self) -> Meter:
        return self._meter

    @property
    def accuracy(self) -> MeterAccuracy:
        """The meter's, or that of its calibration."""
        if self.calibration is None:
            return self.meter.accuracy
        return calibration.calibrated_accuracy(self.meter.accuracy, self.calibration)

    def open(self) -> MeterInfo:
        """Open the meter and look for its calibration; the details of the result say what was found."""
        info = self.meter.open()
        found = calibration.find(info) if self._apply else None
        self.calibration = None if found is None or found.expired else found
        self._corrections = calibration.corrections(self.calibration.points) if self.calibration else {}
        if found is None:
            return info
        state = "expired, not used: " if found.expired else ""
        return replace(info, details={**info.details, "calibration": state + found.sentence()})

    def read(self, timeout_s: float) -> Block:
        """The meter's samples, corrected."""
        return self._corrected(self.meter.read(timeout_s))

    def stop(self) -> Block | None:
        """The meter's last samples, corrected."""
        block = self.meter.stop()
        return None if block is None else self._corrected(block)

    def _corrected(self, block: Block) -> Block:
        return calibration.corrected(block, self._corrections) if self._corrections else block
