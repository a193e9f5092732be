"""``edgesnn meter record``: samples into a file, at full rate, for as long as it takes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesnn.cli.meter.show import (
    SIMULATED,
    Address,
    Power,
    identity,
    loss_line,
    nothing_measured,
    positive,
    quantity,
    settings_line,
    show_summary,
    until_interrupted,
)
from edgesnn.cli.output import CommandOutput, JsonFlag, session
from edgesnn.errors import EXIT_INTERRUPTED, EdgesnnError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from edgesnn.meters.base import Block, Loss
    from edgesnn.meters.capture import SegmentEnd, SegmentStart
    from edgesnn.meters.files.recording import Recorder
    from edgesnn.meters.samples.summary import Accumulator

SCHEMA = "edgesnn.meter-record/1"
#: With --reconnect and no number, an unplugged meter is looked for this long.
PATIENCE_S = 3600.0


def record(
    meter: Address,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; .npz is usual.")],
    duration: Annotated[
        float | None, typer.Option("--duration", "-d", help="Seconds; without it until Ctrl-C.")
    ] = None,
    reconnect: Annotated[
        bool, typer.Option("--reconnect", help="After an unplug go on with a new segment once it is back.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an older file of that name.")] = False,
    power: Power = True,
    json_mode: JsonFlag = False,
) -> None:
    """Record every sample of a meter, with markers, accuracy and the account of what was lost.

    Memory does not grow with the length. Ctrl-C ends the recording and keeps it; so does any failure. The
    file is read by `replay:FILE`, by `numpy.load`, and by `edgesnn.meters.files.recording`.

    Examples:
        edgesnn meter record 'sim:ppk2?voltage=3.7' -o trace.npz -d 10
    """
    with session("meter record", json_mode) as out:
        from edgesnn.meters.capture import Plan, capture
        from edgesnn.meters.files.recording import Recorder
        from edgesnn.meters.opening import open_meter, settings_of

        positive(duration, "--duration")
        if not output.parent.is_dir():
            raise UsageError(f"there is no folder '{output.parent}'", remedy="make it, or name another file")
        opened = open_meter(meter)
        plan = Plan(settings_of(meter), duration, power, PATIENCE_S if reconnect else None)
        failure: EdgesnnError | None = None
        with until_interrupted() as stopped, Recorder(output, replace=force) as recorder:
            job = _Job(out, recorder, opened, duration)
            try:
                with out.progress() as progress:
                    job.progress = progress
                    for event in capture(opened, plan, stopped):
                        job.take(event)
            except EdgesnnError as error:
                failure = error
            finally:
                job.finish()
                if not job.recorded:
                    recorder.discard()
            interrupted = stopped()
        job.report(output)
        failure = failure or (None if interrupted else job.nothing())
        if failure is not None:
            raise failure
        if interrupted and (duration is not None or not job.recorded):
            out.exit_with(EXIT_INTERRUPTED)


class _Job:
    """One recording under way: what goes to the file, the statistics and the progress display.

    Attributes:
        recorded: Whether there is a sample in it.
        progress: Where it is shown how far it is.
    """

    def __init__(self, out: CommandOutput, recorder: Recorder, meter: Any, duration_s: float | None) -> None:
        self._out, self._recorder, self._meter = out, recorder, meter
        self._duration_s = duration_s
        self.progress: Progress | None = None
        self._task: Any = None
        self._segments: list[tuple[SegmentStart, Accumulator]] = []
        self._losses: list[Loss] = []
        self._done_s = self._end_s = 0.0
        self._open = self.recorded = False

    def nothing(self) -> EdgesnnError | None:
        """The error where nothing was measured."""
        results = [
            (adder.result(), loss) for (_, adder), loss in zip(self._segments, self._losses, strict=True)
        ]
        return nothing_measured(self._segments[0][0].meter.name if self._segments else "", results)

    def take(self, event: SegmentStart | Block | SegmentEnd) -> None:
        """Whatever comes from the capture."""
        from edgesnn.meters.capture import SegmentEnd, SegmentStart

        if isinstance(event, SegmentStart):
            self._begin(event)
        elif isinstance(event, SegmentEnd):
            self._end(event.loss)
            if event.unplugged is not None:
                self._out.warn(event.unplugged.what)
        else:
            self._add(event)

    def finish(self) -> None:
        """End a segment that a failure left open."""
        if self._open:
            self._end(self._meter.loss)

    def report(self, path: Path) -> None:
        """Say what was recorded, segment by segment."""
        from edgesnn.meters.samples.summary import loss_dict

        if not self.recorded:
            return
        results = [
            (begun, adder.result(), loss)
            for (begun, adder), loss in zip(self._segments, self._losses, strict=True)
        ]
        simulated = any(begun.meter.simulated for begun, _, _ in results)
        self._out.document(
            SCHEMA,
            {
                "file": str(path),
                "bytes": path.stat().st_size,
                "simulated": simulated,
                "segments": [
                    {
                        "meter": {
                            "name": begun.meter.name,
                            "model": begun.meter.model,
                            "serial_number": begun.meter.serial_number,
                            "firmware": begun.meter.firmware,
                            "simulated": begun.meter.simulated,
                        },
                        "started_at": begun.info.started_at,
                        "voltage_v": begun.settings.voltage_v,
                        "rate_hz": begun.settings.rate_hz,
                        "calibration": begun.accuracy.calibration,
                        **summary.as_dict(),
                        "loss": loss_dict(loss),
                    }
                    for begun, summary, loss in results
                ],
            },
        )
        for number, (begun, summary, loss) in enumerate(results):
            title = f"segment {number}" if len(results) > 1 else "recorded"
            show_summary(self._out, title, summary, loss, begun.meter.simulated)
        from rich.text import Text

        mark = f"  {SIMULATED}" if simulated else ""
        self._out.print(Text(f"{path}: {path.stat().st_size:,} bytes{mark}"))

    def _begin(self, begun: SegmentStart) -> None:
        from edgesnn.meters.samples.summary import Accumulator

        self._recorder.begin_segment(begun.info)
        self._segments.append((begun, Accumulator(begun.accuracy, begun.settings.voltage_v)))
        self._open = True
        self._out.note(f"{identity(begun.meter)}, {settings_line(begun.settings)}")
        if self.progress is not None and self._task is None:
            total = None if self._duration_s is None else math.ceil(self._duration_s)
            mark = f" {SIMULATED}" if begun.meter.simulated else ""
            self._task = self.progress.add_task(f"recording{mark}, seconds", total=total, detail="")

    def _add(self, block: Block) -> None:
        from edgesnn.meters.capture import end_of

        self._recorder.add(block, self._meter.loss)
        self.recorded |= len(block) > 0
        self._segments[-1][1].add(block)
        self._end_s = max(self._end_s, end_of(block))
        if self.progress is not None and not self.progress.disable:
            mean = self._segments[-1][1].mean_w
            self.progress.update(
                self._task,
                completed=int(self._done_s + self._end_s),
                detail=f"{quantity(mean, 'W')}  {loss_line(self._meter.loss)}",
            )

    def _end(self, loss: Loss) -> None:
        self._recorder.end_segment(loss)
        self._losses.append(loss)
        self._done_s, self._end_s = self._done_s + self._end_s, 0.0
        self._open = False
