"""A meter whose samples are numbers, corrected by its calibration, if it has one that is valid.

Every meter that is opened by its address goes through here. What is no number that can have been measured
(NaN, an overflow mark; `edgesnn.meters.base.Block.known`) is a missing sample: a jump in time, and counted.
"""

from __future__ import annotations

import time
from dataclasses import replace

from edgesnn.errors import MeterTimeoutError
from edgesnn.meters.base import Block, Loss, Meter, MeterInfo, SampleStatus
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
        self._dropped = self._carried = 0
        self._first_s = 0.0

    @property
    def meter(self) -> Meter:
        return self._meter

    @property
    def accuracy(self) -> MeterAccuracy:
        """The meter's, or that of its calibration."""
        if self.calibration is None:
            return self.meter.accuracy
        return calibration.calibrated_accuracy(self.meter.accuracy, self.calibration)

    @property
    def loss(self) -> Loss:
        """The meter's, with the samples that were no numbers."""
        loss = self.meter.loss
        if not self._dropped:
            return loss
        what = f"{self._dropped:,} sample{'s were no numbers' if self._dropped > 1 else ' was no number'}"
        reason = f"{what} (NaN, empty or overflow), first at {self._first_s:.6g} s"
        return replace(
            loss,
            received=max(loss.received - self._dropped, 0),
            missing=loss.missing + self._dropped,
            reasons=(*loss.reasons, reason),
        )

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

    def start(self) -> None:
        self._dropped = self._carried = 0
        self.meter.start()

    def read(self, timeout_s: float) -> Block:
        """The meter's samples, corrected; those that are no numbers are missing.

        Raises:
            MeterTimeoutError: No number came before the deadline.
        """
        deadline, left_s = time.monotonic() + timeout_s, timeout_s
        while True:
            block = self._numbers(self.meter.read(left_s))
            if len(block):
                return self._corrected(block)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise MeterTimeoutError(
                    "the meter gives samples that are no numbers", limit=f"{timeout_s:g} s"
                )

    def stop(self) -> Block | None:
        """The meter's last samples, corrected."""
        block = self.meter.stop()
        return None if block is None else self._corrected(self._numbers(block))

    def _numbers(self, block: Block) -> Block:
        """The block without samples that are no numbers; what a check made suspect stays suspect."""
        keep = block.known() | ((block.status & SampleStatus.SUSPECT) != 0)
        gone = len(block) - int(keep.sum())
        if gone:
            if not self._dropped:
                self._first_s = float(block.time_s[~keep][0])
            self._dropped += gone
            block = replace(block.only(keep), lost=block.lost + gone)
        self._carried, lost = 0, self._carried + block.lost
        if not len(block):
            self._carried = lost
        return replace(block, lost=lost) if lost != block.lost else block

    def _corrected(self, block: Block) -> Block:
        return calibration.corrected(block, self._corrections) if self._corrections else block
