"""The meter ``replay:FILE``: a recording in the place of the instrument that made it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from edgesnn.errors import UsageError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import DriverStatus, MeterCapability, MeterInfo, Settings
from edgesnn.meters.clock import Clock
from edgesnn.meters.files.playback import FileMeter, Playback, real_pace
from edgesnn.meters.files.recording import Recording, RecordingSegment
from edgesnn.meters.samples.accuracy import MeterAccuracy

#: What a recording can still do of what its instrument could.
_KEPT = frozenset(
    (
        MeterCapability.MEASURES_VOLTAGE,
        MeterCapability.MARKER_INPUT,
        MeterCapability.COARSE,
        MeterCapability.SIMULATED,
    )
)


class ReplayMeter(FileMeter):
    """Plays a segment of a recording.

    Options of the address: ``speed`` (``real``, the default, or ``max``), ``segment`` (0 is the first).

    Args:
        address: ``replay:FILE``.
        clock: The host's clock.
    """

    name: ClassVar[str] = "replay"
    summary: ClassVar[str] = "any recording, as if its instrument were attached"
    driver_status: ClassVar[DriverStatus] = DriverStatus.HOST

    def __init__(self, address: MeterAddress, *, clock: Clock | None = None) -> None:
        if address.device is None:
            raise UsageError("a recording needs the name of its file", remedy="replay:FILE.npz")
        self._path = Path(address.device)
        self._what = f"the recording '{address.device}'"
        self._real = real_pace(address.options)
        self._asked = address.settings(("speed", "segment"))
        self._number = int(address.number("segment")) if "segment" in address.options else 0
        self._clock = clock or Clock()
        self._recording: Recording | None = None
        self._chosen: RecordingSegment | None = None

    @property
    def capabilities(self) -> frozenset[MeterCapability]:
        """What the recorded instrument could and a file still can."""
        return frozenset(self._segment().info.capabilities) & _KEPT

    @property
    def accuracy(self) -> MeterAccuracy:
        """That of the instrument when the recording was made, a calibration included."""
        return self._segment().accuracy

    def open(self) -> MeterInfo:
        """Open the file.

        Raises:
            RecordingError: It is no recording.
            UsageError: It has no such segment.
        """
        self.close()
        recording = Recording(self._path)
        count = len(recording.segments)
        if not 0 <= self._number < count:
            recording.close()
            raise UsageError(
                f"{self._what} has no segment {self._number}", limit=f"0 to {count - 1}" if count > 1 else "0"
            )
        self._recording, self._chosen = recording, recording.segments[self._number]
        info = self._chosen.info.meter
        details = {
            **info.details,
            "recorded_with": info.name,
            "recorded_at": self._chosen.info.started_at,
            "segment": self._number,
            "segments": count,
            "cut_off": recording.cut_off,
        }
        return replace(info, name=self.name, port=str(self._path), details=details)

    def configure(self, settings: Settings) -> Settings:
        """The settings of the recording; a voltage may be named where the instrument measured none.

        Raises:
            UsageError: Something else is asked for than what was recorded.
        """
        recorded = self._segment().info.settings
        volts = self._asked.voltage_v if settings.voltage_v is None else settings.voltage_v
        for field in ("rate_hz", "mode", "range"):
            asked = getattr(settings, field) or getattr(self._asked, field)
            if asked is not None and asked != getattr(recorded, field):
                raise UsageError(
                    f"{self._what} was made with another {field.removesuffix('_hz')}",
                    actual=str(getattr(recorded, field)),
                    limit=f"asked for: {asked}",
                )
        return replace(recorded, voltage_v=recorded.voltage_v if volts is None else volts)

    def start(self) -> None:
        segment = self._segment()
        self._play = Playback(segment.blocks(), self._real, self._clock, self._what, segment.loss)

    def close(self) -> None:
        if self._recording is not None:
            self._recording.close()
            self._recording = None

    def _segment(self) -> RecordingSegment:
        if self._chosen is None:
            raise UsageError(f"{self._what} is not open")
        return self._chosen
